//! locks: which process makes which key at this moment. The kernel holds the locks, so none outlives its process.

use crate::base::StageKey;
use crate::store::io::Lock;
use crate::store::{Store, StoreError, StoreIo};
use std::path::PathBuf;
use std::sync::Arc;

/// The right to make what a key names. No other process has it until this is dropped or its process ends.
pub struct KeyLock {
    io: Arc<dyn StoreIo>,
    path: PathBuf,
    _held: Lock,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Removed while the lock is held: a process that locked the removed file tries again (see
        // [`StoreIo::try_lock_alone`]).
        let _ = self.io.remove(&self.path);
    }
}

impl Store {
    /// Takes the right to make `key`, or says `None` while another process has it.
    ///
    /// The caller must then look the record up once more: another process may have made it in between.
    pub fn try_lock(&self, key: StageKey) -> Result<Option<KeyLock>, StoreError> {
        let path = self.root().join("locks").join(key.to_string());
        let held = self.io.try_lock_alone(&path).map_err(|error| StoreError::io("lock", &path, error))?;
        Ok(held.map(|held| KeyLock { io: Arc::clone(&self.io), path, _held: held }))
    }
}
