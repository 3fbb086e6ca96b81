//! hookfs: a file system that asks a test before every call: go on, only say so, or fail.

use bytes::Bytes;
use dcpipe::store::StoreIo;
use dcpipe::store::io::{Found, Lock, StoreFile};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Look,
    /// More bytes of a file that is open.
    Read,
    Change,
    Sync,
}

type Hook = dyn Fn(Call) -> io::Result<bool> + Send + Sync;

/// Another file system with a hook before it. Where the hook says `false`, the call is answered and not made.
pub struct HookFs<T> {
    inner: T,
    hook: Arc<Hook>,
}

impl<T: StoreIo> HookFs<T> {
    pub fn new(inner: T, hook: impl Fn(Call) -> io::Result<bool> + Send + Sync + 'static) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }

    /// Makes nothing durable, which is faster, and all the same to the tests that do not ask for it.
    pub fn unsynced(inner: T) -> Self {
        Self::new(inner, |call| Ok(call != Call::Sync))
    }

    /// Fails call number `at`, or, for ever, all from it on. What is left of the number tells whether it came to that.
    /// A full disk can still be read.
    pub fn failing(inner: T, at: i64, error: ErrorKind, for_ever: bool) -> (Self, Arc<AtomicI64>) {
        let left = Arc::new(AtomicI64::new(at));
        let count = Arc::clone(&left);
        let hook = move |call| {
            if matches!(call, Call::Look | Call::Read) && error == ErrorKind::StorageFull {
                return Ok(true);
            }
            let left = count.fetch_sub(1, Ordering::SeqCst);
            if left == 0 || (for_ever && left < 0) { Err(error.into()) } else { Ok(true) }
        };
        (Self::new(inner, hook), left)
    }

    fn looks(&self) -> io::Result<()> {
        (self.hook)(Call::Look).map(drop)
    }

    fn changes(&self) -> io::Result<()> {
        (self.hook)(Call::Change).map(drop)
    }
}

struct HookFile {
    inner: Box<dyn StoreFile>,
    hook: Arc<Hook>,
}

impl Write for HookFile {
    /// At most half of what is asked for, as any write may do.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (self.hook)(Call::Change)?;
        self.inner.write(&buf[..buf.len().div_ceil(2)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl StoreFile for HookFile {
    fn sync(&mut self) -> io::Result<()> {
        if (self.hook)(Call::Sync)? { self.inner.sync() } else { Ok(()) }
    }
}

struct HookReader {
    inner: Box<dyn Read>,
    hook: Arc<Hook>,
}

impl Read for HookReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (self.hook)(Call::Read)?;
        self.inner.read(buf)
    }
}

impl<T: StoreIo> StoreIo for HookFs<T> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.changes().and_then(|()| self.inner.create_dir(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        self.changes()?;
        Ok(Box::new(HookFile { inner: self.inner.create(path)?, hook: Arc::clone(&self.hook) }))
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        self.changes().and_then(|()| self.inner.make_read_only(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes().and_then(|()| self.inner.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes().and_then(|()| self.inner.rename_new(from, to))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if (self.hook)(Call::Sync)? { self.inner.sync_dir(path) } else { Ok(()) }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.looks().and_then(|()| self.inner.read(path))
    }

    fn map(&self, path: &Path, len: u64) -> io::Result<Bytes> {
        self.looks().and_then(|()| self.inner.map(path, len))
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn Read>> {
        self.looks()?;
        Ok(Box::new(HookReader { inner: self.inner.open(path, len)?, hook: Arc::clone(&self.hook) }))
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        self.looks().and_then(|()| self.inner.look(path))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.looks().and_then(|()| self.inner.remove(path))
    }

    fn changed(&self, path: &Path) -> io::Result<SystemTime> {
        self.looks().and_then(|()| self.inner.changed(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.looks().and_then(|()| self.inner.list(path))
    }

    fn try_lock_alone(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.looks().and_then(|()| self.inner.try_lock_alone(path))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        self.looks().and_then(|()| self.inner.try_lock_shared(path))
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        self.inner.free_bytes(path)
    }
}
