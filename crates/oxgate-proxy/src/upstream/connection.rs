//! A connection to an endpoint.

use super::pool::Place;
use crate::error::ProxyError;
use crate::socket::{Socket, watch_for_vanished_peers};
use crate::wire::Wire;
use crate::worker::Worker;
use rustix::io::Errno;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// A connection, counted against its endpoint for as long as it exists.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    place: Place,
    born_us: u64,
    /// Whether it has carried an exchange before: the peer may have closed it meanwhile.
    pub(crate) reused: bool,
    pub(super) idle_since_us: u64,
}

impl Connection {
    pub(super) fn new(w: &Worker, socket: Socket, place: Place) -> Connection {
        let now_us = w.clock.now_us();
        Connection { wire: Wire::new(socket, &w.buffers), place, born_us: now_us, reused: false, idle_since_us: now_us }
    }

    /// Gives the connection back for the next exchange; the caller knows that the last one ended
    /// cleanly on it.
    #[inline]
    pub(crate) fn release(mut self, w: &Worker) {
        let now = w.clock.now_us();
        // Bytes that nobody asked for: never to be read as the next answer.
        let stray = !self.wire.input.is_empty();
        self.wire.input.discard();
        let too_old = now - self.born_us >= self.place.0.max_age_us;
        if !stray && !too_old && !w.is_leaving() {
            self.reused = true;
            self.idle_since_us = now;
            let endpoint = Rc::clone(&self.place.0);
            endpoint.keep(self);
        }
    }
}

/// How long the closing of idle client connections may take to show.
const PAUSE_US: u64 = 5_000;

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Opens a socket to one of the addresses, beginning at a random one.
pub(super) async fn open(w: &Worker, addresses: &[SocketAddr]) -> Result<Socket, ProxyError> {
    let first = w.random() as usize % addresses.len().max(1);
    let mut result = Err(ProxyError::Unresolved);
    let mut i = 0;
    while i < addresses.len() {
        let address = addresses[(first + i) % addresses.len()];
        match Socket::connect(&w.event_loop, address).await {
            Ok(socket) => {
                // A failure here costs latency, not correctness.
                let _ = socket.set_nodelay().and_then(|()| watch_for_vanished_peers(&socket));
                return Ok(socket);
            }
            // Idle clients make room for a request that is under way, which waits no longer than for any
            // connection.
            Err(error) if is_out_of_descriptors(&error) => {
                w.make_room();
                w.sleep(PAUSE_US).await;
            }
            Err(error) => {
                tracing::debug!(%address, %error, "connect failed");
                result = Err(ProxyError::ConnectFailed);
                i += 1;
            }
        }
    }
    result
}
