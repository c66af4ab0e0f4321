//! One end of a proxied exchange: a socket and what was read from it ahead of need.

use crate::buffer::{Buffer, BufferPool};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

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
    let socket = SockRef::from(socket);
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(NO_SIGN / 2).with_retries(2);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(SILENCE + NO_SIGN))
}

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
        // Nearly always there is room, and being woken need not be asked for.
        let tried = match self {
            Socket::Tcp(socket) => socket.try_write(bytes),
            Socket::Unix(socket) => socket.try_write(bytes),
        };
        match tried {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
                Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            },
            done => Poll::Ready(done),
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    /// Whether the system knows of an error.
    pub(crate) fn is_broken(&self) -> bool {
        let error = match self {
            Socket::Tcp(socket) => socket.take_error(),
            Socket::Unix(socket) => socket.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Closes with a reset: the peer must not take the end for an orderly one.
    pub(crate) fn reset_on_close(&self) {
        let zero = Some(Duration::ZERO);
        // A socket that is gone already needs no reset.
        let _ = match self {
            Socket::Tcp(socket) => SockRef::from(socket).set_linger(zero),
            Socket::Unix(socket) => SockRef::from(socket).set_linger(zero),
        };
    }

    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let ready = match self {
            Socket::Tcp(socket) => socket.poll_read_ready(cx),
            Socket::Unix(socket) => socket.poll_read_ready(cx),
        };
        ready.is_pending() || self.poll_read(cx, &mut [0; 1]).is_pending()
    }

    /// Whether the event loop has reported something to read, an end or an error; no system call.
    #[inline]
    fn has_news(&self) -> bool {
        let looked = match self {
            Socket::Tcp(socket) => socket.try_io(Interest::READABLE, || Ok(())),
            Socket::Unix(socket) => socket.try_io(Interest::READABLE, || Ok(())),
        };
        looked.is_ok()
    }
}

/// A socket and what was read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) input: Buffer,
    /// The last read found nothing, so the task that tried is woken when something comes. Asking
    /// the event loop for that again would be a waste.
    watched: bool,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Wire {
        Wire { socket, input: Buffer::default(), watched: false }
    }

    /// Reads once; 0 is the peer's end. The caller sees to it that the input is not full. One task
    /// reads from a wire, and this is how; it may change between two exchanges only by
    /// [`Wire::is_quiet`].
    #[inline]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, pool: &BufferPool) -> Poll<io::Result<usize>> {
        if self.watched && !self.socket.has_news() {
            return Poll::Pending;
        }
        let Wire { socket, input, watched } = self;
        if input.is_bare() {
            let read = input.fill_empty(pool, |room| socket.poll_read(cx, room));
            *watched = read.is_pending();
            return read;
        }
        let room = input.room(pool);
        let read = socket.poll_read(cx, room);
        *watched = read.is_pending();
        match read {
            Poll::Ready(Ok(n)) => input.extend(n),
            _ => input.release(pool),
        }
        read
    }

    /// Whether an unused connection has seen nothing: no byte and no end. Costs no system call as
    /// long as the event loop has not reported anything for the socket. From now on the current task
    /// is woken when something comes.
    #[inline]
    pub(crate) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let quiet = self.socket.poll_quiet(cx);
        self.watched = quiet;
        quiet
    }
}
