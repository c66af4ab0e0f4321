//! A client's connection.

use super::listener::ListenerView;
use crate::socket::Socket;
use crate::timers::TimerId;
use crate::wire::Wire;
use crate::worker::Worker;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Counts a connection from its being accepted to its end.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) w: Rc<Worker>,
    pub(crate) listener: Rc<ListenerView>,
}

impl Admission {
    pub(crate) fn new(w: &Rc<Worker>, listener: &Rc<ListenerView>) -> Admission {
        listener.opened();
        w.metrics.connections.add(1);
        Admission { w: Rc::clone(w), listener: Rc::clone(listener) }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.listener.closed();
        self.w.metrics.connections.sub(1);
    }
}

#[derive(Debug)]
pub(crate) struct Downstream {
    pub(crate) wire: Wire,
    admission: Admission,
    /// The peer's address; the unspecified one for Unix sockets.
    pub(crate) peer: IpAddr,
    timer: TimerId,
}

impl Downstream {
    pub(crate) fn new(admission: Admission, socket: Socket, peer: Option<SocketAddr>, timer: TimerId) -> Downstream {
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |p| p.ip().to_canonical());
        let wire = Wire::new(socket, &admission.w.buffers);
        Downstream { wire, admission, peer, timer }
    }

    /// The worker that serves it.
    #[inline]
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.admission.w
    }

    /// Has the current task woken when the deadline passes.
    pub(crate) fn watch_deadline(&self, cx: &Context<'_>) {
        self.admission.w.timers.watch(self.timer, cx);
    }

    /// The listener that accepted it.
    #[inline]
    pub(crate) fn listener(&self) -> &ListenerView {
        &self.admission.listener
    }

    #[inline]
    pub(crate) fn set_deadline(&self, deadline_us: u64) {
        self.admission.w.timers.set(self.timer, deadline_us);
    }

    /// Waits from now on for nothing but another request, and for so long.
    #[inline]
    pub(crate) fn wait_idle(&self, now_us: u64, patience_us: u64) {
        self.admission.w.timers.set_idle(self.timer, now_us, now_us + patience_us);
    }

    /// Whether it should end to make room for others.
    pub(crate) fn is_shed(&self) -> bool {
        self.admission.w.timers.is_shed(self.timer)
    }

    #[inline]
    pub(crate) fn expired(&self) -> bool {
        self.admission.w.timers.expired(self.timer)
    }

    /// Whether the client has closed its side. What it sends ahead is read up to one buffer; a
    /// client that sends more than that is not seen to close until its requests are served.
    #[inline]
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.wire.input.is_full() {
            match self.wire.poll_fill(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        false
    }

    /// Whether the connection was reset, found out without reading from it.
    pub(crate) fn is_broken(&self) -> bool {
        self.wire.socket.is_broken()
    }

    /// Appends the peer's address as text.
    pub(crate) fn write_peer(&self, out: &mut Vec<u8>) {
        write_address(self.peer, out);
    }

    /// Appends the peer as the value of `for` (RFC 7239 §6): IPv6 in brackets and quotes.
    #[inline]
    pub(crate) fn write_forwarded_peer(&self, out: &mut Vec<u8>) {
        let quoted = self.peer.is_ipv6();
        if quoted {
            out.extend_from_slice(b"\"[");
        }
        self.write_peer(out);
        if quoted {
            out.extend_from_slice(b"]\"");
        }
    }
}

/// Appends an address as text.
pub(crate) fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{address}");
}

impl Drop for Downstream {
    fn drop(&mut self) {
        let w = &self.admission.w;
        w.timers.release(self.timer);
    }
}
