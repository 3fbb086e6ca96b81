//! plan: a table of what a run would do.

use crate::cli::args::PlanArgs;
use crate::cli::error::CliError;
use crate::cli::text;
use crate::cli::workspace::Workspace;
use crate::engine::fate::Fate;
use crate::engine::forecast::{Line, forecast};
use crate::engine::{MissReason, NodeId, Plan};
use crate::store::Stand;
use std::collections::BTreeSet;

/// Why a node with a damaged record would run.
pub const DAMAGED: &str = "its record is damaged";
/// How many lines of a changed key are shown; `why` shows them all.
const LINES_SHOWN: usize = 4;

/// dcpipe plan
pub fn plan(args: &PlanArgs) -> Result<(), CliError> {
    let space = Workspace::open(Some(&args.pipeline), &args.place)?;
    let lines = forecast(&space.loaded.plan, &space.store, &space.device)?;
    if args.json {
        let text: String = lines.iter().map(|line| format!("{}\n", as_json(&space.loaded.plan, line))).collect();
        return text::out(&text);
    }
    let mut rows = vec![["node", "what", "bytes", "why"].map(str::to_owned).to_vec()];
    let hits: BTreeSet<NodeId> = lines.iter().filter(|line| line.fate == Fate::Hit).map(|line| line.node).collect();
    let told = lines.iter().filter(|line| !is_aside(&space.loaded.plan, line, &hits));
    rows.extend(told.map(|line| row(&space.loaded.plan, line)));
    let count = |want: fn(&Fate) -> bool| lines.iter().filter(|line| want(&line.fate)).count();
    let (hit, run) = (count(|f| *f == Fate::Hit), count(|f| matches!(f, Fate::Run(_))));
    let pending = count(|f| matches!(f, Fate::Pending { .. }));
    let to_write: u64 = lines.iter().filter(|line| line.fate != Fate::Hit).filter_map(|line| line.bytes).sum();
    let unknown = lines.iter().filter(|line| line.fate != Fate::Hit && line.bytes.is_none()).count();
    let and_more = if unknown > 0 { format!(", and {unknown} nodes of unknown size") } else { String::new() };
    let free = space.store.free_bytes().map_or(String::new(), |free| format!(", {} free", text::bytes(free)));
    let summary = format!(
        "\n{hit} hit, {run} run, {pending} pending; about {}{and_more} to write{free}\n",
        text::bytes(to_write)
    );
    text::out(&(text::table(&rows) + &summary))
}

/// Whether a line adds nothing: tables run if the node that they belong to runs.
fn is_aside(plan: &Plan, line: &Line, hits: &BTreeSet<NodeId>) -> bool {
    plan.followed(line.node).is_some_and(|of| hits.contains(&line.node) || !hits.contains(&of))
}

fn row(plan: &Plan, line: &Line) -> Vec<String> {
    let (what, why) = match &line.fate {
        Fate::Hit => ("hit", String::new()),
        Fate::Run(reason) => ("run", because(line, reason)),
        Fate::Pending { after } => ("pending", format!("its key depends on the output of {after}")),
    };
    let exact = if line.fate == Fate::Hit { "" } else { "~" };
    let bytes = line.bytes.map_or("?".to_owned(), |b| format!("{exact}{}", text::bytes(b)));
    vec![plan.node(line.node).name(), what.to_owned(), bytes, why]
}

/// Why a node would run, given the state of its bytes and its record.
pub fn because(line: &Line, reason: &MissReason) -> String {
    match reason {
        MissReason::Evicted { needed_by } => wanting(line.stand, needed_by),
        _ if line.stand == Some(Stand::Wrong) => DAMAGED.to_owned(),
        reason => in_words(reason),
    }
}

/// A reason as a phrase.
pub fn in_words(reason: &MissReason) -> String {
    match reason {
        MissReason::FirstRun => "it has not run before".to_owned(),
        MissReason::NeverFinished => "it was started and not finished".to_owned(),
        MissReason::Evicted { needed_by } => wanting(None, needed_by),
        MissReason::KeyChanged { lines } => {
            let more = lines.len().saturating_sub(LINES_SHOWN);
            let shown: Vec<_> = lines.iter().take(LINES_SHOWN).map(|line| shorten(line)).collect();
            let rest = if more > 0 { format!(", and {more} more lines") } else { String::new() };
            format!("{}{rest}", shown.join(", "))
        }
    }
}

/// Why bytes that are not whole are rebuilt; `keep:` retains some.
fn wanting(stand: Option<Stand>, needed_by: &str) -> String {
    let are = match stand {
        Some(Stand::Wrong) => "damaged",
        Some(Stand::Unknown) => "unreadable",
        _ => "evicted",
    };
    let why = if needed_by == "keep:" { "keep: retains them".to_owned() } else { format!("{needed_by} needs them") };
    format!("its bytes are {are}, and {why}")
}

/// Shortens digests to the length that a person compares.
pub fn shorten(line: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    line.split(' ').map(|word| if is_digest(word) { &word[..12] } else { word }).collect::<Vec<_>>().join(" ")
}

fn as_json(plan: &Plan, line: &Line) -> serde_json::Value {
    let (what, why) = match &line.fate {
        Fate::Hit => ("hit", serde_json::Value::Null),
        Fate::Run(reason) => ("run", serde_json::json!(reason)),
        Fate::Pending { after } => ("pending", serde_json::json!({ "after": after })),
    };
    let key = line.key.as_ref().map(crate::engine::KeyText::key);
    serde_json::json!({ "node": plan.node(line.node).name(), "what": what, "why": why, "bytes": line.bytes, "key": key })
}
