//! The real files and variables.

use oxgate_config::load::{Environment, MAX_FILE};
use oxgate_control::watch::Print;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Files and variables of the system; remembers what it looked at, as it was just before.
#[derive(Debug, Default)]
pub(crate) struct System {
    seen: RefCell<Vec<(PathBuf, Print)>>,
}

impl System {
    /// Everything that was looked at.
    pub(crate) fn into_seen(self) -> Vec<(PathBuf, Print)> {
        self.seen.into_inner()
    }

    fn note(&self, path: &Path) {
        self.seen.borrow_mut().push((path.to_owned(), Print::of(path)));
    }
}

impl Environment for System {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.note(path);
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than 16 MiB"));
        }
        Ok(text)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.note(folder);
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
