//! made: what the last run of a name made, as far as the store has it: nodes with their records.

use crate::base::{Epoch, Noun};
use crate::engine::keys::follows;
use crate::engine::{Node, NodeId, Plan};
use crate::format::metrics::{self, end_loss, open_metrics, open_steps};
use crate::format::noun::{MAP, METRICS, WEIGHTS};
use crate::store::{Record, Stand, Store};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What to do for images of clusters in a report or an export.
pub const NO_GALLERY: &str = "This run has no gallery. Add this node to the pipeline under each_epoch and run it again: \
     gallery: { stage: gallery, epochs: { every: 10 }, from: { dataset: dataset, crops: \
     crops, clusters: clusters, before: clusters@prev, vectors: vectors } }";

/// A node of the last run with its record.
pub struct Made<'p> {
    /// Its place in the plan.
    pub id: NodeId,
    /// The node.
    pub node: &'p Node,
    /// Its record.
    pub record: &'p Record,
}

/// The record of each node that the last run of this plan's name made or found, by node. A node that an earlier run made
/// of something else has none.
///
/// # Errors
/// If a record is damaged or unreadable.
pub fn records(plan: &Plan, store: &Store) -> anyhow::Result<Vec<Option<Record>>> {
    let history = store.key_history(&plan.name);
    let mut records: Vec<Option<Record>> = vec![None; plan.len()];
    for id in plan.order() {
        let node = plan.node(*id);
        let Some(key) = history.of(&node.name()).next() else { continue };
        let inputs = node.inputs.iter().map(|(port, from)| Some((*port, records[from.index()].as_ref()?)));
        // A run that did not reach a node leaves it as an earlier one made it, perhaps of something else.
        if let Some(inputs) = inputs.collect::<Option<Vec<_>>>()
            && let Some(record) = store.record(key)?.filter(|record| follows(record, &*node.stage, &inputs))
        {
            records[id.index()] = Some(record);
        }
    }
    Ok(records)
}

/// The nodes that have a record, in the plan's order.
pub fn made<'p>(plan: &'p Plan, records: &'p [Option<Record>]) -> Vec<Made<'p>> {
    let made = |id: &NodeId| Some(Made { id: *id, node: plan.node(*id), record: records[id.index()].as_ref()? });
    plan.order().iter().filter_map(made).collect()
}

/// The node that has a map of an epoch, if its record is there.
pub fn map_of(plan: &Plan, epoch: Epoch, records: &[Option<Record>]) -> Option<NodeId> {
    of_epoch(plan, &MAP, epoch, records)
}

/// The node of an epoch that makes a noun, if its record is there.
pub fn of_epoch(plan: &Plan, noun: &Noun, epoch: Epoch, records: &[Option<Record>]) -> Option<NodeId> {
    let is_it = |record: &Record| record.artifact.kind == noun.name;
    let is_of = |id: &&NodeId| plan.node(**id).epoch == epoch && records[id.index()].as_ref().is_some_and(is_it);
    plan.order().iter().find(is_of).copied()
}

/// A part's bytes, where they are there.
///
/// # Errors
/// If they are there and unreadable.
pub fn part(store: &Store, record: &Record, name: &str) -> anyhow::Result<Option<Bytes>> {
    let part = record.artifact.part(name).filter(|part| store.stand_of(part) == Stand::Whole);
    Ok(part.map(|part| store.map(part)).transpose()?)
}

/// The numbers of every epoch that has some, by name. They are its metrics, its last loss, and its training steps.
///
/// # Errors
/// If a table is damaged or unreadable.
pub fn numbers(store: &Store, made: &[Made<'_>]) -> anyhow::Result<BTreeMap<Epoch, BTreeMap<String, f64>>> {
    let mut epochs: BTreeMap<Epoch, BTreeMap<String, f64>> = BTreeMap::new();
    for made in made.iter().filter(|made| made.node.epoch > Epoch(0)) {
        let numbers = epochs.entry(made.node.epoch).or_default();
        if made.is(&METRICS)
            && let Some(bytes) = made.part(store, metrics::METRICS.file)?
        {
            numbers.extend(open_metrics(&bytes)?.into_iter().map(|metric| (metric.name, metric.value)));
        }
        if made.is(&WEIGHTS)
            && let Some(bytes) = made.part(store, metrics::STEPS.file)?
        {
            let steps = open_steps(&bytes)?;
            if let Some(loss) = end_loss(&steps) {
                numbers.extend([("loss".to_owned(), loss), ("steps".to_owned(), steps.len() as f64)]);
            }
        }
    }
    epochs.retain(|_, numbers| !numbers.is_empty());
    Ok(epochs)
}

impl Made<'_> {
    /// Whether it is an artifact of this noun.
    pub fn is(&self, noun: &Noun) -> bool {
        self.record.artifact.kind == noun.name
    }

    /// Whether the store has all its bytes.
    pub fn is_whole(&self, store: &Store) -> bool {
        store.stand(&self.record.artifact) == Stand::Whole
    }

    /// A part's bytes, where they are there.
    ///
    /// # Errors
    /// If they are there and unreadable.
    pub fn part(&self, store: &Store, name: &str) -> anyhow::Result<Option<Bytes>> {
        part(store, self.record, name)
    }

    /// The bytes of all parts with names that begin so, where all are there; none of no part.
    ///
    /// # Errors
    /// If they are there and unreadable.
    pub fn parts(&self, store: &Store, prefix: &str) -> anyhow::Result<Option<Vec<Bytes>>> {
        let parts = self.record.artifact.parts.iter().filter(|part| part.name.starts_with(prefix));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() || parts.iter().any(|part| store.stand_of(part) != Stand::Whole) {
            return Ok(None);
        }
        Ok(Some(parts.into_iter().map(|part| store.map(part)).collect::<Result<_, _>>()?))
    }
}
