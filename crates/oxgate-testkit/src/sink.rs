//! An origin that answers every whole request with 200 and remembers what it got.

use crate::strict::{self, Request};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// The origin.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whole requests.
    pub requests: Vec<Request>,
    /// Rules that were broken.
    pub violations: Vec<String>,
}

impl Sink {
    /// Starts an origin on a port of its own.
    pub fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let record = Arc::clone(&record);
                std::thread::spawn(move || serve(socket, &record));
            }
        });
        Sink { address, seen }
    }

    /// Takes what came in since the last time.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

fn serve(mut socket: std::net::TcpStream, record: &Mutex<Seen>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(n @ 1..) = socket.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
        loop {
            match strict::read(&bytes) {
                Ok(Some((request, len))) => {
                    bytes.drain(..len);
                    let head = request.method == "HEAD";
                    record.lock().expect("no panic").requests.push(request);
                    let body = if head { "" } else { "ok" };
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Origin: sink\r\n\r\n{body}");
                    if socket.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(violation) => {
                    record.lock().expect("no panic").violations.push(violation);
                    return;
                }
            }
        }
    }
}
