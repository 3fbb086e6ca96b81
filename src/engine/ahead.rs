//! ahead: the records that a run will most likely ask for, read by all cores at once.

use crate::base::StageKey;
use crate::store::run::KeyHistory;
use crate::store::{Record, Stand, Store};
use rayon::prelude::*;
use std::collections::HashMap;

/// A record and what stands under the names of its bytes.
pub(super) struct Seen {
    pub(super) record: Record,
    pub(super) bytes: Stand,
}

/// What stands under the keys of the last run. One node's key needs the record before it, so that a run by itself reads
/// one after the other; where nothing has changed, these are the very keys.
#[derive(Default)]
pub(super) struct Ahead(HashMap<StageKey, Seen>);

impl Ahead {
    /// Reads and looks; nothing is moved or reported. What cannot be read is left to whoever asks for it.
    pub(super) fn look(store: &Store, history: &KeyHistory) -> Self {
        let keys: Vec<StageKey> = history.last().collect();
        let look = |key: &StageKey| {
            let record = store.record(*key).ok().flatten()?;
            Some((*key, Seen { bytes: store.stand(&record.artifact), record }))
        };
        Self(keys.par_iter().filter_map(look).collect::<Vec<_>>().into_iter().collect())
    }

    /// What was found under a key.
    pub(super) fn take(&mut self, key: StageKey) -> Option<Seen> {
        self.0.remove(&key)
    }
}
