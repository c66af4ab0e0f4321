//! Every case under `specs/`, each through a gateway of its own inside this process.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate::configuration::Source;
use oxgate::gateway::Gateway;
use oxgate::upgrade::Inherited;
use oxgate_config::resolved::Bind;
use oxgate_testkit::spec::{self, Subject};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Both planes in threads of this process.
struct InProcess {
    gateway: Gateway,
    runtime: Runtime,
}

impl InProcess {
    fn start(config: &str) -> InProcess {
        let source = Source::Text { name: "spec".to_owned(), text: config.to_owned() };
        let ready = source.read().result.unwrap_or_else(|mistakes| panic!("{}", mistakes[0].text()));
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = threads.expect("a runtime");
        let gateway = runtime.block_on(async { Gateway::start(ready, 2, &mut Inherited::default()) });
        InProcess { gateway: gateway.expect("a gateway"), runtime }
    }
}

impl Subject for InProcess {
    fn address(&self) -> SocketAddr {
        match self.gateway.addresses().next() {
            Some((_, Bind::Tcp(address))) => *address,
            other => panic!("no listener: {other:?}"),
        }
    }

    fn end(self) {
        self.gateway.drain(Duration::from_secs(2), true);
        self.runtime.shutdown_background();
    }
}

#[test]
fn every_spec_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let only = std::env::var("SPEC").unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for area in std::fs::read_dir(folder).expect("specs").flatten().filter(|e| e.path().is_dir()) {
        files.extend(std::fs::read_dir(area.path()).expect("an area").flatten().map(|e| e.path()));
    }
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml") && f.display().to_string().contains(&only));
    files.sort();
    assert!(!files.is_empty(), "no spec is called like {only:?}");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = spec::read(file).and_then(|spec| spec::run(InProcess::start, &spec));
                    if let Err(why) = result {
                        let name = file.file_name().unwrap_or_default().to_string_lossy();
                        failures.lock().expect("no panic").push(format!("{name}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} of {} specs fail:\n{}", failures.len(), files.len(), failures.join("\n"));
    println!("{} specs hold", files.len());
}
