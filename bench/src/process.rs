//! Processes under test: starting and ending them, what they cost.

use crate::Result;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process under test; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    /// The process that does the work.
    pub(crate) pid: u32,
}

impl Process {
    /// Starts a server and waits until it accepts.
    pub(crate) fn start(name: &'static str, command: &mut Command, address: SocketAddr) -> Result<Process> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut process = Process { name, address, pid: child.id(), child: Some(child) };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > end || process.has_ended() {
                return Err(format!("{name} did not start").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(process)
    }

    /// The same, of a server whose work is done by a child that it starts.
    pub(crate) fn start_parent(name: &'static str, command: &mut Command, address: SocketAddr) -> Result<Process> {
        let mut process = Process::start(name, command, address)?;
        let children = format!("/proc/{0}/task/{0}/children", process.pid);
        let end = Instant::now() + Duration::from_secs(10);
        process.pid = loop {
            let child = fs::read_to_string(&children)?.split_whitespace().next().and_then(|c| c.parse().ok());
            match child {
                Some(child) => break child,
                None if Instant::now() > end => return Err(format!("{name} started no child").into()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        Ok(process)
    }

    /// A process that somebody else started and will end.
    pub(crate) fn known(name: &'static str, address: SocketAddr, pid: u32) -> Process {
        Process { name, address, pid, child: None }
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// CPU time in nanoseconds, all threads together.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    /// Descriptors open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// Memory held, in KiB.
    pub(crate) fn rss_kb(&self) -> Result<u64> {
        rss_kb(self.pid)
    }
}

/// Memory that a process holds, in KiB.
pub(crate) fn rss_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        // SIGTERM first: a master ends its workers.
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && !self.has_ended() {
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A program on one core: proxies on core 0, load and origin on core 1.
pub(crate) fn pinned(core: u8, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// An address on the loopback that nobody uses.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
