//! The life of a gateway process: start, reload, upgrade, drain.

use crate::configuration::{Reading, Ready, Source};
use crate::gateway::Gateway;
use crate::interfaces::{Interfaces, ReloadRequest};
use crate::memory;
use crate::upgrade::{Inherited, Successor};
use oxgate_config::diagnostic::Diagnostic;
use oxgate_control::watch::{self, Print, Watch};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Runs until told to stop. `started` is called once requests are served.
///
/// # Errors
/// Why it could not start.
pub(crate) fn run(
    ready: Ready,
    source: Source,
    files: Vec<(PathBuf, Print)>,
    workers: usize,
    mut inherited: Inherited,
    started: impl FnOnce(&Gateway),
) -> io::Result<()> {
    // By its path at the start: a new binary will lie there.
    let program = std::env::current_exe();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        // A signal that comes early must not end the process.
        let signals = Signals::new()?;
        let resolved = ready.resolved.clone();
        let mut gateway = Gateway::start(ready, workers, &mut inherited)?;
        let (reloads, requests) = mpsc::channel(16);
        let mut interfaces = Interfaces::new(Arc::clone(&gateway.status), reloads);
        let prepared = interfaces.prepare(&resolved, &mut inherited)?;
        interfaces.replace(prepared, &resolved)?;
        started(&gateway);
        inherited.announce();
        let mut watch = Watch::default();
        watch.set(files);
        let mut life = Life { signals, requests, watch, source, interfaces, program: program.unwrap_or_default() };
        let end = life.serve(&mut gateway).await;
        life.drain(gateway, end).await;
        Ok(())
    });
    // Whatever still reads a file has nobody to tell.
    runtime.shutdown_background();
    done
}

struct Life {
    signals: Signals,
    requests: mpsc::Receiver<ReloadRequest>,
    watch: Watch,
    source: Source,
    interfaces: Interfaces,
    program: PathBuf,
}

/// Why serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Told,
    /// Another process has taken over.
    Succeeded,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Life {
    /// Serves and reloads until a signal says to stop.
    async fn serve(&mut self, gateway: &mut Gateway) -> End {
        let mut look = tokio::time::interval(watch::EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tidy = tokio::time::interval(memory::EVERY);
        loop {
            tokio::select! {
                _ = self.signals.term.recv() => return End::Told,
                _ = self.signals.int.recv() => return End::Told,
                _ = self.signals.hup.recv() => drop(self.reload(gateway).await),
                _ = self.signals.usr2.recv() => match self.upgrade(gateway).await {
                    Ok(process) => {
                        tracing::info!(process, "a new process has taken over");
                        return End::Succeeded;
                    }
                    Err(error) => tracing::error!(%error, "the upgrade failed; this process goes on"),
                },
                _ = look.tick() => if self.watch.changed() { drop(self.reload(gateway).await); },
                _ = tidy.tick() => memory::give_back(),
                Some(request) = self.requests.recv() => {
                    let result = self.reload(gateway).await;
                    // Whoever asked may have gone.
                    let _ = request.send(result);
                }
            }
        }
    }

    /// Reads the configuration again; a bad one changes nothing. Gives the revision in force.
    async fn reload(&mut self, gateway: &mut Gateway) -> Result<u64, String> {
        let source = self.source.clone();
        // Reading and compiling take their time; health is answered meanwhile.
        let reading = tokio::task::spawn_blocking(move || source.read()).await;
        let result = match reading {
            Ok(Reading { result, files }) => {
                self.watch.set(files);
                result.map_err(|d| d.iter().map(Diagnostic::line).collect::<Vec<_>>().join("; "))
            }
            Err(error) => Err(error.to_string()),
        };
        match result.and_then(|ready| self.apply(gateway, ready).map_err(|error| error.to_string())) {
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

    fn apply(&mut self, gateway: &mut Gateway, ready: Ready) -> io::Result<()> {
        let resolved = ready.resolved.clone();
        let prepared = self.interfaces.prepare(&resolved, &mut Inherited::default())?;
        gateway.apply(ready)?;
        self.interfaces.replace(prepared, &resolved)
    }

    /// Starts a new process of the binary on the same sockets and waits until it serves.
    async fn upgrade(&mut self, gateway: &Gateway) -> io::Result<u32> {
        let mut sockets = gateway.sockets()?;
        sockets.extend(self.interfaces.sockets()?);
        tracing::info!(program = %self.program.display(), "starting a new process to take over");
        let successor = Successor::start(&self.program, &sockets)?;
        tokio::task::spawn_blocking(move || successor.wait()).await.map_err(io::Error::other)?
    }

    /// Readiness fails, then listeners close, then exchanges under way end. Another SIGINT or SIGTERM
    /// ends the process at once.
    async fn drain(&mut self, gateway: Gateway, end: End) {
        gateway.status.draining.store(true, Relaxed);
        let mut shutdown = gateway.resolved.shutdown;
        if end == End::Succeeded {
            // Whoever asks about health asks the new process.
            shutdown.delay = Duration::ZERO;
        }
        tracing::info!(delay = ?shutdown.delay, drain = ?shutdown.drain, "draining");
        gateway.leave();
        let drained = async {
            tokio::time::sleep(shutdown.delay).await;
            let own_files = end == End::Told;
            // A thread that fails to join is none to wait for.
            let _ = tokio::task::spawn_blocking(move || gateway.drain(shutdown.drain, own_files)).await;
        };
        if end == End::Succeeded {
            let nobody = Interfaces::new(Arc::default(), mpsc::channel(1).0);
            self.interfaces = nobody;
        }
        tokio::select! {
            () = drained => tracing::info!("drained"),
            _ = self.signals.int.recv() => std::process::exit(0),
            _ = self.signals.term.recv() => std::process::exit(0),
        }
    }
}
