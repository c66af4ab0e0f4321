//! The seam through which a policy asks for one outside call, driven by a policy that does nothing
//! else: it lets a request go on if an upstream says 200 to its path.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate::configuration::Source;
use oxgate::gateway::Gateway;
use oxgate::upgrade::Inherited;
use oxgate_config::resolved::Bind;
use oxgate_http::{HeadLimits, Request};
use oxgate_policy::{Answer, Call, Phases, Policy, Reply, RequestView, ResponseView, Slot, Verdict};
use oxgate_proxy::CompiledPolicy;
use oxgate_telemetry::Reason;
use oxgate_testkit::process::request;
use oxgate_testkit::sink::Sink;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[derive(Debug)]
struct Asking;

impl Policy for Asking {
    fn phases(&self) -> Phases {
        Phases { request: true, response: true }
    }

    fn on_request(&self, x: &mut RequestView<'_>) -> Verdict {
        let text = format!("GET /may{} HTTP/1.1\r\nHost: judge\r\n\r\n", String::from_utf8_lossy(x.request.path()));
        let mut request = Request::default();
        request.parse(text.as_bytes(), &HeadLimits::default()).expect("a request");
        Verdict::Ask(Box::new(Call { upstream: "judge".to_owned(), request, timeout: Duration::from_millis(300) }))
    }

    fn on_reply(&self, x: &mut RequestView<'_>, reply: Reply) -> Verdict {
        let Some(response) = reply.response else {
            return Verdict::Answer(Answer::problem(503, Reason::Internal, "the judge is silent"));
        };
        if response.status() == 200 {
            *x.slot = Slot::Text(String::from_utf8_lossy(&reply.body).into());
            return Verdict::Next;
        }
        Verdict::Answer(Answer::problem(403, Reason::IpDenied, "the judge says no"))
    }

    fn on_response(&self, x: &mut ResponseView<'_>) {
        if let Slot::Text(said) = &x.slot {
            x.response.head.append(b"X-Judge", said.as_bytes());
        }
    }
}

/// Says yes to `/may/yes`, in chunks, nothing to `/may/silent`, no to all else. Every third connection
/// that it kept open is closed before it answers, as servers do with idle ones.
fn judge() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                for turn in 0..3 {
                    let Ok(n) = socket.read(&mut buffer) else { return };
                    let head = String::from_utf8_lossy(&buffer[..n]).into_owned();
                    if n == 0 || turn == 2 {
                        return;
                    }
                    count.fetch_add(1, Relaxed);
                    let answer: &[u8] = if head.starts_with("GET /may/yes ") {
                        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1\r\ns\r\n0\r\n\r\n"
                    } else if head.starts_with("GET /may/silent ") {
                        continue;
                    } else {
                        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
                    };
                    if socket.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

#[test]
fn a_policy_asks_and_decides_by_the_reply() {
    let origin = Sink::start();
    let (judge, asked) = judge();
    let text = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: off }}\nstatus: {{ address: off }}\n\
         upstreams: {{ judge: {{ endpoints: [\"http://{judge}\"] }}, origin: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes: {{ all: {{ match: \"/*\", to: origin }}, other: {{ match: \"/nobody/*\", to: judge }} }}\n",
        origin.address
    );
    let mut ready = Source::Text { name: "test".to_owned(), text }.read().result.expect("no mistakes");
    for chain in &mut ready.chains {
        chain.push(CompiledPolicy { kind: "asking".into(), policy: Arc::new(Asking) });
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let gateway = runtime.block_on(async { Gateway::start(ready, 1, &mut Inherited::default()) }).expect("a gateway");
    let address = match gateway.addresses().next() {
        Some((_, Bind::Tcp(address))) => *address,
        other => panic!("no listener: {other:?}"),
    };
    let ask = |path: &str| request(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    for _ in 0..7 {
        assert_eq!(ask("/yes").0, 200);
    }
    assert_eq!(origin.take().requests.len(), 7, "each allowed request went on once");
    let (status, body) = ask("/no");
    assert!(status == 403 && body.contains("the judge says no"), "{status} {body}");
    let (status, body) = ask("/silent");
    assert!(status == 503 && body.contains("the judge is silent"), "{status} {body}");
    assert_eq!(origin.take().requests.len(), 0, "nothing that was not allowed went on");
    assert!(asked.load(Relaxed) >= 9);
    gateway.drain(Duration::from_secs(1), true);
    runtime.shutdown_background();
}
