//! Every case under `specs/`, each through a real gateway.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use oxgate_testkit::spec;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_spec_holds() {
    let binary = Path::new(env!("CARGO_BIN_EXE_oxgate"));
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
                    let result = spec::read(file).and_then(|spec| spec::run(binary, &spec));
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
