//! small: files that are replaced whole: written beside, and renamed to their place.

use crate::store::io::{StoreFile, StoreIo};
use crate::store::{Store, StoreError};
use serde::Serialize;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Fills a new file, `tmp`, and gives it the name `path`. Whatever had that name is replaced at once and as a whole; after
/// an error it is as it was, and the new file is gone.
///
/// A file that must survive a power cut is synced by `fill`, and its folder by the caller afterwards.
///
/// # Errors
/// What `fill` or the file system says.
pub fn replace_by(
    io: &dyn StoreIo,
    (tmp, mut file): (&Path, Box<dyn StoreFile>),
    path: &Path,
    fill: impl FnOnce(&mut dyn StoreFile) -> io::Result<()>,
) -> io::Result<()> {
    let filled = fill(&mut *file);
    drop(file);
    filled.and_then(|()| io.rename(tmp, path)).inspect_err(|_| drop(io.remove(tmp)))
}

impl Store {
    /// The value in a file, `None` where there is no file.
    pub(super) fn read_json<T: serde::de::DeserializeOwned>(&self, path: &Path) -> io::Result<Option<T>> {
        match self.io().read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        }
    }

    /// Replaces a small file by JSON; see [`Store::write_small`].
    pub(super) fn write_json(&self, folder: &Path, file: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let text = serde_json::to_vec(value).expect("BUG: it is plain data");
        self.write_small(folder, file, &text)
    }

    /// Replaces a small file, durably: a collection after a power cut must know what is whose.
    pub fn write_small(&self, folder: &Path, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = folder.join(file);
        let write = || -> io::Result<()> {
            self.io().create_dir(folder)?;
            self.put(&path, bytes)?;
            self.settle(folder)
        };
        write().map_err(|error| StoreError::io("write", &path, error))
    }

    /// Has a file at `path` with these bytes, which are durable; its name is not yet.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (tmp, file) = self.create_tmp()?;
        replace_by(self.io(), (&tmp, file), path, |file| {
            file.write_all(bytes)?;
            file.sync()
        })
    }
}
