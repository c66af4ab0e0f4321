//! One end of a proxied exchange: a socket and what was read from it ahead of need.

use crate::buffer::{Buffer, BufferPool};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        let read = match self {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut room),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, &mut room),
        };
        read.map_ok(|()| room.filled().len())
    }

    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    /// Closes with a reset: the peer must not take the end for an orderly one.
    pub(crate) fn reset_on_close(&self) {
        let zero = Some(std::time::Duration::ZERO);
        // A socket that is gone already needs no reset.
        let _ = match self {
            Socket::Tcp(socket) => socket2::SockRef::from(socket).set_linger(zero),
            Socket::Unix(socket) => socket2::SockRef::from(socket).set_linger(zero),
        };
    }

    /// Whether an unused connection has seen nothing: no byte and no end. Costs no system call as
    /// long as the event loop has not reported anything for the socket.
    #[inline]
    pub(crate) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let ready = match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        };
        ready.is_pending() || self.poll_read(cx, &mut [0; 1]).is_pending()
    }
}

/// A socket and what was read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) input: Buffer,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Wire {
        Wire { socket, input: Buffer::default() }
    }

    /// Reads once; 0 is the peer's end. The caller sees to it that the input is not full.
    #[inline]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> Poll<io::Result<usize>> {
        let Wire { socket, input } = self;
        if input.is_bare() {
            return input.fill_empty(pool, |room| socket.poll_read(cx, room));
        }
        let room = self.input.room(pool);
        let read = self.socket.poll_read(cx, room);
        match read {
            Poll::Ready(Ok(n)) => self.input.extend(n),
            _ => self.input.release(pool),
        }
        read
    }
}
