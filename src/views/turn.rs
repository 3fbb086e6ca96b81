//! turn: the right to write to a results folder, which one run has at a time.

use crate::store::io::Lock;
use crate::store::{Disk, StoreIo};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILE: &str = ".lock";

fn place(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok()
}

/// Held while a run writes to its results. The kernel holds the lock, so none outlives its process.
pub(super) struct Turn {
    path: PathBuf,
    /// The device and inode of the folder.
    place: Option<(u64, u64)>,
    _held: Lock,
}

impl Turn {
    /// Takes the turn, or says `None` while another process has it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        Ok(Disk.try_lock_alone(&path)?.map(|held| Self { place: place(folder), path, _held: held }))
    }

    /// Whether the folder is still at its path.
    pub(super) fn is_there(&self) -> bool {
        self.path.parent().is_some_and(|folder| place(folder) == self.place)
    }
}

/// Whether another process has the turn, without taking it for a moment. None where the system does not tell.
pub(super) fn is_taken(folder: &Path) -> Option<bool> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let Ok(meta) = std::fs::metadata(folder.join(FILE)) else { return Some(false) };
    // `1: FLOCK  ADVISORY  WRITE 4711 00:2f:1234 0 EOF`; some file systems show another device there than stat does.
    let inode = format!(":{}", meta.ino());
    Some(locks.lines().any(|line| line.split_whitespace().any(|word| word.ends_with(&inode))))
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = std::fs::remove_file(&self.path); // While the lock is still held.
        }
    }
}
