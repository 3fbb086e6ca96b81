//! slowest: the chain of nodes with the largest sum of times: no run can be faster.

use crate::engine::plan::{NodeId, Plan};
use std::collections::BTreeMap;

/// The slowest path through `plan`, given seconds by node; nodes without a time are left out.
pub fn slowest_path(plan: &Plan, took: &BTreeMap<&str, f64>) -> Vec<(NodeId, f64)> {
    let seconds = |id: NodeId| took.get(plan.node(id).name().as_str()).copied().unwrap_or(0.0);
    let mut sums = vec![0.0f64; plan.len()];
    let mut before: Vec<Option<NodeId>> = vec![None; plan.len()];
    for id in plan.order() {
        let inputs = plan.node(*id).inputs.iter().map(|(_, from)| *from);
        let slowest = inputs.max_by(|a, b| sums[a.index()].total_cmp(&sums[b.index()]));
        before[id.index()] = slowest;
        sums[id.index()] = seconds(*id) + slowest.map_or(0.0, |from| sums[from.index()]);
    }
    let last = plan.order().iter().copied().max_by(|a, b| sums[a.index()].total_cmp(&sums[b.index()]));
    let mut path: Vec<_> = std::iter::successors(last, |id| before[id.index()]).map(|id| (id, seconds(id))).collect();
    path.retain(|(_, seconds)| *seconds > 0.0);
    path.reverse();
    path
}
