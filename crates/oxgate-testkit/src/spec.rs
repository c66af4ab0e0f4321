//! End-to-end cases as files: a story, a configuration, a script for the origin, one for the client.
//!
//! ```yaml
//! story: What a user would notice.
//! config: |            # listeners, admin and status are added; {origin} is the origin's address
//!   routes: { all: { match: "/*", to: "http://{origin}" } }
//! client:
//!   - send: "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
//!   - expect: "HTTP/1.1 200"
//! origin:
//!   - expect: "\r\n\r\n"
//!   - send: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
//! log: route_response   # what the access log line of the exchange must hold; optional
//! ```

use crate::actor::{Actor, Step};
use crate::process::PATIENCE;
use oxgate_config::decode::{Decode, expected};
use oxgate_config::diagnostic::{Diagnostic, Diagnostics};
use oxgate_config::document;
use oxgate_config::load::{self, Environment};
use oxgate_config::node::{Node, Value};
use serde_json::Value as Json;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

document! {
    /// A case.
    pub struct Spec {
        /// What a user would notice.
        story: String,
        /// The configuration without listeners, admin and status.
        config: String,
        /// Limits of the listener.
        limits: Option<Raw> = None,
        /// What the client does.
        client: Vec<Step>,
        /// What the origin does.
        origin: Vec<Step> = Vec::new(),
        /// What the origin must never have got.
        never: Vec<String> = Vec::new(),
        /// What the access log must hold in the end.
        log: Option<String> = None,
    }
}

/// A piece of configuration that is passed on as it is.
#[derive(Clone, Debug)]
pub struct Raw(Json);

impl Decode for Raw {
    fn decode(node: &Node, _: &mut Diagnostics) -> Option<Self> {
        Some(Raw(json(node)))
    }

    fn schema() -> Json {
        Json::Null
    }

    fn encode(&self) -> Json {
        self.0.clone()
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => Json::Object(entries.iter().map(|(k, n)| (k.text.clone(), json(n))).collect()),
    }
}

impl Decode for Step {
    fn decode(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let step = match &node.value {
            Value::Scalar { text, .. } => match text.as_str() {
                "closed" => Some(Step::Closed),
                "shutdown" => Some(Step::Shutdown),
                "close" => Some(Step::Close),
                "reset" => Some(Step::Reset),
                "connect" => Some(Step::Connect),
                _ => None,
            },
            Value::Map(entries) if entries.len() == 1 => {
                let (key, value) = &entries[0];
                let text = || match &value.value {
                    Value::Scalar { text, .. } => text.clone().into_bytes(),
                    _ => Vec::new(),
                };
                match key.text.as_str() {
                    "send" => Some(Step::Send(text())),
                    "expect" => Some(Step::Expect(text())),
                    "absent" => Some(Step::Absent(text())),
                    "quiet" => Duration::decode(value, diagnostics).map(Step::Quiet),
                    "send_zeros" => usize::decode(value, diagnostics).map(|n| Step::Send(vec![b'0'; n])),
                    _ => None,
                }
            }
            _ => {
                diagnostics.push(expected("a step", node));
                return None;
            }
        };
        if step.is_none() {
            diagnostics.push(Diagnostic::at(&node.place, "this is no step"));
        }
        step
    }

    fn schema() -> Json {
        Json::Null
    }

    fn encode(&self) -> Json {
        Json::Null
    }
}

struct NoEnvironment;

impl Environment for NoEnvironment {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// Reads a case.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: &Path) -> Result<Spec, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let mut diagnostics = Diagnostics::default();
    let root = load::from_text(&path.display().to_string(), text, None, &NoEnvironment, &mut diagnostics);
    let spec = root.and_then(|root| Spec::decode(&root, &mut diagnostics));
    let mistakes: Vec<String> = diagnostics.into_sorted().iter().map(Diagnostic::line).collect();
    spec.filter(|_| mistakes.is_empty()).ok_or_else(|| mistakes.join("\n"))
}

/// A gateway that a case is played through.
pub trait Subject {
    /// Where its listener `web` listens.
    fn address(&self) -> SocketAddr;

    /// Ends it; its access log is written then.
    fn end(self);
}

/// Plays a case through a gateway that `start` starts with a configuration.
///
/// # Errors
/// Which step of which side failed.
pub fn run<S: Subject>(start: impl FnOnce(&str) -> S, spec: &Spec) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let origin = listener.local_addr().map_err(|e| e.to_string())?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let log = folder.path().join("access.log");
    let limits = spec.limits.as_ref().map_or_else(|| serde_json::json!({}), |raw| raw.0.clone());
    let config = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\", limits: {limits} }} }}\n\
         admin: {{ address: off }}\nstatus: {{ address: off }}\ntelemetry: {{ access_log: {{ to: \"file:{}\" }} }}\n{}",
        log.display(),
        spec.config.replace("{origin}", &origin.to_string())
    );
    let gateway = start(&config);
    let address = gateway.address();
    let origin_script = spec.origin.clone();
    let origin_side = std::thread::spawn(move || {
        let mut actor = Actor::new("origin");
        let played = actor.play(&origin_script, || accept(&listener));
        // The last connection stays open until the client is done with it.
        (played, actor)
    });
    let mut client = Actor::new("client");
    let result = client.play(&spec.client, || TcpStream::connect(address).ok());
    drop(client);
    let (played, actor) = origin_side.join().map_err(|_| "the origin's script panicked".to_owned())?;
    for text in &spec.never {
        if crate::strict::find(&actor.received, text.as_bytes()).is_some() {
            return Err(format!("the origin got {text:?}"));
        }
    }
    drop(actor);
    match (result, played) {
        (Err(client), Err(origin)) => return Err(format!("{client}; {origin}")),
        (Err(one), Ok(())) | (Ok(()), Err(one)) => return Err(one),
        (Ok(()), Ok(())) => {}
    }
    gateway.end();
    check_log(&std::fs::read_to_string(&log).unwrap_or_default(), spec.log.as_deref())
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).ok()?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false).ok()?;
                return Some(socket);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    None
}

/// Every line is JSON, and one of them holds the text.
fn check_log(log: &str, text: Option<&str>) -> Result<(), String> {
    for line in log.lines() {
        serde_json::from_str::<Json>(line).map_err(|e| format!("the log line {line:?} is no JSON: {e}"))?;
    }
    match text {
        Some(text) if !log.contains(text) => Err(format!("the access log lacks {text:?}: {log}")),
        _ => Ok(()),
    }
}
