//! nodes: what a run knows of every node: its state, its key, its record, and who still needs its bytes.

use crate::base::{Digest, Epoch};
use crate::engine::board::Board;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::stage::{Facts, Keep};
use crate::engine::{KeyText, MissReason, NodeState};
use crate::store::{KeyLock, Record};
use std::sync::Arc;

/// What a run knows of one node.
#[derive(Default)]
pub(super) struct Known {
    /// How many inputs have no known digest; at 0 the key can be made.
    pub(super) unresolved: usize,
    pub(super) key: Option<KeyText>,
    /// The key for a run of the node, if its record has the key of an earlier program.
    pub(super) newer: Option<KeyText>,
    pub(super) record: Option<Arc<Record>>,
    /// The digest of the record's artifact; known exactly if the record is.
    pub(super) digest: Option<Digest>,
    /// Why it will run.
    pub(super) reason: Option<MissReason>,
    /// The right to make it, held from its start to its record.
    pub(super) lock: Option<KeyLock>,
    /// What it and the nodes before it learned.
    pub(super) facts: Arc<Facts>,
    /// How often it has run in this run.
    pub(super) runs: usize,
    pub(super) drifts: usize,
    /// Whether it runs under another key than that of its record.
    pub(super) is_renewed: bool,
    /// How often bytes that it reads were missing when it read them.
    pub(super) vanished: usize,
    /// An input drifted while it ran: its result is right, but this run needs another.
    pub(super) outdated: bool,
}

/// All nodes of a run.
pub(super) struct Nodes<'a> {
    pub(super) plan: &'a Plan,
    /// The nodes that the run goes to; empty means all.
    pub(super) to: &'a [NodeId],
    pub(super) board: Board<'a>,
    known: Vec<Known>,
}

impl<'a> Nodes<'a> {
    /// Nothing is known yet. The targets and all that they read are wanted.
    pub(super) fn new(plan: &'a Plan, to: &'a [NodeId]) -> Self {
        let known = |id: &NodeId| Known { unresolved: plan.node(*id).inputs.len(), ..Known::default() };
        let ids: Vec<NodeId> = (0..plan.len() as u32).map(NodeId).collect();
        let mut nodes = Self { plan, to, board: Board::new(plan), known: ids.iter().map(known).collect() };
        let wanted = plan.leading_to(to);
        ids.into_iter().filter(|id| wanted[id.index()]).for_each(|id| nodes.board.advance(id, NodeState::Wanted));
        nodes
    }

    pub(super) fn of(&self, id: NodeId) -> &Known {
        &self.known[id.index()]
    }

    pub(super) fn of_mut(&mut self, id: NodeId) -> &mut Known {
        &mut self.known[id.index()]
    }

    pub(super) fn state(&self, id: NodeId) -> NodeState {
        self.board.state(id)
    }

    pub(super) fn name(&self, id: NodeId) -> String {
        self.plan.node(id).name()
    }

    /// Every node with what is known of it.
    pub(super) fn all(&self) -> impl Iterator<Item = (NodeId, &Known)> {
        (0..).map(NodeId).zip(&self.known)
    }

    /// The records of all that a node reads, by port.
    pub(super) fn read_by(&self, id: NodeId) -> Vec<(&'static str, NodeId, Arc<Record>)> {
        let record = |from: NodeId| self.of(from).record.clone().expect("BUG: an input without a record");
        self.plan.node(id).inputs.iter().map(|(port, from)| (*port, *from, record(*from))).collect()
    }

    /// Whether a node's bytes must be in the store at the run's end.
    pub(super) fn stays_for_good(&self, id: NodeId) -> bool {
        let node = self.plan.node(id);
        node.asked_for || node.keep.stays(node.epoch, self.plan.epochs) || self.to.contains(&id)
    }

    /// Whether a node's bytes stay for now. With [`Keep::Last`], an epoch's bytes stay until enough newer epochs are
    /// done.
    pub(super) fn stays(&self, id: NodeId) -> bool {
        let node = self.plan.node(id);
        let is_among_newest = || match node.keep {
            Keep::Last(count) if node.epoch.0 > 0 => {
                let newer = Epoch(node.epoch.0.saturating_add(count));
                self.plan.at(&node.noun, newer).is_some_and(|newer| !self.state(newer).is_satisfied())
            }
            _ => false,
        };
        self.stays_for_good(id) || is_among_newest()
    }

    /// Whether no other run may delete a node's bytes, because this run keeps them or still reads them. That also holds
    /// for an interrupted run, which resumes from them.
    pub(super) fn has_claim(&self, id: NodeId) -> bool {
        let is_open = |reader: &NodeId| {
            let state = self.state(*reader);
            state != NodeState::Unwanted && !state.is_satisfied()
        };
        self.stays(id) || self.plan.consumers(id).iter().any(is_open)
    }
}
