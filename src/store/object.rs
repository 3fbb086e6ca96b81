//! object: writes immutable bytes: to tmp, hashed on the way, synced, then renamed to their digest.

use crate::base::{ObjectId, Part};
use crate::store::io::StoreFile;
use crate::store::{Store, StoreError};
use std::io::{self, Write};
use std::path::PathBuf;

/// From this many bytes on, a write is hashed by all cores.
const PARALLEL_HASH_BYTES: usize = 1 << 20;

/// An object on its way into the store. Dropped unfinished, it leaves nothing behind.
pub struct ObjectWriter<'a> {
    store: &'a Store,
    tmp: PathBuf,
    file: Option<Box<dyn StoreFile>>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> ObjectWriter<'a> {
    pub(super) fn create(store: &'a Store) -> Result<Self, StoreError> {
        let tmp = store.tmp_path();
        let file = store.io().create(&tmp).map_err(|error| StoreError::io("create", &tmp, error))?;
        Ok(Self { store, tmp, file: Some(file), hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Makes the bytes durable under their digest and returns them as a part called `name`.
    pub fn finish(mut self, name: &str) -> Result<Part, StoreError> {
        let io = self.store.io();
        let mut file = self.file.take().expect("BUG: an object finished twice");
        let failed = |error| StoreError::io("write", &self.tmp, error);
        file.sync().map_err(failed)?;
        drop(file);
        io.make_read_only(&self.tmp).map_err(failed)?;
        let object = ObjectId(self.hasher.finalize().into());
        let part = Part { name: name.to_owned(), object, bytes: self.bytes };
        let path = self.store.object_path(object);
        let folder = path.parent().expect("BUG: an object has a folder");
        let commit = || -> io::Result<()> {
            if io.regular_len(folder)?.is_some() {
                return Err(io::Error::from(io::ErrorKind::NotADirectory));
            }
            io.create_dir(folder)?;
            if self.store.contains(&part) {
                return Ok(()); // The same bytes are there already; ours are dropped with the writer.
            }
            match io.rename_new(&self.tmp, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if self.store.contains(&part) {
                        return Ok(());
                    }
                    // A link, a folder or a pipe stands where the object belongs.
                    self.store.quarantine(object);
                    io.rename_new(&self.tmp, &path)?;
                }
                other => other?,
            }
            io.sync_dir(folder)?;
            io.sync_dir(&self.store.root.join("objects"))
        };
        commit().map_err(|error| StoreError::io("commit", &path, error))?;
        Ok(part)
    }
}

impl Write for ObjectWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().expect("BUG: a finished object is written");
        let written = file.write(buf)?;
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
        let _ = self.store.io().remove(&self.tmp);
    }
}
