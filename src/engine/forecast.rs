//! forecast: what a run would do, told without doing it.

use crate::base::Digest;
use crate::engine::context::cache_folder;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::worker::key_of;
use crate::engine::{EngineError, Facts, KeyText, MissReason, PlanError, why};
use crate::store::{Record, Store};
use std::collections::BTreeMap;

/// What would happen to one node.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Its record is there.
    Hit,
    /// It would run.
    Run(MissReason),
    /// It would run unless what is before it turns out as it was; its key is known only then.
    Pending {
        /// The nearest node before it that would run.
        after: String,
    },
}

/// One line of a forecast.
pub struct Line {
    /// The node.
    pub node: NodeId,
    /// What would happen.
    pub fate: Fate,
    /// Its key, where its inputs are known.
    pub key: Option<KeyText>,
    /// Its record, where there is one.
    pub record: Option<Record>,
    /// How many bytes it has, or about how many it would write.
    pub bytes: Option<u64>,
}

/// Tells what a run of `plan` on `store` would do, in the plan's order.
pub fn forecast(plan: &Plan, store: &Store, device: &str) -> Result<Vec<Line>, EngineError> {
    let last = store.node_keys(&plan.name);
    let mut lines: Vec<Option<Line>> = (0..plan.len()).map(|_| None).collect();
    let mut facts: Vec<Facts> = vec![Facts::new(); plan.len()];
    let mut typical: BTreeMap<&str, u64> = BTreeMap::new();
    for id in plan.order() {
        let node = plan.node(*id);
        for (_, from) in &node.inputs {
            let seen = facts[from.index()].clone();
            facts[id.index()].extend(seen);
        }
        node.stage
            .check(&facts[id.index()])
            .map_err(|error| PlanError::Refused { node: node.name(), error: format!("{error:#}") })?;
        let inputs: Option<Vec<(&str, Digest)>> =
            node.inputs.iter().map(|(port, from)| Some((*port, known_digest(&lines, *from)?))).collect();
        let line = match inputs {
            None => Line { node: *id, fate: pending(plan, &lines, *id), key: None, record: None, bytes: None },
            Some(inputs) => {
                let key = key_of(plan, *id, &inputs, device, &cache_folder(store))?;
                let record = store.record(key.key()).unwrap_or_default();
                if let Some(record) = &record {
                    facts[id.index()].extend(record.facts.clone());
                    typical.insert(&node.noun, record.artifact.bytes());
                }
                let fate = match &record {
                    Some(_) => Fate::Hit,
                    None => Fate::Run(why::miss_reason(store, last.get(&node.name()).copied(), &key)),
                };
                Line { node: *id, fate, key: Some(key), bytes: record.as_ref().map(|r| r.artifact.bytes()), record }
            }
        };
        lines[id.index()] = Some(line);
    }
    rebuilds(plan, store, &mut lines);
    let mut lines: Vec<Line> = plan.order().iter().filter_map(|id| lines[id.index()].take()).collect();
    for line in &mut lines {
        let node = plan.node(line.node);
        let guess = || node.stage.estimate(&facts[line.node.index()]).or(typical.get(node.noun.as_str()).copied());
        line.bytes = line.bytes.or_else(guess);
    }
    Ok(lines)
}

fn known_digest(lines: &[Option<Line>], id: NodeId) -> Option<Digest> {
    lines[id.index()].as_ref()?.record.as_ref().map(|record| record.artifact.digest())
}

fn pending(plan: &Plan, lines: &[Option<Line>], id: NodeId) -> Fate {
    for (_, from) in &plan.node(id).inputs {
        match lines[from.index()].as_ref().map(|line| &line.fate) {
            Some(Fate::Run(_)) => return Fate::Pending { after: plan.node(*from).name() },
            Some(Fate::Pending { after }) => return Fate::Pending { after: after.clone() },
            _ => {}
        }
    }
    Fate::Pending { after: plan.node(id).name() }
}

/// Hits whose bytes are gone and needed become runs, from the last node back to the first.
fn rebuilds(plan: &Plan, store: &Store, lines: &mut [Option<Line>]) {
    for id in plan.order().iter().rev() {
        let needed_by = plan.consumers(*id).iter().find(|consumer| {
            matches!(lines[consumer.index()].as_ref().map(|l| &l.fate), Some(Fate::Run(_) | Fate::Pending { .. }))
        });
        let asked_for = plan.node(*id).asked_for;
        let Some(line) = lines[id.index()].as_mut() else { continue };
        let gone = |line: &Line| line.record.as_ref().is_some_and(|record| !store.contains_all(&record.artifact));
        if line.fate == Fate::Hit && (needed_by.is_some() || asked_for) && gone(line) {
            let needed_by = needed_by.map_or_else(|| "keep:".to_owned(), |consumer| plan.node(*consumer).name());
            line.fate = Fate::Run(MissReason::Evicted { needed_by });
        }
    }
}
