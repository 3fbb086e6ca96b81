//! worth: what the page says of the features: measures beside those of the network before training, and warnings.

use crate::format::Evaluation;
use crate::format::evaluation::EVALUATION as TABLE;
use crate::format::noun::EVALUATION;
use crate::stages::probe::verdict;
use crate::store::Store;
use crate::views::made::Made;
use serde_json::{Value, json};

/// The evaluations that are not of a network before training, with their epochs.
///
/// # Errors
/// If one is damaged or unreadable.
pub(super) fn evaluations(store: &Store, made: &[Made<'_>]) -> anyhow::Result<Vec<(u32, Evaluation)>> {
    let mut found = Vec::new();
    for made in made.iter().filter(|made| made.is(&EVALUATION)) {
        if let Some(bytes) = made.part(store, TABLE.file)? {
            let evaluation = Evaluation::open(&bytes)?;
            if !evaluation.calibrated {
                found.push((made.node.epoch.0, evaluation));
            }
        }
    }
    Ok(found)
}

/// The last evaluation as the page reads it, and the verdict of each epoch; null where there is none.
pub(super) fn worth(evaluations: &[(u32, Evaluation)]) -> Value {
    let Some((epoch, last)) = evaluations.last() else { return Value::Null };
    let rows: Vec<_> = last
        .measures
        .iter()
        .map(|m| json!([m.layer, m.measure, m.k, m.protocol, m.value, m.random, m.difference(), m.images]))
        .collect();
    let verdicts: Vec<_> =
        evaluations.iter().filter_map(|(epoch, of)| Some(json!([epoch, verdict::verdict(of)?]))).collect();
    json!({ "epoch": epoch, "rows": rows, "verdicts": verdicts })
}

/// What the last evaluation warns of.
pub(super) fn warning(evaluations: &[(u32, Evaluation)]) -> Option<String> {
    let (epoch, last) = evaluations.last()?;
    verdict::warning(last).map(|warning| format!("Epoch {epoch}: {warning}"))
}
