//! What a faulty configuration is answered with: every file of the folder `diagnostics` is checked, and
//! what is said must be what the `.txt` beside it says. `BLESS=1` writes these files anew.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

#[test]
fn every_mistake_is_named_with_its_place_and_mend() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnostics"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e != "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the files are gone");
    let mut wrong = String::new();
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).expect("a name");
        let output = Command::new(env!("CARGO_BIN_EXE_oxgate"))
            .args(["check", "-c", name])
            .current_dir(folder)
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1), "{name} is accepted");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let expected = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &said).expect("written");
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if said != expected {
            let _ = write!(wrong, "--- {name} should say\n{expected}--- but says\n{said}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
