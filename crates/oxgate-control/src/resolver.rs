//! Host names of endpoints, looked up again when their time to live is over. The last good answer
//! stays in force for as long as there is no better one.

use hickory_resolver::TokioResolver;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Who wants to know the addresses of a name.
pub type Sink = Arc<dyn Fn(&[IpAddr]) + Send + Sync>;

/// However short a time to live is, and after a failure.
const SHORTEST: Duration = Duration::from_secs(1);
/// However long a time to live is.
const LONGEST: Duration = Duration::from_secs(300);
/// Between attempts while a name cannot be resolved, at the most.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// The names under watch.
#[derive(Default)]
pub struct Resolver {
    names: HashMap<String, Watched>,
    client: Option<TokioResolver>,
}

/// One name, looked up by a task of its own.
struct Watched {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What is known of a name, and who wants to know. Held for moments only.
#[derive(Default)]
struct State {
    addresses: Vec<IpAddr>,
    sinks: Vec<Sink>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.keys()).finish()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Resolver {
    /// Watches these names from now on, instead of those before; whoever asks for a name that is known
    /// already is told at once. Must be called inside a runtime.
    pub fn set(&mut self, names: impl IntoIterator<Item = (String, Sink)>) {
        let mut wanted: HashMap<String, Vec<Sink>> = HashMap::new();
        for (name, sink) in names {
            wanted.entry(name).or_default().push(sink);
        }
        self.names.retain(|name, _| wanted.contains_key(name));
        for (name, sinks) in wanted {
            if name == "localhost" {
                // Every system knows it without asking (RFC 6761 §6.3).
                let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
                sinks.iter().for_each(|sink| sink(&addresses));
            } else if let Some(watched) = self.names.get(&name) {
                let mut state = watched.state.lock().unwrap_or_else(PoisonError::into_inner);
                sinks.iter().for_each(|sink| sink(&state.addresses));
                state.sinks = sinks;
            } else if let Some(client) = self.client() {
                let state = Arc::new(Mutex::new(State { addresses: Vec::new(), sinks }));
                let task = tokio::spawn(keep_resolved(client, name.clone(), Arc::clone(&state)));
                self.names.insert(name, Watched { state, task });
            }
        }
    }

    fn client(&mut self) -> Option<TokioResolver> {
        if self.client.is_none() {
            let built = TokioResolver::builder_tokio().and_then(|builder| builder.build());
            self.client = built.map_err(|error| tracing::error!(%error, "host names cannot be resolved")).ok();
        }
        self.client.clone()
    }
}

async fn keep_resolved(client: TokioResolver, name: String, state: Arc<Mutex<State>>) {
    let state = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut back_off = SHORTEST;
    loop {
        let wait = match client.lookup_ip(name.as_str()).await {
            Ok(answer) => {
                let mut addresses: Vec<IpAddr> = answer.iter().collect();
                addresses.sort();
                let mut state = state();
                if !addresses.is_empty() && addresses != state.addresses {
                    tracing::info!(name, ?addresses, "resolved");
                    state.sinks.iter().for_each(|sink| sink(&addresses));
                    state.addresses = addresses;
                }
                back_off = SHORTEST;
                answer.valid_until().saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST)
            }
            Err(error) => {
                let kept = state().addresses.len();
                tracing::warn!(name, %error, kept, "cannot resolve; the last good addresses stay in force");
                back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                back_off
            }
        };
        tokio::time::sleep(wait).await;
    }
}
