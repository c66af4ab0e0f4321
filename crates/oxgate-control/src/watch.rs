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

/// What is known of a file: device, inode, size, time of change; `None` when it cannot be read.
type Print = Option<(u64, u64, u64, i64, i64)>;

/// Files under watch.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<(PathBuf, Print)>,
}

impl Watch {
    /// Watches these files and the folders they are in from now on, instead of those before.
    pub fn set(&mut self, files: &[PathBuf]) {
        let mut paths: Vec<PathBuf> = files.to_vec();
        // A file that appears beside the others may be meant by an `include`.
        paths.extend(files.iter().skip(1).filter_map(|f| f.parent()).map(Path::to_owned));
        paths.sort();
        paths.dedup();
        self.files = paths.into_iter().map(|path| (path.clone(), print(&path))).collect();
    }

    /// Whether anything is different from the last time somebody asked.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = print(path);
            changed |= now != *known;
            *known = now;
        }
        changed
    }
}

fn print(path: &Path) -> Print {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}
