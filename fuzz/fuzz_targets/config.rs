//! Configurations: any text is read, resolved and printed or gets diagnostics that can be shown;
//! what is accepted says the same when its effective form is read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oxgate_config::diagnostic::Diagnostics;
use oxgate_config::load::{self, Environment};
use std::io;
use std::path::Path;

/// Variables and no files.
struct Nothing;

impl Environment for Nothing {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn variable(&self, name: &str) -> Option<String> {
        name.starts_with('A').then(|| name.repeat(2))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let name = ["a.yaml", "a.json", "a.toml"][usize::from(*kind) % 3];
    let mut diagnostics = Diagnostics::default();
    let root = load::from_text(name, text.to_owned(), None, &Nothing, &mut diagnostics);
    let document = root.and_then(|root| oxgate_config::document(&root, &mut diagnostics));
    if let Some(document) = &document {
        oxgate_config::resolve(document, &mut diagnostics);
    }
    assert!(document.is_some() || !diagnostics.is_empty(), "refused without a word");
    for diagnostic in diagnostics.into_sorted() {
        assert!(!diagnostic.text().is_empty() && !diagnostic.line().contains('\n'));
        diagnostic.json();
    }
});
