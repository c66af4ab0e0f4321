//! The whole comparison: every proxy on core 0, load and origin on core 1, rounds interleaved.

use crate::compare::{Load, compare};
use crate::driver::Driver;
use crate::process::{Process, free_address};
use crate::{Result, chart, contestants, count, memory};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The gateway.
    pub(crate) oxgate: PathBuf,
    /// The gateway as it was before a change.
    pub(crate) before: Option<PathBuf>,
    /// Where results go.
    pub(crate) out: Option<PathBuf>,
    /// Rounds per measurement.
    pub(crate) rounds: usize,
    /// Seconds per round.
    pub(crate) seconds: f64,
    /// Whether to measure more than the cost of requests.
    pub(crate) all: bool,
}

/// Idle connections that every proxy has to hold, and the most that one process may here.
const IDLE: usize = 10_000;
const MANY_IDLE: usize = 18_000;

/// Measures everything and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("oxgate-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(options, &folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn measure(options: &Options, folder: &Path) -> Result<()> {
    let Options { rounds, seconds, .. } = *options;
    let mut driver = Driver::start(free_address()?)?;
    let driver = &mut driver;
    let large = Load { what: "GET 1 MiB", path: "/1m", upload: 0, connections: 16, rate: 0 };
    let upload = Load { what: "PUT 1 MiB", path: "/svc7/x", upload: 1 << 20, ..large };
    let proxies = contestants::start(options, folder, driver.origin)?;
    let all: Vec<&Process> = proxies.iter().collect();
    let mut rows: Vec<Value> = Vec::new();
    for load in [Load::small(16), Load::small(64), Load::small(256), large, upload] {
        rows.extend(compare(driver, &all, &load, rounds, seconds)?);
    }
    let mut facts = serde_json::Map::new();
    let calls = proxies.iter().map(|p| (p.name.to_owned(), count::syscalls(driver, p)));
    facts.insert("syscalls_per_request".into(), calls.collect());
    if options.all {
        let steady = Load { what: "4,000 a second", rate: 4_000, ..Load::small(64) };
        let direct = Process::known("origin", driver.origin, driver.pid());
        let all: Vec<&Process> = [&direct].into_iter().chain(&proxies).collect();
        rows.extend(compare(driver, &all, &steady, rounds, seconds)?);
    }
    drop(proxies);
    if options.all {
        facts.extend(more(options, folder, driver, &mut rows)?);
    }
    let size = fs::metadata(&options.oxgate)?.len();
    facts.insert("binary_bytes".into(), json!(size));
    print_table(&rows);
    println!("\n{}", serde_json::to_string_pretty(&facts)?);
    if let Some(out) = &options.out {
        let report = json!({ "rows": rows, "facts": facts, "versions": versions(), "cores": cores() });
        fs::create_dir_all(out)?;
        fs::write(out.join("results.json"), serde_json::to_string_pretty(&report)?)?;
        fs::write(out.join("chart.svg"), chart::svg(&rows))?;
        println!("kept under {}", out.display());
    }
    Ok(())
}

/// Memory, routes, instructions and starts.
fn more(
    options: &Options,
    folder: &Path,
    driver: &mut Driver,
    rows: &mut Vec<Value>,
) -> Result<serde_json::Map<String, Value>> {
    let Options { rounds, seconds, .. } = *options;
    let mut facts = serde_json::Map::new();
    let fresh = contestants::start(options, folder, driver.origin)?;
    let idle: Result<Vec<Value>> =
        fresh.iter().filter(|p| p.name != "relay").map(|p| memory::idle(driver, p, IDLE)).collect();
    facts.insert("idle".into(), json!(idle?));
    drop(fresh);
    let origin = driver.origin;
    let one = |routes| contestants::oxgate("oxgate", &options.oxgate, folder, origin, routes);
    let proxy = one(contestants::ROUTES)?;
    facts.insert("streams".into(), memory::streams(driver, &proxy)?);
    drop(proxy);
    let proxy = one(contestants::ROUTES)?;
    facts.insert("many_idle".into(), memory::beside_idle(driver, &proxy, MANY_IDLE, rounds, seconds)?);
    drop(proxy);
    let (few, many) = (one(10)?, one(10_000)?);
    let routes = Load { what: "10/10k routes", ..Load::small(64) };
    rows.extend(compare(driver, &[&few, &many], &routes, rounds, seconds)?);
    drop((few, many));
    facts.insert("instructions".into(), count::instructions(driver, &options.oxgate, folder));
    facts.insert("cold_start_ms".into(), count::cold_start(options, folder, driver.origin)?);
    Ok(facts)
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
        "{:<15} {:>4}  {:<8} {:>9} {:>8} {:>9} {:>8} {:>8} {:>9} {:>6}",
        "what", "c", "proxy", "CPU µs", "× first", "req/s", "p50 µs", "p99 µs", "p99.9 µs", "errors"
    );
    for row in rows {
        let n = |key: &str| row[key].as_f64().unwrap_or(0.0);
        println!(
            "{:<15} {:>4}  {:<8} {:>9.2} {:>8.2} {:>9.0} {:>8.0} {:>8.0} {:>9.0} {:>6.0}",
            row["what"].as_str().unwrap_or_default(),
            n("connections"),
            row["proxy"].as_str().unwrap_or_default(),
            n("cpu_us"),
            n("ratio"),
            n("rps"),
            n("p50_us"),
            n("p99_us"),
            n("p999_us"),
            n("errors")
        );
    }
}
