//! implied: nodes that no file writes: the tables of every node of which people read tables.

use crate::base::tree::{Span, Tree, Value};
use crate::engine::{AnyStage, Keep, Registry, StageDef};
use crate::pipeline::template::{Reads, Template, Wire};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What the name of a node's tables ends with. No node that is written has a dot in its name.
const ENDING: &str = ".tables";

/// Where a template stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Once(usize),
    EachEpoch(usize),
}

/// Adds, after all others, a node for the tables of each node whose noun has some.
pub(super) fn imply(once: &mut Vec<Template>, each_epoch: &mut Vec<Template>, registry: Registry) {
    let Some(def) = registry.iter().copied().find(|def| def.is_implied) else { return };
    let Ok(stage) = (def.parse)(&Tree { span: Span::default(), value: Value::Map(Vec::new()) }) else {
        panic!("BUG: {} has parameters", def.verb);
    };
    let stage: Arc<dyn AnyStage> = Arc::from(stage);
    let follow = |at: At| tables(at, once, each_epoch, def, &stage);
    let (of_once, of_each): (Vec<_>, Vec<_>) = (
        (0..once.len()).filter_map(|nth| follow(At::Once(nth))).collect(),
        (0..each_epoch.len()).filter_map(|nth| follow(At::EachEpoch(nth))).collect(),
    );
    once.extend(of_once);
    each_epoch.extend(of_each);
}

/// The node for the tables of one; nothing where people read none of it. Without what else stands in a table, that table
/// is left out.
fn tables(
    at: At,
    once: &[Template],
    each_epoch: &[Template],
    def: &'static StageDef,
    stage: &Arc<dyn AnyStage>,
) -> Option<Template> {
    let followed = of(at, once, each_epoch);
    let mut wires = vec![wire(def, followed.def.output.name, at)?];
    for noun in followed.def.output.tables? {
        if let Some(from) = nearest(at, noun, once, each_epoch) {
            wires.push(wire(def, noun, from)?);
        }
    }
    Some(Template {
        noun: format!("{}{ENDING}", followed.noun),
        def,
        with: Vec::new(),
        stages: vec![(1, Arc::clone(stage))],
        wires,
        every: followed.every,
        asked: Some(Keep::All),
        is_implied: true,
    })
}

fn of<'t>(at: At, once: &'t [Template], each_epoch: &'t [Template]) -> &'t Template {
    match at {
        At::Once(nth) => &once[nth],
        At::EachEpoch(nth) => &each_epoch[nth],
    }
}

fn wire(def: &StageDef, noun: &str, from: At) -> Option<Wire> {
    let port = def.inputs.iter().find(|port| port.noun == noun)?.name;
    let reads = match from {
        At::Once(nth) => Reads::Once(nth),
        At::EachEpoch(nth) => Reads::Now(nth),
    };
    Some(Wire { port, reads, written: String::new() })
}

/// The nearest node that makes `noun` among those that lead to a node.
fn nearest(at: At, noun: &str, once: &[Template], each_epoch: &[Template]) -> Option<At> {
    let (mut queue, mut seen) = (VecDeque::from([at]), BTreeSet::from([at]));
    while let Some(at) = queue.pop_front() {
        let template = of(at, once, each_epoch);
        if template.def.output.name == noun {
            return Some(at);
        }
        let before = template.wires.iter().flat_map(|wire| match wire.reads {
            Reads::Once(nth) => [Some(At::Once(nth)), None],
            Reads::Now(nth) => [Some(At::EachEpoch(nth)), None],
            // That of an earlier epoch is not what the rows are about.
            Reads::Last { .. } => [None, None],
        });
        queue.extend(before.flatten().filter(|at| seen.insert(*at)));
    }
    None
}
