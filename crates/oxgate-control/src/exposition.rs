//! Numbers in the Prometheus text format, summed over the workers.

use crate::status::Status;
use oxgate_telemetry::{
    Buckets, Counter, LATENCY_BOUNDS_US, Reason, RouteMetrics, Table, UpstreamMetrics, WorkerMetrics,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, label: (&str, &str), parts: &[&Buckets]) {
        let (bucket, mut count) = (format!("{name}_bucket"), 0);
        for (i, bound) in LATENCY_BOUNDS_US.iter().enumerate() {
            count += parts.iter().map(|p| p.counts[i].value()).sum::<u64>();
            self.sample(&bucket, &[label, ("le", &format!("{}", *bound as f64 / 1e6))], count);
        }
        count += parts.iter().map(|p| p.counts[LATENCY_BOUNDS_US.len()].value()).sum::<u64>();
        self.sample(&bucket, &[label, ("le", "+Inf")], count);
        let sum: u64 = parts.iter().map(|p| p.sum_us.value()).sum();
        self.sample(&format!("{name}_sum"), &[label], sum as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[label], count);
    }
}

/// All tables of the workers, by name.
fn by_name<T: Default>(
    workers: &[Arc<WorkerMetrics>],
    table: impl Fn(&WorkerMetrics) -> &Table<T>,
) -> BTreeMap<Arc<str>, Vec<Arc<T>>> {
    let mut joined: BTreeMap<Arc<str>, Vec<Arc<T>>> = BTreeMap::new();
    for (name, numbers) in workers.iter().flat_map(|w| table(w).entries()) {
        joined.entry(name).or_default().push(numbers);
    }
    joined
}

pub(crate) fn render(workers: &[Arc<WorkerMetrics>], status: &Status) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    let sum = |of: fn(&WorkerMetrics) -> &Counter| workers.iter().map(|w| of(w).value()).sum::<u64>();
    page.single(
        "oxgate_config_revision",
        "gauge",
        "Which configuration is in force, counted from the start.",
        status.revision.load(Relaxed),
    );
    page.single("oxgate_config_rejected_total", "counter", "Configurations refused.", status.rejected.load(Relaxed));
    page.single(
        "oxgate_config_newest_rejected",
        "gauge",
        "1 while the newest configuration is not the one in force.",
        u64::from(status.rejection().is_some()),
    );
    page.single(
        "oxgate_config_applied_timestamp_seconds",
        "gauge",
        "When the configuration in force was taken.",
        status.applied_at.load(Relaxed),
    );
    page.single("oxgate_connections_accepted_total", "counter", "Client connections accepted.", sum(|w| &w.accepted));
    page.single("oxgate_connections", "gauge", "Client connections open.", sum(|w| &w.connections));
    page.single(
        "oxgate_connections_handed_over_total",
        "counter",
        "Client connections handed to a worker with fewer.",
        sum(|w| &w.handed_over),
    );
    page.single(
        "oxgate_accept_errors_total",
        "counter",
        "Times that accepting failed for want of descriptors or memory.",
        sum(|w| &w.accept_errors),
    );
    page.single("oxgate_tunnels", "gauge", "Upgraded connections open.", sum(|w| &w.tunnels));
    page.single("oxgate_panics_total", "counter", "Connections ended by a fault of the gateway.", sum(|w| &w.panics));
    page.single(
        "oxgate_log_dropped_total",
        "counter",
        "Access log records dropped because the writer fell behind.",
        sum(|w| &w.log_dropped),
    );
    page.single(
        "oxgate_log_lost_total",
        "counter",
        "Access log lines that could not be written.",
        status.log_lost.load(Relaxed),
    );
    page.head(
        "oxgate_worker_heartbeat_seconds_total",
        "counter",
        "Seconds that a worker's loop has turned; one that stands still hangs.",
    );
    for (id, worker) in workers.iter().enumerate() {
        page.sample("oxgate_worker_heartbeat_seconds_total", &[("worker", &id.to_string())], worker.heartbeat.value());
    }
    page.head(
        "oxgate_answers_by_reason_total",
        "counter",
        "Exchanges that the gateway answered itself or that ended early.",
    );
    for reason in Reason::ALL {
        let n: u64 = workers.iter().map(|w| w.reasons.of(*reason).value()).sum();
        page.sample("oxgate_answers_by_reason_total", &[("reason", reason.text())], n);
    }
    routes(&mut page, &by_name(workers, |w| &w.routes));
    upstreams(&mut page, &by_name(workers, |w| &w.upstreams));
    page.0
}

fn routes(page: &mut Page, routes: &BTreeMap<Arc<str>, Vec<Arc<RouteMetrics>>>) {
    let name = "oxgate_requests_total";
    page.head(name, "counter", "Requests by route and class of the answer's status.");
    for (route, parts) in routes {
        for (i, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().enumerate() {
            let n: u64 = parts.iter().map(|p| p.answers[i].value()).sum();
            page.sample(name, &[("route", route), ("class", class)], n);
        }
    }
    page.head("oxgate_request_duration_seconds", "histogram", "From a request's head to the end of the exchange.");
    for (route, parts) in routes {
        let parts: Vec<&Buckets> = parts.iter().map(|p| &p.duration).collect();
        page.histogram("oxgate_request_duration_seconds", ("route", route), &parts);
    }
    type Of = fn(&RouteMetrics) -> &Counter;
    let bytes: [(&str, &str, Of); 2] = [
        ("oxgate_request_body_bytes_total", "Body bytes from clients.", |r| &r.bytes_in),
        ("oxgate_response_body_bytes_total", "Body bytes to clients.", |r| &r.bytes_out),
    ];
    for (name, help, of) in bytes {
        page.head(name, "counter", help);
        for (route, parts) in routes {
            page.sample(name, &[("route", route)], parts.iter().map(|p| of(p).value()).sum::<u64>());
        }
    }
}

fn upstreams(page: &mut Page, upstreams: &BTreeMap<Arc<str>, Vec<Arc<UpstreamMetrics>>>) {
    type Of = fn(&UpstreamMetrics) -> &Counter;
    let numbers: [(&str, &str, &str, Of); 7] = [
        ("oxgate_upstream_requests_total", "counter", "Requests sent, each attempt counted.", |u| &u.requests),
        ("oxgate_upstream_retries_total", "counter", "Attempts after the first.", |u| &u.retries),
        ("oxgate_upstream_connects_total", "counter", "Connections opened.", |u| &u.connects),
        ("oxgate_upstream_connect_failures_total", "counter", "Connections that could not be opened.", |u| {
            &u.connect_failures
        }),
        ("oxgate_upstream_stale_connections_total", "counter", "Idle connections found closed or too old.", |u| {
            &u.stale
        }),
        ("oxgate_upstream_connections", "gauge", "Connections open.", |u| &u.connections),
        ("oxgate_upstream_pending", "gauge", "Requests waiting for a connection.", |u| &u.pending),
    ];
    for (name, kind, help, of) in numbers {
        page.head(name, kind, help);
        for (upstream, parts) in upstreams {
            page.sample(name, &[("upstream", upstream)], parts.iter().map(|p| of(p).value()).sum::<u64>());
        }
    }
    page.head("oxgate_upstream_first_byte_seconds", "histogram", "From a request's last byte to the answer's first.");
    for (upstream, parts) in upstreams {
        let parts: Vec<&Buckets> = parts.iter().map(|p| &p.first_byte).collect();
        page.histogram("oxgate_upstream_first_byte_seconds", ("upstream", upstream), &parts);
    }
}
