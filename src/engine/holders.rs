//! holders: which nodes' artifacts hold an object, so that bytes with two owners are not deleted for one of them.

use crate::base::{Artifact, ObjectId};
use crate::engine::plan::NodeId;
use std::collections::BTreeMap;

/// Object -> the nodes of this run whose artifact has it as a part.
#[derive(Default)]
pub(super) struct Holders(BTreeMap<ObjectId, Vec<NodeId>>);

impl Holders {
    /// Notes that `id` has these parts.
    pub(super) fn add(&mut self, id: NodeId, artifact: &Artifact) {
        for part in &artifact.parts {
            let holders = self.0.entry(part.object).or_default();
            if !holders.contains(&id) {
                holders.push(id);
            }
        }
    }

    /// The nodes that have, or once had, this object.
    pub(super) fn of(&self, object: ObjectId) -> &[NodeId] {
        self.0.get(&object).map_or(&[], Vec::as_slice)
    }
}
