//! object: writes immutable bytes: to tmp, hashed on the way, synced, then renamed to their digest.

use crate::base::{ObjectId, Part};
use crate::store::io::StoreFile;
use crate::store::{Store, StoreError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// From this many bytes on, a write is hashed by all cores.
const PARALLEL_HASH_BYTES: usize = 1 << 20;

/// An object on its way into the store. Dropped unfinished, it leaves nothing behind.
pub struct ObjectWriter<'a> {
    store: &'a Store,
    tmp: PathBuf,
    /// `None` once a write has failed: what the file holds is not known then, and it must not become an object.
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
        // The same bytes may be there already; ours are then dropped with the writer. What is there with another size,
        // or is a link, a folder or a pipe, has just been moved away.
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
        // Also for bytes that were there: whoever put them may have been killed before this line.
        store.settle(folder).inspect_err(|_| {
            // After a failed sync nobody knows what the disk holds: nothing may be built on this name. What was there
            // before was synced by who put it, or will be missing after a power cut, which is an eviction.
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
                // The kind stays what it was; the text says where, and what to do, however it is wrapped on the way up.
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
        // Renamed away after a success; then there is nothing to remove.
        let _ = self.store.io().remove(&self.tmp);
    }
}
