//! facts: numbers that stages learn, carried to everything after them and checked there before it computes.

use crate::engine::executor::Executor;
use crate::engine::plan::NodeId;
use crate::engine::{Facts, NodeState, PlanError};
use std::sync::Arc;

/// The facts at a node: those of its inputs, the later port's before the earlier's, and before all its own. Where
/// nothing is added, the map is shared, so that a chain of 100,000 nodes has one.
pub(super) fn inherit<'f>(inputs: impl Iterator<Item = &'f Arc<Facts>>, own: Option<&Facts>) -> Arc<Facts> {
    let mut all = Arc::new(Facts::new());
    for more in inputs {
        if all.is_empty() {
            all = Arc::clone(more);
        } else {
            add(&mut all, more);
        }
    }
    if let Some(own) = own {
        add(&mut all, own);
    }
    all
}

fn add(all: &mut Arc<Facts>, more: &Facts) {
    if more.iter().any(|(name, value)| all.get(name) != Some(value)) {
        Arc::make_mut(all).extend(more.iter().map(|(name, value)| (name.clone(), *value)));
    }
}

impl Executor<'_> {
    /// Carries what was learned since the last call to everything after it. The first stage that cannot work with it
    /// fails here, before anything is computed for it.
    pub(super) fn spread_facts(&mut self) {
        let plan = self.plan;
        while let Some(rank) = self.fresh_facts.pop_first() {
            let id = plan.order()[rank as usize];
            let node = plan.node(id);
            let own = self.known[id.index()].record.as_ref().map(|record| &record.facts);
            let facts = inherit(node.inputs.iter().map(|(_, from)| &self.known[from.index()].facts), own);
            if facts == self.known[id.index()].facts {
                continue;
            }
            self.known[id.index()].facts = facts;
            self.fresh_facts.extend(plan.consumers(id).iter().map(|consumer| plan.rank(*consumer)));
            if let Err(error) = self.check(id) {
                self.fresh_facts.clear();
                return self.fail(id, error.into());
            }
        }
    }

    /// Asks a stage that is still to run whether it can work with the facts.
    pub(super) fn check(&self, id: NodeId) -> Result<(), PlanError> {
        let node = self.plan.node(id);
        match self.board.state(id) {
            NodeState::Wanted | NodeState::Ready => node
                .stage
                .check(&self.known[id.index()].facts)
                .map_err(|error| PlanError::Refused { node: node.name(), error: format!("{error:#}") }),
            _ => Ok(()),
        }
    }
}
