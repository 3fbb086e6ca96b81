//! claim: several processes share one store: one of them makes each key, and the others take its result.

use crate::base::Digest;
use crate::engine::KeyText;
use crate::store::{KeyLock, Record, Store, StoreError};

/// The result of a claim on a node.
pub(super) enum Taken {
    /// This process makes it.
    Ours(KeyLock),
    /// Another process makes it.
    Theirs,
    /// Another process has made it.
    Made(Record),
}

/// Takes the right to make a key, or finds that another process has that right or has finished. `was` is what the node
/// gave before, if a reader needs its bytes again. `is_renewed` says that it had another key then.
pub(super) fn take(store: &Store, key: &KeyText, was: Option<Digest>, is_renewed: bool) -> Result<Taken, StoreError> {
    let Some(lock) = store.try_lock(key.key())? else { return Ok(Taken::Theirs) };
    // Another process may have made it between the look and the lock. A damaged record was dealt with before.
    let found = match store.record(key.key()) {
        Err(StoreError::DamagedRecord { .. }) => None,
        found => found?,
    };
    // Other bytes than before are drift, which this process must see.
    let is_enough = |record: &Record| match was {
        None => true,
        Some(was) => (is_renewed || was == record.artifact.digest()) && store.contains_all(&record.artifact),
    };
    Ok(match found {
        Some(record) if is_enough(&record) => Taken::Made(record),
        _ => Taken::Ours(lock),
    })
}
