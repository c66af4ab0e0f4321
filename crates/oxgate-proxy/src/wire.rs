//! One end of a proxied exchange: a socket and what was read from it ahead of need.

use crate::buffer::{Buffer, BufferPool};
use crate::socket::Socket;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A socket and what was read from it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    pub(crate) input: Buffer,
}

impl Wire {
    pub(crate) fn new(socket: Socket, pool: &Rc<BufferPool>) -> Wire {
        Wire { socket, input: Buffer::new(pool) }
    }

    /// Reads once; 0 is the peer's end. The caller sees to it that the input is not full.
    #[inline]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Wire { socket, input } = self;
        if input.is_bare() {
            return input.fill_empty(|room| socket.poll_read(cx, room));
        }
        let room = input.room();
        let read = socket.poll_read(cx, room);
        match read {
            Poll::Ready(Ok(n)) => input.extend(n),
            _ => input.release(),
        }
        read
    }
}
