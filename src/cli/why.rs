//! why: follows a node's reason to run back to its root cause.

use crate::cli::args::NodeArgs;
use crate::cli::error::CliError;
use crate::cli::plan::{in_words, shorten};
use crate::cli::text;
use crate::cli::workspace::Workspace;
use crate::engine::forecast::{Fate, Line, forecast};
use crate::engine::{EngineError, MissReason, NodeId, Plan, why};
use std::fmt::Write;

/// Named of the nodes between one and what it waits for.
const NODES_SHOWN: usize = 6;

/// dcpipe why
pub fn why(args: &NodeArgs) -> Result<(), CliError> {
    let space = Workspace::open(args.pipeline.as_deref(), &args.place)?;
    let plan = &space.loaded.plan;
    let targets = plan.find(&args.node).map_err(EngineError::from)?;
    let lines = forecast(plan, &space.store, &space.device)?;
    let mut by_node: Vec<Option<&Line>> = vec![None; plan.len()];
    for line in &lines {
        by_node[line.node.index()] = Some(line);
    }
    let mut told = String::new();
    for target in targets {
        explain(plan, &by_node, target, &mut told);
    }
    text::out(&told)
}

/// Tells about one node, then about the node that it waits for or that changed under it, until one is the root.
fn explain(plan: &Plan, lines: &[Option<&Line>], target: NodeId, told: &mut String) {
    let mut at = waited_for(plan, lines, target, told);
    for depth in usize::from(at != target).. {
        let Some(line) = lines[at.index()] else { return };
        let name = plan.node(at).name();
        let indent = if depth == 0 { "" } else { "because " };
        let next = match &line.fate {
            Fate::Hit => {
                let when = line.record.as_ref().map_or(String::new(), |record| {
                    format!(
                        " (made by {}, first for {}, in {})",
                        record.program,
                        record.node,
                        text::seconds(record.wall_ms as f64 / 1e3)
                    )
                });
                let _ = writeln!(told, "{indent}{name} would not run: its key has a record{when}");
                if depth == 0
                    && let Some(key) = &line.key
                {
                    for text in key.as_str().lines() {
                        let _ = writeln!(told, "    {}", shorten(text));
                    }
                }
                None
            }
            Fate::Pending { .. } => {
                let _ = writeln!(told, "{indent}{name} has no key yet: it depends on what comes before it");
                None
            }
            Fate::Run(reason) => {
                let _ = writeln!(told, "{indent}{name} would run: {}", headline(reason));
                following(plan, at, reason, told)
            }
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
}

/// The node that one without a key waits for in the end. On the way to it hundreds of epochs may lie.
fn waited_for(plan: &Plan, lines: &[Option<&Line>], target: NodeId, told: &mut String) -> NodeId {
    let (mut at, mut through) = (target, Vec::new());
    while let Some(Line { fate: Fate::Pending { .. }, .. }) = lines[at.index()] {
        let unknown = |from: &&NodeId| lines[from.index()].is_some_and(|line| line.fate != Fate::Hit);
        let Some(next) = plan.node(at).inputs.iter().map(|(_, from)| from).find(unknown) else { break };
        at = *next;
        through.push(plan.node(at).name());
    }
    let Some(root) = through.pop() else { return at };
    let more = through.len().saturating_sub(NODES_SHOWN);
    through.truncate(NODES_SHOWN);
    let mut way = through.join(", ");
    if more > 0 {
        let _ = write!(way, " and {more} more");
    }
    let by = if way.is_empty() { way } else { format!(", by way of {way}") };
    let _ = writeln!(told, "{} has no key yet: it depends on what {root} gives{by}", plan.node(target).name());
    at
}

fn headline(reason: &MissReason) -> String {
    match reason {
        MissReason::KeyChanged { .. } => "its key is not the last run's".to_owned(),
        other => in_words(other),
    }
}

/// Prints the changed lines and names the input whose change stands behind them, if one does.
fn following(plan: &Plan, at: NodeId, reason: &MissReason, told: &mut String) -> Option<NodeId> {
    let MissReason::KeyChanged { lines } = reason else { return None };
    for line in lines {
        let _ = writeln!(told, "    {}", shorten(line));
    }
    let ports = why::changed_inputs(lines);
    let node = plan.node(at);
    node.inputs.iter().find(|(port, _)| ports.iter().any(|p| p == port)).map(|(_, from)| *from)
}
