//! A worker's view of an upstream: whose turn it is, which connections are idle, who waits for one.

use super::connection::{self, Connection};
use super::endpoint::Endpoint;
use crate::error::ProxyError;
use crate::schedule::Turn;
use crate::snapshot::UpstreamPlan;
use crate::wait::Wait;
use crate::worker::Worker;
use oxgate_telemetry::UpstreamMetrics;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// An upstream as one worker uses it; kept across snapshots while its definition stays the same.
#[derive(Debug)]
pub(crate) struct UpstreamView {
    pub(crate) metrics: Arc<UpstreamMetrics>,
    pub(crate) endpoints: Vec<Rc<EndpointView>>,
    turn: Turn,
    pending: Cell<usize>,
    max_pending: usize,
    pending_timeout_us: u64,
    connect_timeout_us: u64,
}

/// An endpoint as one worker uses it.
#[derive(Debug)]
pub(crate) struct EndpointView {
    pub(crate) live: Arc<Endpoint>,
    metrics: Arc<UpstreamMetrics>,
    idle: RefCell<Vec<Connection>>,
    open: Cell<usize>,
    /// Requests that wait for a connection to be given back or closed.
    waiting: Cell<usize>,
    freed: Notify,
    /// The definition is gone: nothing is kept any more.
    retired: Cell<bool>,
    max_connections: usize,
    max_idle: usize,
    idle_timeout_us: u64,
    pub(super) max_age_us: u64,
}

impl UpstreamView {
    /// Limits count for the whole gateway; each worker gets its share, at least one.
    pub(crate) fn new(w: &Worker, plan: &UpstreamPlan) -> UpstreamView {
        let spec = &plan.spec;
        let share = |limit: usize| limit.div_ceil(w.workers()).max(usize::from(limit > 0));
        let metrics = w.metrics.upstreams.entry(&spec.name);
        let endpoints = plan.endpoints.iter().map(|live| {
            Rc::new(EndpointView {
                live: Arc::clone(live),
                metrics: Arc::clone(&metrics),
                idle: RefCell::default(),
                open: Cell::new(0),
                waiting: Cell::new(0),
                freed: Notify::new(),
                retired: Cell::new(false),
                max_connections: share(spec.max_connections),
                max_idle: share(spec.pool_idle),
                idle_timeout_us: spec.pool_idle_timeout.as_micros() as u64,
                max_age_us: spec.pool_max_age.as_micros() as u64,
            })
        });
        UpstreamView {
            endpoints: endpoints.collect(),
            turn: Turn::starting_at(w.random() as u32),
            pending: Cell::new(0),
            max_pending: share(spec.max_pending),
            pending_timeout_us: spec.pending_timeout.as_micros() as u64,
            connect_timeout_us: spec.connect_timeout.as_micros() as u64,
            metrics,
        }
    }

    /// The endpoint whose turn it is, of those that were not tried yet.
    #[inline]
    pub(crate) fn pick(&self, plan: &UpstreamPlan, tried: &[usize]) -> Option<usize> {
        if tried.is_empty() {
            return plan.schedule.next(&self.turn);
        }
        plan.schedule.next_of(&self.turn, |i| !tried.contains(&i))
    }

    /// An idle connection that is still good, or a new one. Whoever waits already comes first.
    #[inline]
    pub(crate) async fn checkout(
        &self,
        w: &Worker,
        endpoint: usize,
        wait: &mut Wait<'_>,
    ) -> Result<Connection, ProxyError> {
        let endpoint = &self.endpoints[endpoint];
        if endpoint.waiting.get() == 0
            && let Some(connection) = endpoint.take_idle(w)
        {
            return Ok(connection);
        }
        Box::pin(self.connect(w, endpoint, wait, false)).await
    }

    /// A new connection; one that becomes idle while this waits for a place will do unless it has to
    /// be `fresh`.
    pub(crate) async fn connect(
        &self,
        w: &Worker,
        endpoint: &Rc<EndpointView>,
        wait: &mut Wait<'_>,
        fresh: bool,
    ) -> Result<Connection, ProxyError> {
        let give_up_us = w.clock.now_us() + self.pending_timeout_us;
        while endpoint.open.get() >= endpoint.max_connections {
            // A request that needs a new one takes the place of one that nobody uses.
            if endpoint.close_idle() {
                continue;
            }
            wait.set_deadline(give_up_us);
            if let Some(connection) = self.wait_for_connection(w, endpoint, wait).await?
                && !fresh
            {
                return Ok(connection);
            }
        }
        // Counted before the first wait, so that the limit holds while connections are being opened.
        let place = Place::take(endpoint);
        wait.set_deadline(w.clock.now_us() + self.connect_timeout_us);
        let opened = wait.until(w, ProxyError::ConnectTimeout, async {
            let mut addresses = endpoint.live.addresses();
            while addresses.is_empty() {
                // A name that was never resolved: its first answer may be a moment away.
                w.sleep(5_000).await;
                addresses = endpoint.live.addresses();
            }
            connection::open(w, &addresses).await
        });
        match opened.await {
            Ok(socket) => {
                self.metrics.connects.add(1);
                Ok(Connection::new(w, socket, place))
            }
            Err(error) => {
                self.metrics.connect_failures.add(1);
                let unresolved = error == ProxyError::ConnectTimeout && endpoint.live.addresses().is_empty();
                Err(if unresolved { ProxyError::Unresolved } else { error })
            }
        }
    }

    /// Waits until a connection is given back or closed.
    async fn wait_for_connection(
        &self,
        w: &Worker,
        endpoint: &Rc<EndpointView>,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Connection>, ProxyError> {
        if self.pending.get() >= self.max_pending {
            return Err(ProxyError::Overloaded);
        }
        let _pending = Pending::begin(self, endpoint);
        wait.until(w, ProxyError::PendingTimeout, async {
            endpoint.freed.notified().await;
            Ok(())
        })
        .await?;
        Ok(endpoint.take_idle(w))
    }

    /// Keeps no connection any more; those in use end with their exchange.
    pub(crate) fn retire(&self) {
        for endpoint in &self.endpoints {
            endpoint.retired.set(true);
            let idle = std::mem::take(&mut *endpoint.idle.borrow_mut());
            drop(idle);
        }
    }

    /// Closes idle connections that were closed by the peer or have been idle too long.
    pub(crate) fn sweep(&self, now_us: u64) {
        for endpoint in &self.endpoints {
            endpoint.sweep(now_us);
        }
    }
}

impl Drop for UpstreamView {
    fn drop(&mut self) {
        // Idle connections hold their endpoint, which holds them.
        self.retire();
    }
}

/// Counts a waiting request for as long as it waits.
struct Pending<'a>(&'a UpstreamView, &'a EndpointView);

impl<'a> Pending<'a> {
    fn begin(upstream: &'a UpstreamView, endpoint: &'a EndpointView) -> Pending<'a> {
        upstream.pending.set(upstream.pending.get() + 1);
        endpoint.waiting.set(endpoint.waiting.get() + 1);
        upstream.metrics.pending.add(1);
        Pending(upstream, endpoint)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
        self.1.waiting.set(self.1.waiting.get() - 1);
        self.0.metrics.pending.sub(1);
    }
}

/// Counts a connection from the moment it is being opened.
#[derive(Debug)]
pub(super) struct Place(pub(super) Rc<EndpointView>);

impl Place {
    fn take(endpoint: &Rc<EndpointView>) -> Place {
        endpoint.opened();
        Place(Rc::clone(endpoint))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl EndpointView {
    /// The connection used last is taken first: the others may then grow old and go.
    #[inline]
    fn take_idle(&self, w: &Worker) -> Option<Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            let fresh = w.clock.now_us() - connection.idle_since_us < self.idle_timeout_us;
            if fresh && connection.wire.socket.is_quiet() {
                return Some(connection);
            }
            self.metrics.stale.add(1);
        }
    }

    #[inline]
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max_idle && !self.retired.get() {
            idle.push(connection);
            drop(idle);
            self.wake_waiting();
        } else {
            drop(idle);
            drop(connection);
        }
    }

    #[inline]
    fn wake_waiting(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    /// Closes the connection that has been idle for the longest; says whether there was one.
    fn close_idle(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        oldest.is_some()
    }

    fn opened(&self) {
        self.open.set(self.open.get() + 1);
        self.metrics.connections.add(1);
    }

    fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.metrics.connections.sub(1);
        self.wake_waiting();
    }

    fn sweep(&self, now_us: u64) {
        let mut idle = std::mem::take(&mut *self.idle.borrow_mut());
        idle.retain_mut(|c| now_us - c.idle_since_us < self.idle_timeout_us && c.wire.socket.is_quiet());
        self.idle.borrow_mut().append(&mut idle);
    }
}
