//! Health and metrics: `/livez`, `/readyz`, `/metrics`.

use crate::exposition;
use crate::http::{Answer, answer, text};
use oxgate_telemetry::WorkerMetrics;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the control plane knows of itself.
#[derive(Debug, Default)]
pub struct Status {
    /// Whether a configuration is in force.
    pub serving: AtomicBool,
    /// Whether the gateway is on its way out.
    pub draining: AtomicBool,
    /// Which configuration is in force, counted from 1.
    pub revision: AtomicU64,
    /// Configurations refused since the start.
    pub rejected: AtomicU64,
    /// When the configuration in force was taken, seconds since 1970.
    pub applied_at: AtomicU64,
    /// Why the newest configuration was refused, if it was.
    rejection: Mutex<Option<String>>,
    /// The numbers of each worker.
    pub workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    /// Log lines that could not be written.
    pub log_lost: Arc<AtomicU64>,
}

impl Status {
    /// Notes that a configuration is in force.
    pub fn applied(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.revision.fetch_add(1, Relaxed);
        self.applied_at.store(now, Relaxed);
        *self.rejection.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.serving.store(true, Relaxed);
    }

    /// Notes that a configuration was refused.
    pub fn refused(&self, why: String) {
        self.rejected.fetch_add(1, Relaxed);
        *self.rejection.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the newest configuration was refused, if it was.
    pub fn rejection(&self) -> Option<String> {
        self.rejection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a request for health or metrics.
    pub fn answer(&self, path: &str, query: &str) -> Answer {
        match path {
            "/livez" => text(200, "ok\n"),
            "/readyz" => self.readyz(query.split('&').any(|p| p == "verbose")),
            "/metrics" => {
                let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                answer(200, exposition::CONTENT_TYPE, exposition::render(&workers, self))
            }
            _ => text(404, "there are /livez, /readyz and /metrics\n"),
        }
    }

    fn readyz(&self, verbose: bool) -> Answer {
        let (serving, draining) = (self.serving.load(Relaxed), self.draining.load(Relaxed));
        let ready = serving && !draining;
        let status = if ready { 200 } else { 503 };
        if !verbose {
            return text(status, if ready { "ok\n" } else { "not ready\n" });
        }
        let mut out = String::new();
        let mut line = |ok: bool, name: &str, detail: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "[{}] {name}: {detail}", if ok { "ok" } else { "!!" });
        };
        line(serving, "config", format!("revision {}", self.revision.load(Relaxed)));
        let rejection = self.rejection();
        let detail = rejection.clone().unwrap_or_else(|| "the newest configuration is in force".to_owned());
        line(rejection.is_none(), "newest_config", detail);
        line(!draining, "shutdown", if draining { "draining" } else { "not asked for" }.to_owned());
        text(status, out)
    }
}
