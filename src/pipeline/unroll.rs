//! unroll: the nodes of every epoch, by counting; nothing is looked up and nothing recurses.

use crate::base::Epoch;
use crate::engine::{Node, NodeId};
use crate::pipeline::template::{Reads, Resolved, Template};

/// Where each node under `each_epoch` is, in the file's order; nothing where it is not there.
type Places = Vec<Option<NodeId>>;

/// All nodes: those made once, then each epoch's, in the file's order.
pub(super) fn unroll(pipeline: &Resolved) -> Vec<Node> {
    let none: Places = vec![None; pipeline.each_epoch.len()];
    let once = pipeline.once.iter().map(|template| node(template, Epoch(0), pipeline, &none, &none));
    let mut nodes: Vec<Node> = once.collect();
    let mut newest = none.clone();
    for epoch in (1..=pipeline.epochs).map(Epoch) {
        let now = places(pipeline, epoch, nodes.len());
        let there = pipeline.each_epoch.iter().zip(&now).filter(|(_, place)| place.is_some());
        nodes.extend(there.map(|(template, _)| node(template, epoch, pipeline, &now, &newest)));
        newest.iter_mut().zip(now).for_each(|(newest, now)| *newest = now.or(*newest));
    }
    nodes
}

/// Where an epoch's nodes will be, after so many others.
fn places(pipeline: &Resolved, epoch: Epoch, mut next: usize) -> Places {
    let place = |template: &Template| {
        template.every.holds(epoch.0, pipeline.epochs).then(|| {
            next += 1;
            NodeId(next as u32 - 1)
        })
    };
    pipeline.each_epoch.iter().map(place).collect()
}

/// A node of an epoch whose nodes are at `now`; `newest` has those of the epochs before.
fn node(template: &Template, epoch: Epoch, pipeline: &Resolved, now: &Places, newest: &Places) -> Node {
    let inputs = template.wires.iter().filter_map(|wire| {
        let under_once = |nth: usize| NodeId(nth as u32);
        let from = match wire.reads {
            Reads::Once(nth) => Some(under_once(nth)),
            Reads::Now(nth) => now[nth],
            Reads::Last { each_epoch, once } => newest[each_epoch].or(once.map(under_once)),
        };
        Some((wire.port, from?))
    });
    Node {
        noun: template.noun.clone(),
        epoch,
        stage: template.stage(epoch).clone(),
        inputs: inputs.collect(),
        keep: template.keep(),
        asked_for: template.is_asked_for(epoch, pipeline.epochs),
        is_implied: template.is_implied,
    }
}
