//! io: the one small trait through which the store touches a file system.

use bytes::Bytes;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file being written.
pub trait StoreFile: Write + Send {
    /// Makes what was written durable. After an error the caller must drop the file, never sync it again. Linux forgets
    /// the pages that it failed to write, and a second fsync would report success.
    fn sync(&mut self) -> io::Result<()>;
}

/// What is at a path. Links are not followed: the store makes none, so a link is as wrong as a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file of so many bytes.
    File(u64),
    /// A folder, a link, a pipe or something else that the store did not make.
    Other,
}

/// A kernel lock, held until it is dropped or its process ends; so no lock is ever stale.
pub struct Lock {
    _held: Box<dyn Send + Sync>,
}

impl Lock {
    /// Wraps a value that holds the lock while it lives.
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
    /// Reads a whole small file; `InvalidData` if the path is not a regular file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Maps a file of `len` bytes; `InvalidData` if it is not a regular file of that length. The bytes stay readable
    /// after the file is removed.
    fn map(&self, path: &Path, len: u64) -> io::Result<Bytes>;
    /// Reads such a file from its start. A failing disk then gives an error, where a map gives a signal.
    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn Read>>;
    /// What is at a path.
    fn look(&self, path: &Path) -> io::Result<Found>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// When entries of a folder last came or went. Two moments that are close together may look the same.
    ///
    /// # Errors
    /// If the system cannot tell; then only a listing can.
    fn changed(&self, path: &Path) -> io::Result<SystemTime>;
    /// The entries of a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Locks the file at `path` exclusively, or says `None` while another process holds it. The holder may remove the
    /// file: the lock obtained in the end is on the file now at `path`.
    fn try_lock_alone(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Locks the file at `path` against exclusive locks, or says `None` while another process holds one.
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Lock>>;
    /// Free bytes on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}
