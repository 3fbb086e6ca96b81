//! forecast: what a run would do.

use crate::engine::facts::inherit;
use crate::engine::fate::{Fate, Found, Need, fate};
use crate::engine::keys::{key_before, key_of};
use crate::engine::plan::{NodeId, Plan};
use crate::engine::{Device, EngineError, Facts, KeyText, PlanError, why};
use crate::store::run::KeyHistory;
use crate::store::{Record, Stand, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One line of a forecast.
pub struct Line {
    /// The node.
    pub node: NodeId,
    /// What would happen.
    pub fate: Fate,
    /// Its key, if its inputs are known.
    pub key: Option<KeyText>,
    /// Its record, if there is one.
    pub record: Option<Record>,
    /// How many bytes it has, or about how many it would write.
    pub bytes: Option<u64>,
    /// The state of its bytes, if they are needed and the forecast checked them. [`Stand::Wrong`] also if its record is
    /// damaged.
    pub stand: Option<Stand>,
}

/// Forecasts what a run of `plan` on `store` would do, in the plan's order.
pub fn forecast(plan: &Plan, store: &Store, device: &Device) -> Result<Vec<Line>, EngineError> {
    let history = store.key_history(&plan.name);
    let mut lines: Vec<Option<Line>> = (0..plan.len()).map(|_| None).collect();
    let mut facts: Vec<Arc<Facts>> = vec![Arc::default(); plan.len()];
    let mut typical: BTreeMap<&str, u64> = BTreeMap::new();
    for id in plan.order() {
        let node = plan.node(*id);
        let line = look_up(plan, store, device, *id, &lines, &history)?;
        let inherited = || node.inputs.iter().map(|(_, from)| &facts[from.index()]);
        match &line.record {
            Some(record) => {
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
    without_tables(plan, store, &mut lines);
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
    device: &Device,
    id: NodeId,
    lines: &[Option<Line>],
    history: &KeyHistory,
) -> Result<Line, EngineError> {
    let node = plan.node(id);
    let record = |from: NodeId| lines[from.index()].as_ref()?.record.as_ref();
    let inputs: Option<Vec<_>> = node.inputs.iter().map(|(port, from)| Some((*port, record(*from)?))).collect();
    let Some(inputs) = inputs else {
        let fate = pending(plan, lines, id);
        return Ok(Line { node: id, fate, key: None, record: None, bytes: None, stand: None });
    };
    let key = key_of(plan, id, &inputs, device)?;
    let mut damaged = None;
    let mut look = |key: &KeyText| match store.record(key.key()) {
        Ok(Some(record)) => {
            let (key, bytes) = (Some(key.clone()), Some(record.artifact.bytes()));
            Ok(Some(Line { node: id, fate: Fate::Hit, key, record: Some(record), bytes, stand: None }))
        }
        // A run moves it away and continues as if there were none.
        Err(StoreError::DamagedRecord { .. }) => {
            damaged = Some(Stand::Wrong);
            Ok(None)
        }
        other => other.map(|_| None),
    };
    if let Some(line) = look(&key)? {
        return Ok(line);
    }
    let before = key_before(&key, &*node.stage, &inputs, device);
    if let Some(before) = &before
        && let Some(line) = look(before)?
    {
        return Ok(line);
    }
    let keys: Vec<_> = std::iter::once(&key).chain(&before).collect();
    let fate = Fate::Run(why::miss_reason(store, history.of(&node.name()), &keys));
    Ok(Line { node: id, fate, key: Some(key), record: None, bytes: None, stand: damaged })
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

/// Makes runs of hits whose bytes are missing and needed, from the last node back to the first.
fn rebuilds(plan: &Plan, store: &Store, lines: &mut [Option<Line>]) {
    for id in plan.order().iter().rev() {
        let node = plan.node(*id);
        let Some(line) = lines[id.index()].as_ref().filter(|line| line.fate == Fate::Hit) else { continue };
        let Some(record) = &line.record else { continue };
        let retained = match node.asked_for {
            true => Some(Need::AskedFor),
            false => node.keep.stays(node.epoch, plan.epochs).then_some(Need::Retained),
        };
        let readers = plan.consumers(*id).iter().filter(|reader| !plan.node(**reader).is_implied);
        let lacking = readers.clone().find_map(|reader| lacked_by(plan, store, lines, *id, *reader, record));
        // A forecast never modifies the store; a run quarantines and reports.
        let Some((need, stand)) = lacking.or_else(|| Some((retained?, store.stand(&record.artifact)))) else {
            continue;
        };
        let fate = fate(Found { missing: None, stand, is_lost: &|| store.lost_to_damage(&record.artifact) }, &need);
        if let Some(line) = &mut lines[id.index()] {
            (line.stand, line.fate) = (Some(stand), fate);
        }
    }
}

/// Skips the tables of a node whose bytes are missing and not rebuilt.
fn without_tables(plan: &Plan, store: &Store, lines: &mut [Option<Line>]) {
    for id in plan.order() {
        let Some(of) = plan.followed(*id) else { continue };
        let Some(record) =
            lines[of.index()].as_ref().filter(|line| line.fate == Fate::Hit).and_then(|l| l.record.clone())
        else {
            continue;
        };
        let lacks = lacked_by(plan, store, lines, of, *id, &record).is_some();
        if let Some(line) = lines[id.index()].as_mut().filter(|_| lacks) {
            line.fate = Fate::Pending { after: plan.node(of).name() };
        }
    }
}

/// What a running reader lacks of a node's bytes, counting only the parts that it reads.
fn lacked_by(
    plan: &Plan,
    store: &Store,
    lines: &[Option<Line>],
    id: NodeId,
    reader: NodeId,
    record: &Record,
) -> Option<(Need, Stand)> {
    lines[reader.index()].as_ref().filter(|line| line.fate != Fate::Hit)?;
    let reader = plan.node(reader);
    let ports = reader.inputs.iter().filter(|(_, from)| *from == id);
    let stands = ports.map(|(port, _)| store.stand(&record.artifact.only(reader.stage.def().reads(port))));
    let worst = stands.max().filter(|stand| *stand != Stand::Whole)?;
    Some((Need::Reader(reader.name()), worst))
}
