//! claim: several processes at work on one store: each key is made by one of them, and the others take what it made.

use crate::base::Digest;
use crate::engine::KeyText;
use crate::store::{KeyLock, Record, Store, StoreError};

/// What became of the wish to make a node.
pub(super) enum Taken {
    /// It is this process's to make.
    Ours(KeyLock),
    /// Another process makes it.
    Theirs,
    /// Another process has made it.
    Made(Record),
}

/// Takes the right to make a key, or finds out that another process has it or is done. `was` is what the node gave before,
/// where its bytes are wanted once more; under another key, if it `is_renewed`.
pub(super) fn take(store: &Store, key: &KeyText, was: Option<Digest>, is_renewed: bool) -> Result<Taken, StoreError> {
    let Some(lock) = store.try_lock(key.key())? else { return Ok(Taken::Theirs) };
    // It may have been made between the look at its record and the lock. A damaged record has been dealt with.
    let found = match store.record(key.key()) {
        Err(StoreError::DamagedRecord { .. }) => None,
        found => found?,
    };
    // Other bytes than before are drift, ours to see.
    let is_enough = |record: &Record| match was {
        None => true,
        Some(was) => (is_renewed || was == record.artifact.digest()) && store.contains_all(&record.artifact),
    };
    Ok(match found {
        Some(record) if is_enough(&record) => Taken::Made(record),
        _ => Taken::Ours(lock),
    })
}
