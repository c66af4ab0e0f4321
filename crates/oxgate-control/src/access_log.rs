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
/// How long the last lines may take when the gateway ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a failure is told of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
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
        let writer = Writer {
            readers,
            target: Arc::clone(&target),
            stop: Arc::clone(&stop),
            lost,
            open: None,
            complained: None,
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(AccessLog { target, stop, thread: Some(thread) })
    }

    /// Writes to another target from now on.
    pub fn set_target(&self, target: Option<LogTarget>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Writes what is left and ends. A target that takes nothing is not waited for.
    pub fn finish(mut self) {
        self.stop.store(true, Relaxed);
        let end = Instant::now() + LAST_WORDS;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

struct Writer {
    readers: Vec<LogReader>,
    target: Arc<Mutex<Option<LogTarget>>>,
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    open: Option<Open>,
    complained: Option<Instant>,
}

struct Open {
    target: LogTarget,
    out: Out,
    checked: Instant,
}

enum Out {
    Stdout,
    Stderr,
    /// With its path and its inode when it was opened.
    File(File, PathBuf, u64),
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = self.stop.load(Relaxed);
            let mut lines = 0u64;
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
                if let Err((lost, error)) = self.write(&batch) {
                    self.lost.fetch_add(lost, Relaxed);
                    self.open = None;
                    self.complain(&error);
                }
                batch.clear();
            } else if stopping {
                return;
            } else {
                std::thread::sleep(REST);
            }
        }
    }

    /// Writes whole lines only; on failure says how many were lost.
    fn write(&mut self, batch: &[u8]) -> Result<(), (u64, io::Error)> {
        let all = |error| (count_lines(batch), error);
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(target) = target else { return Ok(()) };
        if self.open.as_mut().is_none_or(|open| open.target != target || open.was_rotated()) {
            self.open = Some(Open::new(target).map_err(all)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut written = 0;
        while written < batch.len() {
            match open.out.write(&batch[written..]) {
                Ok(0) => {
                    return Err((count_lines(&batch[open.out.cut(batch, written)..]), io::ErrorKind::WriteZero.into()));
                }
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((count_lines(&batch[open.out.cut(batch, written)..]), error)),
            }
        }
        open.out.flush().map_err(all)
    }

    /// Says that lines are lost, now and then.
    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::warn!(%error, "the access log cannot be written; lines are lost and counted");
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

impl Out {
    /// Takes back the beginning of a line from the end of a file; says where that line starts.
    fn cut(&self, batch: &[u8], written: usize) -> usize {
        let whole = batch[..written].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if let Out::File(file, ..) = self
            && whole < written
        {
            let len = file.metadata().map_or(0, |meta| meta.len());
            // If even that fails, one line will be torn.
            let _ = file.set_len(len.saturating_sub((written - whole) as u64));
        }
        whole
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Stdout => io::stdout().write(bytes),
            Out::Stderr => io::stderr().write(bytes),
            Out::File(file, ..) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Stdout => io::stdout().flush(),
            Out::Stderr => io::stderr().flush(),
            Out::File(file, ..) => file.flush(),
        }
    }
}

impl Open {
    fn new(target: LogTarget) -> io::Result<Open> {
        let out = match &target {
            LogTarget::Stdout => Out::Stdout,
            LogTarget::Stderr => Out::Stderr,
            LogTarget::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                let inode = file.metadata()?.ino();
                Out::File(file, path.clone(), inode)
            }
        };
        Ok(Open { target, out, checked: Instant::now() })
    }

    /// Whether the file was renamed away; looked at once a second.
    fn was_rotated(&mut self) -> bool {
        let Out::File(_, path, inode) = &self.out else { return false };
        if self.checked.elapsed() < Duration::from_secs(1) {
            return false;
        }
        self.checked = Instant::now();
        std::fs::metadata(path).map_or(true, |meta| meta.ino() != *inode)
    }
}

fn write_line(record: &Record<'_>, out: &mut Vec<u8>) {
    let text = |bytes: &[u8]| -> Value {
        let (bytes, cut) = Record::shown(bytes);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if cut {
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
