//! A gateway in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A running gateway; it is killed when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// What it writes to standard error, line by line.
    log: mpsc::Receiver<String>,
    /// Addresses by what listens there: a listener's name, `status` or `admin`.
    addresses: Vec<(String, SocketAddr)>,
    /// The folder with its configuration.
    pub folder: tempfile::TempDir,
}

/// How long anything may take before a test calls it failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

impl Gateway {
    /// Starts `binary` with this configuration as `oxgate.yaml`; returns when all `expected` listen.
    pub fn start(binary: &Path, config: &str, expected: &[&str]) -> Gateway {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("oxgate.yaml"), config).expect("a file");
        let mut child = Command::new(binary)
            .args(["run", "--workers", "2"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("piped");
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut gateway = Gateway { child, log, addresses: Vec::new(), folder };
        while !expected.iter().all(|name| gateway.addresses.iter().any(|(n, _)| n == name)) {
            let line = gateway.next_line().unwrap_or_else(|| panic!("the gateway did not start with:\n{config}"));
            gateway.note_address(&line);
        }
        gateway
    }

    fn next_line(&mut self) -> Option<String> {
        self.log.recv_timeout(PATIENCE).ok()
    }

    fn note_address(&mut self, line: &str) {
        let value = |key: &str| {
            let rest = &line[line.find(key)? + key.len()..];
            Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
        };
        let name = value("listener=").or_else(|| value("interface="));
        if let (Some(name), Some(address)) = (name, value("address=").and_then(|a| a.parse().ok())) {
            self.addresses.push((name, address));
        }
    }

    /// Waits for a line on standard error that holds this text.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let line = self.next_line().unwrap_or_else(|| panic!("no line with `{text}` in the log"));
            self.note_address(&line);
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with `{text}` in the log");
    }

    /// Where something listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses.iter().rev().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} does not listen")).1
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("oxgate.yaml")
    }

    /// Sends a signal by its name, as kill(1) knows it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Waits for the process to end by itself; gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < end, "the gateway does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A page of the status interface.
    pub fn status(&self, path: &str) -> (u16, String) {
        get(self.address("status"), path)
    }

    /// What it wrote to standard output, once it has ended.
    pub fn output(mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        let stdout = self.child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut BufReader::new(stdout), &mut text).expect("text");
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simple GET on a connection of its own: status and body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
}

/// Sends one request that asks for the connection to be closed: status and body.
pub fn request(address: SocketAddr, text: &str) -> (u16, String) {
    let mut socket = std::net::TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.write_all(text.as_bytes()).expect("written");
    let mut answer = Vec::new();
    // A reset after the answer is no matter.
    let _ = std::io::Read::read_to_end(&mut socket, &mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
