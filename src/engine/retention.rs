//! retention: deletes bytes that nothing of this run will read any more, while it runs.

use crate::base::{Artifact, Epoch, ObjectId};
use crate::engine::executor::Executor;
use crate::engine::holders::Holders;
use crate::engine::plan::NodeId;
use crate::engine::{Event, Keep, NodeState};
use crate::store::StoreError;
use std::collections::BTreeSet;

impl Executor<'_> {
    /// Deletes inputs of `id` that are kept until used and that nothing of this run will read any more.
    pub(super) fn retire_inputs(&mut self, id: NodeId) {
        self.elsewhere.is_fresh = false;
        let plan = self.plan;
        for (_, from) in &plan.node(id).inputs {
            self.retire(*from);
        }
    }

    /// Deletes what an earlier run was interrupted before deleting.
    pub(super) fn retire_all(&mut self) {
        self.elsewhere.is_fresh = false;
        let plan = self.plan;
        for id in plan.order() {
            if !plan.consumers(*id).is_empty() {
                self.retire(*id);
            }
        }
    }

    fn retire(&mut self, id: NodeId) {
        if self.stays(id) || !self.board.state(id).is_satisfied() {
            return;
        }
        let Some(record) = &self.known[id.index()].record else { return };
        // The first part goes last; where it is gone, the rest is.
        if !record.artifact.parts.first().is_some_and(|part| self.store.contains(part)) || self.is_going_to_be_read(id)
        {
            return;
        }
        let spared = self.plan.node(id).stage.def().spared;
        let parts = record.artifact.parts.iter().filter(|part| !spared.contains(&&*part.name)).cloned();
        let parts: Vec<_> = parts.collect();
        // Looked at anew for every node that ends: another run may have come to need them since the last.
        if !self.elsewhere.is_fresh {
            if let Err(error) = self.elsewhere.look(self.store, &self.plan.name) {
                return self.keep_all(&error);
            }
            self.elsewhere.is_fresh = true;
        }
        let mut freed = 0;
        for part in parts.iter().rev() {
            if !self.has_other_owner(id, part.object) && !self.elsewhere.keeps(part.object) && self.store.contains(part)
            {
                match self.store.evict(part.object) {
                    Ok(()) => freed += part.bytes,
                    Err(error) => {
                        let node = self.plan.node(id).name();
                        self.observer.observe(&Event::Note { node, text: error.to_string() });
                    }
                }
            }
        }
        if freed > 0 {
            self.observer.observe(&Event::Evicted { node: self.plan.node(id).name(), bytes: freed });
        }
    }

    /// Says once why nothing is deleted.
    fn keep_all(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.keeps_all, true) {
            let text = format!("no bytes are deleted by this run: {error}");
            self.observer.observe(&Event::Note { node: String::new(), text });
        }
    }

    /// Whether a node's bytes are to stay for now: those of a node that is kept among the newest until enough newer ones
    /// are there.
    fn stays(&self, id: NodeId) -> bool {
        let node = self.plan.node(id);
        let is_among_newest = || match node.keep {
            Keep::Last(count) if node.epoch.0 > 0 => self
                .same_at(id, node.epoch.0.saturating_add(count))
                .is_some_and(|newer| !self.board.state(newer).is_satisfied()),
            _ => false,
        };
        self.stays_for_good(id) || is_among_newest()
    }

    /// Whether a node's bytes are to be there when the run is over.
    pub(super) fn stays_for_good(&self, id: NodeId) -> bool {
        let node = self.plan.node(id);
        node.asked_for || node.keep.stays(node.epoch, self.plan.epochs) || self.settings.to.contains(&id)
    }

    /// Whether no other run may delete a node's bytes: they are to be there when this run is over, or it still reads them.
    /// So it is with a run that was interrupted, too, which goes on from them.
    pub(super) fn has_claim(&self, id: NodeId) -> bool {
        let is_open = |reader: &NodeId| {
            let state = self.board.state(*reader);
            state != NodeState::Unwanted && !state.is_satisfied()
        };
        self.stays(id) || self.plan.consumers(id).iter().any(is_open)
    }

    /// The node of the same name at another epoch.
    fn same_at(&self, id: NodeId, epoch: u32) -> Option<NodeId> {
        self.plan.at(&self.plan.node(id).noun, Epoch(epoch))
    }

    /// Deletes what is no longer among the newest since `id` is there.
    pub(super) fn retire_older(&mut self, id: NodeId) {
        let node = self.plan.node(id);
        if let Keep::Last(count) = node.keep
            && let Some(older) = node.epoch.0.checked_sub(count).filter(|epoch| *epoch > 0)
            && let Some(older) = self.same_at(id, older)
        {
            self.retire(older);
        }
    }

    /// Whether a consumer is still to run, or may have to run again for one behind it because its own bytes are gone.
    fn is_going_to_be_read(&self, id: NodeId) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack = self.plan.consumers(id).to_vec();
        while let Some(at) = stack.pop() {
            if !self.board.state(at).is_satisfied() {
                return true;
            }
            if seen.insert(at) && !self.has_bytes(at) {
                let behind = self.plan.consumers(at).iter();
                stack.extend(behind.filter(|c| self.board.state(**c) != NodeState::Unwanted));
            }
        }
        false
    }

    /// Whether another artifact of this run has the same bytes and is still to be read or kept.
    fn has_other_owner(&mut self, id: NodeId, object: ObjectId) -> bool {
        if self.holders.is_none() {
            let mut holders = Holders::default();
            for (i, known) in self.known.iter().enumerate() {
                if let Some(record) = &known.record {
                    holders.add(NodeId(i as u32), &record.artifact);
                }
            }
            self.holders = Some(holders);
        }
        let owners = self.holders.as_ref().map_or(&[][..], |holders| holders.of(object));
        owners.iter().any(|owner| *owner != id && self.has_still_use_for(*owner, object))
    }

    fn has_still_use_for(&self, id: NodeId, object: ObjectId) -> bool {
        let Some(record) = &self.known[id.index()].record else { return false };
        let live = |consumer: &NodeId| !self.board.state(*consumer).is_satisfied();
        record.artifact.parts.iter().any(|part| part.object == object)
            && (self.stays(id) || self.plan.consumers(id).iter().any(live))
    }

    /// Keeps the owners up to date once somebody has asked for them.
    pub(super) fn hold(&mut self, id: NodeId, artifact: &Artifact) {
        if let Some(holders) = &mut self.holders {
            holders.add(id, artifact);
        }
    }
}
