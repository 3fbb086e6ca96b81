//! worth: what the page says of the features: measures beside those of the network before training, and warnings.

use crate::format::Evaluation;
use crate::format::evaluation::EVALUATION as TABLE;
use crate::format::noun::EVALUATION;
use crate::stages::probe::verdict;
use crate::store::Store;
use crate::views::made::Made;
use serde_json::{Value, json};

/// An evaluation of a network that was trained, with its node and epoch.
pub(super) struct Found {
    noun: String,
    epoch: u32,
    evaluation: Evaluation,
}

/// The evaluations that are not of a network before training.
///
/// # Errors
/// If one is damaged or unreadable.
pub(super) fn evaluations(store: &Store, made: &[Made<'_>]) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for made in made.iter().filter(|made| made.is(&EVALUATION)) {
        if let Some(bytes) = made.part(store, TABLE.file)? {
            let evaluation = Evaluation::open(&bytes)?;
            if !evaluation.calibrated {
                found.push(Found { noun: made.node.noun.clone(), epoch: made.node.epoch.0, evaluation });
            }
        }
    }
    Ok(found)
}

/// The last evaluation of each node, in the order of their first ones.
fn last(all: &[Found]) -> Vec<&Found> {
    let mut last: Vec<&Found> = Vec::new();
    for found in all {
        match last.iter_mut().find(|known| known.noun == found.noun) {
            Some(known) => *known = found,
            None => last.push(found),
        }
    }
    last
}

/// The last evaluations as the page reads them, and the verdict of each epoch; null where there is none.
pub(super) fn worth(all: &[Found]) -> Value {
    let last = last(all);
    let Some(epoch) = last.iter().map(|found| found.epoch).max() else { return Value::Null };
    let rows: Vec<_> = last
        .iter()
        .flat_map(|found| &found.evaluation.measures)
        .map(|m| json!([m.layer, m.measure, m.k, m.protocol, m.value, m.random, m.difference(), m.images]))
        .collect();
    let verdict = |found: &Found| Some(json!([found.epoch, verdict::verdict(&found.evaluation)?]));
    let verdicts: Vec<_> = all.iter().filter_map(verdict).collect();
    json!({ "epoch": epoch, "rows": rows, "verdicts": verdicts })
}

/// What the last evaluations warn of.
pub(super) fn warnings(all: &[Found]) -> Vec<String> {
    let warning = |found: &&Found| Some(format!("Epoch {}: {}", found.epoch, verdict::warning(&found.evaluation)?));
    last(all).iter().filter_map(warning).collect()
}
