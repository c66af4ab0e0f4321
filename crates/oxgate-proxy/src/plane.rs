//! The data plane as the rest of the program sees it: start workers, publish snapshots, open and
//! close listeners, drain.

#![expect(clippy::disallowed_types, reason = "the lock is taken per snapshot, never per request")]

use crate::front::ListenerSocket;
use crate::snapshot::Snapshot;
use crate::worker::{self, Command, Handover, Inbox};
use oxgate_config::resolved::ListenerLimits;
use oxgate_telemetry::{LogReader, WorkerMetrics, log_ring};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Connections on their way from other workers to one.
const HANDOVERS: usize = 1024;
/// Bytes of log records under way from one worker.
const LOG_RING: usize = 1 << 20;

/// What all workers see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Moves with every snapshot: a worker compares it and looks no further while it stands.
    pub(crate) epoch: AtomicU64,
    /// Taken when a snapshot is published and once per worker after that, never per request.
    snapshot: Mutex<Arc<Snapshot>>,
    pub(crate) metrics: Vec<Arc<WorkerMetrics>>,
    /// Where each worker takes over connections from others.
    pub(crate) handovers: Vec<mpsc::Sender<Handover>>,
}

impl Shared {
    /// The newest snapshot and its epoch.
    pub(crate) fn snapshot(&self) -> (u64, Arc<Snapshot>) {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        (self.epoch.load(std::sync::atomic::Ordering::Acquire), Arc::clone(&snapshot))
    }
}

/// The running data plane.
#[derive(Debug)]
pub struct Plane {
    shared: Arc<Shared>,
    /// Few and small: what the control plane has to say.
    commands: Vec<mpsc::UnboundedSender<Command>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Plane {
    /// Starts `workers` threads that serve by `snapshot`; gives the reading ends of their logs too.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn start(workers: usize, snapshot: Arc<Snapshot>) -> io::Result<(Plane, Vec<LogReader>)> {
        let (handovers, takers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(HANDOVERS)).unzip();
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            snapshot: Mutex::new(snapshot),
            metrics: (0..workers).map(|_| Arc::default()).collect(),
            handovers,
        });
        let mut plane = Plane { shared, commands: Vec::new(), threads: Vec::new() };
        let mut logs = Vec::new();
        for (id, handovers) in takers.into_iter().enumerate() {
            let (sender, commands) = mpsc::unbounded_channel();
            plane.commands.push(sender);
            let (writer, reader) = log_ring(LOG_RING);
            logs.push(reader);
            let shared = Arc::clone(&plane.shared);
            let thread = std::thread::Builder::new().name(format!("worker-{id}"));
            plane.threads.push(thread.spawn(move || worker::run(id, shared, writer, Inbox { commands, handovers }))?);
        }
        Ok((plane, logs))
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.threads.len()
    }

    /// The numbers of each worker.
    pub fn metrics(&self) -> &[Arc<WorkerMetrics>] {
        &self.shared.metrics
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot().1
    }

    /// Puts a snapshot in force. Exchanges under way end on the one they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let mut current = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, snapshot);
        self.shared.epoch.fetch_add(1, Release);
        drop(current);
        drop(before);
    }

    /// Accepts connections on a listener's sockets, at least one for each worker.
    pub fn listen(&self, name: &Arc<str>, limits: ListenerLimits, sockets: Vec<ListenerSocket>) {
        let open = Arc::new(AtomicUsize::new(0));
        for (id, socket) in sockets.into_iter().enumerate() {
            let (name, open) = (Arc::clone(name), Arc::clone(&open));
            self.tell(id % self.workers(), Command::Listen { name, limits, open, socket });
        }
    }

    /// Changes what a listener's clients may cost, from their next request on.
    pub fn limit(&self, name: &Arc<str>, limits: ListenerLimits) {
        for id in 0..self.workers() {
            self.tell(id, Command::Limit { name: Arc::clone(name), limits });
        }
    }

    /// Stops accepting on a listener; its connections live on.
    pub fn unlisten(&self, name: &Arc<str>) {
        for id in 0..self.workers() {
            self.tell(id, Command::Unlisten { name: Arc::clone(name) });
        }
    }

    /// Says in every answer from now on that the connection ends.
    pub fn leave(&self) {
        for id in 0..self.workers() {
            self.tell(id, Command::Leave);
        }
    }

    /// Stops accepting and lets exchanges under way end within a time.
    pub fn drain(&self, within: Duration) {
        for id in 0..self.workers() {
            self.tell(id, Command::Drain { within });
        }
    }

    /// Waits until every worker has ended; they do once drained.
    pub fn join(self) {
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker could not run"),
                Err(_) => tracing::error!("a worker ended in a panic"),
            }
        }
    }

    /// A worker that is gone needs telling nothing.
    fn tell(&self, id: usize, command: Command) {
        let _ = self.commands[id].send(command);
    }
}
