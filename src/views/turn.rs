//! turn: the right to write to a results folder, which one run has at a time.

use crate::store::io::Lock;
use crate::store::{Disk, StoreIo};
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = ".lock";

/// Held while a run writes to its results. The kernel's, so that none outlives its process.
pub(super) struct Turn {
    path: PathBuf,
    _held: Lock,
}

impl Turn {
    /// Takes it, or says `None` while another process has it.
    pub(super) fn take(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        Ok(Disk.try_lock_alone(&path)?.map(|held| Self { path, _held: held }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // While it is still held.
    }
}
