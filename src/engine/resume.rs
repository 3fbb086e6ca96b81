//! resume: what a node puts down while it works, so that after an interruption it goes on from there.
//!
//! Both kinds have a key of their own, the node's text and one line more, and a record of their own. A shard is a piece of
//! the output; a save is a state in the middle of work that cannot be cut in pieces, and the newest is the only one that
//! counts. Neither outlives the node's own record.

use crate::base::Artifact;
use crate::base::clock::Stopwatch;
use crate::engine::context::Input;
use crate::engine::output::Output;
use crate::engine::{Context, Event, Facts, KeyText};
use crate::store::{Record, StoreError};
use anyhow::{Context as _, anyhow};
use std::collections::BTreeSet;

/// What a running node has put down.
#[derive(Default)]
pub(super) struct Unfinished {
    shards: BTreeSet<String>,
    save: Option<Record>,
}

impl Context<'_> {
    /// Does one shard of the work, or takes it from the store if an earlier, interrupted run got that far.
    ///
    /// `name` says which shard it is, and must not depend on how many workers there are. The shard's parts become parts
    /// of the output, in the order of the calls. A shard that was begun is finished, whoever asks the run to stop.
    pub fn shard(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.progress.shards.insert(name.to_owned()) {
            return Err(anyhow!("BUG: two shards are called {name}"));
        }
        let key = self.key.shard(name);
        let record = match self.whole(&key)? {
            Some(record) => {
                self.tell_part(name, true);
                record
            }
            None => {
                self.checkpoint()?;
                let record = self.put_down(&key, work).with_context(|| format!("in shard {name}"))?;
                self.tell_part(name, false);
                record
            }
        };
        self.parts.parts.extend(record.artifact.parts);
        Ok(())
    }

    /// Saves a state to go on from, in place of the last one. What `work` writes must be this node's alone, as a state is
    /// that has [`Context::key`] in it: it is deleted when the node gets further.
    pub fn save(&mut self, name: &str, work: impl FnOnce(&mut Output<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let key = self.key.shard(name);
        let record = self.put_down(&key, work).with_context(|| format!("saving {name}"))?;
        self.tell_part(name, false);
        if let Some(before) = self.progress.save.replace(record) {
            self.store.discard(&before);
        }
        Ok(())
    }

    /// What an interrupted run saved: of `names`, which come newest first, the first that is there and true to the last
    /// bit.
    ///
    /// # Errors
    /// Where one cannot be read at this moment: it is not known to be wrong, and to begin anew would be to lose it.
    pub fn saved(&mut self, names: impl IntoIterator<Item = String>) -> anyhow::Result<Option<Input>> {
        let mut found = None;
        for name in names {
            let record = self.whole(&self.key.shard(&name));
            if found.is_some() {
                // A run was killed before it could delete it.
                record.into_iter().flatten().for_each(|older| self.store.discard(&older));
                continue;
            }
            let Some(record) = record? else { continue };
            if !self.is_proven(&record)? {
                self.store.discard(&record);
                continue;
            }
            found = Some(Input::open(self.store, self.node.clone(), &record.artifact, None)?);
            self.tell_part(&name, true);
            self.progress.save = Some(record);
        }
        Ok(found)
    }

    /// What everything after it is made from is looked at to the last bit.
    fn is_proven(&self, record: &Record) -> Result<bool, StoreError> {
        record.artifact.parts.iter().try_fold(true, |so_far, part| Ok(self.store.proves(part)? && so_far))
    }

    /// After the node's own record is committed nothing goes on from here any more. A shard's parts are the node's.
    pub(super) fn clear(&mut self) {
        for name in std::mem::take(&mut self.progress.shards) {
            self.store.remove_record(self.key.shard(&name).key());
        }
        if let Some(save) = self.progress.save.take() {
            self.store.discard(&save);
        }
    }

    /// The record under `key`, where it and its bytes are there.
    fn whole(&self, key: &KeyText) -> Result<Option<Record>, StoreError> {
        match self.store.record(key.key()) {
            Ok(Some(record)) if self.store.has(&record.artifact)? => Ok(Some(record)),
            Ok(_) => Ok(None),
            Err(error @ StoreError::DamagedRecord { .. }) => {
                self.store.drop_record(key.key(), &error);
                Ok(None)
            }
            Err(error) => Err(error),
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
        let artifact = Artifact { kind: self.noun.name.to_owned(), format: self.noun.format, parts: output.parts };
        let wall_ms = watch.elapsed().as_millis() as u64;
        Ok(self.store.commit(&Record::new(&self.node, key.as_str(), artifact, Facts::new(), wall_ms))?)
    }

    fn tell_part(&self, part: &str, hit: bool) {
        (self.emit)(Event::PutDown { node: self.node.clone(), part: part.to_owned(), hit });
    }
}
