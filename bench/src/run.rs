//! The whole comparison: every proxy on core 0, load and origin on core 1, rounds interleaved.

use crate::chart;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Routes loaded into every proxy.
const ROUTES: usize = 100;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The gateway.
    pub(crate) oxgate: PathBuf,
    /// Where results go.
    pub(crate) out: Option<PathBuf>,
    /// Rounds per measurement.
    pub(crate) rounds: usize,
    /// Seconds per round.
    pub(crate) seconds: f64,
    /// Whether to count instructions, memory and cold starts too.
    pub(crate) all: bool,
}

/// A proxy under test; it is killed when this is dropped.
struct Proxy {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    /// The process that does the work.
    pid: u32,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM first: a master ends its workers.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            if self.child.try_wait().is_ok_and(|s| s.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("oxgate-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(options, &folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn measure(options: &Options, folder: &Path) -> Result<()> {
    let me = std::env::current_exe()?;
    let origin_address = free_address()?;
    let _origin = start("origin", pinned(1, &me).args(["origin", &origin_address.to_string()]), origin_address)?;
    let proxies = start_all(options, folder, &me, origin_address)?;
    let mut rows: Vec<Value> = Vec::new();
    let plans = [
        ("GET 128 B", "/svc7/x", 0, vec![16, 64, 256]),
        ("GET 1 MiB", "/1m", 0, vec![16]),
        ("PUT 1 MiB", "/svc7/x", 1 << 20, vec![16]),
    ];
    for (what, path, upload, connections) in plans {
        for c in connections {
            rows.extend(compare(options, &proxies, &me, what, path, upload, c)?);
        }
    }
    let mut notes = Vec::new();
    for proxy in &proxies {
        notes.push(json!({ "proxy": proxy.name, "rss_kb": rss_kb(proxy.pid)?, "syscalls": syscalls(proxy, &me) }));
    }
    drop(proxies);
    if options.all {
        notes.push(json!({ "instructions": instructions(options, folder, &me, origin_address) }));
        notes.push(json!({ "cold_start_ms": cold_start(options, folder, origin_address)? }));
    }
    let size = fs::metadata(&options.oxgate)?.len();
    let report =
        json!({ "rows": rows, "notes": notes, "binary_bytes": size, "versions": versions(), "cores": cores() });
    print_table(&rows);
    println!("\nbinary {:.2} MB\n{}", size as f64 / 1e6, serde_json::to_string_pretty(&notes)?);
    if let Some(out) = &options.out {
        fs::create_dir_all(out)?;
        fs::write(out.join("results.json"), serde_json::to_string_pretty(&report)?)?;
        fs::write(out.join("chart.svg"), chart::svg(&rows))?;
        println!("kept under {}", out.display());
    }
    Ok(())
}

fn start_all(options: &Options, folder: &Path, me: &Path, origin: SocketAddr) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    let address = free_address()?;
    proxies.push(start("relay", pinned(0, me).args(["relay", &address.to_string(), &origin.to_string()]), address)?);
    let address = free_address()?;
    let config = folder.join("oxgate.yaml");
    fs::write(&config, oxgate_config(address, origin, ROUTES))?;
    proxies.push(start(
        "oxgate",
        pinned(0, &options.oxgate).args(["run", "--workers", "1", "-c"]).arg(&config),
        address,
    )?);
    let address = free_address()?;
    let config = folder.join("nginx.conf");
    let place = "proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto http; proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Request-ID $request_id;";
    let routes: String = (0..ROUTES).map(|i| format!("        location {} {{ {place} }}\n", nginx_path(i))).collect();
    fs::write(&config, fill(include_str!("../rivals/nginx.conf"), folder, origin, address, &routes))?;
    if let Some(nginx) = found("nginx", "/usr/sbin/nginx") {
        proxies.push(start("nginx", pinned(0, &nginx).arg("-c").arg(&config), address)?);
    }
    let address = free_address()?;
    let config = folder.join("haproxy.cfg");
    let routes: String = (1..ROUTES).map(|i| format!("    use_backend origin if {{ path_beg /svc{i}/ }}\n")).collect();
    let routes = format!("{routes}    default_backend origin\n");
    fs::write(&config, fill(include_str!("../rivals/haproxy.cfg"), folder, origin, address, &routes))?;
    if let Some(haproxy) = found("haproxy", "/usr/sbin/haproxy") {
        proxies.push(start("haproxy", pinned(0, &haproxy).args(["-q", "-db", "-f"]).arg(&config), address)?);
    }
    Ok(proxies)
}

fn nginx_path(i: usize) -> String {
    if i == 0 { "/".to_owned() } else { format!("/svc{i}/") }
}

fn oxgate_config(listen: SocketAddr, origin: SocketAddr, routes: usize) -> String {
    let mut config = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"{listen}\" }} }}\nadmin: {{ address: off }}\nstatus: {{ address: \"127.0.0.1:0\" }}\n\
         upstreams: {{ origin: {{ endpoints: [\"http://{origin}\"] }} }}\nroutes:\n  all: {{ match: \"/*\", to: origin }}\n"
    );
    for i in 1..routes {
        config.push_str(&format!("  svc{i}: {{ match: \"/svc{i}/*\", to: origin }}\n"));
    }
    config
}

fn fill(template: &str, folder: &Path, origin: SocketAddr, address: SocketAddr, routes: &str) -> String {
    template
        .replace("{dir}", &folder.display().to_string())
        .replace("{origin}", &origin.port().to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{routes}", routes)
}

/// A rival that is installed, or a word that it is not.
fn found(name: &str, path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if !path.exists() {
        println!("left out: {name} is not installed");
        return None;
    }
    Some(path)
}

fn pinned(core: u8, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn start(name: &'static str, command: &mut Command, address: SocketAddr) -> Result<Proxy> {
    let child = command.spawn()?;
    let mut proxy = Proxy { name, address, pid: child.id(), child };
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end || proxy.child.try_wait()?.is_some() {
            return Err(format!("{name} did not start").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // nginx works in a child of its own.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", proxy.pid)).unwrap_or_default();
    if let Some(child) = children.split_whitespace().next_back().and_then(|c| c.parse().ok()) {
        proxy.pid = child;
    }
    Ok(proxy)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// CPU time of a process in nanoseconds, all threads together.
fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn rss_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}

/// One load run in a process of its own: requests, errors, seconds, p50, p99, p99.9 in microseconds.
fn load(
    me: &Path,
    address: SocketAddr,
    connections: usize,
    seconds: f64,
    path: &str,
    upload: usize,
) -> Result<Vec<f64>> {
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(me)
        .args(["load", &address.to_string(), &connections.to_string(), &seconds.to_string(), path, &upload.to_string()])
        .output()?;
    let numbers: Vec<f64> =
        String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if numbers.len() == 6 {
        Ok(numbers)
    } else {
        Err(format!("the load run failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Interleaved rounds of one plan over all proxies; medians.
fn compare(
    options: &Options,
    proxies: &[Proxy],
    me: &Path,
    what: &str,
    path: &str,
    upload: usize,
    c: usize,
) -> Result<Vec<Value>> {
    let mut samples: BTreeMap<usize, Vec<Vec<f64>>> = BTreeMap::new();
    for round in 0..=options.rounds {
        for (i, proxy) in proxies.iter().enumerate() {
            let before = cpu_ns(proxy.pid)?;
            let seconds = if round == 0 { 0.3 } else { options.seconds };
            let mut numbers = load(me, proxy.address, c, seconds, path, upload)?;
            let cpu_us = (cpu_ns(proxy.pid)? - before) as f64 / 1000.0 / numbers[0].max(1.0);
            numbers.push(cpu_us);
            // The first round warms up.
            if round > 0 {
                samples.entry(i).or_default().push(numbers);
            }
        }
    }
    let base: Vec<f64> = samples.get(&0).into_iter().flatten().map(|n| n[6]).collect();
    Ok(proxies
        .iter()
        .enumerate()
        .map(|(i, proxy)| {
            let rounds = &samples[&i];
            let column = |k: usize| median(rounds.iter().map(|n| n[k]));
            // A ratio of neighbours in time is steadier than a ratio of medians.
            let ratio = median(rounds.iter().zip(&base).map(|(n, b)| n[6] / b));
            json!({
                "what": what, "connections": c, "proxy": proxy.name, "cpu_us": column(6), "to_relay": ratio,
                "rps": median(rounds.iter().map(|n| n[0] / n[2])), "p50_us": column(3), "p99_us": column(4), "p999_us": column(5),
                "errors": rounds.iter().map(|n| n[1]).sum::<f64>(),
            })
        })
        .collect())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// System calls per request at 64 connections, counted by strace where it is installed.
fn syscalls(proxy: &Proxy, me: &Path) -> Value {
    let file = std::env::temp_dir().join(format!("strace-{}", proxy.pid));
    let tracer = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&file)
        .args(["-p", &proxy.pid.to_string()])
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut tracer) = tracer else { return Value::Null };
    std::thread::sleep(Duration::from_millis(500));
    let requests = load(me, proxy.address, 64, 1.5, "/svc7/x", 0).map(|n| n[0]).unwrap_or(0.0);
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
fn instructions(options: &Options, folder: &Path, me: &Path, origin: SocketAddr) -> Value {
    let one = |requests: u64| -> Result<f64> {
        let address = free_address()?;
        let config = folder.join("callgrind.yaml");
        let out = folder.join(format!("callgrind.{requests}"));
        fs::write(&config, oxgate_config(address, origin, ROUTES))?;
        let mut command = Command::new("valgrind");
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display())).arg(&options.oxgate);
        command.args(["run", "--workers", "1", "-c"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = start("callgrind", &mut command, address)?;
        let status = Command::new(me)
            .args(["load", &address.to_string(), "16", "60", "/svc7/x", "0", "0", &requests.to_string()])
            .stdout(Stdio::null())
            .status()?;
        drop(proxy);
        let text = fs::read_to_string(&out)?;
        let total = text.lines().find_map(|l| l.strip_prefix("totals: ")).and_then(|t| t.trim().parse().ok());
        total.filter(|_| status.success()).ok_or_else(|| "callgrind wrote no total".into())
    };
    match (one(4_000), one(20_000)) {
        (Ok(few), Ok(many)) => json!(((many - few) / 16_000.0).round()),
        (Err(error), _) | (_, Err(error)) => json!(error.to_string()),
    }
}

/// From starting the process to the first proxied answer, in milliseconds; by number of routes.
fn cold_start(options: &Options, folder: &Path, origin: SocketAddr) -> Result<Value> {
    let mut by_routes = serde_json::Map::new();
    for routes in [10, ROUTES, 10_000] {
        let mut times = Vec::new();
        for _ in 0..5 {
            let address = free_address()?;
            let config = folder.join("cold.yaml");
            fs::write(&config, oxgate_config(address, origin, routes))?;
            let begun = Instant::now();
            let mut child = Command::new(&options.oxgate)
                .args(["run", "--workers", "1", "-c"])
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
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

fn versions() -> Value {
    let line = |program: &str, arg: &str| {
        let output = Command::new(program).arg(arg).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().map(str::to_owned)
    };
    json!({ "nginx": line("/usr/sbin/nginx", "-v"), "haproxy": line("/usr/sbin/haproxy", "-v"), "kernel": line("uname", "-r") })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn print_table(rows: &[Value]) {
    println!(
        "{:<11} {:>4}  {:<8} {:>9} {:>8} {:>9} {:>8} {:>8} {:>9} {:>6}",
        "what", "c", "proxy", "CPU µs", "× relay", "req/s", "p50 µs", "p99 µs", "p99.9 µs", "errors"
    );
    for row in rows {
        let n = |key: &str| row[key].as_f64().unwrap_or(0.0);
        println!(
            "{:<11} {:>4}  {:<8} {:>9.2} {:>8.2} {:>9.0} {:>8.0} {:>8.0} {:>9.0} {:>6.0}",
            row["what"].as_str().unwrap_or_default(),
            n("connections"),
            row["proxy"].as_str().unwrap_or_default(),
            n("cpu_us"),
            n("to_relay"),
            n("rps"),
            n("p50_us"),
            n("p99_us"),
            n("p999_us"),
            n("errors")
        );
    }
}
