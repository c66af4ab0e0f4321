//! What is written down about an exchange when it is over: numbers always, a log record when asked.

use crate::exchange::Exchange;
use crate::front::write_address;
use crate::snapshot::LogRule;
use crate::worker::{View, Worker};
use oxgate_http::Name;
use oxgate_telemetry::Record;

/// Counts the exchange and logs it if the rule says so.
#[inline]
pub(crate) fn exchange(w: &Worker, view: &View, x: &Exchange) {
    let duration_us = w.clock.now_us() - x.started_us;
    if let Some(route) = x.route {
        let metrics = view.route_metrics(w, route);
        metrics.answers[usize::from(x.status / 100).clamp(1, 5) - 1].add(1);
        metrics.duration.observe(duration_us);
        metrics.bytes_in.add(x.bytes_in);
        metrics.bytes_out.add(x.bytes_out);
    }
    if let Some(reason) = x.reason {
        w.metrics.reasons.of(reason).add(1);
    }
    if let Some(rule) = &view.snapshot.log
        && wanted(w, rule, x, duration_us)
    {
        log(w, view, x, duration_us);
    }
}

/// Counts and logs a request that could not be read.
pub(crate) fn refused(w: &Worker, x: &Exchange) {
    let view = w.view();
    exchange(w, &view, x);
}

fn wanted(w: &Worker, rule: &LogRule, x: &Exchange, duration_us: u64) -> bool {
    let failed = x.status >= 400 || x.reason.is_some_and(|r| !r.is_ordinary());
    (rule.errors && failed) || duration_us > rule.slower_than_us || (w.random() & 0xffff_ffff) < rule.sample
}

#[cold]
fn log(w: &Worker, view: &View, x: &Exchange, duration_us: u64) {
    let mut client = Vec::with_capacity(40);
    write_address(x.client, &mut client);
    let plan = x.upstream.map(|(upstream, endpoint)| {
        let plan = &view.snapshot.upstreams[upstream];
        (plan.spec.name.as_bytes(), plan.endpoints[endpoint].authority().as_bytes())
    });
    let (upstream, endpoint) = plan.unwrap_or_default();
    let record = Record {
        time_us: w.clock.wall_us(),
        duration_us,
        upstream_us: if x.first_byte_us > 0 { x.first_byte_us - x.sent_us.min(x.first_byte_us) } else { 0 },
        bytes_in: x.bytes_in,
        bytes_out: x.bytes_out,
        status: x.status,
        attempts: x.attempts,
        reason: x.reason,
        client: &client,
        request_id: &x.request_id,
        method: x.request.method_text(),
        host: x.request.authority(),
        path: if x.request.path().is_empty() { x.request.raw_path() } else { x.request.path() },
        route: x.route.map_or(b"", |route| view.snapshot.routes[route].name.as_bytes()),
        upstream,
        endpoint,
        user_agent: x.request.head.get(Name::UserAgent).unwrap_or_default(),
    };
    w.push_log(&record);
}
