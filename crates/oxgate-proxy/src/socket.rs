//! A worker's sockets: TCP and Unix alike, non-blocking, watched by its event loop.

use crate::event_loop::{EventLoop, READ, Source, WRITE, spend};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, acceptfrom_with, connect, recv, send,
    shutdown, socket_with, sockopt,
};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long nothing may come from a silent peer's machine before it is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(20);
/// How long it may then take, and how long data may go unacknowledged.
const NO_SIGN: Duration = Duration::from_secs(10);

/// Lets the system find out within half a minute that a peer's machine is gone: by probes while
/// nothing is sent (RFC 9293 §3.8.4), by what is not acknowledged while something is (RFC 5482).
/// Connections accepted on a socket inherit it.
///
/// # Errors
/// The socket is none of TCP.
pub fn watch_for_vanished_peers<S: AsFd>(socket: &S) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, SILENCE)?;
    sockopt::set_tcp_keepintvl(socket, NO_SIGN / 2)?;
    sockopt::set_tcp_keepcnt(socket, 2)?;
    Ok(sockopt::set_tcp_user_timeout(socket, (SILENCE + NO_SIGN).as_millis() as u32)?)
}

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A connected socket. One task uses it at a time.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    source: Source,
}

impl Socket {
    /// Takes a connected, non-blocking socket in.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn new(event_loop: &EventLoop, fd: OwnedFd) -> io::Result<Socket> {
        Ok(Socket { source: event_loop.watch(&fd, WRITE)?, fd })
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// Nobody listens there or can be reached, or the process is out of descriptors.
    pub(crate) async fn connect(event_loop: &EventLoop, address: SocketAddr) -> io::Result<Socket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let fd = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        match connect(&fd, &address) {
            Ok(()) => return Socket::new(event_loop, fd),
            // A signal does not stop the connecting (connect(2)).
            Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Socket { source: event_loop.watch(&fd, 0)?, fd };
        poll_fn(|cx| if socket.source.poll_ready(cx, WRITE) { Poll::Ready(()) } else { Poll::Pending }).await;
        sockopt::socket_error(&socket.fd)??;
        Ok(socket)
    }

    /// Reads once; 0 is the peer's end.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.source.poll_ready(cx, READ) && spend(cx) {
            if let Some(read) = self.try_read(room) {
                return Poll::Ready(read);
            }
        }
        Poll::Pending
    }

    /// Reads once, unless there is nothing.
    #[inline]
    fn try_read(&self, room: &mut [u8]) -> Option<io::Result<usize>> {
        let read = retry_on_intr(|| recv(&self.fd, &mut *room, RecvFlags::empty()));
        match read {
            Ok((n, _)) if n < room.len() => self.source.used_up(READ),
            Err(Errno::AGAIN) => {
                self.source.found_nothing();
                return None;
            }
            _ => {}
        }
        Some(read.map(|(n, _)| n).map_err(io::Error::from))
    }

    /// Writes once.
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while self.source.poll_ready(cx, WRITE) {
            let written = retry_on_intr(|| send(&self.fd, bytes, SendFlags::NOSIGNAL));
            match written {
                Ok(n) if n < bytes.len() => self.source.used_up(WRITE),
                Err(Errno::AGAIN) => {
                    self.source.used_up(WRITE);
                    continue;
                }
                _ => {}
            }
            return Poll::Ready(written.map_err(io::Error::from));
        }
        Poll::Pending
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&self.fd, Shutdown::Write) {
            // It has ended in both directions already; what came before may still be read.
            Ok(()) | Err(Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Whether an unused connection has seen nothing: no byte and no end. Costs no system call as long as
    /// the event loop has not heard anything of the socket.
    #[inline]
    pub(crate) fn is_quiet(&mut self) -> bool {
        !self.source.is_ready(READ) || self.try_read(&mut [0]).is_none()
    }

    /// Has small segments sent at once (RFC 9293 §3.7.4).
    ///
    /// # Errors
    /// The socket is none of TCP.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.fd, true)?)
    }

    /// Whether the system knows of an error.
    pub(crate) fn is_broken(&self) -> bool {
        !matches!(sockopt::socket_error(&self.fd), Ok(Ok(())))
    }

    /// Closes with a reset: the peer must not take the end for an orderly one.
    pub(crate) fn reset_on_close(&self) {
        // A socket that is gone already needs no reset.
        let _ = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO));
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A listening socket; other workers, and a new process of the binary, may hold it too.
#[derive(Debug)]
pub(crate) struct Acceptor {
    fd: OwnedFd,
    source: Source,
}

impl Acceptor {
    /// # Errors
    /// The system cannot watch it.
    pub(crate) fn new(event_loop: &EventLoop, fd: OwnedFd) -> io::Result<Acceptor> {
        Ok(Acceptor { source: event_loop.watch(&fd, 0)?, fd })
    }

    /// Whether connections may be waiting to be accepted.
    pub(crate) fn has_more(&self) -> bool {
        self.source.is_ready(READ)
    }

    /// Accepts a connection that no event loop watches yet; the peer's address, if it has one.
    pub(crate) fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<(OwnedFd, Option<SocketAddr>)>> {
        while self.source.poll_ready(cx, READ) && spend(cx) {
            match acceptfrom_with(&self.fd, FLAGS) {
                Err(Errno::AGAIN) => self.source.found_nothing(),
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok((fd, peer)) => return Poll::Ready(Ok((fd, peer.and_then(|p| SocketAddr::try_from(p).ok())))),
            }
        }
        Poll::Pending
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.source.forget(&self.fd);
    }
}
