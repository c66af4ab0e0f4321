//! Latencies in logarithmic buckets, 3 % wide.

use std::time::Duration;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

const PER_DOUBLING: f64 = 24.0;

impl Default for Latencies {
    fn default() -> Self {
        Latencies { buckets: vec![0; 64 * 24], count: 0 }
    }
}

impl Latencies {
    /// Counts one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let ns = latency.as_nanos().max(1) as f64;
        let bucket = ((ns.log2() * PER_DOUBLING) as usize).min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// The latency that this share of all stays under, in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut left = (self.count as f64 * share).ceil() as u64;
        for (bucket, n) in self.buckets.iter().enumerate() {
            if left <= *n {
                return 2f64.powf((bucket as f64 + 0.5) / PER_DOUBLING) / 1000.0;
            }
            left -= n;
        }
        0.0
    }
}
