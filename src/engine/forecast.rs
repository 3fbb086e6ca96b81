//! forecast: what a run would do, told without doing it.

use crate::base::Digest;
use crate::engine::context::cache_folder;
use crate::engine::facts::inherit;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::worker::key_of;
use crate::engine::{EngineError, Facts, KeyText, MissReason, PlanError, why};
use crate::store::run::KeyHistory;
use crate::store::{Record, Stand, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// What stands under the names of its bytes, where that was looked at since they are to be there; wrong as well where
    /// its record is damaged.
    pub stand: Option<Stand>,
}

/// Tells what a run of `plan` on `store` would do, in the plan's order.
pub fn forecast(plan: &Plan, store: &Store, device: &str) -> Result<Vec<Line>, EngineError> {
    let history = store.key_history(&plan.name);
    let mut lines: Vec<Option<Line>> = (0..plan.len()).map(|_| None).collect();
    let mut digests: Vec<Option<Digest>> = vec![None; plan.len()];
    let mut facts: Vec<Arc<Facts>> = vec![Arc::default(); plan.len()];
    let mut typical: BTreeMap<&str, u64> = BTreeMap::new();
    for id in plan.order() {
        let node = plan.node(*id);
        let line = look_up(plan, store, device, *id, &digests, &lines, &history)?;
        let inherited = || node.inputs.iter().map(|(_, from)| &facts[from.index()]);
        match &line.record {
            Some(record) => {
                digests[id.index()] = Some(record.artifact.digest());
                typical.insert(&node.noun, record.artifact.bytes());
                facts[id.index()] = inherit(inherited(), Some(&record.facts));
            }
            None => {
                let known = inherit(inherited(), None);
                node.stage
                    .check(&known)
                    .map_err(|error| PlanError::Refused { node: node.name(), error: format!("{error:#}") })?;
                facts[id.index()] = known;
            }
        }
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

fn look_up(
    plan: &Plan,
    store: &Store,
    device: &str,
    id: NodeId,
    digests: &[Option<Digest>],
    lines: &[Option<Line>],
    history: &KeyHistory,
) -> Result<Line, EngineError> {
    let node = plan.node(id);
    let inputs: Option<Vec<(&str, Digest)>> =
        node.inputs.iter().map(|(port, from)| Some((*port, digests[from.index()]?))).collect();
    let Some(inputs) = inputs else {
        return Ok(Line {
            node: id,
            fate: pending(plan, lines, id),
            key: None,
            record: None,
            bytes: None,
            stand: None,
        });
    };
    let key = key_of(plan, id, &inputs, device, &cache_folder(store))?;
    let (record, stand) = match store.record(key.key()) {
        // A run moves it away and goes on as if there were none.
        Err(StoreError::DamagedRecord { .. }) => (None, Some(Stand::Wrong)),
        other => (other?, None),
    };
    let fate = match &record {
        Some(_) => Fate::Hit,
        None => Fate::Run(why::miss_reason(store, history.of(&node.name()), &key)),
    };
    let bytes = record.as_ref().map(|record| record.artifact.bytes());
    Ok(Line { node: id, fate, key: Some(key), record, bytes, stand })
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
        let node = plan.node(*id);
        let Some(line) = lines[id.index()].as_mut() else { continue };
        let stays = node.asked_for || node.keep.stays(node.epoch, plan.epochs);
        let Some(record) = line.record.as_ref().filter(|_| line.fate == Fate::Hit && (needed_by.is_some() || stays))
        else {
            continue;
        };
        // Who only foretells moves nothing: a run does, and says so.
        let stand = store.stand(&record.artifact);
        line.stand = Some(stand);
        let is_lost = || stand > Stand::Gone || store.lost_to_damage(&record.artifact);
        if stand != Stand::Whole && (needed_by.is_some() || node.asked_for || is_lost()) {
            let needed_by = needed_by.map_or_else(|| "keep:".to_owned(), |consumer| plan.node(*consumer).name());
            line.fate = Fate::Run(MissReason::Evicted { needed_by });
        }
    }
}
