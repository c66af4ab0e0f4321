//! A running gateway: the data plane, its listeners, and what is in force.

use crate::configuration::Ready;
use crate::sockets;
use oxgate_config::resolved::{Bind, Listener, LogTarget, Resolved};
use oxgate_control::access_log::AccessLog;
use oxgate_control::resolver::{Resolver, Sink};
use oxgate_control::status::Status;
use oxgate_proxy::{ListenerSocket, Plane, Snapshot};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    plane: Plane,
    log: AccessLog,
    resolver: Resolver,
    /// As configured, with the address in force.
    listeners: HashMap<Arc<str>, (Listener, Bind)>,
    /// What is in force.
    pub resolved: Resolved,
    /// What the status interface shows.
    pub status: Arc<Status>,
}

/// Listeners to open, with their sockets.
type Opened = Vec<(Listener, Vec<ListenerSocket>, Bind)>;

impl Gateway {
    /// Starts serving. Must be called inside a runtime.
    ///
    /// # Errors
    /// A thread could not be started, or a listener not opened; the text says which.
    pub fn start(ready: Ready, workers: usize) -> io::Result<Gateway> {
        let opened = open(ready.resolved.listeners.iter(), workers)?;
        let snapshot = Arc::new(Snapshot::compile(&ready.resolved, ready.chains, None));
        let (plane, readers) = Plane::start(workers, Arc::clone(&snapshot))?;
        let status = Arc::new(Status::default());
        *status.workers.lock().unwrap_or_else(PoisonError::into_inner) = plane.metrics().to_vec();
        let log = AccessLog::start(readers, log_target(&ready.resolved), Arc::clone(&status.log_lost))?;
        let mut gateway = Gateway {
            plane,
            log,
            resolver: Resolver::default(),
            listeners: HashMap::new(),
            resolved: ready.resolved,
            status,
        };
        gateway.watch_names(&snapshot);
        gateway.listen(opened);
        gateway.status.applied();
        Ok(gateway)
    }

    /// Puts another configuration in force. Connections and the live state of what did not change
    /// survive; when anything fails, everything stays as it was.
    ///
    /// # Errors
    /// A new listener could not be opened; the text says which.
    pub fn apply(&mut self, ready: Ready) -> io::Result<()> {
        let resolved = ready.resolved;
        let is_known = |l: &&Listener| self.listeners.get(&l.name).is_some_and(|(known, _)| known.address == l.address);
        let opened = open(resolved.listeners.iter().filter(|l| !is_known(l)), self.plane.workers())?;
        let snapshot = Arc::new(Snapshot::compile(&resolved, ready.chains, Some(&self.plane.snapshot())));
        self.watch_names(&snapshot);
        self.plane.publish(snapshot);
        self.log.set_target(log_target(&resolved));
        let gone: Vec<Arc<str>> = self
            .listeners
            .values()
            .filter(|(known, _)| !resolved.listeners.iter().any(|l| l.name == known.name && l.address == known.address))
            .map(|(known, _)| Arc::clone(&known.name))
            .collect();
        for name in gone {
            self.plane.unlisten(&name);
            self.listeners.remove(&name);
        }
        for listener in &resolved.listeners {
            if let Some((known, _)) = self.listeners.get_mut(&listener.name)
                && known.limits != listener.limits
            {
                known.limits = listener.limits;
                self.plane.limit(&listener.name, listener.limits);
            }
        }
        self.listen(opened);
        self.resolved = resolved;
        self.status.applied();
        Ok(())
    }

    /// The addresses in force, by listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &Bind)> {
        self.listeners.iter().map(|(name, (_, bind))| (&**name, bind))
    }

    /// Stops accepting and lets exchanges under way end within a time, then ends.
    pub fn drain(self, within: Duration) {
        self.plane.drain(within);
        self.plane.join();
        self.log.finish();
        for (_, bind) in self.listeners.values() {
            if let Bind::Unix(path) = bind {
                // Whoever comes next removes what is left of it.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn listen(&mut self, opened: Opened) {
        for (listener, sockets, bind) in opened {
            self.plane.listen(&listener.name, listener.limits, sockets);
            tracing::info!(listener = %listener.name, address = %bind, "listening");
            self.listeners.insert(Arc::clone(&listener.name), (listener, bind));
        }
    }

    fn watch_names(&mut self, snapshot: &Snapshot) {
        let names = snapshot.names().map(|(name, endpoint)| {
            let endpoint = Arc::clone(endpoint);
            let sink: Sink = Arc::new(move |addresses| endpoint.set_addresses(addresses));
            (name.to_owned(), sink)
        });
        self.resolver.set(names.collect::<Vec<_>>());
    }
}

fn open<'l>(listeners: impl Iterator<Item = &'l Listener>, workers: usize) -> io::Result<Opened> {
    let mut opened = Opened::new();
    for listener in listeners {
        let (sockets, bind) = sockets::open(&listener.address, workers).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the listener `{}` cannot open {}: {error}", listener.name, listener.address),
            )
        })?;
        opened.push((listener.clone(), sockets, bind));
    }
    Ok(opened)
}

fn log_target(resolved: &Resolved) -> Option<LogTarget> {
    resolved.access_log.as_ref().map(|log| log.to.clone())
}
