//! course: how a run went, as the page draws it: its graph, what each epoch took, and the slowest path.

use crate::base::Epoch;
use crate::engine::Plan;
use crate::engine::slowest::slowest_path;
use crate::views::graph::graph;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of more epochs than this, the page shows the last ones.
const EPOCHS: usize = 60;

/// Share of the slowest path below which nobody has to look.
const SMALL: f64 = 0.01;

/// One epoch's graph: boxes with their places, and edges as SVG paths.
pub(super) fn drawn(plan: &Plan) -> Value {
    let graph = graph(plan);
    let lines = graph.lines.iter().map(|line| json!([line.path(), line.is_to_next_epoch])).collect::<Vec<_>>();
    json!({ "size": graph.size, "spots": graph.spots, "lines": lines })
}

/// Seconds by epoch and node; `took` holds them by the node's full name. Epoch 0 is what comes before the epochs.
pub(super) fn bars(plan: &Plan, took: &BTreeMap<String, f64>) -> Value {
    let mut epochs: BTreeMap<Epoch, Vec<Value>> = BTreeMap::new();
    for id in plan.order() {
        let node = plan.node(*id);
        if let Some(seconds) = took.get(&node.name()).filter(|_| !node.is_implied) {
            epochs.entry(node.epoch).or_default().push(json!([node.noun, seconds]));
        }
    }
    let skipped = epochs.len().saturating_sub(EPOCHS);
    epochs.into_iter().skip(skipped).map(|(epoch, nodes)| json!([epoch.0, nodes])).collect()
}

/// The chain of nodes that no run can be faster than: names and seconds, those of one name summed up.
pub(super) fn slowest(plan: &Plan, took: &BTreeMap<String, f64>) -> Value {
    let took = took.iter().map(|(node, seconds)| (node.as_str(), *seconds)).collect();
    let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    let path = slowest_path(plan, &took);
    for (id, seconds) in &path {
        let (sum, count) = sums.entry(&plan.node(*id).noun).or_default();
        (*sum, *count) = (*sum + seconds, *count + 1);
    }
    let whole: f64 = path.iter().map(|(_, seconds)| seconds).sum();
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, (seconds, _))| *seconds >= SMALL * whole).collect();
    sums.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    sums.into_iter().map(|(noun, (seconds, count))| json!([noun, seconds, count])).collect()
}
