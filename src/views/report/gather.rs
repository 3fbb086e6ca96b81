//! gather: what the store has of a run, brought into the form in which the page reads it.

use super::facts::facts;
use super::told::CURVES;
use super::{course, worth};
use crate::engine::Plan;
use crate::format::dataset::{self, open_bad};
use crate::format::noun::{DATASET, GALLERY};
use crate::learn::health::{Learning, PREFIX, text};
use crate::store::{Record, Store};
use crate::views::made::{Made, NO_GALLERY, made, numbers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Examples of paths with each reason for which files were left out.
const EXAMPLES: usize = 3;

/// The page's data but the clusters, from the records of the plan's nodes and the run's journal.
pub(in crate::views) fn gather(
    plan: &Plan,
    store: &Store,
    records: &[Option<Record>],
    journal: &Path,
) -> anyhow::Result<Value> {
    let made = made(plan, records);
    let epochs = numbers(store, &made)?.into_iter();
    let epochs: Vec<_> = epochs.map(|(epoch, numbers)| json!({ "epoch": epoch.0, "metrics": numbers })).collect();
    let took = made.iter().map(|made| (made.node.name(), made.record.wall_ms as f64 / 1e3)).collect();
    let evaluations = worth::evaluations(store, &made)?;
    let mut warnings = warnings(&epochs);
    warnings.extend(worth::warnings(&evaluations));
    let curves: Vec<_> = CURVES.iter().map(|(name, title, how)| json!([name, title, how])).collect();
    Ok(json!({
        "version": 1,
        "run": { "name": plan.name, "facts": facts(plan, store, &made, journal, &epochs), "no_gallery": no_gallery(plan, store, &made) },
        "warnings": warnings,
        "worth": worth::worth(&evaluations),
        "curves": curves,
        "epochs": epochs,
        "gallery": Value::Null,
        "time": time(&made),
        "graph": course::drawn(plan),
        "bars": course::bars(plan, &took),
        "slowest": course::slowest(plan, &took),
        "bad": bad(store, &made)?,
    }))
}

/// What the numbers of an epoch warn of, the last epoch first; each kind once.
fn warnings(epochs: &[Value]) -> Vec<String> {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for epoch in epochs {
        let Some(numbers) = epoch["metrics"].as_object() else { continue };
        let number = |name: &str| numbers.get(name).and_then(Value::as_f64);
        let signs = numbers.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_f64()?)));
        let mut found: Vec<(&str, f64)> = signs.collect();
        let count = |name: &str| number(name).map_or(0, |count| count as u64);
        let learning = Learning {
            epoch: epoch["epoch"].as_u64().unwrap_or_default() as u32,
            steps: count("steps") as usize,
            classes: count("clusters").saturating_sub(count("empty_clusters")),
        };
        if let Some(loss) = number("loss").filter(|loss| learning.is_chance(*loss)) {
            found.push(("loss_at_chance", loss));
        }
        for (code, value) in found {
            told.insert(code.to_owned(), format!("Epoch {}: {}", epoch["epoch"], text(code, value)));
        }
    }
    told.into_values().collect()
}

/// Why there are no images, and how to get them.
fn no_gallery(plan: &Plan, store: &Store, made: &[Made<'_>]) -> String {
    let mut galleries = plan.order().iter().map(|id| plan.node(*id));
    let next = galleries.find(|node| {
        node.stage.def().output.name == GALLERY.name && !made.iter().any(|made| made.node.name() == node.name())
    });
    let evicted = made.iter().find(|made| made.is(&GALLERY) && !made.is_whole(store));
    match (next, evicted) {
        (Some(next), _) => format!("The images of the clusters appear when {} has run.", next.name()),
        (None, Some(made)) => format!(
            "The bytes of {} were evicted. Add keep: [{}] to the pipeline and run it again.",
            made.node.name(),
            made.node.noun
        ),
        (None, None) => NO_GALLERY.to_owned(),
    }
}

/// How long the nodes of each name took, the longest first: name, seconds, nodes.
fn time(made: &[Made<'_>]) -> Vec<Value> {
    let mut by_noun: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    for made in made.iter().filter(|made| !made.node.is_implied) {
        let (seconds, count) = by_noun.entry(&made.node.noun).or_default();
        *seconds += made.record.wall_ms as f64 / 1e3;
        *count += 1;
    }
    let mut rows: Vec<_> = by_noun.into_iter().collect();
    rows.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    rows.into_iter().map(|(noun, (seconds, count))| json!([noun, seconds, count])).collect()
}

/// What was left out of the data set: reason, files, some paths.
fn bad(store: &Store, made: &[Made<'_>]) -> anyhow::Result<Vec<Value>> {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for made in made.iter().filter(|made| made.is(&DATASET)) {
        if let Some(bytes) = made.part(store, dataset::BAD.file)? {
            for bad in open_bad(&bytes)? {
                by_reason.entry(bad.reason).or_default().push(bad.path);
            }
        }
    }
    let row = |(reason, paths): (String, Vec<String>)| {
        let examples = paths.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
        json!([reason, paths.len(), examples])
    };
    Ok(by_reason.into_iter().map(row).collect())
}
