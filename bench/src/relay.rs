//! The floor: bytes from one socket to another and back, nothing looked at.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;

struct Side {
    socket: TcpStream,
    /// Read from the other side and not taken by this one yet.
    unsent: Vec<u8>,
}

/// Relays for ever: a connection to `to` for each one accepted.
pub(crate) fn run(address: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    // Sides lie in pairs: 2n is the client, 2n + 1 the origin. The first pair is never used.
    let mut sides: Vec<Option<Side>> = vec![None, None];
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        // A tracer that attaches interrupts the wait.
        if poll.poll(&mut events, None).is_err() {
            continue;
        }
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((client, _)) = listener.accept() {
                    let pair = free.pop().unwrap_or_else(|| {
                        sides.extend([None, None]);
                        sides.len() - 2
                    });
                    for (i, mut socket) in [client, TcpStream::connect(to)?].into_iter().enumerate() {
                        socket.set_nodelay(true)?;
                        poll.registry().register(
                            &mut socket,
                            Token(pair + i),
                            Interest::READABLE | Interest::WRITABLE,
                        )?;
                        sides[pair + i] = Some(Side { socket, unsent: Vec::new() });
                    }
                }
                continue;
            }
            let index = event.token().0;
            let read = if event.is_readable() { index } else { index ^ 1 };
            if !relay(&mut sides, read, &mut buffer) {
                (sides[index], sides[index ^ 1]) = (None, None);
                free.push(index & !1);
            }
        }
    }
}

/// Moves what the side at `from` has sent to its partner.
fn relay(sides: &mut [Option<Side>], from: usize, buffer: &mut [u8]) -> bool {
    loop {
        let Some(to) = sides[from ^ 1].as_mut() else { return true };
        while !to.unsent.is_empty() {
            match to.socket.write(&to.unsent) {
                Ok(n) => drop(to.unsent.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::NotConnected => {
                    return true;
                }
                Err(_) => return false,
            }
        }
        let Some(source) = sides[from].as_mut() else { return true };
        let n = match source.socket.read(buffer) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::NotConnected => return true,
            Err(_) => return false,
        };
        let Some(to) = sides[from ^ 1].as_mut() else { return true };
        let sent = match to.socket.write(&buffer[..n]) {
            Ok(sent) => sent,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::NotConnected => 0,
            Err(_) => return false,
        };
        to.unsent.extend_from_slice(&buffer[sent..n]);
        if n < buffer.len() && sent == n {
            return true;
        }
    }
}
