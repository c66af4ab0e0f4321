//! A worker: one thread, one core, one event loop, nothing shared but the snapshot.

use crate::buffer::BufferPool;
use crate::clock::Clock;
use crate::event_loop::EventLoop;
use crate::exchange::Exchange;
use crate::front::{ListenerSocket, ListenerView, h1, run_listener};
use crate::plane::Shared;
use crate::schedule::Turn;
use crate::snapshot::Snapshot;
use crate::socket::Socket;
use crate::timers::Timers;
use crate::upstream::UpstreamView;
use oxgate_config::resolved::ListenerLimits;
use oxgate_http::Response;
use oxgate_telemetry::calendar::{self, Date};
use oxgate_telemetry::{LogWriter, Record, RouteMetrics, WorkerMetrics};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire};
use std::time::Duration;
use tokio::sync::mpsc;

/// What the plane tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept on a socket.
    Listen { name: Arc<str>, limits: ListenerLimits, open: Arc<AtomicUsize>, socket: ListenerSocket },
    /// Change what a listener's clients may cost.
    Limit { name: Arc<str>, limits: ListenerLimits },
    /// Stop accepting; connections stay.
    Unlisten { name: Arc<str> },
    /// Keep no connection beyond its next answer.
    Leave,
    /// Finish what is under way within this time.
    Drain { within: Duration },
}

/// A connection on its way from the worker that accepted it to one with fewer.
#[derive(Debug)]
pub(crate) struct Handover {
    listener: Arc<str>,
    limits: ListenerLimits,
    open: Arc<AtomicUsize>,
    socket: OwnedFd,
    peer: Option<SocketAddr>,
}

/// What comes in for a worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) handovers: mpsc::Receiver<Handover>,
}

/// A snapshot as one worker uses it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    upstreams: Box<[OnceCell<Rc<UpstreamView>>]>,
    routes: Box<[OnceCell<Arc<RouteMetrics>>]>,
    turns: Box<[Turn]>,
}

/// One thread's share of the data plane.
#[derive(Debug)]
pub(crate) struct Worker {
    id: usize,
    shared: Arc<Shared>,
    pub(crate) event_loop: EventLoop,
    pub(crate) clock: Clock,
    pub(crate) timers: Timers,
    pub(crate) buffers: Rc<BufferPool>,
    /// The response used last, which lies in the cache.
    response: RefCell<Box<Response>>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    view: RefCell<Rc<View>>,
    epoch: Cell<u64>,
    listeners: RefCell<HashMap<Arc<str>, Rc<ListenerView>>>,
    log: RefCell<LogWriter>,
    random: Cell<u64>,
    date: RefCell<(u64, [u8; 29])>,
    /// When draining ends, in the clock's microseconds.
    drain_until_us: Cell<Option<u64>>,
    /// Whether answers end their connection.
    leaving: Cell<bool>,
}

/// Idle client connections closed at once when descriptors run out.
const SHED: usize = 16;
/// How often idle connections are looked over and a new snapshot is picked up without traffic.
const SWEEP_US: u64 = 1_000_000;
/// How often a draining worker looks whether connections are left.
const LOOK_US: u64 = 10_000;

/// Runs a worker on this thread until it has drained.
pub(crate) fn run(id: usize, shared: Arc<Shared>, log: LogWriter, inbox: Inbox) -> io::Result<()> {
    let worker = Rc::new(Worker::new(id, shared, log, EventLoop::new()?));
    let w = Rc::clone(&worker);
    worker.event_loop.run(async move { w.main(inbox).await }, &worker.clock, &worker.timers)
}

impl Worker {
    fn new(id: usize, shared: Arc<Shared>, log: LogWriter, event_loop: EventLoop) -> Worker {
        let (epoch, snapshot) = shared.snapshot();
        let metrics = Arc::clone(&shared.metrics[id]);
        Worker {
            id,
            event_loop,
            clock: Clock::new(),
            timers: Timers::default(),
            buffers: Rc::default(),
            response: RefCell::default(),
            metrics,
            view: RefCell::new(Rc::new(View::new(snapshot))),
            epoch: Cell::new(epoch),
            listeners: RefCell::default(),
            log: RefCell::new(log),
            random: Cell::new(seed()),
            date: RefCell::new((u64::MAX, [0; 29])),
            drain_until_us: Cell::new(None),
            leaving: Cell::new(false),
            shared,
        }
    }

    async fn main(self: &Rc<Self>, mut inbox: Inbox) {
        let mut next_sweep_us = 0;
        while !self.is_draining() {
            tokio::select! {
                // A listener has to be known before its first connection comes from elsewhere.
                biased;
                command = inbox.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(handover) = inbox.handovers.recv() => self.take_over(handover),
                () = self.timers.sleep_until(next_sweep_us) => {
                    next_sweep_us = self.clock.now_us() + SWEEP_US;
                    self.sweep();
                }
            }
        }
        self.drained(&mut inbox.handovers).await;
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Listen { name, limits, open, socket } => {
                let mut listeners = self.listeners.borrow_mut();
                let new = || Rc::new(ListenerView::new(Arc::clone(&name), limits, open));
                let listener = Rc::clone(listeners.entry(Arc::clone(&name)).or_insert_with(new));
                self.event_loop.spawn(run_listener(Rc::clone(self), listener, socket));
            }
            Command::Limit { name, limits } => {
                if let Some(listener) = self.listeners.borrow().get(&name) {
                    listener.limits.set(limits);
                }
            }
            Command::Unlisten { name } => {
                if let Some(listener) = self.listeners.borrow_mut().remove(&name) {
                    listener.stopping.set(true);
                    listener.stop.notify_waiters();
                }
            }
            Command::Leave => self.leaving.set(true),
            Command::Drain { within } => {
                self.leaving.set(true);
                self.drain_until_us.set(Some(self.clock.now_us() + within.as_micros() as u64));
                for listener in self.listeners.borrow().values() {
                    listener.stopping.set(true);
                    listener.stop.notify_waiters();
                }
                self.timers.wake_all();
            }
        }
    }

    fn take_over(self: &Rc<Self>, handover: Handover) {
        let Handover { listener, limits, open, socket, peer } = handover;
        let known = self.listeners.borrow().get(&listener).cloned();
        // The listener may have been closed meanwhile: a connection that it accepted is served still.
        let listener = known.unwrap_or_else(|| Rc::new(ListenerView::new(listener, limits, open)));
        self.serve_on(&listener, socket, peer);
    }

    /// Serves a connection on this worker.
    pub(crate) fn serve_on(self: &Rc<Self>, listener: &Rc<ListenerView>, socket: OwnedFd, peer: Option<SocketAddr>) {
        match Socket::new(&self.event_loop, socket) {
            Ok(socket) => h1::spawn(self, listener, socket, peer),
            Err(error) => tracing::warn!(%error, "a connection cannot be watched and is closed"),
        }
    }

    /// Gives the socket back unless another worker has it now: one with clearly fewer connections.
    pub(crate) fn hand_over(
        &self,
        listener: &ListenerView,
        socket: OwnedFd,
        peer: Option<SocketAddr>,
    ) -> Option<OwnedFd> {
        if self.is_draining() {
            return Some(socket);
        }
        let mine = self.metrics.connections.value();
        let loads = self.shared.metrics.iter().map(|m| m.connections.value()).enumerate();
        let Some((other, least)) = loads.min_by_key(|(_, load)| *load).filter(|(other, _)| *other != self.id) else {
            return Some(socket);
        };
        if mine <= least + 8 || mine * 4 <= least * 5 {
            return Some(socket);
        }
        let Ok(place) = self.shared.handovers[other].try_reserve() else { return Some(socket) };
        let (name, open) = (Arc::clone(&listener.name), Arc::clone(&listener.open));
        place.send(Handover { listener: name, limits: listener.limits.get(), open, socket, peer });
        None
    }

    fn sweep(self: &Rc<Self>) {
        let now = self.clock.now_us();
        self.clock.follow_calendar();
        self.buffers.shrink();
        self.metrics.heartbeat.add(1);
        for upstream in self.view().upstreams.iter().filter_map(OnceCell::get) {
            upstream.sweep(now);
        }
    }

    /// Waits until every connection is gone, or the time is up. Connections handed over meanwhile are
    /// served too.
    async fn drained(self: &Rc<Self>, handovers: &mut mpsc::Receiver<Handover>) {
        while !self.drain_is_over() {
            self.sleep(LOOK_US).await;
            while let Ok(handover) = handovers.try_recv() {
                self.take_over(handover);
            }
            if self.metrics.connections.value() == 0 {
                break;
            }
        }
        // Tunnels and streams still open see the end and record it.
        self.timers.wake_all();
        self.sleep(LOOK_US).await;
    }

    /// Waits so long, in microseconds; a few milliseconds more are possible.
    pub(crate) async fn sleep(&self, time_us: u64) {
        self.timers.sleep_until(self.clock.now_us() + time_us).await;
    }

    /// The snapshot of now: one compare when nothing changed.
    #[inline]
    pub(crate) fn view(&self) -> Rc<View> {
        if self.shared.epoch.load(Acquire) != self.epoch.get() {
            self.refresh();
        }
        Rc::clone(&self.view.borrow())
    }

    #[cold]
    fn refresh(&self) {
        let (epoch, snapshot) = self.shared.snapshot();
        let view = View::new(snapshot);
        for (plan, used) in {
            let old = self.view.borrow();
            let used: Vec<_> = old
                .snapshot
                .upstreams
                .iter()
                .zip(&old.upstreams)
                .filter_map(|(plan, used)| Some((plan.spec.clone(), Rc::clone(used.get()?))))
                .collect();
            used
        } {
            // What did not change keeps its connections.
            let same = view.snapshot.upstream_named(&plan.name).filter(|i| view.snapshot.upstreams[*i].spec == plan);
            match same {
                Some(index) => drop(view.upstreams[index].set(used)),
                None => used.retire(),
            }
        }
        *self.view.borrow_mut() = Rc::new(view);
        self.epoch.set(epoch);
    }

    /// Closes a few idle client connections, because the process is out of descriptors.
    pub(crate) fn make_room(&self) {
        self.timers.shed_idle(None, SHED);
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.shared.metrics.len()
    }

    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_until_us.get().is_some()
    }

    /// Whether connections end with their next answer.
    #[inline]
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    pub(crate) fn drain_is_over(&self) -> bool {
        self.drain_until_us.get().is_some_and(|until| self.clock.now_us() >= until)
    }

    /// Swaps the exchange's response, which is of no use now, for the one that was used last.
    #[inline]
    pub(crate) fn swap_response(&self, x: &mut Exchange) {
        std::mem::swap(&mut x.response, &mut *self.response.borrow_mut());
    }

    /// A number nobody should rely on being secret.
    #[inline]
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A UUIDv7 (RFC 9562 §5.7): milliseconds of the wall clock and 74 random bits.
    #[inline]
    pub(crate) fn new_request_id(&self) -> [u8; 36] {
        let high = (self.clock.wall_us() / 1000) << 16 | 0x7000 | (self.random() & 0xfff);
        let low = 1 << 63 | (self.random() >> 2);
        let (high, low) = (hex(high), hex(low));
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&high[..8]);
        text[9..13].copy_from_slice(&high[8..12]);
        text[14..18].copy_from_slice(&high[12..]);
        text[19..23].copy_from_slice(&low[..4]);
        text[24..].copy_from_slice(&low[4..]);
        text
    }

    /// Appends the date as RFC 9110 §5.6.7 writes it; formatted once a second.
    pub(crate) fn write_date(&self, out: &mut Vec<u8>) {
        let second = self.clock.wall_us() / 1_000_000;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, http_date(second));
        }
        out.extend_from_slice(&date.1);
    }

    /// Hands a record to the log's ring; a full ring drops it and counts.
    pub(crate) fn push_log(&self, record: &Record<'_>) {
        if !self.log.borrow_mut().push(record) {
            self.metrics.log_dropped.add(1);
        }
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>) -> View {
        View {
            upstreams: (0..snapshot.upstreams.len()).map(|_| OnceCell::new()).collect(),
            routes: (0..snapshot.routes.len()).map(|_| OnceCell::new()).collect(),
            turns: (0..snapshot.routes.len()).map(|i| Turn::starting_at(i as u32)).collect(),
            snapshot,
        }
    }

    /// The worker's side of an upstream.
    #[inline]
    pub(crate) fn upstream(&self, w: &Worker, index: usize) -> &Rc<UpstreamView> {
        self.upstreams[index].get_or_init(|| Rc::new(UpstreamView::new(w, &self.snapshot.upstreams[index])))
    }

    /// The worker's numbers of a route.
    #[inline]
    pub(crate) fn route_metrics(&self, w: &Worker, index: usize) -> &RouteMetrics {
        self.routes[index].get_or_init(|| w.metrics.routes.entry(&self.snapshot.routes[index].name))
    }

    /// Where this worker stands among the arms of the exchange's route.
    #[inline]
    pub(crate) fn turn(&self, x: &Exchange) -> &Turn {
        &self.turns[x.route.unwrap_or_default()]
    }
}

/// A seed that differs from worker to worker and from start to start.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the system's randomness, where this value lies in memory has to do.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = (bytes.as_ptr() as u64).to_le_bytes();
    }
    u64::from_le_bytes(bytes) | 1
}

/// Sixteen lower-case hexadecimal digits, all at once: a nibble per byte, then nine or less becomes
/// a digit and the rest a letter.
#[inline]
fn hex(n: u64) -> [u8; 16] {
    let mut x = u128::from(n);
    x = (x | x << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    x = (x | x << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;
    let ones = 0x0101_0101_0101_0101_0101_0101_0101_0101_u128;
    let letters = ((x + ones * 6) >> 4) & ones;
    (x + ones * 0x30 + letters * 0x27).to_be_bytes()
}

fn http_date(second: u64) -> [u8; 29] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, rest) = (second / 86_400, second % 86_400);
    let Date { year, month, day } = calendar::date(days);
    let text = format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize - 1],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    let mut date = [b' '; 29];
    date.copy_from_slice(&text.as_bytes()[..29]);
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_hexadecimal() {
        assert_eq!(&hex(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(&hex(u64::MAX), b"ffffffffffffffff");
    }

    #[test]
    fn dates_are_written_as_http_wants() {
        assert_eq!(&http_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&http_date(1_709_164_800), b"Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(&http_date(1_735_689_599), b"Tue, 31 Dec 2024 23:59:59 GMT");
    }
}
