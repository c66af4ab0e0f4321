//! The writer thread of the access log: takes records from the workers' rings and writes lines.

use oxgate_config::resolved::LogTarget;
use oxgate_telemetry::calendar::{self, Date};
use oxgate_telemetry::{LogReader, Record};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the writer rests when there is nothing to write.
const REST: Duration = Duration::from_millis(50);
/// Lines collected before they are written.
const BATCH: usize = 64 * 1024;

/// The running writer.
#[derive(Debug)]
pub struct AccessLog {
    target: Arc<Mutex<Option<LogTarget>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// Starts the writer; lines that cannot be written are counted in `lost`.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(readers: Vec<LogReader>, target: Option<LogTarget>, lost: Arc<AtomicU64>) -> io::Result<AccessLog> {
        let target = Arc::new(Mutex::new(target));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer { readers, target: Arc::clone(&target), stop: Arc::clone(&stop), lost, open: None };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(AccessLog { target, stop, thread: Some(thread) })
    }

    /// Writes to another target from now on.
    pub fn set_target(&self, target: Option<LogTarget>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Writes what is left and ends.
    pub fn finish(mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

struct Writer {
    readers: Vec<LogReader>,
    target: Arc<Mutex<Option<LogTarget>>>,
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    open: Option<Open>,
}

struct Open {
    target: LogTarget,
    out: Box<dyn Write + Send>,
    inode: Option<(PathBuf, u64)>,
    checked: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = self.stop.load(Relaxed);
            let mut lines = 0;
            for reader in &mut self.readers {
                while let Some(record) = reader.pop() {
                    write_line(&record, &mut batch);
                    lines += 1;
                    if batch.len() >= BATCH {
                        break;
                    }
                }
            }
            if lines > 0 {
                if self.write(&batch).is_err() {
                    self.lost.fetch_add(lines, Relaxed);
                    self.open = None;
                }
                batch.clear();
            } else if stopping {
                return;
            } else {
                std::thread::sleep(REST);
            }
        }
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(target) = target else { return Ok(()) };
        if self.open.as_mut().is_none_or(|open| open.target != target || open.was_rotated()) {
            self.open = Some(Open::new(target)?);
        }
        match &mut self.open {
            Some(open) => open.out.write_all(batch).and_then(|()| open.out.flush()),
            None => Ok(()),
        }
    }
}

impl Open {
    fn new(target: LogTarget) -> io::Result<Open> {
        let mut inode = None;
        let out: Box<dyn Write + Send> = match &target {
            LogTarget::Stdout => Box::new(io::stdout()),
            LogTarget::Stderr => Box::new(io::stderr()),
            LogTarget::File(path) => {
                let file: File = OpenOptions::new().create(true).append(true).open(path)?;
                inode = Some((path.clone(), file.metadata()?.ino()));
                Box::new(file)
            }
        };
        Ok(Open { target, out, inode, checked: Instant::now() })
    }

    /// Whether the file was renamed away; looked at once a second.
    fn was_rotated(&mut self) -> bool {
        if self.checked.elapsed() < Duration::from_secs(1) {
            return false;
        }
        self.checked = Instant::now();
        self.inode
            .as_ref()
            .is_some_and(|(path, inode)| std::fs::metadata(path).map_or(true, |meta| meta.ino() != *inode))
    }
}

fn write_line(record: &Record<'_>, out: &mut Vec<u8>) {
    let text = |bytes: &[u8]| -> Value {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if Record::is_cut(bytes) {
            text.push('…');
        }
        text.into()
    };
    let ms = |us: u64| us as f64 / 1000.0;
    let mut line = json!({
        "time": timestamp(record.time_us),
        "client": text(record.client),
        "method": text(record.method),
        "host": text(record.host),
        "path": text(record.path),
        "status": record.status,
        "duration_ms": ms(record.duration_us),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "request_id": text(record.request_id),
    });
    if let Some(line) = line.as_object_mut() {
        for (key, bytes) in [
            ("route", record.route),
            ("upstream", record.upstream),
            ("endpoint", record.endpoint),
            ("user_agent", record.user_agent),
        ] {
            if !bytes.is_empty() {
                line.insert(key.to_owned(), text(bytes));
            }
        }
        if record.attempts > 0 {
            line.insert("attempts".to_owned(), record.attempts.into());
            line.insert("upstream_ms".to_owned(), ms(record.upstream_us).into());
        }
        if let Some(reason) = record.reason {
            line.insert("reason".to_owned(), reason.text().into());
        }
    }
    // Writing to a Vec cannot fail, and every value is plain.
    let _ = serde_json::to_writer(&mut *out, &line);
    out.push(b'\n');
}

/// RFC 3339 with milliseconds, in UTC.
fn timestamp(us: u64) -> String {
    let (seconds, ms) = (us / 1_000_000, us / 1000 % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let Date { year, month, day } = calendar::date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_valid_json_whatever_the_bytes() {
        let mut out = Vec::new();
        let record = Record {
            time_us: 1_709_164_800_123_000,
            method: b"G\"\xff",
            path: b"/\n",
            status: 200,
            ..Record::default()
        };
        write_line(&record, &mut out);
        let line: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(line["time"], "2024-02-29T00:00:00.123Z");
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
    }
}
