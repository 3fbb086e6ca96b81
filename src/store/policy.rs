//! policy: how closely the store checks an object before its use.

use crate::base::{Digest, ObjectId};
use crate::store::Store;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How closely the store checks objects before their use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Their size.
    #[default]
    Size,
    /// The bytes of one in twenty, others each time.
    Sample,
    /// All their bytes, once in a process.
    Full,
}

/// Under [`Policy::Sample`], one of this many objects is hashed.
const SAMPLED: u64 = 20;

/// Bytes per read: enough to keep all cores hashing, and few enough to stay in their caches.
const BLOCK: u64 = 4 << 20;

/// What a process has hashed, and what its policy makes it hash.
#[derive(Default)]
pub(super) struct Checks {
    policy: Policy,
    salt: u64,
    proven: Mutex<BTreeSet<ObjectId>>,
}

impl Checks {
    fn wants(&self, object: ObjectId) -> bool {
        match self.policy {
            Policy::Size => false,
            Policy::Sample => draws(object, self.salt) < 1.0 / SAMPLED as f64,
            Policy::Full => true,
        }
    }
}

/// A number of [0, 1) for the object, another one for each salt.
pub(super) fn draws(object: ObjectId, salt: u64) -> f64 {
    let digest = Digest::of(&[&object.0.as_bytes()[..], &salt.to_le_bytes()].concat());
    let first = digest.as_bytes()[..4].try_into().map_or(0, u32::from_le_bytes);
    f64::from(first) / f64::from(u32::MAX)
}

impl Store {
    /// Makes the store check objects as closely as `policy` says from now on. `salt` decides which are sampled.
    pub fn look_closely(&mut self, policy: Policy, salt: u64) {
        self.checks = Checks { policy, salt, proven: Mutex::default() };
    }

    /// Whether a look at an object may hash it.
    pub fn hashes(&self) -> bool {
        self.checks.policy != Policy::Size
    }

    /// Whether the bytes under an object's name, whose size is right, satisfy the policy.
    pub(super) fn passes(&self, object: ObjectId, bytes: u64) -> bool {
        let proven = || self.checks.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.checks.wants(object) || proven().contains(&object) {
            return true;
        }
        let path = self.object_path(object);
        let right = match self.hash(&path, bytes) {
            Ok(digest) => digest == object.0,
            Err(error) if error.kind() == ErrorKind::NotFound => true, // Evicted in the meantime.
            // Neither known to be damaged nor known to be right.
            Err(error) => {
                self.is_stuck(path, format!("cannot be read: {error}"));
                return true;
            }
        };
        if right {
            proven().insert(object);
        }
        right
    }

    /// The digest of a file. It is read, not mapped, so that a disk failure is an error that names the file.
    pub fn hash(&self, path: &Path, bytes: u64) -> std::io::Result<Digest> {
        let mut file = self.io().open(path, bytes)?;
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; bytes.min(BLOCK) as usize];
        let mut left = bytes;
        while left > 0 {
            let block = &mut block[..left.min(BLOCK) as usize];
            file.read_exact(block)?;
            hasher.update_rayon(block);
            left -= block.len() as u64;
        }
        Ok(hasher.finalize().into())
    }
}
