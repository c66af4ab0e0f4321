//! What connections cost that do nothing, and bodies that are large.

use crate::Result;
use crate::compare::{Load, compare};
use crate::driver::Driver;
use crate::process::{Process, pinned, rss_kb};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Opens connections, makes one request on each and keeps them open until its input ends.
pub(crate) fn hold(target: SocketAddr, connections: usize) -> Result<()> {
    let mut held = Vec::new();
    let mut answer = [0; 1024];
    for _ in 0..connections {
        let mut socket = TcpStream::connect(target)?;
        socket.write_all(b"GET /svc7/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")?;
        let n = socket.read(&mut answer)?;
        if !answer[..n].starts_with(b"HTTP/1.1 200") {
            return Err("a request on a connection to be held failed".into());
        }
        held.push(socket);
    }
    println!("held");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A process that holds connections.
struct Holder(Child);

impl Holder {
    fn start(target: SocketAddr, connections: usize) -> Result<Holder> {
        let mut child = pinned(1, &std::env::current_exe()?)
            .args(["hold", &target.to_string(), &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut word = [0; 4];
        child.stdout.as_mut().ok_or("no output")?.read_exact(&mut word)?;
        // What a connection keeps for a moment after a request is not what it costs when idle.
        std::thread::sleep(Duration::from_secs(2));
        Ok(Holder(child))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Memory of a proxy just started, and for each of many idle connections.
pub(crate) fn idle(driver: &mut Driver, proxy: &Process, connections: usize) -> Result<Value> {
    Load::small(1).run(driver, proxy.address, 0.1, 100)?;
    let before = proxy.rss_kb()?;
    let holder = Holder::start(proxy.address, connections);
    let held = proxy.rss_kb()?;
    let bytes = holder.is_ok().then(|| (held.saturating_sub(before)) * 1024 / connections as u64);
    Ok(json!({ "proxy": proxy.name, "rss_idle_kb": before, "connections": connections, "bytes_per_connection": bytes }))
}

/// What requests cost with and without many idle connections beside them.
pub(crate) fn beside_idle(
    driver: &mut Driver,
    proxy: &Process,
    connections: usize,
    rounds: usize,
    seconds: f64,
) -> Result<Value> {
    let mut cost = || -> Result<Value> {
        let rows = compare(driver, &[proxy], &Load::small(64), rounds, seconds)?;
        Ok(rows[0]["cpu_us"].clone())
    };
    let alone = cost()?;
    let before = proxy.rss_kb()?;
    let holder = Holder::start(proxy.address, connections)?;
    let bytes = proxy.rss_kb()?.saturating_sub(before) * 1024 / connections as u64;
    let beside = cost()?;
    drop(holder);
    let again = cost()?;
    Ok(
        json!({ "connections": connections, "bytes_per_connection": bytes, "cpu_us_alone": alone, "cpu_us_beside": beside, "cpu_us_alone_again": again }),
    )
}

/// The most memory that is held while a GiB streams, over what was held before; down and up, in KiB.
pub(crate) fn streams(driver: &mut Driver, proxy: &Process) -> Result<Value> {
    let down = Load { what: "GET 1 GiB", path: "/stream/1024", upload: 0, connections: 1, rate: 0 };
    let up = Load { what: "PUT 1 GiB", path: "/svc7/x", upload: 1 << 30, connections: 1, rate: 0 };
    let mut growth = Vec::new();
    for load in [down, up] {
        let before = proxy.rss_kb()?;
        load.begin(driver, proxy.address, 60.0, 1)?;
        let watch = Watch::start(proxy.pid);
        let done = load.finish(driver)?;
        let most = watch.finish();
        if done.requests < 1.0 {
            return Err(format!("{} failed", load.what).into());
        }
        growth.push(most.saturating_sub(before));
    }
    Ok(json!({ "gib_down_kb": growth[0], "gib_up_kb": growth[1] }))
}

/// Watches how much memory a process holds.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn start(pid: u32) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !stop.load(Relaxed) {
                most = most.max(rss_kb(pid).unwrap_or(0));
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        Watch { over, thread }
    }

    /// The most it held.
    fn finish(self) -> u64 {
        self.over.store(true, Relaxed);
        self.thread.join().unwrap_or(0)
    }
}
