//! locks: who is making which key at this moment. The kernel holds them, so none outlives its process.

use crate::base::StageKey;
use crate::store::io::Lock;
use crate::store::{Store, StoreError, StoreIo};
use std::path::PathBuf;
use std::sync::Arc;

/// The right to make what a key names; nobody else has it until this is dropped or its process is gone.
pub struct KeyLock {
    io: Arc<dyn StoreIo>,
    path: PathBuf,
    _held: Lock,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // While it is still held: who locked the file that is gone now looks again (see [`StoreIo::try_lock_alone`]).
        let _ = self.io.remove(&self.path);
    }
}

impl Store {
    /// Takes the right to make `key`, or says `None` while another process has it.
    ///
    /// Whoever gets it must look the record up once more: it may have been made in between.
    pub fn try_lock(&self, key: StageKey) -> Result<Option<KeyLock>, StoreError> {
        let path = self.root().join("locks").join(key.to_string());
        let held = self.io.try_lock_alone(&path).map_err(|error| StoreError::io("lock", &path, error))?;
        Ok(held.map(|held| KeyLock { io: Arc::clone(&self.io), path, _held: held }))
    }
}
