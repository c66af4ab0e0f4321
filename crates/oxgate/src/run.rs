//! The life of a gateway process: start, reload, drain.

use crate::configuration::{Ready, Source};
use crate::gateway::Gateway;
use oxgate_config::diagnostic::Diagnostic;
use oxgate_config::resolved::Admin;
use oxgate_control::http::{Answer, json, serve, text};
use oxgate_control::watch::{self, Print, Watch};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Somebody asks over the admin interface to read the configuration again.
type ReloadRequest = oneshot::Sender<Result<u64, String>>;

/// Runs until told to stop. `started` is called once requests are served.
///
/// # Errors
/// Why it could not start.
pub(crate) fn run(
    ready: Ready,
    source: Source,
    files: Vec<(PathBuf, Print)>,
    workers: usize,
    started: impl FnOnce(&Gateway),
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut gateway = Gateway::start(ready, workers)?;
        let (reloads, requests) = mpsc::channel(16);
        open_interfaces(&gateway, reloads).await?;
        started(&gateway);
        let mut watch = Watch::default();
        watch.set(files);
        let mut life = Life { signals: Signals::new()?, requests, watch, source };
        life.serve(&mut gateway).await;
        life.drain(gateway).await;
        Ok(())
    })
}

struct Life {
    signals: Signals,
    requests: mpsc::Receiver<ReloadRequest>,
    watch: Watch,
    source: Source,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

impl Life {
    /// Serves and reloads until a signal says to stop.
    async fn serve(&mut self, gateway: &mut Gateway) {
        let mut look = tokio::time::interval(watch::EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = self.signals.term.recv() => return,
                _ = self.signals.int.recv() => return,
                _ = self.signals.hup.recv() => drop(self.reload(gateway)),
                _ = look.tick() => if self.watch.changed() { drop(self.reload(gateway)); },
                Some(request) = self.requests.recv() => {
                    let result = self.reload(gateway);
                    // Whoever asked may have gone.
                    let _ = request.send(result);
                }
            }
        }
    }

    /// Reads the configuration again; a bad one changes nothing. Gives the revision in force.
    fn reload(&mut self, gateway: &mut Gateway) -> Result<u64, String> {
        let reading = self.source.read();
        self.watch.set(reading.files);
        let result = match reading.result {
            Ok(ready) => {
                warn_of_fixed(gateway, &ready);
                gateway.apply(ready).map_err(|error| error.to_string())
            }
            Err(diagnostics) => {
                let lines: Vec<String> = diagnostics.iter().map(Diagnostic::line).collect();
                Err(lines.join("; "))
            }
        };
        match result {
            Ok(()) => {
                let revision = gateway.status.revision.load(Relaxed);
                tracing::info!(revision, "the new configuration is in force");
                Ok(revision)
            }
            Err(why) => {
                tracing::error!(%why, "the new configuration is refused; the one before stays in force");
                gateway.status.refused(why.clone());
                Err(why)
            }
        }
    }

    /// Readiness fails, then listeners close, then exchanges under way end. Another SIGINT or SIGTERM
    /// ends the process at once.
    async fn drain(&mut self, gateway: Gateway) {
        gateway.status.draining.store(true, Relaxed);
        let shutdown = gateway.resolved.shutdown;
        tracing::info!(delay = ?shutdown.delay, drain = ?shutdown.drain, "draining");
        let drained = async {
            tokio::time::sleep(shutdown.delay).await;
            // A thread that fails to join is none to wait for.
            let _ = tokio::task::spawn_blocking(move || gateway.drain(shutdown.drain)).await;
        };
        tokio::select! {
            () = drained => tracing::info!("drained"),
            _ = self.signals.int.recv() => std::process::exit(0),
            _ = self.signals.term.recv() => std::process::exit(0),
        }
    }
}

/// These are opened once, at the start.
fn warn_of_fixed(gateway: &Gateway, ready: &Ready) {
    if gateway.resolved.admin != ready.resolved.admin || gateway.resolved.status != ready.resolved.status {
        tracing::warn!("`admin` and `status` have changed; they take effect at the next start");
    }
}

async fn open_interfaces(gateway: &Gateway, reloads: mpsc::Sender<ReloadRequest>) -> io::Result<()> {
    if let Some(address) = gateway.resolved.status {
        let listener = bind("status", address).await?;
        let status = Arc::clone(&gateway.status);
        tokio::spawn(serve(listener, move |request| {
            let answer = status.answer(request.uri().path(), request.uri().query().unwrap_or_default());
            async move { answer }
        }));
    }
    if let Some(admin) = &gateway.resolved.admin {
        let listener = bind("admin", admin.address).await?;
        let admin = admin.clone();
        tokio::spawn(serve(listener, move |request| {
            let refused = check(&admin, &request);
            let path = request.uri().path().to_owned();
            let reloads = reloads.clone();
            async move {
                match refused {
                    Some(answer) => answer,
                    None if path == "/reload" => reload_answer(reloads).await,
                    None => text(404, "there is POST /reload\n"),
                }
            }
        }));
    }
    Ok(())
}

/// Why a call to the admin interface is refused before it is looked at.
fn check<B>(admin: &Admin, request: &hyper::Request<B>) -> Option<Answer> {
    if request.headers().contains_key("origin") {
        return Some(text(403, "browsers have no business here\n"));
    }
    if let Some(token) = &admin.token {
        let sent = request.headers().get("authorization").map(|v| v.as_bytes()).unwrap_or_default();
        let expected = format!("Bearer {}", token.0);
        // As long whatever differs.
        let same =
            sent.len() == expected.len() && sent.iter().zip(expected.as_bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        if !same {
            return Some(text(401, "the token is missing or wrong\n"));
        }
    }
    (request.method() != hyper::Method::POST).then(|| text(405, "there is POST /reload\n"))
}

async fn reload_answer(reloads: mpsc::Sender<ReloadRequest>) -> Answer {
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

async fn bind(name: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("the {name} interface cannot open {address}: {error}"))
    })?;
    tracing::info!(interface = name, address = %listener.local_addr()?, "listening");
    Ok(listener)
}
