//! found: what the store has of a plan's last run, node by node.

use crate::base::Epoch;
use crate::engine::keys::follows;
use crate::engine::{NodeId, Plan};
use crate::format::noun::MAP;
use crate::store::{Record, Stand, Store};
use bytes::Bytes;

/// The record of each node of a plan's last run, by node.
///
/// # Errors
/// Where a record cannot be read.
pub(in crate::views) fn records(plan: &Plan, store: &Store) -> anyhow::Result<Vec<Option<Record>>> {
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

/// A part's bytes, where they are there.
///
/// # Errors
/// Where they cannot be read.
pub(in crate::views) fn part(store: &Store, record: &Record, name: &str) -> anyhow::Result<Option<Bytes>> {
    let part = record.artifact.part(name).filter(|part| store.stand_of(part) == Stand::Whole);
    Ok(part.map(|part| store.map(part)).transpose()?)
}

/// The node that has a map of an epoch, if its record is there.
pub(in crate::views) fn map_of(plan: &Plan, epoch: Epoch, records: &[Option<Record>]) -> Option<NodeId> {
    let is_map = |record: &Record| record.artifact.kind == MAP.name;
    let is_of = |id: &&NodeId| plan.node(**id).epoch == epoch && records[id.index()].as_ref().is_some_and(is_map);
    plan.order().iter().find(is_of).copied()
}
