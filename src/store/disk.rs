//! disk: the real file system.

use crate::store::io::{Found, Lock, StoreFile, StoreIo};
use crate::store::map;
use bytes::Bytes;
use std::ffi::CString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of the largest file that is read whole: the keys of a million nodes, eight times over.
const LARGEST_SMALL: u64 = 1 << 30;

/// The real file system.
pub struct Disk;

impl StoreFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl StoreIo for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?))
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        renameat2(from, to).or_else(|error| match error.raw_os_error() {
            // File systems without RENAME_NOREPLACE: a hard link refuses an existing name as well.
            Some(libc::EINVAL | libc::ENOSYS) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            _ => Err(error),
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (file, len) = open_regular(path)?;
        let mut bytes = Vec::new();
        let too_much =
            || io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes are more than any such file has"));
        if len > LARGEST_SMALL {
            return Err(too_much());
        }
        bytes.try_reserve_exact(len as usize).map_err(|_| too_much())?;
        // The length is known, so no read looks for the end again: a run reads thousands of records.
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn map(&self, path: &Path, len: u64) -> io::Result<Bytes> {
        map::map(&open_of(path, len)?, len)
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(open_of(path, len)?.take(len)))
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        // On a network's file system a signal may interrupt this.
        let look = || loop {
            match std::fs::symlink_metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        };
        match look() {
            Ok(meta) if meta.is_file() => Ok(Found::File(meta.len())),
            Ok(_) => Ok(Found::Other),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Found::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn changed(&self, path: &Path) -> io::Result<SystemTime> {
        std::fs::metadata(path)?.modified()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect()
    }

    fn try_lock_alone(&self, path: &Path) -> io::Result<Option<Lock>> {
        loop {
            let file = open_lock(path)?;
            if !try_to(|| file.try_lock())? {
                return Ok(None);
            }
            if stands_at(&file, path) {
                return Ok(Some(Lock::new(file)));
            } // Its last holder removed it between the two calls.
        }
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = open_lock(path)?;
        Ok(try_to(|| file.try_lock_shared())?.then(|| Lock::new(file)))
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        statvfs(path)
    }
}

fn open_of(path: &Path, len: u64) -> io::Result<File> {
    let (file, found) = open_regular(path)?;
    if found != len {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{found} bytes instead of {len}")));
    }
    Ok(file)
}

/// Opens a regular file and nothing else: a link is not followed, a pipe is not waited for.
fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a regular file");
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => wrong(),
        _ => error,
    })?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta.len())) } else { Err(wrong()) }
}

/// A lock needs only a descriptor, so a store that this user cannot write can be locked as well. Any kind of file
/// serves as a lock, and opening a pipe does not block.
fn open_lock(path: &Path) -> io::Result<File> {
    let at_once = |options: &mut OpenOptions| options.custom_flags(libc::O_NONBLOCK).open(path);
    let made = at_once(OpenOptions::new().create(true).truncate(false).write(true));
    made.or_else(|error| at_once(OpenOptions::new().read(true)).map_err(|_| error))
}

/// Whether the lock was obtained.
fn try_to(lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<bool> {
    loop {
        match lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn stands_at(file: &File, path: &Path) -> bool {
    let place = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let (ours, there) = (file.metadata().map(place), std::fs::metadata(path).map(place));
    matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
}

#[expect(unsafe_code, reason = "std has no rename without replacing")]
fn renameat2(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are NUL-terminated strings that outlive the call.
    let rc =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "std does not tell how much space is free")]
fn statvfs(path: &Path) -> Option<u64> {
    let path = c_path(path).ok()?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is NUL-terminated and `stat` is large enough; it is read only after success.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return None;
        }
        stat.assume_init()
    };
    Some(stat.f_bavail * stat.f_frsize)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
