//! Hostile and odd HTTP/1 messages, each through a real gateway to a strict origin.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate_testkit::actor::{Actor, Step};
use oxgate_testkit::process::{self, Gateway};
use oxgate_testkit::sink::{Seen, Sink};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_oxgate"))
}

fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/hostile").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the cases")).expect("JSON")
}

fn text<'c>(case: &'c Value, key: &str) -> &'c str {
    case[key].as_str().unwrap_or_default()
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn gateway(origin: SocketAddr) -> Gateway {
    let config = format!(
        r#"
version: 1
listeners: {{ web: {{ address: "127.0.0.1:0", limits: {{ body_idle_timeout: 500ms, header_timeout: 2s }} }} }}
admin: {{ address: off }}
status: {{ address: "127.0.0.1:0" }}
telemetry: {{ access_log: {{ to: "file:access.log" }} }}
routes:
  admin: {{ match: "/admin/*", to: {{ respond: {{ status: 403 }} }} }}
  all: {{ match: "/*", to: "http://{origin}" }}
"#
    );
    Gateway::start(binary(), &config, &["web", "status"])
}

/// What a client got: the statuses of final answers, which of them the gateway made, and the end.
#[derive(Debug, Default)]
struct Outcome {
    statuses: Vec<u16>,
    own: usize,
    closed: bool,
    bytes: Vec<u8>,
}

/// Sends a request, perhaps in two parts, and reads until the connection ends or falls silent.
fn exchange(address: SocketAddr, raw: &[u8], split: usize) -> Outcome {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_nodelay(true).expect("an option");
    // A gateway that refuses may close before everything is sent.
    let _ = socket.write_all(&raw[..split]);
    if split < raw.len() {
        if split > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = socket.write_all(&raw[split..]);
    }
    let mut outcome = Outcome::default();
    let mut buffer = [0; 16 * 1024];
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        // Silence counts once an answer is whole; before, the gateway has its own time-outs.
        let patience = if answers(&outcome.bytes).0.is_empty() { 3000 } else { 60 };
        socket.set_read_timeout(Some(Duration::from_millis(patience))).expect("an option");
        match socket.read(&mut buffer) {
            Ok(0) => {
                outcome.closed = true;
                break;
            }
            Ok(n) => outcome.bytes.extend_from_slice(&buffer[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => {
                outcome.closed = true;
                break;
            }
        }
    }
    (outcome.statuses, outcome.own) = answers(&outcome.bytes);
    outcome
}

/// The statuses of the whole final answers, and how many do not come from the origin.
fn answers(bytes: &[u8]) -> (Vec<u16>, usize) {
    let (mut statuses, mut own, mut rest) = (Vec::new(), 0, bytes);
    while let Some(end) = oxgate_testkit::strict::find(rest, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let status: u16 = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let length =
            head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).and_then(|l| l.parse().ok()).unwrap_or(0);
        if rest.len() < end + 4 + length {
            break;
        }
        rest = &rest[end + 4 + length..];
        if status >= 200 {
            own += usize::from(!head.contains("X-Origin: sink"));
            statuses.push(status);
        }
    }
    (statuses, own)
}

/// The class of an outcome, which splitting must not change.
fn judge(case: &Value, outcome: &Outcome, seen: &Seen) -> Result<(), String> {
    let want = text(case, "want");
    let allowed: Option<Vec<u16>> =
        case["statuses"].as_array().map(|s| s.iter().map(|v| v.as_u64().unwrap_or(0) as u16).collect());
    let from_origin = outcome.statuses.len() - outcome.own;
    if !seen.violations.is_empty() {
        return Err(format!("I1: {:?}", seen.violations));
    }
    if seen.requests.len() > from_origin {
        return Err(format!("I2: {} requests at the origin, {from_origin} answered by it", seen.requests.len()));
    }
    // A request that the client did send as one, behind a request that ended before it, is none that
    // was smuggled: the case says how many may come through.
    let most = case["forwarded"].as_u64().unwrap_or(1) as usize;
    if matches!(want, "reject" | "forward" | "reject-or-forward-clean") && seen.requests.len() > most.max(1) {
        return Err(format!("I3: {} requests came through", seen.requests.len()));
    }
    let smuggled = seen.requests.iter().any(|r| r.target.contains("evil"));
    if smuggled && want != "path-acl" && most < 2 && !text(case, "raw").starts_with("GET /evil") {
        return Err("I3: the marker came through".to_owned());
    }
    let refused = outcome.statuses.iter().copied().find(|s| *s >= 400);
    let allowed_refusal =
        |status: u16| allowed.as_ref().is_none_or(|a| a.contains(&status)) && (400..600).contains(&status);
    match want {
        "forward" if outcome.own > 0 || seen.requests.len() != case["forwarded"].as_u64().unwrap_or(1) as usize => {
            return Err("it should have been forwarded".to_owned());
        }
        "reject" => {
            if !seen.requests.is_empty() {
                return Err("it reached the origin".to_owned());
            }
            let ok = refused.is_some_and(allowed_refusal) || (outcome.statuses.is_empty() && outcome.closed);
            // A path is refused without doubt about where the next request starts.
            let path_alone = String::from_utf8_lossy(&outcome.bytes).contains("\"bad_path\"");
            if !ok || !(outcome.closed || path_alone) {
                return Err("it should have been refused and the connection closed".to_owned());
            }
        }
        "reject-or-forward-clean" if seen.requests.is_empty() => {
            if !(refused.is_some_and(allowed_refusal) || (outcome.statuses.is_empty() && outcome.closed)) {
                return Err("it should have been refused or forwarded".to_owned());
            }
        }
        "path-acl" => {
            for request in &seen.requests {
                let path = normal(&request.target);
                if path == "/admin" || path.starts_with("/admin/") {
                    return Err(format!("the origin got {}", request.target));
                }
            }
        }
        _ => {}
    }
    if case["must_close"].as_bool() == Some(true) && !outcome.closed {
        return Err("the connection should have been closed".to_owned());
    }
    Ok(())
}

/// A path decoded and normalised as often as it takes, as a careless origin might.
fn normal(target: &str) -> String {
    let mut path = target.split('?').next().unwrap_or_default().to_owned();
    for _ in 0..4 {
        let bytes = path.as_bytes();
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let code =
                bytes.get(at + 1..at + 3).and_then(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok());
            match (bytes[at], code) {
                (b'%', Some(code)) => {
                    decoded.push(code);
                    at += 3;
                }
                (b, _) => {
                    decoded.push(b);
                    at += 1;
                }
            }
        }
        path = String::from_utf8_lossy(&decoded).replace('\\', "/");
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').map(|s| s.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Runs `work` over all cases on a few threads, each with a gateway and an origin of its own.
fn for_each_case(cases: &[Value], threads: usize, work: impl Fn(&Value, &Gateway, &Sink) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let sink = Sink::start();
                let gateway = gateway(sink.address);
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = work(case, &gateway, &sink) {
                        failures.lock().expect("no panic").push(format!(
                            "{} {}: {why}",
                            text(case, "id"),
                            text(case, "title")
                        ));
                    }
                    let before = Instant::now();
                    let (status, _) = process::get(gateway.address("web"), "/control");
                    assert_eq!(status, 200, "I6: after {}", text(case, "id"));
                    // A hundred milliseconds on a machine that has nothing else to do.
                    assert!(before.elapsed() < Duration::from_secs(2), "I6: late after {}", text(case, "id"));
                    sink.take();
                }
                let (_, metrics) = gateway.status("/metrics");
                assert!(metrics.contains("oxgate_panics_total 0\n"), "I9: a panic");
                check_log(gateway);
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// I8: every line of the access log is JSON, and what the gateway answered itself has a reason.
fn check_log(mut gateway: Gateway) {
    gateway.signal("TERM");
    gateway.wait();
    let log = std::fs::read_to_string(gateway.folder.path().join("access.log")).expect("a log");
    assert!(log.lines().count() > 1, "I8: nothing was logged");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("I8: {e} in {line:?}"));
        let from_origin = line.get("upstream_ms").is_some_and(|ms| ms.as_f64() > Some(0.0));
        assert!(from_origin || line.get("reason").is_some() || line["status"] == 200, "I8: no reason in {line}");
    }
}

#[test]
fn hostile_requests_are_refused_or_forwarded_clean() {
    for_each_case(&cases("http1-requests.json"), 4, |case, gateway, sink| {
        let raw = latin1(text(case, "raw"));
        let outcome = exchange(gateway.address("web"), &raw, raw.len());
        judge(case, &outcome, &sink.take()).map_err(|why| format!("{why}; {:?} {:?}", outcome.statuses, outcome.closed))
    });
}

#[test]
fn splitting_a_request_anywhere_changes_nothing() {
    let small: Vec<Value> = cases("http1-requests.json").into_iter().filter(|c| text(c, "raw").len() < 200).collect();
    for_each_case(&small, 8, |case, gateway, sink| {
        let raw = latin1(text(case, "raw"));
        // A body that never comes takes its time-out at every split.
        let step = if text(case, "id") == "C63" { 40 } else { 1 };
        for split in (1..raw.len()).step_by(step) {
            let outcome = exchange(gateway.address("web"), &raw, split);
            judge(case, &outcome, &sink.take())
                .map_err(|why| format!("split at {split}: {why}; {:?}", outcome.statuses))?;
        }
        Ok(())
    });
}

/// An origin that plays the script of the moment on every connection, again and again.
fn scripted_origin(script: Arc<Mutex<Vec<Step>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (script, mut socket, mut actor) = (Arc::clone(&script), Some(socket), Actor::new("origin"));
            std::thread::spawn(move || {
                loop {
                    let steps = script.lock().expect("no panic").clone();
                    if actor.play(&steps, || socket.take()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn hostile_responses_never_reach_the_client_as_they_are_wherever_they_are_split() {
    let (cases, next, failures) = (cases("http1-responses.json"), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let script = Arc::default();
                    let gateway = gateway(scripted_origin(Arc::clone(&script)));
                    let len = text(case, "upstream_sends").chars().count();
                    // What ends by a time-out takes that at every split.
                    let step = match text(case, "id") {
                        "O34" => 20,
                        _ => 1,
                    };
                    let splits = if len < 200 { 0..len.max(1) } else { 0..1 };
                    let wrong = splits.step_by(step).find_map(|at| {
                        let why = hostile_response(case, &gateway, &script, at).err()?;
                        Some(format!("{} {}, split at {at}: {why}", text(case, "id"), text(case, "title")))
                    });
                    failures.lock().expect("no panic").extend(wrong);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

fn hostile_response(case: &Value, gateway: &Gateway, script: &Mutex<Vec<Step>>, at: usize) -> Result<(), String> {
    let answer = latin1(text(case, "upstream_sends"));
    let mut steps = vec![Step::Expect(b"\r\n\r\n".to_vec())];
    if at > 0 {
        steps.extend([Step::Send(answer[..at].to_vec()), Step::Quiet(Duration::from_millis(2))]);
    }
    steps.push(Step::Send(answer[at..].to_vec()));
    match text(case, "then") {
        "close" => steps.push(Step::Close),
        "rst" => steps.push(Step::Reset),
        _ => {}
    }
    *script.lock().expect("no panic") = steps;
    let (id, want) = (text(case, "id"), text(case, "want"));
    let method = if id == "O34" { "HEAD" } else { "GET" };
    let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let outcome = exchange(gateway.address("web"), request.as_bytes(), 0);
    let answer = String::from_utf8_lossy(&outcome.bytes).into_owned();
    let last = answer.rsplit("HTTP/1.1 ").next().unwrap_or_default().to_owned();
    let status: u16 = last.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0);
    let ok = match want {
        "200" => status == 200 && answer.ends_with("ok"),
        "502" | "5xx" | "5xx|drop" | "5xx|200one" => status == 502 && outcome.own == 1,
        "204 no body" => status == 204 && answer.ends_with("\r\n\r\n"),
        "200 canonical|502" => {
            status == 502 || (status == 200 && answer.contains("\r\nContent-Length: 2\r\n") && answer.ends_with("ok"))
        }
        "HEAD: no body, conn not reused" => status == 200 && answer.ends_with("\r\n\r\n"),
        "200 without X-Secret/Keep-Alive" => {
            let lower = answer.to_ascii_lowercase();
            status == 200 && !["x-secret", "keep-alive", "proxy-authenticate"].iter().any(|n| lower.contains(n))
        }
        want if want.starts_with("truncated") => {
            let whole = answer.contains("\r\n0\r\n");
            // Without what frames the chunks.
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let letters: String = body.chars().filter(char::is_ascii_alphabetic).collect();
            status == 200 && outcome.closed && !whole && "hello".starts_with(&letters)
        }
        other => return Err(format!("unknown wish {other:?}")),
    };
    if ok { Ok(()) } else { Err(format!("wanted {want}, got {answer:?} closed {}", outcome.closed)) }
}
