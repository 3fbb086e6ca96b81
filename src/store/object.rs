//! object: writes immutable bytes: to tmp, hashed on the way, synced, then renamed to their digest.

use crate::base::{ObjectId, Part};
use crate::store::io::StoreFile;
use crate::store::{Store, StoreError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// From this many bytes on, a write is hashed by all cores.
const PARALLEL_HASH_BYTES: usize = 1 << 20;

/// An object on its way into the store. An unfinished one leaves nothing behind when it is dropped.
pub struct ObjectWriter<'a> {
    store: &'a Store,
    tmp: PathBuf,
    /// `None` once a write has failed: the content of the file is unknown, and it must not become an object.
    file: Option<Box<dyn StoreFile>>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> ObjectWriter<'a> {
    pub(super) fn create(store: &'a Store) -> Result<Self, StoreError> {
        let (tmp, file) =
            store.create_tmp().map_err(|error| StoreError::io("create", &store.root().join("tmp"), error))?;
        Ok(Self { store, tmp, file: Some(file), hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Makes the bytes durable under their digest and returns them as a part called `name`.
    pub fn finish(mut self, name: &str) -> Result<Part, StoreError> {
        let failed = |error| StoreError::io("write", &self.tmp, error);
        let mut file = self.file.take().ok_or_else(|| failed(broken()))?;
        file.sync().map_err(failed)?;
        drop(file);
        self.store.io().make_read_only(&self.tmp).map_err(failed)?;
        let object = ObjectId(self.hasher.finalize().into());
        let part = Part { name: name.to_owned(), object, bytes: self.bytes };
        let path = self.store.object_path(object);
        self.place(&part, &path).map_err(|error| StoreError::io("commit", &path, error))?;
        Ok(part)
    }

    fn place(&self, part: &Part, path: &Path) -> io::Result<()> {
        let (store, io) = (self.store, self.store.io());
        let folder = path.parent().expect("BUG: an object has a folder");
        io.create_dir(folder)?;
        // The store may have the same bytes already; then the writer drops its own. Something of another size, a link,
        // a folder or a pipe has just been moved away.
        let mut is_ours = false;
        if !store.contains(part) {
            match io.rename_new(&self.tmp, path) {
                // Another run was faster with the same bytes.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && store.contains(part) => {}
                other => {
                    other?;
                    is_ours = true;
                }
            }
            store.mended(part.object);
        }
        // Also for bytes that were there: their writer may have been killed before this line.
        store.settle(folder).inspect_err(|_| {
            // After a failed sync the content of the disk is unknown: nothing may rely on this name. Bytes that were
            // there before were synced by their writer, or a power cut evicts them.
            if is_ours {
                let _ = io.remove(path);
            }
        })
    }
}

fn broken() -> io::Error {
    io::Error::other("an earlier write to it failed")
}

impl Write for ObjectWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().ok_or_else(broken)?;
        let written = match file.write(buf) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                self.file = None;
                // The kind of the error stays. Its text says where and what to do, even if a caller wraps it.
                return Err(io::Error::new(error.kind(), StoreError::io("write", &self.tmp, error)));
            }
        };
        if written >= PARALLEL_HASH_BYTES {
            self.hasher.update_rayon(&buf[..written]);
        } else {
            self.hasher.update(&buf[..written]);
        }
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectWriter<'_> {
    fn drop(&mut self) {
        // After a success the file has its new name; then there is nothing to remove.
        let _ = self.store.io().remove(&self.tmp);
    }
}
