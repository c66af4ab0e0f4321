//! Counters with one writer each, and the tables that keep them across reloads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Reason;

/// A number that one thread changes and any thread reads: the change is a plain load and store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts; only the owning worker may call.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets in microseconds; one more bucket takes the rest.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Buckets {
    /// Observations per bucket, not cumulated.
    pub counts: [Counter; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all observations in microseconds.
    pub sum_us: Counter,
}

impl Buckets {
    /// Counts one duration.
    #[inline]
    pub fn observe(&self, us: u64) {
        let bucket = LATENCY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BOUNDS_US.len());
        self.counts[bucket].add(1);
        self.sum_us.add(us);
    }
}

/// What one worker counts for one route.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    /// Answers by status class, 1xx to 5xx.
    pub answers: [Counter; 5],
    /// Time from the request's head to the end of the exchange.
    pub duration: Buckets,
    /// Body bytes from clients.
    pub bytes_in: Counter,
    /// Body bytes to clients.
    pub bytes_out: Counter,
}

/// What one worker counts for one upstream.
#[derive(Debug, Default)]
pub struct UpstreamMetrics {
    /// Requests sent, each attempt counted.
    pub requests: Counter,
    /// Requests sent again because an idle connection turned out closed, or to another endpoint.
    pub retries: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Connections that could not be opened.
    pub connect_failures: Counter,
    /// Connections open now.
    pub connections: Counter,
    /// Idle connections found closed before they were used again.
    pub stale: Counter,
    /// Requests waiting for a connection now.
    pub pending: Counter,
    /// Time from a request's last byte to the answer's first.
    pub first_byte: Buckets,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Connections accepted.
    pub accepted: Counter,
    /// Client connections open now.
    pub connections: Counter,
    /// Exchanges under way now.
    pub active: Counter,
    /// Times that accepting failed for want of descriptors or memory.
    pub accept_errors: Counter,
    /// Connections handed over to a worker with fewer.
    pub handed_over: Counter,
    /// Log records dropped because the ring was full.
    pub log_dropped: Counter,
    /// Panics caught; each ended one connection.
    pub panics: Counter,
    /// Tunnels (upgraded connections) open now.
    pub tunnels: Counter,
    /// Seconds of the worker's clock, moved at least every second: a worker that stands still shows.
    pub heartbeat: Counter,
    /// Ends by reason, indexed by the reason's number.
    pub reasons: Reasons,
    /// By route name.
    pub routes: Table<RouteMetrics>,
    /// By upstream name.
    pub upstreams: Table<UpstreamMetrics>,
}

/// One counter per [`Reason`].
#[derive(Debug)]
pub struct Reasons(Box<[Counter]>);

impl Default for Reasons {
    fn default() -> Self {
        Reasons(Reason::ALL.iter().map(|_| Counter::default()).collect())
    }
}

impl Reasons {
    /// The counter of a reason.
    pub fn of(&self, reason: Reason) -> &Counter {
        &self.0[reason as usize]
    }
}

/// Numbers by name, kept for as long as the process lives: a reload never resets a counter.
///
/// The lock is taken when a name is first met under a new snapshot and when somebody reads.
#[derive(Debug)]
pub struct Table<T>(Mutex<HashMap<Arc<str>, Arc<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table(Mutex::default())
    }
}

impl<T: Default> Table<T> {
    /// The numbers of a name, started at zero when it is new.
    pub fn entry(&self, name: &Arc<str>) -> Arc<T> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.entry(Arc::clone(name)).or_default().clone()
    }

    /// All numbers, by name.
    pub fn entries(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(name, numbers)| (Arc::clone(name), Arc::clone(numbers))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_into_the_bucket_that_bounds_them() {
        let buckets = Buckets::default();
        for us in [0, 250, 251, 10_000_000, 10_000_001] {
            buckets.observe(us);
        }
        let counts: Vec<u64> = buckets.counts.iter().map(Counter::value).collect();
        assert_eq!((counts[0], counts[1], counts[14], counts[15]), (2, 1, 1, 1));
        assert_eq!(buckets.sum_us.value(), 20_000_502);
    }

    #[test]
    fn reasons_are_numbered_in_order() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
