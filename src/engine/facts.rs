//! facts: numbers that stages learn; later nodes get them and check them before they compute.

use crate::engine::nodes::Nodes;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::{Facts, NodeState, PlanError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The facts at a node. Its own take precedence over its inputs', and a later port's over an earlier one's. A node that
/// adds nothing shares the map, so a chain of 100,000 nodes has one.
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

/// Which nodes' facts must be computed again.
pub(super) struct Spread<'a> {
    plan: &'a Plan,
    /// By rank.
    fresh: BTreeSet<u32>,
}

impl<'a> Spread<'a> {
    /// None.
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self { plan, fresh: BTreeSet::new() }
    }

    /// Notes that a node has learned something.
    pub(super) fn changed(&mut self, id: NodeId) {
        self.fresh.insert(self.plan.rank(id));
    }

    /// Carries what was learned since the last call to all later nodes.
    ///
    /// # Errors
    /// All nodes whose stages cannot work with it, before they compute anything. Of several nodes of one name, only the
    /// first is listed. The first node of all fails.
    pub(super) fn spread(&mut self, nodes: &mut Nodes<'_>) -> Result<(), (NodeId, PlanError)> {
        let plan = self.plan;
        let mut misfits: Vec<(NodeId, PlanError)> = Vec::new();
        while let Some(rank) = self.fresh.pop_first() {
            let id = plan.order()[rank as usize];
            let own = nodes.of(id).record.clone();
            let inputs = plan.node(id).inputs.iter().map(|(_, from)| &nodes.of(*from).facts);
            let facts = inherit(inputs, own.as_ref().map(|record| &record.facts));
            if facts == nodes.of(id).facts {
                continue;
            }
            nodes.of_mut(id).facts = facts;
            self.fresh.extend(plan.consumers(id).iter().map(|consumer| plan.rank(*consumer)));
            if let Err(error) = check(nodes, id)
                && misfits.iter().all(|(other, _)| plan.node(*other).noun != plan.node(id).noun)
            {
                misfits.push((id, error));
            }
        }
        let Some((first, _)) = misfits.first() else { return Ok(()) };
        let first = *first;
        if misfits.len() > 1 {
            let told: Vec<String> = misfits.iter().map(|(_, error)| error.to_string()).collect();
            return Err((first, PlanError::Misfits { misfits: told.join("\n") }));
        }
        misfits.pop().map_or(Ok(()), Err)
    }
}

/// Asks a stage that must still run whether it can work with the facts.
pub(super) fn check(nodes: &Nodes<'_>, id: NodeId) -> Result<(), PlanError> {
    let refused = |error: anyhow::Error| PlanError::Refused { node: nodes.name(id), error: format!("{error:#}") };
    match nodes.state(id) {
        NodeState::Wanted | NodeState::Ready => nodes.plan.node(id).stage.check(&nodes.of(id).facts).map_err(refused),
        _ => Ok(()),
    }
}
