//! Host names of endpoints, looked up again when their time to live is over. The last good answer
//! stays in force for as long as there is no better one.

use hickory_resolver::TokioResolver;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
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
    names: HashMap<String, (Vec<Sink>, JoinHandle<()>)>,
    client: Option<TokioResolver>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names.keys()).finish()
    }
}

impl Resolver {
    /// Watches these names from now on, instead of those before. Must be called inside a runtime.
    pub fn set(&mut self, names: impl IntoIterator<Item = (String, Sink)>) {
        for (_, (_, task)) in self.names.drain() {
            task.abort();
        }
        let mut sinks: HashMap<String, Vec<Sink>> = HashMap::new();
        for (name, sink) in names {
            sinks.entry(name).or_default().push(sink);
        }
        for (name, sinks) in sinks {
            if name == "localhost" {
                // Every system knows it without asking (RFC 6761 §6.3).
                let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
                sinks.iter().for_each(|sink| sink(&addresses));
                continue;
            }
            let Some(client) = self.client() else { continue };
            let task = tokio::spawn(keep_resolved(client, name.clone(), sinks.clone()));
            self.names.insert(name, (sinks, task));
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

async fn keep_resolved(client: TokioResolver, name: String, sinks: Vec<Sink>) {
    let mut known: Vec<IpAddr> = Vec::new();
    let mut back_off = SHORTEST;
    loop {
        let wait = match client.lookup_ip(name.as_str()).await {
            Ok(answer) => {
                let mut addresses: Vec<IpAddr> = answer.iter().collect();
                addresses.sort();
                if !addresses.is_empty() && addresses != known {
                    tracing::info!(name, ?addresses, "resolved");
                    sinks.iter().for_each(|sink| sink(&addresses));
                    known = addresses;
                }
                back_off = SHORTEST;
                answer.valid_until().saturating_duration_since(Instant::now()).clamp(SHORTEST, LONGEST)
            }
            Err(error) => {
                let kept = known.len();
                tracing::warn!(name, %error, kept, "cannot resolve; the last good addresses stay in force");
                back_off = (back_off * 2).min(LONGEST_BACK_OFF);
                back_off
            }
        };
        tokio::time::sleep(wait).await;
    }
}
