//! facts: the head of the page: pipeline, data, device, wall time, interruptions.

use crate::base::StageKey;
use crate::engine::Plan;
use crate::engine::past::{self, End, PastRun};
use crate::format::noun::DATASET;
use crate::store::Store;
use crate::views::made::Made;
use crate::views::turn;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Name and value of what a person asks first. `metrics` are the numbers of the last epoch.
pub(super) fn facts(plan: &Plan, store: &Store, made: &[Made<'_>], journal: &Path, epochs: &[Value]) -> Vec<Value> {
    let mut facts = vec![json!(["pipeline", plan.name])];
    facts.extend(data(made));
    facts.extend(k(plan).map(|k| json!(["k", k])));
    facts.push(json!(["epochs", format!("{} of {}", epochs.len(), plan.epochs)]));
    let known: BTreeSet<StageKey> =
        store.key_history(&plan.name).last().chain(made.iter().map(|made| made.record.key())).collect();
    facts.extend(course(journal, &known));
    facts
}

/// The data sets: name, images, and what no stage sees of the folder.
fn data(made: &[Made<'_>]) -> Vec<Value> {
    let mut rows = Vec::new();
    for made in made.iter().filter(|made| made.is(&DATASET)) {
        // The last step of the path: who mails a page need not tell where the images lie.
        let name = match made.node.stage.source() {
            Some(root) => root.file_name().unwrap_or(root.as_os_str()).to_string_lossy().into_owned(),
            None => format!("drawn by {}", made.node.stage.def().verb),
        };
        rows.push(json!(["data", name]));
        let counts = &made.record.facts;
        rows.extend(counts.get("images").map(|images| json!(["images", images])));
        let mut of = |title: &str, prefix: &str| {
            let mut found: Vec<_> = counts
                .iter()
                .filter_map(|(name, n)| Some((name.strip_prefix(prefix)?, *n)))
                .filter(|(_, n)| *n > 0)
                .collect();
            found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            let told: Vec<_> = found.iter().map(|(reason, n)| format!("{n} {}", reason.replace('_', " "))).collect();
            if !told.is_empty() {
                rows.push(json!([title, told.join(", ")]));
            }
        };
        of("left out", "left_out.");
        of("folders left out", "left_out_folders.");
        of("skipped", "skipped.");
    }
    rows
}

/// The number of clusters that the last epoch asks for.
fn k(plan: &Plan) -> Option<u64> {
    let mut params = plan.order().iter().rev().map(|id| plan.node(*id).stage.params());
    params.find_map(|params| params.get("k").and_then(Value::as_u64))
}

/// What the journal has of the runs that worked on these nodes. A run that had nothing to do does not count, so it
/// changes no page.
fn course(journal: &Path, known: &BTreeSet<StageKey>) -> Vec<Value> {
    let Ok(all) = past::read(journal) else {
        return vec![json!(["device, wall time, interruptions", "not known: the results have no events.jsonl"])];
    };
    let worked = |run: &&PastRun| run.ran.iter().any(|past| past.key.is_some_and(|key| known.contains(&key)));
    let runs: Vec<&PastRun> = all.runs.iter().filter(worked).collect();
    let is_at_work = all.runs.last().is_some_and(|last| last.end.is_none())
        && journal.parent().and_then(turn::is_taken) == Some(true);
    let mut devices: Vec<&str> = Vec::new();
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for run in &runs {
        if !run.device.is_empty() && !devices.contains(&&*run.device) {
            devices.push(&run.device);
        }
        let is_last = all.runs.last().is_some_and(|last| std::ptr::eq(last, *run));
        let end = match run.end {
            Some(End::Complete) => continue,
            Some(End::Interrupted) => "interrupted",
            Some(End::Failed) => "failed",
            None if is_last && is_at_work => continue,
            None => "killed",
        };
        *ends.entry(end).or_default() += 1;
    }
    let told =
        |(end, count): (&str, u32)| if count == 1 { format!("{end} once") } else { format!("{end} {count} times") };
    let ends: Vec<_> = ends.into_iter().map(told).collect();
    let wall: f64 = runs.iter().map(|run| run.wall_s).sum();
    let mut rows = Vec::new();
    if !devices.is_empty() {
        rows.push(json!(["device", devices.join(", ")]));
    }
    // Whole milliseconds: a page needs no more, and a sum has no other digits.
    rows.push(json!(["wall time", { "seconds": (wall * 1e3).round() / 1e3, "runs": runs.len() }]));
    let ends = if ends.is_empty() { "none".to_owned() } else { ends.join(", ") };
    rows.push(json!(["interruptions", ends]));
    rows.extend(is_at_work.then(|| json!(["now", "a run is at work"])));
    rows
}
