//! checkpoint: a saved state within an action that has no shards; an interrupted node resumes from it.
//!
//! It has its own key (the node's text and one more line) and its own record. Only the newest counts, and none outlives
//! the node's own record.

use crate::base::Artifact;
use crate::base::clock::Stopwatch;
use crate::engine::context::{Context, Input};
use crate::engine::event::Event;
use crate::engine::key::KeyText;
use crate::engine::output::Output;
use crate::store::{Record, Store, StoreError};
use anyhow::Context as _;
use std::collections::BTreeMap;

impl<'a> Context<'a> {
    /// Saves a state to resume from, in place of the last one. What `work` writes must belong to this node alone. A
    /// state that contains [`Context::key`] does. The node deletes it at its next save.
    pub fn save(&mut self, name: &str, work: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let key = self.key.shard(name);
        (self.ears.saving)(true);
        let saved = self.put_down(&key, work);
        (self.ears.saving)(false);
        let record = saved.with_context(|| format!("saving {name}"))?;
        self.tell_part(name, false);
        if let Some(before) = self.save.replace(record) {
            self.store.discard(&before);
        }
        Ok(())
    }

    /// What an interrupted run saved. `names` come newest first; the first that exists and proves itself to the last
    /// bit is used.
    ///
    /// # Errors
    /// If one is unreadable at this moment: it may be right, and a new start would lose it.
    pub fn saved(&mut self, names: impl IntoIterator<Item = String>) -> anyhow::Result<Option<(String, Input<'a>)>> {
        let mut newest = None;
        for name in names {
            let record = found(self.store, &self.key.shard(&name));
            if newest.is_some() {
                // A killed run had no time to delete it.
                record.into_iter().flatten().for_each(|older| self.store.discard(&older));
                continue;
            }
            let Some(record) = record? else { continue };
            if !self.is_proven(&record)? {
                self.store.discard(&record);
                continue;
            }
            let input = Input::new(self.store, self.node.clone(), &record.artifact, None);
            input.parts("")?; // Mapped now: the next save discards it.
            self.tell_part(&name, true);
            self.save = Some(record);
            newest = Some((name, input));
        }
        Ok(newest)
    }

    /// All later work builds on it, so it is checked to the last bit.
    fn is_proven(&self, record: &Record) -> Result<bool, StoreError> {
        record.artifact.parts.iter().try_fold(true, |so_far, part| Ok(self.store.proves(part)? && so_far))
    }

    /// Once the node's own record is committed, nothing resumes from a checkpoint.
    pub(super) fn clear(&mut self) {
        if let Some(save) = self.save.take() {
            self.store.discard(&save);
        }
    }

    fn put_down(
        &self,
        key: &KeyText,
        work: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Record> {
        let watch = Stopwatch::new();
        let mut output = Output::new(self.store);
        work(&mut output)?;
        let parts = output.settle()?;
        let artifact = Artifact { kind: self.noun.name.to_owned(), format: self.noun.format, parts };
        let wall_ms = watch.elapsed().as_millis() as u64;
        Ok(self.store.commit(&Record::new(&self.node, key.as_str(), artifact, BTreeMap::new(), wall_ms))?)
    }

    fn tell_part(&self, part: &str, hit: bool) {
        (self.ears.emit)(Event::PutDown { node: self.node.clone(), part: part.to_owned(), hit });
    }
}

/// The record under `key`, if the store has it and its bytes.
pub(super) fn found(store: &Store, key: &KeyText) -> Result<Option<Record>, StoreError> {
    match store.record(key.key()) {
        Ok(Some(record)) if store.has(&record.artifact)? => Ok(Some(record)),
        Ok(_) => Ok(None),
        Err(error @ StoreError::DamagedRecord { .. }) => {
            store.drop_record(key.key(), &error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
