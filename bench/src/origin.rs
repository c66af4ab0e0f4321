//! An origin that costs next to nothing: it looks for the end of a head and writes a fixed answer.
//!
//! `/1m` answers with 1 MiB, `/stream/N` with N MiB, everything else with 128 bytes. Bodies of
//! requests are counted by Content-Length and thrown away.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

const SMALL: usize = 128;

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    head: Vec<u8>,
    /// Body bytes of the request still to come.
    body: usize,
    /// Bytes of the answer's body still to be written.
    pending: usize,
}

/// A listening origin and its connections.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Whoever drives the origin may wait for something of its own here, under a token from
    /// [`FOREIGN`] on.
    pub(crate) poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    events: Events,
    buffer: Vec<u8>,
    small: Vec<u8>,
    filler: Vec<u8>,
}

/// Tokens that are not the origin's begin here.
pub(crate) const FOREIGN: usize = usize::MAX / 2;

impl Origin {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Origin> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
        Ok(Origin {
            poll,
            listener,
            clients: vec![None],
            free: Vec::new(),
            events: Events::with_capacity(1024),
            buffer: vec![0; 512 * 1024],
            small: answer(SMALL, true),
            filler: vec![b'x'; 1 << 20],
        })
    }

    /// Does what there is to do, after waiting for it at most so long; says whether something foreign
    /// is ready.
    pub(crate) fn step(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let Origin { poll, listener, clients, free, events, buffer, small, filler } = self;
        // A tracer that attaches interrupts the wait.
        if poll.poll(events, timeout).is_err() {
            return Ok(false);
        }
        let mut foreign = false;
        for event in &*events {
            if event.token().0 >= FOREIGN {
                foreign = true;
                continue;
            }
            if event.token() == Token(0) {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    let index = free.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(index), both)?;
                    clients[index] = Some(Client { socket, head: Vec::new(), body: 0, pending: 0 });
                }
                continue;
            }
            let index = event.token().0;
            let Some(client) = clients[index].as_mut() else { continue };
            if !client.turn(buffer, small, filler) {
                clients[index] = None;
                free.push(index);
            }
        }
        Ok(foreign)
    }
}

fn answer(length: usize, with_body: bool) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nServer: origin\r\n\r\n")
            .into_bytes();
    if with_body {
        answer.resize(answer.len() + length, b'x');
    }
    answer
}

impl Client {
    /// Does what can be done now; false when the connection is over.
    fn turn(&mut self, buffer: &mut [u8], small: &[u8], filler: &[u8]) -> bool {
        loop {
            while self.pending > 0 {
                match self.socket.write(&filler[..self.pending.min(filler.len())]) {
                    Ok(n) => self.pending -= n,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                    Err(_) => return false,
                }
            }
            let n = match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            if !self.received(&buffer[..n], small) {
                return false;
            }
            // A short read emptied the socket: the next event will say when there is more.
            if n < buffer.len() && self.pending == 0 {
                return true;
            }
        }
    }

    fn received(&mut self, mut bytes: &[u8], small: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.body > 0 {
                let n = self.body.min(bytes.len());
                self.body -= n;
                bytes = &bytes[n..];
                if self.body == 0 && self.socket.write(small).is_err() {
                    return false;
                }
                continue;
            }
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else { return true };
            bytes = &bytes[end + 4 - before..];
            let (path, length) = request(&self.head[..end]);
            self.body = length;
            let stream = match path {
                b"/1m" => Some(1usize),
                _ => path.strip_prefix(b"/stream/").and_then(|n| std::str::from_utf8(n).ok()?.parse().ok()),
            };
            self.head.clear();
            let written = match stream {
                Some(megabytes) => {
                    self.pending = megabytes << 20;
                    self.socket.write(&answer(self.pending, false))
                }
                None if self.body == 0 => self.socket.write(small),
                None => Ok(0),
            };
            if written.is_err() {
                return false;
            }
        }
        true
    }
}

/// Path and Content-Length of a head.
fn request(head: &[u8]) -> (&[u8], usize) {
    let path = head.split(|b| *b == b' ').nth(1).unwrap_or_default();
    let length = if head.starts_with(b"GET") {
        0
    } else {
        let lower = head.to_ascii_lowercase();
        let text = memchr::memmem::find(&lower, b"\r\ncontent-length:").map(|at| &lower[at + 17..]).unwrap_or_default();
        let line = text.split(|b| *b == b'\r').next().unwrap_or_default();
        std::str::from_utf8(line).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
    };
    (path, length)
}
