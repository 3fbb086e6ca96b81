//! log: what a run did, from its journal: what ran, why, how long, and the slowest chain of nodes.

use crate::base::clock::utc;
use crate::cli::args::LogArgs;
use crate::cli::changes::phrase;
use crate::cli::error::CliError;
use crate::cli::{runs, text, trace};
use crate::engine::event::WARNING;
use crate::engine::journal::FILE;
use crate::engine::past::{self, End, Past, PastNode, PastRun};
use crate::engine::slowest::slowest_path;
use crate::engine::{NodeId, Plan};
use crate::store::blocked;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Of a node's metrics, told in a line.
const METRICS_SHOWN: usize = 2;
/// Nodes of the slowest path that are told one by one; of more, those of a name are summed up.
const NODES_SHOWN: usize = 12;
/// Share of the slowest path below which nobody has to look.
const SMALL: f64 = 0.01;
/// Notes told in full.
const NOTES_SHOWN: usize = 5;

/// dcpipe log
pub fn log(args: &LogArgs) -> Result<(), CliError> {
    let name = args.name.clone().map_or_else(|| runs::last(&args.store), Ok)?;
    let journal = args.out.join(&name).join(FILE);
    let past = past::read(&journal).map_err(|error| nothing(&name, &journal, &error.to_string()))?;
    let Some(last) = past.runs.last() else { return Err(nothing(&name, &journal, "no run is in it")) };
    if args.all {
        return text::out(&all(&past, args.json));
    }
    let run = past.runs.iter().rfind(|run| did_something(run)).filter(|_| had_nothing_to_do(last)).unwrap_or(last);
    // Its own error says enough: the plan is only needed for what is told beside the journal.
    let plan = runs::plan(&args.store, &name).map_err(|error| error.to_string());
    if let Some(file) = &args.trace {
        let text = trace::of(run, plan.as_ref().ok());
        std::fs::write(file, text).map_err(|error| {
            let why = file.parent().map_or_else(|| error.to_string(), |folder| blocked::why(folder, &error));
            CliError::Files(format!("could not write {}: {why}; name another file with --trace", file.display()))
        })?;
        return text::out(&format!("wrote {}; open it in ui.perfetto.dev or chrome://tracing\n", file.display()));
    }
    if args.json {
        return text::out(&format!("{}\n", as_json(run, plan.as_ref().ok())));
    }
    let mut told = String::new();
    if run.began_unix_ms != last.began_unix_ms || run.id != last.id {
        let _ = writeln!(told, "the last run, {}, had nothing to do; before it:\n", utc(last.began_unix_ms));
    }
    tell(run, &mut told);
    match &plan {
        Ok(plan) => tell_slowest(run, plan, &mut told),
        Err(error) => drop(writeln!(told, "\nwhich nodes waited for which is not known: {error}")),
    }
    if past.unread > 0 {
        let _ = writeln!(told, "\nskipped {} of the journal: torn, or of a newer dcpipe", count(past.unread, "line"));
    }
    tell_strangers(run, plan.as_ref().ok(), &mut told);
    text::out(&told)
}

fn nothing(name: &str, journal: &Path, why: &str) -> CliError {
    CliError::Artifact(format!(
        "cannot read the journal of {name}, {}: {why}. If the results are elsewhere, name their folder with --out. If the \
         journal was deleted, nothing else is lost: the next dcpipe run begins a new one",
        journal.display()
    ))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn did_something(run: &PastRun) -> bool {
    !run.ran.is_empty() || !run.failures.is_empty()
}

fn had_nothing_to_do(run: &PastRun) -> bool {
    run.end == Some(End::Complete) && !did_something(run)
}

fn ending(run: &PastRun) -> &'static str {
    match run.end {
        Some(End::Complete) => "complete",
        Some(End::Failed) => "failed",
        Some(End::Interrupted) => "interrupted",
        None => "without an end: it was killed, or is still at work",
    }
}

fn all(past: &Past, json: bool) -> String {
    if json {
        return past.runs.iter().map(|run| format!("{}\n", head_as_json(run))).collect();
    }
    let mut rows = vec![["began", "ran", "hit", "failed", "took", "end"].map(str::to_owned).to_vec()];
    rows.extend(past.runs.iter().map(|run| {
        let counts = [run.finished(), run.hit(), run.failures.len()].map(|n| n.to_string());
        let mut row = vec![utc(run.began_unix_ms)];
        row.extend(counts);
        row.extend([text::seconds(run.wall_s), ending(run).to_owned()]);
        row
    }));
    text::table(&rows)
}

fn tell(run: &PastRun, told: &mut String) {
    let _ = writeln!(told, "{} on {}, {}, {}", run.name, run.device, run.program, utc(run.began_unix_ms));
    let _ = writeln!(told, "{}, {}\n", ending(run), text::seconds(run.wall_s));
    if !run.ran.is_empty() {
        let mut rows = vec![["node", "began", "took", "bytes", "last measured", "why"].map(str::to_owned).to_vec()];
        rows.extend(run.ran.iter().map(|node| row(run, node)));
        let _ = writeln!(told, "{}", text::table(&rows));
    }
    let _ = writeln!(
        told,
        "{} ran, {} hit, {} failed, {} interrupted, {}",
        run.finished(),
        run.hit(),
        run.failures.len(),
        run.unfinished(),
        count(run.notes.len(), "note")
    );
    for (node, error) in &run.failures {
        let error = error.strip_prefix(&format!("{node}: ")).unwrap_or(error);
        let _ = writeln!(told, "    {node} failed: {error}");
    }
    let (warnings, others): (Vec<_>, Vec<_>) = run.notes.iter().partition(|(_, note)| note.starts_with(WARNING));
    for (node, note) in warnings.into_iter().chain(others).take(NOTES_SHOWN) {
        let about = if node.is_empty() { String::new() } else { format!("{node}: ") };
        let _ = writeln!(told, "    note: {about}{}", note.replace('\n', "\n    "));
    }
}

fn row(run: &PastRun, node: &PastNode) -> Vec<String> {
    let failed = run.failures.iter().any(|(name, _)| *name == node.node);
    let bytes = match node.bytes {
        Some(bytes) => text::bytes(bytes),
        None if failed => "failed".to_owned(),
        None => "not finished".to_owned(),
    };
    // The loss first; of the others those that come first by name.
    let mut metrics: Vec<_> = node.metrics.iter().collect();
    metrics.sort_by_key(|(name, _)| *name != "loss");
    let metrics: Vec<_> =
        metrics.iter().take(METRICS_SHOWN).map(|(name, value)| format!("{name} {}", text::number(**value))).collect();
    let why = node.reason.as_ref().map_or(String::new(), phrase);
    vec![
        node.node.clone(),
        format!("+{}", text::seconds(node.began_s)),
        text::seconds(node.took_s),
        bytes,
        metrics.join(", "),
        why,
    ]
}

fn tell_slowest(run: &PastRun, plan: &Plan, told: &mut String) {
    let path = slowest_path(plan, &run.took());
    let sum: f64 = path.iter().map(|(_, seconds)| seconds).sum();
    let percent = |seconds: f64, of: f64| format!("{:.0} %", 100.0 * seconds / of.max(f64::MIN_POSITIVE));
    if path.is_empty() {
        return;
    }
    let _ = writeln!(
        told,
        "\nthe slowest path: {}, {}, {} of the run",
        count(path.len(), "node"),
        text::seconds(sum),
        percent(sum, run.wall_s)
    );
    let (mut rows, small): (Vec<_>, Vec<_>) =
        by_name(plan, &path).into_iter().partition(|(_, seconds)| *seconds >= SMALL * sum);
    if !small.is_empty() {
        rows.push(("the others".to_owned(), small.iter().map(|(_, seconds)| seconds).sum()));
    }
    let row = |(name, seconds)| vec![format!("    {name}"), text::seconds(seconds), percent(seconds, sum)];
    told.push_str(&text::table(&rows.into_iter().map(row).collect::<Vec<_>>()));
}

/// Says which nodes of the run the plan lacks. The plan may be that of a later run, or of another store.
fn tell_strangers(run: &PastRun, plan: Option<&Plan>, told: &mut String) {
    let Some(plan) = plan else { return };
    let strangers = run.took().keys().filter(|node| plan.find(node).is_err()).count();
    if strangers > 0 {
        let nodes = count(strangers, "node");
        let _ = writeln!(told, "\nleft out of the slowest path, as the pipeline has changed since: {nodes}");
    }
}

/// The nodes of a path with their seconds, in its order. A long path has one line a name, the slowest first.
fn by_name(plan: &Plan, path: &[(NodeId, f64)]) -> Vec<(String, f64)> {
    if path.len() <= NODES_SHOWN {
        return path.iter().map(|(id, seconds)| (plan.node(*id).name(), *seconds)).collect();
    }
    let mut sums = std::collections::BTreeMap::<&str, (usize, f64)>::new();
    for (id, seconds) in path {
        let sum = sums.entry(&plan.node(*id).noun).or_default();
        *sum = (sum.0 + 1, sum.1 + seconds);
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(noun, (nodes, sum))| (format!("{nodes} x {noun}"), sum)).collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums
}

fn head_as_json(run: &PastRun) -> Value {
    json!({
        "run": run.name,
        "id": run.id,
        "began_unix_ms": run.began_unix_ms,
        "device": run.device,
        "program": run.program,
        "wall_s": run.wall_s,
        "end": match run.end {
            Some(End::Complete) => "complete",
            Some(End::Failed) => "failed",
            Some(End::Interrupted) => "interrupted",
            None => "none",
        },
        "ran": run.finished(),
        "hit": run.hit(),
        "failed": run.failures.len(),
        "unfinished": run.unfinished(),
        "notes": run.notes.len(),
    })
}

fn as_json(run: &PastRun, plan: Option<&Plan>) -> Value {
    let nodes: Vec<Value> = run
        .ran
        .iter()
        .map(|node| {
            json!({
                "node": node.node, "began_s": node.began_s, "took_s": node.took_s, "bytes": node.bytes,
                "key": node.key, "reason": node.reason, "metrics": node.metrics,
            })
        })
        .collect();
    let slowest = plan.map(|plan| {
        let path = slowest_path(plan, &run.took());
        let step = |(id, seconds): &(NodeId, f64)| json!({ "node": plan.node(*id).name(), "took_s": seconds });
        path.iter().map(step).collect::<Vec<_>>()
    });
    let mut told = head_as_json(run);
    let hits: Vec<_> = run.hits.iter().map(|(_, node, _)| node).collect();
    let failures: Vec<_> = run.failures.iter().map(|(node, error)| json!({ "node": node, "error": error })).collect();
    for (name, value) in [
        ("nodes", json!(nodes)),
        ("hits", json!(hits)),
        ("failures", json!(failures)),
        ("said", json!(run.notes.iter().map(|(node, text)| json!({ "node": node, "text": text })).collect::<Vec<_>>())),
        ("slowest_path", json!(slowest)),
    ] {
        told[name] = value;
    }
    told
}
