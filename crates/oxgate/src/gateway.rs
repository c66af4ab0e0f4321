//! A running gateway: the data plane, its listeners, and what is in force.

use crate::configuration::Ready;
use crate::sockets;
use crate::upgrade::Inherited;
use oxgate_config::resolved::{Admin, Bind, Listener, LogTarget, Resolved};
use oxgate_control::access_log::AccessLog;
use oxgate_control::resolver::{Resolver, Sink};
use oxgate_control::status::Status;
use oxgate_proxy::{ListenerSocket, Plane, Snapshot};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    plane: Plane,
    log: AccessLog,
    resolver: Resolver,
    /// By [`key`].
    listeners: HashMap<Arc<str>, Open>,
    /// What is in force.
    pub resolved: Resolved,
    /// What the status interface shows.
    pub status: Arc<Status>,
}

/// A listener that is open.
#[derive(Debug)]
struct Open {
    listener: Listener,
    /// The address in force.
    bind: Bind,
    /// Its sockets once more, for a successor.
    sockets: Vec<OwnedFd>,
}

/// Listeners to open, with their sockets.
type Opened = Vec<(Listener, Vec<ListenerSocket>, Bind)>;

impl Gateway {
    /// Starts serving. Must be called inside a runtime.
    ///
    /// # Errors
    /// A thread could not be started, or a listener not opened; the text says which.
    pub fn start(ready: Ready, workers: usize, inherited: &mut Inherited) -> io::Result<Gateway> {
        let opened = open(ready.resolved.listeners.iter(), workers, inherited)?;
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
        gateway.watch_names(&snapshot, gateway.resolved.admin.clone());
        gateway.listen(opened)?;
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
        let new = resolved.listeners.iter().filter(|l| !self.listeners.contains_key(&key(l)));
        let opened = open(new, self.plane.workers(), &mut Inherited::default())?;
        let snapshot = Arc::new(Snapshot::compile(&resolved, ready.chains, Some(&self.plane.snapshot())));
        self.watch_names(&snapshot, resolved.admin.clone());
        self.plane.publish(snapshot);
        self.log.set_target(log_target(&resolved));
        self.listeners.retain(|known, open| {
            let stays = resolved.listeners.iter().find(|l| key(l) == *known);
            match stays {
                None => self.plane.unlisten(known),
                Some(listener) if open.listener != *listener => {
                    open.listener = listener.clone();
                    self.plane.limit(known, listener.limits);
                }
                Some(_) => {}
            }
            stays.is_some()
        });
        self.listen(opened)?;
        self.resolved = resolved;
        self.status.applied();
        Ok(())
    }

    /// The addresses in force, by listener.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &Bind)> {
        self.listeners.values().map(|open| (&*open.listener.name, &open.bind))
    }

    /// The listening sockets, for a successor.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn sockets(&self) -> io::Result<Vec<(String, Vec<OwnedFd>)>> {
        let listeners = self.listeners.iter().map(|(key, open)| {
            let sockets: io::Result<Vec<OwnedFd>> = open.sockets.iter().map(OwnedFd::try_clone).collect();
            Ok((key.to_string(), sockets?))
        });
        listeners.collect()
    }

    /// Answers from now on say that the connection ends.
    pub fn leave(&self) {
        self.plane.leave();
    }

    /// Stops accepting and lets exchanges under way end within a time, then ends. `own_files` says
    /// whether the files of Unix sockets are nobody else's.
    pub fn drain(mut self, within: Duration, own_files: bool) {
        let listeners = std::mem::take(&mut self.listeners);
        let files: Vec<_> = listeners.into_values().map(|open| open.bind).collect();
        self.plane.drain(within);
        self.plane.join();
        self.log.finish();
        for bind in files.iter().filter(|_| own_files) {
            if let Bind::Unix(path) = bind {
                // Whoever comes next removes what is left of it.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn listen(&mut self, opened: Opened) -> io::Result<()> {
        for (listener, sockets, bind) in opened {
            let copies = sockets.iter().map(ListenerSocket::try_clone).collect::<io::Result<Vec<OwnedFd>>>()?;
            let key = key(&listener);
            self.plane.listen(&key, listener.limits, sockets);
            tracing::info!(listener = %listener.name, address = %bind, "listening");
            self.listeners.insert(key, Open { listener, bind, sockets: copies });
        }
        Ok(())
    }

    fn watch_names(&mut self, snapshot: &Snapshot, admin: Option<Admin>) {
        let admin = admin.map(Arc::new);
        let names = snapshot.names().map(|(name, endpoint)| {
            let (endpoint, admin) = (Arc::clone(endpoint), admin.clone());
            let sink: Sink = Arc::new(move |addresses| {
                let is_admin = |ip: &IpAddr| admin.as_ref().is_some_and(|a| a.is_reached_at(*ip, endpoint.port()));
                let (refused, good): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_admin);
                if !refused.is_empty() {
                    tracing::error!(endpoint = endpoint.authority(), "leads to the admin interface and is not used");
                }
                endpoint.set_addresses(&good);
            });
            (name.to_owned(), sink)
        });
        self.resolver.set(names.collect::<Vec<_>>());
    }
}

fn open<'l>(
    listeners: impl Iterator<Item = &'l Listener>,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<Opened> {
    let mut opened = Opened::new();
    for listener in listeners {
        let left = inherited.sockets(&key(listener));
        let (sockets, bind) = sockets::open(&listener.address, workers, left).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the listener `{}` cannot open {}: {error}", listener.name, listener.address),
            )
        })?;
        opened.push((listener.clone(), sockets, bind));
    }
    Ok(opened)
}

/// What makes a listener, here, for the plane and for a successor: its address. Its name may change,
/// unless the system chooses the port.
fn key(listener: &Listener) -> Arc<str> {
    match &listener.address {
        Bind::Tcp(address) if address.port() == 0 => format!("{address} {}", listener.name).into(),
        address => address.to_string().into(),
    }
}

fn log_target(resolved: &Resolved) -> Option<LogTarget> {
    resolved.access_log.as_ref().map(|log| log.to.clone())
}
