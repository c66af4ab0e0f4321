//! Load runs against rivals. `bench run` does them all; the other commands are its parts.

mod chart;
mod compare;
mod contestants;
mod count;
mod driver;
mod latency;
mod load;
mod memory;
mod origin;
mod process;
mod relay;
mod run;
mod soak;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize| args.get(i).map(String::as_str).unwrap_or_default();
    match arg(0) {
        "drive" => driver::run(arg(1).parse()?)?,
        "relay" => relay::run(arg(1).parse()?, arg(2).parse()?)?,
        "hold" => memory::hold(arg(1).parse()?, arg(2).parse()?)?,
        "soak" => soak::run(std::path::Path::new(arg(1)), arg(2).parse()?)?,
        "run" => {
            let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
            let smoke = args.iter().any(|a| a == "--smoke");
            run::run(&run::Options {
                oxgate: option("--oxgate").ok_or("--oxgate FILE is missing")?.into(),
                before: option("--before").map(Into::into),
                out: option("--out").map(Into::into),
                rounds: option("--rounds").and_then(|n| n.parse().ok()).unwrap_or(if smoke { 1 } else { 7 }),
                seconds: option("--seconds").and_then(|n| n.parse().ok()).unwrap_or(if smoke { 0.3 } else { 2.0 }),
                all: !smoke,
            })?;
        }
        other => {
            return Err(
                format!("unknown command `{other}`: run | soak FILE SECONDS | drive ADDR | relay ADDR TO | hold ADDR CONNECTIONS").into()
            );
        }
    }
    Ok(())
}
