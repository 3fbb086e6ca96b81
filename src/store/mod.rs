//! store: immutable bytes named by their digest, and the records of which key produced them.
//!
//! ```text
//! .dcpipe/
//!   FORMAT              "dcpipe-store 1 blake3"; anything else is refused
//!   objects/ab/<hex>    immutable bytes, mode 0444, named by the BLAKE3 of the bytes
//!   records/ab/<hex>    one per key, holds its key text; written last
//!   runs/<name>/        node -> key of the last run of that name, events.jsonl
//!   stat/               what scan knows of files by size, mtime and inode; a cache that may be deleted
//!   tmp/                nothing here is ever trusted
//!   quarantine/         objects whose bytes were not what their name says
//! ```
//!
//! A record names only objects that were durable when it was written. Nothing under objects/ or records/ is changed in
//! place. Objects are written before their record and deleted after it. A missing object is an eviction, a wrong one is
//! corruption. Records outlive objects.

pub mod error;
pub mod io;
pub mod map;
pub mod object;
pub mod record;
pub mod run;

pub use error::StoreError;
pub use io::{Disk, StoreIo};
pub use object::ObjectWriter;
pub use record::Record;

use crate::base::{Artifact, ObjectId, Part, StageKey};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const FORMAT: &str = "dcpipe-store 1 blake3\n";

/// An open store.
pub struct Store {
    root: PathBuf,
    io: Arc<dyn StoreIo>,
    next_tmp: AtomicU64,
    /// Held for as long as the store is open, so that a sweep can prove that nobody else is at work.
    _shared: std::fs::File,
}

impl Store {
    /// Opens the store at `root`, making it where there is none, and empties `tmp/` of what dead processes left.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_on(root, Arc::new(Disk))
    }

    /// Opens the store with all its I/O going through `io`.
    pub fn open_on(root: &Path, io: Arc<dyn StoreIo>) -> Result<Self, StoreError> {
        for folder in ["objects", "records", "runs", "stat", "tmp", "quarantine", "locks"] {
            let path = root.join(folder);
            io.create_dir(&path).map_err(|error| StoreError::io("create", &path, error))?;
        }
        let format = root.join("FORMAT");
        match io.read(&format) {
            Ok(text) if text == FORMAT.as_bytes() => {}
            Ok(text) if !text.is_empty() => {
                return Err(StoreError::UnknownFormat {
                    root: root.to_owned(),
                    found: String::from_utf8_lossy(&text).trim().chars().take(80).collect(),
                });
            }
            Ok(_) => write_format(&*io, root, &format)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_format(&*io, root, &format)?,
            Err(error) => return Err(StoreError::io("read", &format, error)),
        }
        let lock_path = root.join("locks/store");
        let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| StoreError::io("open", &lock_path, error))?;
        // Alone here: everything in tmp/ belongs to processes that are gone.
        if lock.try_lock().is_ok() {
            sweep_tmp(&*io, &root.join("tmp"));
            let _ = lock.unlock();
        }
        lock.lock_shared().map_err(|error| StoreError::io("lock", &lock_path, error))?;
        Ok(Self { root: root.to_owned(), io, next_tmp: AtomicU64::new(0), _shared: lock })
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn io(&self) -> &dyn StoreIo {
        &*self.io
    }

    fn object_path(&self, id: ObjectId) -> PathBuf {
        let hex = id.to_string();
        self.root.join("objects").join(&hex[..2]).join(hex)
    }

    fn record_path(&self, key: StageKey) -> PathBuf {
        let hex = key.to_string();
        self.root.join("records").join(&hex[..2]).join(hex)
    }

    fn tmp_path(&self) -> PathBuf {
        let n = self.next_tmp.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{}.{n}", std::process::id()))
    }

    /// Begins a new object.
    pub fn create(&self) -> Result<ObjectWriter<'_>, StoreError> {
        ObjectWriter::create(self)
    }

    /// Whether the part's object is there with the size that its record says.
    ///
    /// An object of another size is corruption: it is moved to quarantine and counts as missing.
    pub fn contains(&self, part: &Part) -> bool {
        let path = self.object_path(part.object);
        match self.io.regular_len(&path) {
            Ok(Some(len)) if len == part.bytes => true,
            Ok(Some(_)) => {
                self.quarantine(part.object);
                false
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Whether every part of the artifact is there.
    pub fn contains_all(&self, artifact: &Artifact) -> bool {
        artifact.parts.iter().all(|part| self.contains(part))
    }

    /// Maps a part's bytes into memory.
    pub fn map(&self, part: &Part) -> Result<Bytes, StoreError> {
        let path = self.object_path(part.object);
        if !self.contains(part) {
            return Err(StoreError::Missing { object: part.object, name: part.name.clone() });
        }
        map::map(&path).map_err(|error| StoreError::io("map", &path, error))
    }

    /// The path of a part's bytes, for libraries that open files themselves and for links.
    pub fn path_of(&self, part: &Part) -> PathBuf {
        self.object_path(part.object)
    }

    /// Hashes a part's bytes again; `Ok(false)` says that they are not what their name promises.
    pub fn verify(&self, part: &Part) -> Result<bool, StoreError> {
        let bytes = self.map(part)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_rayon(&bytes);
        Ok(ObjectId(hasher.finalize().into()) == part.object)
    }

    /// Moves a wrong object out of the way, so that it is never served and can still be looked at.
    pub fn quarantine(&self, object: ObjectId) {
        let path = self.object_path(object);
        let aside = self.root.join("quarantine").join(object.to_string());
        let _ = self.io.rename(&path, &aside);
    }

    /// Deletes an object. What was computed from it stays valid.
    pub fn evict(&self, object: ObjectId) -> Result<(), StoreError> {
        let path = self.object_path(object);
        match self.io.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Free bytes of the file system that the store is on, where the system says.
    pub fn free_bytes(&self) -> Option<u64> {
        self.io.free_bytes(&self.root)
    }
}

fn write_format(io: &dyn StoreIo, root: &Path, path: &Path) -> Result<(), StoreError> {
    let tmp = root.join("tmp").join(format!("{}.format", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = io.create(&tmp)?;
        file.write_all(FORMAT.as_bytes())?;
        file.sync()?;
        drop(file);
        io.rename(&tmp, path)?;
        io.sync_dir(root)
    };
    write().map_err(|error| StoreError::io("write", path, error))
}

fn sweep_tmp(io: &dyn StoreIo, tmp: &Path) {
    for path in io.list(tmp).unwrap_or_default() {
        let _ = io.remove(&path);
    }
}
