//! Handing the listening sockets over to a new process of the binary, which takes them as they are:
//! nothing that waits in their queues is lost.
//!
//! Sockets go over as open descriptors, their numbers in the environment by what listens there. The
//! new process says over one more descriptor that it serves; until then the old one goes on.

use socket2::SockRef;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

/// Where the descriptors of sockets are written: `key=3,4;key=5`.
const SOCKETS: &str = "OXGATE_SOCKETS";
/// Where the descriptor is written over which the new process says that it serves.
const READY: &str = "OXGATE_READY";
/// How long the new process may take to serve.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sockets that an earlier process left to this one, by what listens there.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: HashMap<String, Vec<OwnedFd>>,
    ready: Option<UnixStream>,
}

impl Inherited {
    /// Takes what the environment names. To be called once, early, before anything else is opened.
    pub fn take() -> Inherited {
        let mut inherited = Inherited::default();
        let number = |text: &str| text.parse().ok().filter(|fd: &i32| *fd > 2);
        for entry in std::env::var(SOCKETS).unwrap_or_default().split(';') {
            let Some((key, numbers)) = entry.rsplit_once('=') else { continue };
            let sockets = numbers.split(',').filter_map(number).filter_map(adopt).collect();
            inherited.sockets.insert(key.to_owned(), sockets);
        }
        inherited.ready = std::env::var(READY).ok().and_then(|text| adopt(number(&text)?)).map(UnixStream::from);
        inherited
    }

    /// The sockets of this key.
    pub fn sockets(&mut self, key: &str) -> Vec<OwnedFd> {
        self.sockets.remove(key).unwrap_or_default()
    }

    /// Tells the earlier process that this one serves, and closes what nobody asked for.
    pub fn announce(self) {
        if let Some(mut ready) = self.ready {
            // It may have ended meanwhile; then there is nobody to tell.
            let _ = ready.write_all(b"1");
        }
    }
}

/// Takes a descriptor into ownership, if it is a socket.
fn adopt(fd: i32) -> Option<OwnedFd> {
    // SAFETY: the process that started this one left the descriptor open for it and nothing else here
    // knows its number; if it is no socket it is given back untouched.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let socket = SockRef::from(&fd);
    if socket.local_addr().is_err() {
        std::mem::forget(fd);
        return None;
    }
    // Not to be left to whatever this process starts.
    socket.set_cloexec(true).ok()?;
    Some(fd)
}

/// A new process on its way to serve.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    ready: UnixStream,
}

impl Successor {
    /// Starts `program` with this process's arguments and these sockets.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(program: &PathBuf, sockets: &[(String, Vec<OwnedFd>)]) -> io::Result<Successor> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut left = vec![theirs.as_fd()];
        let mut names = Vec::new();
        for (key, sockets) in sockets {
            let numbers: Vec<String> = sockets.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
            names.push(format!("{key}={}", numbers.join(",")));
            left.extend(sockets.iter().map(AsFd::as_fd));
        }
        let mut command = Command::new(program);
        command.args(std::env::args_os().skip(1));
        command.env(SOCKETS, names.join(";")).env(READY, theirs.as_raw_fd().to_string());
        for fd in &left {
            SockRef::from(fd).set_cloexec(false)?;
        }
        let child = command.spawn();
        for fd in &left {
            SockRef::from(fd).set_cloexec(true)?;
        }
        Ok(Successor { child: child?, ready: ours })
    }

    /// Waits until it serves. Blocks.
    ///
    /// # Errors
    /// It ended or did not serve in time; it is gone then.
    pub fn wait(mut self) -> io::Result<u32> {
        self.ready.set_read_timeout(Some(PATIENCE))?;
        match self.ready.read(&mut [0; 1]) {
            Ok(1) => Ok(self.child.id()),
            other => {
                let _ = self.child.kill();
                let status = self.child.wait()?;
                Err(other.err().unwrap_or_else(|| io::Error::other(format!("the new process ended: {status}"))))
            }
        }
    }
}
