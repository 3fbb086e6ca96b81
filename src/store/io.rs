//! io: the one small trait through which the store touches a file system.

use bytes::Bytes;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file being written.
pub trait StoreFile: Write + Send {
    /// Makes what was written durable. After an error the file must be dropped, never synced again: Linux forgets the
    /// pages that it failed to write, and a second fsync would answer that all is well.
    fn sync(&mut self) -> io::Result<()>;
}

/// What stands at a path. Links are not followed: the store makes none, so one is as wrong as a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file of so many bytes.
    File(u64),
    /// A folder, a link, a pipe or something else that the store did not put there.
    Other,
}

/// A lock of the kernel's, held until it is dropped or its process is gone; so none is ever stale.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

impl Lock {
    /// Wraps what holds the lock for as long as it lives.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held) }
    }
}

/// Everything the store asks of a file system. A test may put a simulated one in its place.
pub trait StoreIo: Send + Sync {
    /// Makes a folder and its parents where they are missing.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a new file; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoreFile>>;
    /// Takes the write permission off a file.
    fn make_read_only(&self, path: &Path) -> io::Result<()>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames, or says `AlreadyExists`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a folder's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Reads a whole small file; `InvalidData` where something else than a regular file stands.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Maps a file of `len` bytes; `InvalidData` where it is no regular file of that length. The bytes stay readable
    /// when the file is removed.
    fn map(&self, path: &Path, len: u64) -> io::Result<Bytes>;
    /// Reads the same from its start: what the disk cannot read is an error, and not a signal as in a map.
    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn Read>>;
    /// What stands at a path.
    fn look(&self, path: &Path) -> io::Result<Found>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// When entries of a folder last came or went. Two moments that are close to each other may look the same.
    ///
    /// # Errors
    /// Where that cannot be told: then it must be listed to know.
    fn changed(&self, path: &Path) -> io::Result<SystemTime>;
    /// The entries of a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Locks the file at `path` against everybody, or says `None` where somebody holds it. The file may be removed by
    /// who holds it: what is locked in the end is what stands at `path`.
    fn try_lock_alone(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Locks the file at `path` against those who want to be alone, or says `None` where one of them holds it.
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Free bytes where `path` is.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}
