//! small: files that are replaced whole: written under another name, and then renamed.

use crate::store::io::{StoreFile, StoreIo};
use crate::store::{Store, StoreError};
use serde::Serialize;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Fills a new file, `tmp`, and gives it the name `path`. The rename replaces any file of that name at once and whole.
/// After an error the old file is unchanged, and the new one is removed.
///
/// `fill` syncs a file that must survive a power cut, and the caller syncs its folder afterwards.
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
    /// The value in a file, `None` if there is no file.
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

    /// Replaces a small file, durably: after a power cut gc must know which run references what.
    pub fn write_small(&self, folder: &Path, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = folder.join(file);
        let write = || -> io::Result<()> {
            self.io().create_dir(folder)?;
            self.put(&path, bytes)?;
            self.settle(folder)
        };
        write().map_err(|error| StoreError::io("write", &path, error))
    }

    /// Writes a file at `path` with these bytes, and makes the bytes durable, but not yet the name.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (tmp, file) = self.create_tmp()?;
        replace_by(self.io(), (&tmp, file), path, |file| {
            file.write_all(bytes)?;
            file.sync()
        })
    }
}
