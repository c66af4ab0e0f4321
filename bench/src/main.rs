//! Load runs against rivals. `bench run` does them all; the other commands are its parts.

mod chart;
mod latency;
mod load;
mod origin;
mod relay;
mod run;

use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize| args.get(i).map(String::as_str).unwrap_or_default();
    match arg(0) {
        "origin" => origin::run(arg(1).parse()?)?,
        "relay" => relay::run(arg(1).parse()?, arg(2).parse()?)?,
        "load" => {
            let plan = load::Plan {
                target: arg(1).parse()?,
                connections: arg(2).parse()?,
                duration: Duration::from_secs_f64(arg(3).parse()?),
                path: args.get(4).cloned().unwrap_or_else(|| "/".to_owned()),
                upload: arg(5).parse().unwrap_or(0),
                rate: arg(6).parse().ok().filter(|rate| *rate > 0),
                most: arg(7).parse().unwrap_or(u64::MAX),
            };
            let outcome = load::run(&plan)?;
            println!(
                "{} {} {:.3} {:.1} {:.1} {:.1}",
                outcome.requests,
                outcome.errors,
                outcome.elapsed.as_secs_f64(),
                outcome.latencies.quantile(0.5),
                outcome.latencies.quantile(0.99),
                outcome.latencies.quantile(0.999)
            );
        }
        "run" => {
            let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
            let smoke = args.iter().any(|a| a == "--smoke");
            run::run(&run::Options {
                oxgate: option("--oxgate").ok_or("--oxgate FILE is missing")?.into(),
                out: option("--out").map(Into::into),
                rounds: option("--rounds").and_then(|n| n.parse().ok()).unwrap_or(if smoke { 1 } else { 7 }),
                seconds: option("--seconds").and_then(|n| n.parse().ok()).unwrap_or(if smoke { 0.3 } else { 2.0 }),
                all: !smoke,
            })?;
        }
        other => return Err(format!("unknown command `{other}`: origin ADDR | relay ADDR TO | load ADDR CONNECTIONS SECONDS [PATH [UPLOAD [RATE [MOST]]]] | run").into()),
    }
    Ok(())
}
