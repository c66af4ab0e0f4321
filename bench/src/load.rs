//! The load generator: keep-alive connections, closed loop or at a fixed rate. It never waits.

use crate::latency::Latencies;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What to send, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) target: SocketAddr,
    /// Connections kept busy.
    pub(crate) connections: usize,
    /// How long.
    pub(crate) duration: Duration,
    /// Stop after this many requests, however much time is left.
    pub(crate) most: u64,
    /// Requests per second; `None` sends the next one as soon as the last is answered.
    pub(crate) rate: Option<u64>,
    /// Request path.
    pub(crate) path: String,
    /// Bytes of a request body; 0 is a GET.
    pub(crate) upload: usize,
}

impl Plan {
    /// Reads `TARGET CONNECTIONS SECONDS PATH UPLOAD RATE MOST`; a rate of 0 is none.
    pub(crate) fn read(line: &str) -> Option<Plan> {
        let mut words = line.split_whitespace();
        Some(Plan {
            target: words.next()?.parse().ok()?,
            connections: words.next()?.parse().ok()?,
            duration: Duration::from_secs_f64(words.next()?.parse().ok()?),
            path: words.next()?.to_owned(),
            upload: words.next()?.parse().ok()?,
            rate: Some(words.next()?.parse().ok()?).filter(|rate| *rate > 0),
            most: words.next()?.parse().ok()?,
        })
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whole answers.
    pub(crate) requests: u64,
    /// Connections that failed or answered badly.
    pub(crate) errors: u64,
    /// The time it took.
    pub(crate) elapsed: Duration,
    /// From the time a request was due to its whole answer.
    pub(crate) latencies: Latencies,
}

/// A plan being carried out.
#[derive(Debug)]
pub(crate) struct Load {
    plan: Plan,
    poll: Poll,
    events: Events,
    request: Vec<u8>,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    scheduled: u64,
    start: Instant,
    outcome: Outcome,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    due: Option<Instant>,
    head: Vec<u8>,
    /// Body bytes of the answer still to come, once its head is read.
    left: Option<usize>,
    sent: usize,
}

impl Load {
    /// Opens the connections.
    pub(crate) fn begin(plan: Plan) -> io::Result<Load> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for index in 0..plan.connections {
            let socket = std::net::TcpStream::connect(plan.target)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection { socket, due: None, head: Vec::new(), left: None, sent: 0 });
        }
        Ok(Load {
            poll,
            events: Events::with_capacity(1024),
            request: request(&plan),
            free: (0..plan.connections).collect(),
            connections,
            scheduled: 0,
            start: Instant::now(),
            outcome: Outcome::default(),
            buffer: vec![0; 1 << 20],
            plan,
        })
    }

    /// Sends what is due and takes what has come, without waiting; true once the plan is done.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        self.outcome.elapsed = now - self.start;
        if self.outcome.elapsed >= self.plan.duration || self.outcome.requests >= self.plan.most {
            return Ok(true);
        }
        while self.scheduled < self.plan.most {
            let due = match self.plan.rate {
                None => now,
                Some(rate) => self.start + Duration::from_nanos(self.scheduled * 1_000_000_000 / rate),
            };
            if due > now {
                break;
            }
            let Some(index) = self.free.pop_front() else { break };
            self.scheduled += 1;
            let connection = &mut self.connections[index];
            connection.due = Some(due);
            connection.sent = 0;
            connection.send(&self.request, &mut self.outcome);
        }
        if self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_err() {
            return Ok(false);
        }
        for event in &self.events {
            let connection = &mut self.connections[event.token().0];
            if event.is_writable() && connection.due.is_some() {
                connection.send(&self.request, &mut self.outcome);
            }
            if event.is_readable() && connection.receive(&mut self.buffer, &mut self.outcome) {
                self.outcome.requests += 1;
                if let Some(due) = connection.due.take() {
                    self.outcome.latencies.add(due.elapsed());
                }
                self.free.push_back(event.token().0);
            }
        }
        Ok(false)
    }

    /// What came of it.
    pub(crate) fn finish(self) -> Outcome {
        self.outcome
    }
}

fn request(plan: &Plan) -> Vec<u8> {
    let method = if plan.upload > 0 { "PUT" } else { "GET" };
    let length = if plan.upload > 0 { format!("Content-Length: {}\r\n", plan.upload) } else { String::new() };
    let mut request = format!(
        "{method} {} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n{length}\r\n",
        plan.path
    )
    .into_bytes();
    request.resize(request.len() + plan.upload, b'x');
    request
}

impl Connection {
    fn send(&mut self, request: &[u8], outcome: &mut Outcome) {
        while self.sent < request.len() {
            match self.socket.write(&request[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    outcome.errors += 1;
                    return;
                }
            }
        }
    }

    /// Reads what is there; true once the answer is whole.
    fn receive(&mut self, buffer: &mut [u8], outcome: &mut Outcome) -> bool {
        loop {
            let n = match self.socket.read(buffer) {
                Ok(0) => {
                    outcome.errors += 1;
                    return false;
                }
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    outcome.errors += 1;
                    return false;
                }
            };
            if self.take(&buffer[..n], outcome) {
                return true;
            }
            if n < buffer.len() {
                return false;
            }
        }
    }

    fn take(&mut self, bytes: &[u8], outcome: &mut Outcome) -> bool {
        let mut body = bytes.len();
        if self.left.is_none() {
            self.head.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else { return false };
            if !self.head.starts_with(b"HTTP/1.1 200") {
                outcome.errors += 1;
            }
            self.left = Some(content_length(&self.head[..end]));
            body = self.head.len() - end - 4;
            self.head.clear();
        }
        let left = self.left.unwrap_or_default().saturating_sub(body);
        self.left = (left > 0).then_some(left);
        left == 0
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = memchr::memmem::find(head, b"ontent-")
        .filter(|at| head[*at..].to_ascii_lowercase().starts_with(b"ontent-length"));
    let at = name.or_else(|| memchr::memmem::find(&head.to_ascii_lowercase(), b"ontent-length"));
    let digits = at.map(|at| &head[at + 14..]).unwrap_or_default();
    digits
        .iter()
        .skip_while(|b| **b == b' ')
        .take_while(|b| b.is_ascii_digit())
        .fold(0, |n, b| n * 10 + usize::from(b - b'0'))
}
