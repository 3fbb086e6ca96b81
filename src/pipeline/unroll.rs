//! unroll: the nodes of every epoch, by counting; nothing is looked up and nothing recurses.

use crate::base::Epoch;
use crate::engine::{Node, NodeId};
use crate::pipeline::template::{Reads, Resolved, Template};

/// All nodes: those made once, then each epoch's, in the file's order.
pub(super) fn unroll(pipeline: &Resolved) -> Vec<Node> {
    let (once, each_epoch) = (pipeline.once.len(), pipeline.each_epoch.len());
    let mut nodes = Vec::with_capacity(once + each_epoch * pipeline.epochs as usize);
    for epoch in (0..=pipeline.epochs).map(Epoch) {
        let templates = if epoch.0 == 0 { &pipeline.once } else { &pipeline.each_epoch };
        nodes.extend(templates.iter().map(|template| node(template, epoch, pipeline)));
    }
    nodes
}

fn node(template: &Template, epoch: Epoch, pipeline: &Resolved) -> Node {
    let (once, each_epoch) = (pipeline.once.len(), pipeline.each_epoch.len());
    let at = |epoch: u32, nth: usize| once + (epoch as usize - 1) * each_epoch + nth;
    let inputs = template.wires.iter().filter_map(|wire| {
        let from = match wire.reads {
            Reads::Once(nth) => Some(nth),
            Reads::Now(nth) => Some(at(epoch.0, nth)),
            Reads::Last { once, .. } if epoch.0 == 1 => once,
            Reads::Last { each_epoch, .. } => Some(at(epoch.0 - 1, each_epoch)),
        };
        Some((wire.port, NodeId(from? as u32)))
    });
    Node {
        noun: template.noun.clone(),
        epoch,
        stage: template.stage(epoch).clone(),
        inputs: inputs.collect(),
        keep: template.keep(),
        asked_for: template.is_asked_for(epoch, pipeline.epochs),
    }
}
