//! Noticing that configuration files changed.
//!
//! What counts is what a path leads to, looked at twice a second: so it does not matter whether an
//! editor renames a new file over the old one or an orchestrator swaps a symbolic link to a folder,
//! and no event can be missed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_millis(500);

/// What a path leads to: device, inode, size, time of change; nothing when it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(Option<(u64, u64, u64, i64, i64)>);

impl Print {
    /// What the path leads to now. Taken before a file is read, it misses no change after.
    pub fn of(path: &Path) -> Print {
        let meta = fs::metadata(path).ok();
        Print(meta.map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec())))
    }
}

/// Files under watch.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<(PathBuf, Print)>,
}

impl Watch {
    /// Watches these files and folders from now on, instead of those before.
    pub fn set(&mut self, files: Vec<(PathBuf, Print)>) {
        self.files = files;
    }

    /// Whether anything is different from the last time somebody asked.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = Print::of(path);
            changed |= now != *known;
            *known = now;
        }
        changed
    }
}
