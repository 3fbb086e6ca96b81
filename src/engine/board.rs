//! board: every node's state, changed in one place, with what is ready and what is still open counted along.

use crate::engine::NodeState;
use crate::engine::plan::NodeId;
use std::collections::BTreeSet;

/// The states of a plan's nodes.
pub(super) struct Board {
    states: Vec<NodeState>,
    ready: BTreeSet<(u32, NodeId)>,
    rank: Vec<u32>,
    open: usize,
}

impl Board {
    /// All unwanted; `order` decides which of several ready nodes comes first.
    pub(super) fn new(order: &[NodeId]) -> Self {
        let mut rank = vec![0; order.len()];
        for (i, id) in order.iter().enumerate() {
            rank[id.index()] = i as u32;
        }
        Self { states: vec![NodeState::Unwanted; order.len()], ready: BTreeSet::new(), rank, open: 0 }
    }

    /// Where a node stands.
    pub(super) fn state(&self, id: NodeId) -> NodeState {
        self.states[id.index()]
    }

    /// Moves a node.
    pub(super) fn advance(&mut self, id: NodeId, next: NodeState) {
        let state = &mut self.states[id.index()];
        let place = (self.rank[id.index()], id);
        self.open -= usize::from(!state.is_final());
        if *state == NodeState::Ready {
            self.ready.remove(&place);
        }
        state.advance(next);
        if next == NodeState::Ready {
            self.ready.insert(place);
        }
        self.open += usize::from(!next.is_final());
    }

    /// The ready nodes in the plan's order.
    pub(super) fn ready(&self) -> Vec<NodeId> {
        self.ready.iter().map(|(_, id)| *id).collect()
    }

    /// Whether anything is still to happen.
    pub(super) fn has_work(&self) -> bool {
        self.open > 0
    }

    /// How many nodes are in `state`.
    pub(super) fn count(&self, state: NodeState) -> usize {
        self.states.iter().filter(|s| **s == state).count()
    }

    /// Every node that something is still to happen to.
    pub(super) fn open(&self) -> Vec<NodeId> {
        let ids = (0..self.states.len() as u32).map(NodeId);
        ids.filter(|id| !self.state(*id).is_final()).collect()
    }
}
