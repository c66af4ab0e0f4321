//! What can be counted instead of timed: system calls and instructions; and how soon a start answers.

use crate::Result;
use crate::compare::{Load, median};
use crate::contestants::{ROUTES, config, gateway};
use crate::driver::Driver;
use crate::process::Process;
use crate::run::Options;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// System calls per request at 64 connections, counted by strace where it is installed.
pub(crate) fn syscalls(driver: &mut Driver, proxy: &Process) -> Value {
    let file = std::env::temp_dir().join(format!("strace-{}", proxy.pid));
    let tracer = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&file)
        .args(["-p", &proxy.pid.to_string()])
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut tracer) = tracer else { return Value::Null };
    std::thread::sleep(Duration::from_millis(500));
    let requests = Load::small(64).run(driver, proxy.address, 1.5, u64::MAX).map_or(0.0, |r| r.requests);
    let _ = Command::new("kill").args(["-INT", &tracer.id().to_string()]).status();
    let _ = tracer.wait();
    let table = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    let total = table.lines().find(|l| l.ends_with(" total")).unwrap_or_default();
    let calls: f64 = total
        .split_whitespace()
        .filter_map(|w| w.parse::<f64>().ok())
        .find(|n| *n > 1000.0 && n.fract() == 0.0)
        .unwrap_or(0.0);
    // Opening and closing the connections of the run is not what is asked for: 64 of each side.
    json!(((calls - 64.0 * 16.0).max(0.0) / requests.max(1.0) * 100.0).round() / 100.0)
}

/// User-space instructions per request by callgrind: the difference between two runs.
pub(crate) fn instructions(driver: &mut Driver, program: &Path, folder: &Path) -> Value {
    let mut one = |requests: u64| -> Result<f64> {
        let (address, config) = config(folder, "callgrind", driver.origin, ROUTES)?;
        let out = folder.join(format!("callgrind.{requests}"));
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display())).arg(program);
        let proxy = Process::start("callgrind", gateway(&mut command, &config), address)?;
        let done = Load::small(16).run(driver, address, 60.0, requests)?;
        drop(proxy);
        let text = fs::read_to_string(&out)?;
        let total = text.lines().find_map(|l| l.strip_prefix("totals: ")).and_then(|t| t.trim().parse().ok());
        total.filter(|_| done.requests >= requests as f64).ok_or_else(|| "callgrind wrote no total".into())
    };
    match (one(4_000), one(20_000)) {
        (Ok(few), Ok(many)) => json!(((many - few) / 16_000.0).round()),
        (Err(error), _) | (_, Err(error)) => json!(error.to_string()),
    }
}

/// From starting the process to the first proxied answer, in milliseconds; by number of routes.
pub(crate) fn cold_start(options: &Options, folder: &Path, origin: SocketAddr) -> Result<Value> {
    let mut by_routes = serde_json::Map::new();
    for routes in [10, ROUTES, 10_000] {
        let mut times = Vec::new();
        for _ in 0..9 {
            let (address, config) = config(folder, "cold", origin, routes)?;
            let mut command = Command::new(&options.oxgate);
            let begun = Instant::now();
            let mut child = gateway(&mut command, &config).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            while !answers(address) {
                if begun.elapsed() > Duration::from_secs(10) {
                    return Err("no answer after 10 s".into());
                }
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
            child.kill()?;
            child.wait()?;
        }
        by_routes.insert(routes.to_string(), json!((median(times.into_iter()) * 10.0).round() / 10.0));
    }
    Ok(Value::Object(by_routes))
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 32];
    socket.write_all(b"GET /svc7/x HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()
        && socket.read(&mut answer).is_ok_and(|n| n > 0 && answer.starts_with(b"HTTP/1.1 200"))
}
