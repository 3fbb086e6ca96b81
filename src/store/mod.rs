//! store: immutable bytes named by their digest, and the records of which key produced them.
//!
//! ```text
//! .dcpipe/
//!   FORMAT              "dcpipe-store 1 blake3"; anything else is refused
//!   objects/ab/<hex>    immutable bytes, mode 0444, named by the BLAKE3 of the bytes
//!   records/ab/<hex>    one per key, holds its key text; written last
//!   runs/<name>/ node -> key of the last run of that name, how far it came, what it keeps
//!   stat/               what scan knows of files by size, mtime, ctime and inode; a cache that may be deleted
//!   locks/              locked by the kernel while a process works; the files themselves mean nothing
//!   tmp/                nothing here is ever trusted
//!   pins/               what protects runs' artifacts from gc
//!   quarantine/         damaged files, moved aside; .mended once the object was rebuilt
//! ```
//!
//! A record names only objects that were durable when it was written. Nothing under objects/ or records/ is changed in
//! place. Objects are written before their record, and gc deletes them after it. A missing object is an eviction, a wrong
//! one is damage. Records outlive objects. `docs/format.md` names the test of each of these sentences.

pub mod blocked;
pub mod disk;
mod durable;
pub mod error;
pub mod gc;
pub mod history;
pub mod io;
pub mod locks;
pub mod map;
pub mod object;
mod open;
pub mod pins;
pub mod policy;
mod quarantine;
pub mod record;
pub mod small;
pub mod standing;
pub mod verify;

/// The history of runs, under the name of the file that once held it all.
pub mod run {
    pub use crate::store::history::{KeyHistory, NodeKeys};
    pub use crate::store::standing::{RunState, Standing};
}

pub use disk::Disk;
pub use error::StoreError;
pub use gc::GcPlan;
pub use history::{KeyHistory, NodeKeys};
pub use io::StoreIo;
pub use locks::KeyLock;
pub use object::ObjectWriter;
pub use policy::Policy;
pub(crate) use quarantine::OTHER_BYTES;
pub use quarantine::quarantined_object;
pub use record::Record;
pub use standing::{RunState, Standing};

use crate::base::{Artifact, Digest, ObjectId, Part, StageKey};
use crate::store::durable::Settled;
use crate::store::io::{Found, Lock};
use crate::store::policy::Checks;
use crate::store::quarantine::Wrong;
use bytes::Bytes;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What is under the names of an artifact's parts, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// All of them.
    Whole,
    /// Some are missing.
    Gone,
    /// One is damaged: its name has other content.
    Wrong,
    /// One is unreadable: the system refuses, or the disk fails.
    Unknown,
}

/// An open store.
pub struct Store {
    root: PathBuf,
    io: Arc<dyn StoreIo>,
    next_tmp: AtomicU64,
    settled: Settled,
    reports: Mutex<Vec<String>>,
    /// The first damaged or unreadable object that could not be moved away and blocks a right one.
    stuck: Mutex<Option<StoreError>>,
    checks: Checks,
    /// Objects whose damaged files are in quarantine, as of the last reading.
    wrong: Mutex<Wrong>,
    /// Held while the store is open, shared or alone. A sweep that gets it alone proves that no process works here.
    _held: Option<Lock>,
}

impl Store {
    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn io(&self) -> &dyn StoreIo {
        &*self.io
    }

    fn object_path(&self, id: ObjectId) -> PathBuf {
        self.path_in("objects", id.0)
    }

    fn record_path(&self, key: StageKey) -> PathBuf {
        self.path_in("records", key.0)
    }

    fn path_in(&self, folder: &str, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        // In one allocation: a run asks for thousands of paths.
        let mut path = OsString::with_capacity(self.root.as_os_str().len() + folder.len() + hex.len() + 5);
        for piece in [self.root.as_os_str(), "/".as_ref(), folder.as_ref(), "/".as_ref()] {
            path.push(piece);
        }
        path.push(&hex[..2]);
        path.push("/");
        path.push(hex);
        path.into()
    }

    fn next_number(&self) -> u64 {
        self.next_tmp.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins a new object.
    pub fn create(&self) -> Result<ObjectWriter<'_>, StoreError> {
        ObjectWriter::create(self)
    }

    /// Whether the part's object is known to be in the store, with the size that its record says.
    ///
    /// Anything else under its name is damage: the store reports it, quarantines it, and counts it as missing.
    pub fn contains(&self, part: &Part) -> bool {
        self.is_there(part).unwrap_or(false)
    }

    fn is_there(&self, part: &Part) -> std::io::Result<bool> {
        let why = match self.io.look(&self.object_path(part.object))? {
            Found::File(len) if len != part.bytes => format!("has {len} bytes instead of {}", part.bytes),
            Found::File(len) if !self.passes(part.object, len) => OTHER_BYTES.to_owned(),
            Found::File(_) => return Ok(true),
            Found::Other => "is not a regular file".to_owned(),
            Found::Nothing => return Ok(false),
        };
        self.quarantine(part.object, &why);
        Ok(false)
    }

    /// [`Store::contains`] for every part. An unreadable part is an error, so `false` means that one is missing.
    pub fn has(&self, artifact: &Artifact) -> Result<bool, StoreError> {
        artifact.parts.iter().try_fold(true, |so_far, part| Ok(self.found(part)? && so_far))
    }

    fn found(&self, part: &Part) -> Result<bool, StoreError> {
        self.is_there(part).map_err(|error| StoreError::io("read", &self.object_path(part.object), error))
    }

    /// What is under the name of a part. Nothing is moved or reported.
    pub fn stand_of(&self, part: &Part) -> Stand {
        match self.io.look(&self.object_path(part.object)) {
            Ok(Found::File(len)) if len == part.bytes && self.passes(part.object, len) => Stand::Whole,
            Ok(Found::File(_) | Found::Other) => Stand::Wrong,
            Ok(Found::Nothing) => Stand::Gone,
            Err(_) => Stand::Unknown,
        }
    }

    /// The worst of what is under the names of the parts. Nothing is moved or reported.
    pub fn stand(&self, artifact: &Artifact) -> Stand {
        artifact.parts.iter().map(|part| self.stand_of(part)).max().unwrap_or(Stand::Whole)
    }

    /// Whether the store has every part of the artifact.
    pub fn contains_all(&self, artifact: &Artifact) -> bool {
        artifact.parts.iter().all(|part| self.contains(part))
    }

    /// Maps a part's bytes into memory.
    pub fn map(&self, part: &Part) -> Result<Bytes, StoreError> {
        let missing = || StoreError::Missing { object: part.object, name: part.name.clone() };
        if !self.found(part)? {
            return Err(missing());
        }
        let path = self.object_path(part.object);
        self.io.map(&path, part.bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(),
            _ => StoreError::io("map", &path, error),
        })
    }

    /// The path of a part's bytes, for libraries that open files themselves and for links.
    pub fn path_of(&self, part: &Part) -> PathBuf {
        self.object_path(part.object)
    }

    /// Hashes a part's bytes again; `Ok(false)` says that they do not match their name.
    pub fn verify(&self, part: &Part) -> Result<bool, StoreError> {
        let missing = || StoreError::Missing { object: part.object, name: part.name.clone() };
        if !self.found(part)? {
            return Err(missing());
        }
        let path = self.object_path(part.object);
        self.hash(&path, part.bytes).map(|digest| digest == part.object.0).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(),
            _ => StoreError::io("read", &path, error),
        })
    }

    /// Whether the store has a part's object, identical to the last bit. A damaged one is quarantined; one that is
    /// unreadable at this moment is an error, not damage.
    pub fn proves(&self, part: &Part) -> Result<bool, StoreError> {
        match self.verify(part) {
            Ok(false) => {
                self.quarantine(part.object, OTHER_BYTES);
                Ok(false)
            }
            Err(StoreError::Missing { .. }) => Ok(false),
            done => done,
        }
    }

    /// Deletes an object. What was computed from it stays valid.
    pub fn evict(&self, object: ObjectId) -> Result<(), StoreError> {
        let path = self.object_path(object);
        match self.io.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// Free bytes on the file system of the store, if the system says.
    pub fn free_bytes(&self) -> Option<u64> {
        self.io.free_bytes(&self.root)
    }
}
