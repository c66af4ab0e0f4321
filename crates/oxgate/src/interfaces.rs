//! The status and admin interfaces: opened at the start, moved when a reload says so.

use crate::upgrade::Inherited;
use oxgate_config::resolved::{Admin, Resolved};
use oxgate_control::http::{Answer, json, refusal, serve, text};
use oxgate_control::status::Status;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Somebody asks over the admin interface to read the configuration again.
pub(crate) type ReloadRequest = oneshot::Sender<Result<u64, String>>;

/// The most bytes of a request's body; none of the requests needs one.
const MAX_BODY: u64 = 64 * 1024;

/// The interfaces that are open.
#[derive(Debug)]
pub(crate) struct Interfaces {
    status: Option<Interface>,
    admin: Option<Interface>,
    admin_rules: Option<Admin>,
    state: Arc<Status>,
    reloads: mpsc::Sender<ReloadRequest>,
}

/// Sockets for a configuration that is not in force yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    status: Option<Socket>,
    admin: Option<Socket>,
}

#[derive(Debug)]
struct Interface {
    configured: SocketAddr,
    socket: TcpListener,
    task: JoinHandle<()>,
}

/// A listening socket and the address it was asked for.
type Socket = (SocketAddr, TcpListener);

impl Interfaces {
    /// Nothing open yet.
    pub(crate) fn new(state: Arc<Status>, reloads: mpsc::Sender<ReloadRequest>) -> Interfaces {
        Interfaces { status: None, admin: None, admin_rules: None, state, reloads }
    }

    /// Opens what a configuration asks for and is not open yet.
    ///
    /// # Errors
    /// An address is in use or not this machine's; the text says which.
    pub(crate) fn prepare(&self, resolved: &Resolved, inherited: &mut Inherited) -> io::Result<Prepared> {
        let mut socket = |name: &str, asked: Option<SocketAddr>, open: &Option<Interface>| -> io::Result<_> {
            let Some(asked) = asked else { return Ok(None) };
            let socket = match open.as_ref().filter(|open| open.configured == asked) {
                Some(open) => open.socket.try_clone()?,
                None => bind(name, asked, inherited)?,
            };
            Ok(Some((asked, socket)))
        };
        Ok(Prepared {
            status: socket("status", resolved.status, &self.status)?,
            admin: socket("admin", resolved.admin.as_ref().map(|a| a.address), &self.admin)?,
        })
    }

    /// Puts what was prepared in place of what is open.
    pub(crate) fn replace(&mut self, prepared: Prepared, resolved: &Resolved) -> io::Result<()> {
        let moved = |open: &Option<Interface>, next: &Option<Socket>| {
            open.as_ref().map(|i| i.configured) != next.as_ref().map(|(asked, _)| *asked)
        };
        if moved(&self.status, &prepared.status) {
            self.status = None;
            if let Some(socket) = prepared.status {
                let state = Arc::clone(&self.state);
                let open = Interface::open("status", socket, move |request| {
                    let answer = state.answer(request.uri().path(), request.uri().query().unwrap_or_default());
                    async move { answer }
                });
                self.status = Some(open?);
            }
        }
        if moved(&self.admin, &prepared.admin) || self.admin_rules != resolved.admin {
            self.admin = None;
            if let (Some(socket), Some(rules)) = (prepared.admin, resolved.admin.clone()) {
                let reloads = self.reloads.clone();
                let open = Interface::open("admin", socket, move |request| {
                    let refused = check(&rules, &request);
                    let reloads = reloads.clone();
                    async move {
                        match refused {
                            Some(answer) => answer,
                            None => reload(reloads).await,
                        }
                    }
                });
                self.admin = Some(open?);
            }
            self.admin_rules = resolved.admin.clone();
        }
        Ok(())
    }

    /// The open sockets, for a successor.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(String, Vec<OwnedFd>)>> {
        let named = [("status", &self.status), ("admin", &self.admin)];
        let open = named.into_iter().filter_map(|(name, interface)| Some((name, interface.as_ref()?)));
        open.map(|(name, open)| Ok((key(name, open.configured), vec![open.socket.as_fd().try_clone_to_owned()?])))
            .collect()
    }
}

impl Interface {
    fn open<F>(
        name: &str,
        (configured, socket): Socket,
        handler: impl Fn(hyper::Request<hyper::body::Incoming>) -> F + Send + Sync + 'static,
    ) -> io::Result<Interface>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
        tracing::info!(interface = name, address = %socket.local_addr()?, "listening");
        Ok(Interface { configured, socket, task: tokio::spawn(serve(listener, handler)) })
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Under which name a socket is left to a successor.
fn key(name: &str, address: SocketAddr) -> String {
    format!("{name}:{address}")
}

fn bind(name: &str, address: SocketAddr, inherited: &mut Inherited) -> io::Result<TcpListener> {
    let socket = match inherited.sockets(&key(name, address)).pop() {
        Some(fd) => TcpListener::from(fd),
        None => TcpListener::bind(address).map_err(|error| {
            io::Error::new(error.kind(), format!("the {name} interface cannot open {address}: {error}"))
        })?,
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Why a call to the admin interface is refused before anything is done for it.
fn check<B>(admin: &Admin, request: &hyper::Request<B>) -> Option<Answer> {
    let field = |name: &str| request.headers().get(name).map(|v| v.as_bytes());
    if field("origin").is_some() {
        return Some(text(403, "browsers have no business here\n"));
    }
    if let Some(token) = &admin.token {
        let sent = field("authorization").unwrap_or_default();
        let expected = format!("Bearer {}", token.0);
        // As long whatever differs.
        let same =
            sent.len() == expected.len() && sent.iter().zip(expected.as_bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        if !same {
            return Some(refusal(401, "the token is missing or wrong\n", "www-authenticate", "Bearer"));
        }
    }
    if request.uri().path() != "/reload" {
        return Some(text(404, "there is POST /reload\n"));
    }
    if request.method() != hyper::Method::POST {
        return Some(refusal(405, "there is POST /reload\n", "allow", "POST"));
    }
    // What a form on somebody's page can send without being asked for leave is not taken.
    let plain = field("content-type").is_some_and(|t| !t.to_ascii_lowercase().starts_with(b"application/json"));
    if plain {
        return Some(text(415, "a body is not needed; if there is one, it is application/json\n"));
    }
    let length = field("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(0);
    (length > MAX_BODY).then(|| text(413, "a body is not needed\n"))
}

async fn reload(reloads: mpsc::Sender<ReloadRequest>) -> Answer {
    let (reply, result) = oneshot::channel();
    if reloads.send(reply).await.is_err() {
        return text(503, "the gateway is shutting down\n");
    }
    match result.await {
        Ok(Ok(revision)) => json(200, &serde_json::json!({ "revision": revision })),
        Ok(Err(why)) => json(422, &serde_json::json!({ "error": why })),
        Err(_) => text(503, "the gateway is shutting down\n"),
    }
}
