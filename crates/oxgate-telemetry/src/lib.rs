//! What workers write and others read: counters, histograms, and one [`Record`] per exchange.
//!
//! A worker owns its numbers and adds to them without a lock or a shared cache line; whoever reads
//! sums over the workers. Nothing here knows how numbers are shown.

pub mod calendar;
mod metrics;
mod reason;
mod record;

pub use metrics::{Buckets, Counter, LATENCY_BOUNDS_US, RouteMetrics, Table, UpstreamMetrics, WorkerMetrics};
pub use reason::Reason;
pub use record::{LogReader, LogWriter, Record, log_ring};
