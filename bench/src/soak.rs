//! A long run under mixed load, with reloads all the time and an endpoint that comes and goes.

use crate::Result;
use crate::contestants::gateway;
use crate::driver::Driver;
use crate::process::{Process, free_address, pinned};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests per second of each kind of load.
const RATE: u64 = 1_000;

/// Runs for so long; prints errors, and how memory and descriptors went.
pub(crate) fn run(oxgate: &Path, seconds: u64) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("oxgate-soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = soak(oxgate, &folder, seconds);
    let _ = fs::remove_dir_all(&folder);
    result
}

fn soak(oxgate: &Path, folder: &Path, seconds: u64) -> Result<()> {
    let (address, config) = (free_address()?, folder.join("oxgate.yaml"));
    let mut small = Driver::start(free_address()?)?;
    let mut large = Driver::start(free_address()?)?;
    let flapping = free_address()?;
    let mut flap = Some(Driver::start(flapping)?);
    let origins = [small.origin, large.origin, flapping];
    let write = |turn: u64| write_config(&config, address, origins, turn);
    write(0)?;
    let proxy = Process::start("oxgate", gateway(&mut pinned(0, oxgate), &config), address)?;
    let begun = Instant::now();
    // Small answers from all three origins, a body of a MiB each way now and then.
    small.begin(&format!("{address} 32 {seconds} /svc1/x 0 {RATE} {}", u64::MAX))?;
    large.begin(&format!("{address} 4 {seconds} /1m 0 20 {}", u64::MAX))?;
    let mut samples = Vec::new();
    let mut turn = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(500));
        turn += 1;
        write(turn)?;
        if turn % 6 == 0 {
            flap = if flap.is_some() { None } else { Some(Driver::start(flapping)?) };
        }
        samples.push((begun.elapsed().as_secs_f64(), proxy.rss_kb()?, proxy.descriptors()?));
    }
    let outcomes = [small.answer()?, large.answer()?];
    drop(flap);
    std::thread::sleep(Duration::from_secs(2));
    // What a start needs is no growth: the first tenth is left out.
    let settled = &samples[samples.len() / 10..];
    let numbers =
        |text: &str| text.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" requests, errors: ");
    let report = json!({
        "seconds": seconds, "configurations": turn, "flaps": turn / 6,
        "small": numbers(&outcomes[0]), "large": numbers(&outcomes[1]),
        "rss_kb": { "first": settled.first().map(|s| s.1), "last": samples.last().map(|s| s.1), "most": samples.iter().map(|s| s.1).max() },
        "rss_kb_per_minute": (slope(settled) * 60.0).round(),
        "descriptors": { "first": settled.first().map(|s| s.2), "most": samples.iter().map(|s| s.2).max(), "after": proxy.descriptors()? },
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// One of two configurations that differ in a weight and a route.
fn write_config(file: &Path, address: SocketAddr, origins: [SocketAddr; 3], turn: u64) -> Result<()> {
    let [a, b, c] = origins;
    let text = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"{address}\" }} }}\nadmin: {{ address: off }}\nstatus: {{ address: off }}\n\
         upstreams: {{ all: {{ endpoints: [\"http://{a}\", \"http://{b}\", {{ url: \"http://{c}\", weight: {} }}] }} }}\n\
         routes:\n  all: {{ match: \"/*\", to: all }}\n  svc1: {{ match: \"/svc1/*\", to: all }}\n  extra{turn}: {{ match: \"/extra{turn}\", to: all }}\n",
        1 + turn % 2
    );
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, file)?)
}

/// Memory in KiB per second, by least squares.
fn slope(samples: &[(f64, u64, usize)]) -> f64 {
    let n = samples.len() as f64;
    let (time, memory) =
        (samples.iter().map(|s| s.0).sum::<f64>() / n, samples.iter().map(|s| s.1 as f64).sum::<f64>() / n);
    let covariance: f64 = samples.iter().map(|s| (s.0 - time) * (s.1 as f64 - memory)).sum();
    let variance: f64 = samples.iter().map(|s| (s.0 - time).powi(2)).sum();
    covariance / variance.max(f64::MIN_POSITIVE)
}
