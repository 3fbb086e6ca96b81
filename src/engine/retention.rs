//! retention: evicts, during a run, the bytes that nothing of this run will read any more.

use crate::base::{Artifact, Epoch, ObjectId};
use crate::engine::nodes::Nodes;
use crate::engine::plan::NodeId;
use crate::engine::{Event, Keep, NodeState};
use crate::store::pins::Elsewhere;
use crate::store::{Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Reports an event.
pub(super) type Tell<'t> = &'t dyn Fn(&Event);

/// What decides, besides the nodes, whether bytes may go.
pub(super) struct Retention<'a> {
    store: &'a Store,
    /// Object -> the nodes of this run whose artifact has it as a part; computed at the first question.
    holders: Option<BTreeMap<ObjectId, Vec<NodeId>>>,
    /// What pins and other runs keep, as of the last look.
    elsewhere: Elsewhere,
    /// Whether this run has reported that it evicts nothing, because what others keep was unreadable.
    keeps_all: bool,
}

impl<'a> Retention<'a> {
    /// Starts without reading the store.
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, holders: None, elsewhere: Elsewhere::default(), keeps_all: false }
    }

    /// Notes that `id` made these parts.
    pub(super) fn hold(&mut self, id: NodeId, artifact: &Artifact) {
        let Some(holders) = &mut self.holders else { return };
        for part in &artifact.parts {
            let nodes = holders.entry(part.object).or_default();
            if !nodes.contains(&id) {
                nodes.push(id);
            }
        }
    }

    /// Evicts what `id` was the last to read, and what `id` has pushed out of the newest epochs.
    pub(super) fn after(&mut self, nodes: &Nodes<'_>, id: NodeId, tell: Tell<'_>) {
        self.elsewhere.is_fresh = false;
        let node = nodes.plan.node(id);
        for (_, from) in node.inputs.iter().filter(|(_, from)| is_read(nodes, *from)) {
            self.retire(nodes, *from, tell);
        }
        if let Keep::Last(count) = node.keep
            && let Some(older) = node.epoch.0.checked_sub(count).filter(|epoch| *epoch > 0)
            && let Some(older) = nodes.plan.at(&node.noun, Epoch(older))
        {
            self.retire(nodes, older, tell);
        }
    }

    /// Evicts what an interrupted earlier run had still to evict.
    pub(super) fn at_end(&mut self, nodes: &Nodes<'_>, tell: Tell<'_>) {
        self.elsewhere.is_fresh = false;
        for id in nodes.plan.order().iter().filter(|id| is_read(nodes, **id)) {
            self.retire(nodes, *id, tell);
        }
    }

    fn retire(&mut self, nodes: &Nodes<'_>, id: NodeId, tell: Tell<'_>) {
        if nodes.stays(id) || !nodes.state(id).is_satisfied() {
            return;
        }
        let Some(record) = &nodes.of(id).record else { return };
        let noun = nodes.plan.node(id).stage.def().output;
        // The first part goes last; if it is missing, the others are.
        let first = record.artifact.parts.iter().find(|part| !noun.spares(&part.name));
        if !first.is_some_and(|part| self.store.contains(part)) || self.is_going_to_be_read(nodes, id) {
            return;
        }
        // Every node that ends reads this again: another run may need the parts by now.
        if !self.elsewhere.is_fresh {
            if let Err(error) = self.elsewhere.look(self.store, &nodes.plan.name) {
                return self.keep_all(&error, tell);
            }
            self.elsewhere.is_fresh = true;
        }
        let mut freed = 0;
        for part in record.artifact.parts.iter().rev().filter(|part| !noun.spares(&part.name)) {
            if self.has_other_owner(nodes, id, part.object)
                || self.elsewhere.keeps(part.object)
                || !self.store.contains(part)
            {
                continue;
            }
            match self.store.evict(part.object) {
                Ok(()) => freed += part.bytes,
                Err(error) => tell(&Event::Note { node: nodes.name(id), text: error.to_string() }),
            }
        }
        if freed > 0 {
            tell(&Event::Evicted { node: nodes.name(id), bytes: freed });
        }
    }

    /// Reports once why this run evicts nothing.
    fn keep_all(&mut self, error: &StoreError, tell: Tell<'_>) {
        if !std::mem::replace(&mut self.keeps_all, true) {
            let text = format!("this run evicts nothing: {error}");
            tell(&Event::Note { node: String::new(), text });
        }
    }

    /// Whether a consumer must still run, or may have to run again because its own bytes are missing.
    fn is_going_to_be_read(&self, nodes: &Nodes<'_>, id: NodeId) -> bool {
        let has_bytes = |id: NodeId| {
            let record = nodes.of(id).record.as_ref();
            record.is_some_and(|record| self.store.contains_all(&record.artifact))
        };
        let mut seen = BTreeSet::new();
        let mut stack = nodes.plan.consumers(id).to_vec();
        while let Some(at) = stack.pop() {
            if !nodes.state(at).is_satisfied() {
                return true;
            }
            if seen.insert(at) && !has_bytes(at) {
                let behind = nodes.plan.consumers(at).iter();
                stack.extend(behind.filter(|consumer| nodes.state(**consumer) != NodeState::Unwanted));
            }
        }
        false
    }

    /// Whether another artifact of this run has the same bytes and is still read or kept.
    fn has_other_owner(&mut self, nodes: &Nodes<'_>, id: NodeId, object: ObjectId) -> bool {
        if self.holders.is_none() {
            self.holders = Some(BTreeMap::new());
            for (id, known) in nodes.all() {
                if let Some(record) = &known.record {
                    self.hold(id, &record.artifact);
                }
            }
        }
        let owners = self.holders.as_ref().and_then(|holders| holders.get(&object)).map_or(&[][..], Vec::as_slice);
        owners.iter().any(|owner| *owner != id && has_use_for(nodes, *owner, object))
    }
}

/// Whether a listed node reads it. A node read by nothing but its own tables is a goal of the run.
fn is_read(nodes: &Nodes<'_>, id: NodeId) -> bool {
    nodes.plan.consumers(id).iter().any(|reader| !nodes.plan.node(*reader).is_implied)
}

fn has_use_for(nodes: &Nodes<'_>, id: NodeId, object: ObjectId) -> bool {
    let Some(record) = &nodes.of(id).record else { return false };
    let is_live = |consumer: &NodeId| !nodes.state(*consumer).is_satisfied();
    record.artifact.parts.iter().any(|part| part.object == object)
        && (nodes.stays(id) || nodes.plan.consumers(id).iter().any(is_live))
}
