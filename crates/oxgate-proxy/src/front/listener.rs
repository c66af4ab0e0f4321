//! Accepting connections.

use crate::socket::Acceptor;
use crate::worker::Worker;
use oxgate_config::resolved::ListenerLimits;
use oxgate_telemetry::Reason;
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

/// A worker's own socket of a listener, bound and listening.
#[derive(Debug)]
pub enum ListenerSocket {
    /// TCP, one socket per worker by SO_REUSEPORT.
    Tcp(std::net::TcpListener),
    /// A Unix domain socket, shared by the workers.
    Unix(std::os::unix::net::UnixListener),
}

impl ListenerSocket {
    /// The socket once more.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        match self {
            ListenerSocket::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            ListenerSocket::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

impl From<ListenerSocket> for OwnedFd {
    fn from(socket: ListenerSocket) -> OwnedFd {
        match socket {
            ListenerSocket::Tcp(socket) => socket.into(),
            ListenerSocket::Unix(socket) => socket.into(),
        }
    }
}

/// A listener as one worker sees it.
#[derive(Debug)]
pub(crate) struct ListenerView {
    pub(crate) name: Arc<str>,
    pub(crate) limits: Cell<ListenerLimits>,
    /// Connections open on all workers.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) stop: tokio::sync::Notify,
}

impl ListenerView {
    pub(crate) fn new(name: Arc<str>, limits: ListenerLimits, open: Arc<AtomicUsize>) -> ListenerView {
        ListenerView {
            name,
            limits: Cell::new(limits),
            open,
            stopping: Cell::new(false),
            stop: tokio::sync::Notify::new(),
        }
    }

    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// What its connections have in common among the worker's timers.
    pub(crate) fn group(&self) -> usize {
        Arc::as_ptr(&self.open) as usize
    }

    /// The scheme that its clients use.
    pub(crate) fn scheme(&self) -> &'static str {
        "http"
    }

    fn is_full(&self) -> bool {
        self.open.load(Relaxed) >= self.limits.get().connections
    }
}

/// How long accepting pauses when the process is out of descriptors or memory.
const PAUSE_US: u64 = 50_000;
/// Of so many connections that a full listener may have, it closes one idle one to make room: looking
/// for them costs a look at all.
const SHED_ONE_OF: usize = 256;

/// Accepts until told to stop, then takes what was already in the queue.
pub(crate) async fn run(w: Rc<Worker>, listener: Rc<ListenerView>, socket: ListenerSocket) {
    let acceptor = match Acceptor::new(&w.event_loop, socket.into()) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(listener = %listener.name, %error, "cannot listen");
            return;
        }
    };
    let mut failures = Failures::default();
    let mut stopped = std::pin::pin!(listener.stop.notified());
    loop {
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = acceptor.poll_accept(cx) {
                return Poll::Ready(Some(accepted));
            }
            let stopping = listener.stopping.get() || stopped.as_mut().poll(cx).is_ready();
            if stopping && !acceptor.has_more() { Poll::Ready(None) } else { Poll::Pending }
        });
        match accepted.await {
            Some(Ok((socket, peer))) => admit(&w, &listener, socket, peer),
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
                w.metrics.accept_errors.add(1);
                failures.log(&listener.name, &error, w.clock.now_us());
                w.make_room();
                w.sleep(PAUSE_US).await;
            }
            None => return,
        }
    }
}

/// Takes a connection in: here, on a worker with fewer connections, or not at all.
fn admit(w: &Rc<Worker>, listener: &Rc<ListenerView>, socket: OwnedFd, peer: Option<SocketAddr>) {
    w.metrics.accepted.add(1);
    let few = || (listener.limits.get().connections / SHED_ONE_OF).max(1);
    if listener.is_full() && w.timers.shed_idle(Some(listener.group()), few()) == 0 {
        w.metrics.reasons.of(Reason::TooManyConnections).add(1);
        return;
    }
    match w.hand_over(listener, socket, peer) {
        None => w.metrics.handed_over.add(1),
        Some(socket) => w.serve_on(listener, socket, peer),
    }
}

/// Errors of the connection that was to be accepted, not of accepting (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Says that accepting fails, at most once a second.
#[derive(Default)]
struct Failures {
    logged_us: Option<u64>,
}

impl Failures {
    fn log(&mut self, listener: &str, error: &io::Error, now_us: u64) {
        if self.logged_us.is_none_or(|at| now_us - at >= 1_000_000) {
            self.logged_us = Some(now_us);
            tracing::warn!(listener, %error, "cannot accept; closing idle connections and trying again");
        }
    }
}
