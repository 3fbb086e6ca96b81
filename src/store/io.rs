//! io: the one small trait through which the store touches a file system, and the real one.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file being written.
pub trait StoreFile: Write + Send {
    /// Makes what was written durable. After an error the file must be dropped, never synced again: Linux forgets the
    /// pages that it failed to write, and a second fsync would answer that all is well.
    fn sync(&mut self) -> io::Result<()>;
}

/// Everything the store asks of a file system. A test may put a simulated one in its place.
pub trait StoreIo: Send + Sync {
    /// Makes a folder and its parents.
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
    /// Reads a whole small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The length of a regular file; `None` where there is nothing, or something that is not a regular file.
    fn regular_len(&self, path: &Path) -> io::Result<Option<u64>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The entries of a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Free bytes where `path` is.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}

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
        std::fs::read(path)
    }

    fn regular_len(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|e| e.path())).collect()
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        statvfs(path)
    }
}

#[expect(unsafe_code, reason = "std has no rename without replacing")]
fn renameat2(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are NUL-terminated strings that outlive the call.
    let rc = unsafe {
        libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE)
    };
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
