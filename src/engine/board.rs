//! board: every node's state, changed in one place, with counts of those that may start or are open.

use crate::engine::plan::{NodeId, Plan};
use crate::engine::{NodeState, Pool};
use std::collections::BTreeSet;

/// The states of a plan's nodes.
pub(super) struct Board<'a> {
    plan: &'a Plan,
    states: Vec<NodeState>,
    /// By pool: ready nodes all of whose inputs are satisfied, in the plan's order.
    startable: [BTreeSet<u32>; 3],
    open: usize,
}

impl<'a> Board<'a> {
    /// All unwanted.
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, states: vec![NodeState::Unwanted; plan.len()], startable: Default::default(), open: 0 }
    }

    /// The state of a node.
    pub(super) fn state(&self, id: NodeId) -> NodeState {
        self.states[id.index()]
    }

    /// Moves a node.
    pub(super) fn advance(&mut self, id: NodeId, next: NodeState) {
        let was = self.state(id);
        self.states[id.index()].advance(next);
        self.open = self.open + usize::from(!next.is_final()) - usize::from(!was.is_final());
        if was == NodeState::Ready || next == NodeState::Ready {
            self.place(id);
        }
        if was.is_satisfied() != next.is_satisfied() {
            let plan = self.plan;
            for consumer in plan.consumers(id) {
                if self.state(*consumer) == NodeState::Ready {
                    self.place(*consumer);
                }
            }
        }
    }

    /// Adds a node to those that may start, or removes it.
    fn place(&mut self, id: NodeId) {
        let node = self.plan.node(id);
        let fit = self.state(id) == NodeState::Ready
            && node.inputs.iter().all(|(_, from)| self.states[from.index()].is_satisfied());
        let queue = &mut self.startable[node.stage.def().pool as usize];
        if fit {
            queue.insert(self.plan.rank(id));
        } else {
            queue.remove(&self.plan.rank(id));
        }
    }

    /// The node of this pool that comes first among those that may start.
    pub(super) fn first_startable(&self, pool: Pool) -> Option<NodeId> {
        self.startable[pool as usize].first().map(|rank| self.plan.order()[*rank as usize])
    }

    /// Whether anything may start, pools aside.
    pub(super) fn any_startable(&self) -> bool {
        self.startable.iter().any(|queue| !queue.is_empty())
    }

    /// Whether any node is not final.
    pub(super) fn has_work(&self) -> bool {
        self.open > 0
    }

    /// How many nodes are in `state`.
    pub(super) fn count(&self, state: NodeState) -> usize {
        self.states.iter().filter(|s| **s == state).count()
    }

    /// Every node that is not final.
    pub(super) fn open(&self) -> Vec<NodeId> {
        let ids = (0..self.states.len() as u32).map(NodeId);
        ids.filter(|id| !self.state(*id).is_final()).collect()
    }
}
