//! Clients that are slow on purpose: they end in time, hold little, and nobody else notices.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate_testkit::process::{Gateway, PATIENCE, get};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Attackers at once; with their upstreams they stay below the usual limit of descriptors.
const MANY: usize = 300;
/// Of those that take a connection of the upstream or much of the system's memory.
const FEW: usize = 60;
/// More than the system takes in for a client that does not read.
const BIG: usize = 32 << 20;
/// How long nobody else's request may take.
const PROMPT: Duration = Duration::from_secs(1);

/// Reads requests to their end and answers them; `/big` with much.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut buffer, mut got) = ([0; 16384], Vec::new());
                while let Ok(n) = socket.read(&mut buffer)
                    && n > 0
                {
                    got.extend_from_slice(&buffer[..n]);
                    if got.starts_with(b"GET ") && got.ends_with(b"\r\n\r\n") {
                        let (piece, times) = if got.starts_with(b"GET /big ") { (65536, BIG / 65536) } else { (2, 1) };
                        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", piece * times);
                        got.clear();
                        let mut sent = socket.write_all(head.as_bytes());
                        for _ in 0..times {
                            sent = sent.and_then(|()| socket.write_all(&vec![b'x'; piece]));
                        }
                        if sent.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Memory that the gateway has taken, in KiB; not its program, of which more is read the more it does.
fn rss(gateway: &Gateway) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a line about memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Client connections that the gateway has.
fn connections(gateway: &Gateway) -> usize {
    let page = gateway.status("/metrics").1;
    let line = page.lines().find_map(|l| l.strip_prefix("oxgate_connections ")).expect("a line about connections");
    line.parse().expect("a number")
}

/// Attacks with `first` and then a `bit` now and then, and asks for something else meanwhile, until the
/// gateway has closed all attackers. Gives what they got to hear, if they listen, and the memory that
/// they took, in KiB.
fn attack(gateway: &Gateway, attackers: usize, first: &str, bit: &[u8], listening: bool) -> (Vec<Vec<u8>>, i64) {
    let before = rss(gateway);
    let mut sockets: Vec<_> = (0..attackers)
        .map(|_| {
            let mut socket = TcpStream::connect(gateway.address("web")).expect("a connection");
            socket.write_all(first.as_bytes()).expect("written");
            socket.set_nonblocking(true).expect("set");
            (socket, Vec::new())
        })
        .collect();
    let (end, mut most) = (Instant::now() + PATIENCE, 0);
    while connections(gateway) >= attackers / 50 {
        assert!(Instant::now() < end, "{} attackers are still connected", connections(gateway));
        let asked = Instant::now();
        assert_eq!(get(gateway.address("web"), "/").0, 200);
        assert!(asked.elapsed() < PROMPT, "others have to wait: {:?}", asked.elapsed());
        most = most.max(rss(gateway) - before);
        for (socket, _) in &mut sockets {
            // It fails once the gateway has closed.
            let _ = socket.write(bit);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for (socket, heard) in sockets.iter_mut().filter(|_| listening) {
        // The gateway has closed: there is an end.
        let _ = socket.set_nonblocking(false).and_then(|()| socket.read_to_end(heard));
    }
    (sockets.into_iter().map(|(_, heard)| heard).collect(), most)
}

#[test]
fn slow_clients_end_in_time_and_hold_little() {
    let limits = "header_timeout: 2s, body_idle_timeout: 2s, min_body_rate: 1KiB/s";
    let config = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\", limits: {{ {limits} }} }} }}\nadmin: {{ address: off }}\nstatus: {{ address: \"127.0.0.1:0\" }}\nroutes: {{ all: {{ match: \"/*\", to: \"http://{}\" }} }}\n",
        origin()
    );
    let gateway = Gateway::start(Path::new(env!("CARGO_BIN_EXE_oxgate")), &config, &["web", "status"]);
    assert_eq!(get(gateway.address("web"), "/").0, 200);
    let at_rest = rss(&gateway);

    let (heard, held) = attack(&gateway, MANY, "GET / HTTP/1.1\r\nHost: a\r\n", b"X-a: b\r\n", true);
    let told = heard.iter().filter(|h| h.starts_with(b"HTTP/1.1 408 ")).count();
    assert_eq!(told, MANY, "clients whose head does not end are told so");
    assert!(held <= 8 * MANY as i64, "{MANY} slow heads hold {held} KiB");

    let (heard, held) =
        attack(&gateway, FEW, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n", b"x", true);
    let told = heard.iter().filter(|h| h.starts_with(b"HTTP/1.1 408 ")).count();
    assert_eq!(told, FEW, "clients whose body comes too slowly are told so");
    assert!(held <= 8 * FEW as i64, "{FEW} slow bodies hold {held} KiB");

    let (_, held) = attack(&gateway, FEW, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n", b"", false);
    // A large buffer each.
    assert!(held <= 640 * FEW as i64, "{FEW} slow readers hold {held} KiB");

    let end = Instant::now() + Duration::from_secs(30);
    while rss(&gateway) > at_rest * 105 / 100 + 1024 {
        assert!(Instant::now() < end, "{at_rest} KiB before, {} KiB long after", rss(&gateway));
        std::thread::sleep(Duration::from_millis(500));
    }
}
