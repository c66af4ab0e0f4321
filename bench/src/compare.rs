//! Interleaved rounds of one load over several proxies; medians, and ratios of neighbours in time.

use crate::Result;
use crate::driver::Driver;
use crate::process::Process;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// What is asked of every proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    /// Bytes of the request's body.
    pub(crate) upload: usize,
    pub(crate) connections: usize,
    /// Requests per second; 0 is as many as can be.
    pub(crate) rate: u64,
}

/// What one round of a load brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) requests: f64,
    errors: f64,
    seconds: f64,
    pub(crate) p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

impl Load {
    /// Small answers to requests that follow each other at once.
    pub(crate) const fn small(connections: usize) -> Load {
        Load { what: "GET 128 B", path: "/svc7/x", upload: 0, connections, rate: 0 }
    }

    /// Has the driver run it; it ends early after `most` requests.
    pub(crate) fn run(&self, driver: &mut Driver, target: SocketAddr, seconds: f64, most: u64) -> Result<Round> {
        self.begin(driver, target, seconds, most)?;
        self.finish(driver)
    }

    /// The first half of [`Load::run`].
    pub(crate) fn begin(&self, driver: &mut Driver, target: SocketAddr, seconds: f64, most: u64) -> Result<()> {
        let Load { path, upload, connections, rate, .. } = self;
        driver.begin(&format!("{target} {connections} {seconds} {path} {upload} {rate} {most}"))
    }

    /// The second half of [`Load::run`].
    pub(crate) fn finish(&self, driver: &mut Driver) -> Result<Round> {
        let text = driver.answer()?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [requests, errors, seconds, p50_us, p99_us, p999_us] = numbers[..] else {
            return Err(format!("{}: {text}", self.what).into());
        };
        Ok(Round { requests, errors, seconds, p50_us, p99_us, p999_us })
    }
}

/// One row for each proxy. The first one is what the others are compared to.
pub(crate) fn compare(
    driver: &mut Driver,
    proxies: &[&Process],
    load: &Load,
    rounds: usize,
    seconds: f64,
) -> Result<Vec<Value>> {
    let mut samples = vec![Vec::new(); proxies.len()];
    for round in 0..=rounds {
        for (proxy, samples) in proxies.iter().zip(&mut samples) {
            let before = proxy.cpu_ns()?;
            let outcome = load.run(driver, proxy.address, if round == 0 { 0.3 } else { seconds }, u64::MAX)?;
            let cpu_us = (proxy.cpu_ns()? - before) as f64 / 1000.0 / outcome.requests.max(1.0);
            // The first round warms up.
            if round > 0 {
                samples.push((outcome, cpu_us));
            }
        }
    }
    let rows = proxies.iter().zip(&samples).map(|(proxy, rounds)| {
        let of = |value: fn(&(Round, f64)) -> f64| median(rounds.iter().map(value));
        // A ratio of neighbours in time is steadier than a ratio of medians.
        let ratio = median(rounds.iter().zip(&samples[0]).map(|(mine, first)| mine.1 / first.1));
        json!({
            "what": load.what, "connections": load.connections, "proxy": proxy.name,
            "cpu_us": of(|r| r.1), "ratio": ratio, "rps": of(|r| r.0.requests / r.0.seconds),
            "p50_us": of(|r| r.0.p50_us), "p99_us": of(|r| r.0.p99_us), "p999_us": of(|r| r.0.p999_us),
            "errors": rounds.iter().map(|r| r.0.errors).sum::<f64>(),
        })
    });
    Ok(rows.collect())
}

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
