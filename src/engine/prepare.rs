//! prepare: checks a node right before its work begins: whether its inputs' bytes are there, and what its shards are.

use crate::base::artifact::TAG;
use crate::base::{Artifact, Digest, Part, StageKey};
use crate::engine::action::{Action, Site, blame, explained};
use crate::engine::checkpoint::found;
use crate::engine::error::ActionError;
use crate::engine::key::KeyText;
use crate::engine::plan::NodeId;
use crate::engine::work::{Shard, Work};
use crate::engine::{Facts, panics};
use crate::store::{Record, Store, StoreError};
use anyhow::{anyhow, ensure};
use std::collections::{BTreeSet, HashMap};

/// A shard and, if an earlier run made it, its parts.
pub(super) struct Slot {
    pub(super) shard: Shard,
    pub(super) made: Option<Vec<Part>>,
}

/// What must happen to a node before it runs.
pub(super) enum Prepared {
    /// The bytes of these inputs are missing, and must be rebuilt first.
    Lacks(Vec<NodeId>),
    /// It runs as one piece.
    Whole,
    /// It runs as these.
    Shards(Vec<Slot>),
}

/// Checks the inputs of an action for a whole node, and splits its work. `earlier` are keys that the node had before.
/// Shards of their artifacts are used again if they read the same.
pub(super) fn prepare(
    site: Site<'_>,
    action: &Action,
    key: &KeyText,
    earlier: &[StageKey],
) -> Result<Prepared, ActionError> {
    let lacks = lacking(site, action).map_err(|error| {
        site.store.stop_for(error);
        ActionError::Interrupted // The store's own error ends the run.
    })?;
    if !lacks.is_empty() {
        return Ok(Prepared::Lacks(lacks));
    }
    let split = panics::caught(|| split(site, action, key, earlier));
    let split = split.unwrap_or_else(|panic| Err(anyhow!("BUG: the stage {panic}")));
    split.map_err(|error| explained(&error))
}

/// Inputs that lack bytes which the action reads. A store that cannot say so is no reason for a rebuild.
fn lacking(site: Site<'_>, action: &Action) -> Result<Vec<NodeId>, StoreError> {
    let def = site.plan.node(action.node).stage.def();
    let mut lacks = Vec::new();
    for input in &action.inputs {
        if !site.store.has(&input.record.artifact.only(def.reads(input.port)))? {
            lacks.push(input.node);
        }
    }
    Ok(lacks)
}

fn split(site: Site<'_>, action: &Action, key: &KeyText, earlier: &[StageKey]) -> anyhow::Result<Prepared> {
    let inputs = action.open(site);
    let work = site.plan.node(action.node).stage.work(&inputs);
    let shards = match work.map_err(|error| blame(site, &inputs, error))? {
        Work::Whole => return Ok(Prepared::Whole),
        Work::Shards(shards) => shards,
    };
    let mut names = BTreeSet::new();
    let mut slots = Vec::with_capacity(shards.len());
    let reusable = Reusable::of(site.store, earlier);
    for mut shard in shards {
        let tag = tag(key, action, &shard);
        if let Some(tag) = &tag {
            shard.part = Part::tagged(&shard.part, tag);
        }
        ensure!(names.insert(shard.part.clone()), "BUG: two shards are called {}", shard.part);
        let made = match found(site.store, &key.shard(&shard.part))? {
            Some(record) => Some(record.artifact.parts),
            None => tag.and_then(|tag| reusable.take(site.store, &tag, &shard.part)),
        };
        slots.push(Slot { shard, made });
    }
    Ok(Prepared::Shards(slots))
}

/// Names all that decides the bytes of a shard that does not read all of its node's inputs. Two nodes whose inputs
/// differ elsewhere thus share it.
fn tag(key: &KeyText, action: &Action, shard: &Shard) -> Option<String> {
    if shard.reads.is_empty() {
        return None;
    }
    let mut reads = String::new();
    for read in &shard.reads {
        reads += &format!("read {}", read.port);
        reads += &read.content.map(|digest| format!(" {digest}")).unwrap_or_default();
        let input = action.inputs.iter().find(|input| input.port == read.port);
        let parts = read.parts.iter().filter_map(|name| input?.record.artifact.part(name));
        reads.extend(parts.map(|part| format!(" {}", part.object)));
        reads.push('\n');
    }
    let is_narrowed = |port: &str| shard.reads.iter().any(|read| read.port == port);
    let text = key.without_inputs(is_narrowed) + &reads;
    Some(Digest::of(text.as_bytes()).to_string()[..TAG].to_owned())
}

/// Parts that the node had under earlier keys, by tag.
struct Reusable(HashMap<String, Part>);

impl Reusable {
    fn of(store: &Store, earlier: &[StageKey]) -> Self {
        let records = earlier.iter().filter_map(|key| store.record(*key).ok().flatten());
        let parts = records.flat_map(|record| record.artifact.parts);
        Self(parts.filter_map(|part| Some((part.tag()?.to_owned(), part))).collect())
    }

    fn take(&self, store: &Store, tag: &str, name: &str) -> Option<Vec<Part>> {
        let part = Part { name: name.to_owned(), ..self.0.get(tag)?.clone() };
        store.contains(&part).then(|| vec![part])
    }
}

/// Commits the record of a node whose shards all exist. The shards' own records go: nothing resumes from them any more.
pub(super) fn gather(
    site: Site<'_>,
    node: NodeId,
    key: &KeyText,
    slots: Vec<Slot>,
    wall_ms: u64,
) -> Result<Record, ActionError> {
    let node = site.plan.node(node);
    let output = node.stage.def().output;
    let shards: Vec<String> = slots.iter().map(|slot| slot.shard.part.clone()).collect();
    let parts = slots.into_iter().flat_map(|slot| slot.made.unwrap_or_default()).collect();
    let artifact = Artifact { kind: output.name.to_owned(), format: output.format, parts };
    let told = |error: StoreError| explained(&error.into());
    // Another process may have deleted an earlier run's shards since they were found.
    if !site.store.has(&artifact).map_err(told)? {
        return Err(ActionError::Missing { what: format!("parts of {} were deleted while it was made", node.name()) });
    }
    let record = Record::new(&node.name(), key.as_str(), artifact, Facts::new(), wall_ms);
    let record = site.store.commit(&record).map_err(told)?;
    shards.iter().for_each(|shard| site.store.remove_record(key.shard(shard).key()));
    Ok(record)
}
