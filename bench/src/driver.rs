//! Origin and load generator in one thread, which never sleeps while a load runs.
//!
//! Were they two processes that wait, how often the other core falls asleep would depend on the
//! proxy, and each time it has to be woken the proxy pays for that with an interrupt between
//! processors, which costs microseconds on a virtual machine. So the other core is kept awake, for
//! every proxy alike.

use crate::Result;
use crate::load::{Load, Plan};
use crate::origin::{FOREIGN, Origin};
use crate::process::pinned;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

/// Serves as an origin and carries out the plans that come in, one a line; ends with its input.
pub(crate) fn run(address: SocketAddr) -> Result<()> {
    let mut origin = Origin::bind(address)?;
    let input = std::io::stdin();
    let place = Token(FOREIGN);
    origin.poll.registry().register(&mut SourceFd(&input.as_raw_fd()), place, Interest::READABLE)?;
    println!("ready");
    loop {
        if !origin.step(None)? {
            continue;
        }
        let mut line = String::new();
        if input.lock().read_line(&mut line)? == 0 {
            return Ok(());
        }
        println!("{}", carry_out(&line, &mut origin).unwrap_or_else(|error| format!("failed: {error}")));
    }
}

/// Requests, errors, seconds, and the latencies that 50, 99 and 99.9 % stay under, in microseconds.
fn carry_out(line: &str, origin: &mut Origin) -> Result<String> {
    let mut load = Load::begin(Plan::read(line).ok_or("no plan")?)?;
    while !load.step()? {
        origin.step(Some(Duration::ZERO))?;
    }
    let outcome = load.finish();
    let mut out = format!("{} {} {:.6}", outcome.requests, outcome.errors, outcome.elapsed.as_secs_f64());
    for share in [0.5, 0.99, 0.999] {
        // Writing to a String cannot fail.
        let _ = write!(out, " {:.1}", outcome.latencies.quantile(share));
    }
    Ok(out)
}

/// A driver in a process of its own, on the core that no proxy uses.
#[derive(Debug)]
pub(crate) struct Driver {
    /// Where its origin listens.
    pub(crate) origin: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts one whose origin listens on this address.
    pub(crate) fn start(origin: SocketAddr) -> Result<Driver> {
        let mut command = pinned(1, &std::env::current_exe()?);
        let mut child =
            command.args(["drive", &origin.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut driver = Driver { origin, child, input, output };
        driver.answer()?;
        TcpStream::connect(origin)?;
        Ok(driver)
    }

    /// Begins a plan, written as [`Plan::read`] reads it.
    pub(crate) fn begin(&mut self, plan: &str) -> Result<()> {
        Ok(writeln!(self.input, "{plan}")?)
    }

    /// Waits for the end of the plan and gives its numbers.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// The process, whose end is the end of both.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
