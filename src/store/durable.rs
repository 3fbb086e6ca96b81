//! durable: temporary files, and the order in which a new name becomes one that survives a power cut.

use crate::store::Store;
use crate::store::io::StoreFile;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Folders whose own names are known to be durable, as seen by this process.
#[derive(Default)]
pub(super) struct Settled(Mutex<BTreeSet<PathBuf>>);

impl Settled {
    fn knows(&self, folder: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    fn learn(&self, folder: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
    }
}

impl Store {
    /// A new file in `tmp/`. Two machines may share a store and a process number, so a name that exists is skipped.
    pub(super) fn create_tmp(&self) -> io::Result<(PathBuf, Box<dyn StoreFile>)> {
        loop {
            let path = self.root().join("tmp").join(format!("{}.{}", std::process::id(), self.next_number()));
            match self.io().create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map(|file| (path, file)),
            }
        }
    }

    /// Makes the entries of `folder` durable. Once in a process it does the same for the folder's own name and those
    /// above it. A file survives only if every folder on its path does.
    pub(super) fn settle(&self, folder: &Path) -> io::Result<()> {
        self.io().sync_dir(folder)?;
        let mut child = folder;
        while child != self.root() && !self.settled.knows(child) {
            let Some(parent) = child.parent() else { break };
            self.io().sync_dir(parent)?;
            self.settled.learn(child);
            child = parent;
        }
        if child == self.root() && !self.settled.knows(child) {
            let above = self.root().parent().filter(|above| !above.as_os_str().is_empty());
            // The folder that contains the store may belong to another user; then this sync is not dcpipe's to ensure.
            let _ = self.io().sync_dir(above.unwrap_or(Path::new(".")));
            self.settled.learn(child);
        }
        Ok(())
    }
}
