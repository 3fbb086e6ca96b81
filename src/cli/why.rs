//! why: traces a node's reason to run back to its root cause.

use crate::cli::args::NodeArgs;
use crate::cli::changes::{changes, group};
use crate::cli::error::CliError;
use crate::cli::plan::{DAMAGED, because, in_words, shorten};
use crate::cli::text;
use crate::cli::workspace::Workspace;
use crate::engine::fate::Fate;
use crate::engine::forecast::{Line, forecast};
use crate::engine::roots::{Cause, Step, Tracer};
use crate::engine::{EngineError, MissReason, Plan};
use std::fmt::Write;

const NO_KEY: &str = "has no key yet: its inputs are not known";
/// How many nodes are shown between a node and what it waits for, and between a node and its root.
const NODES_SHOWN: usize = 6;

/// dcpipe why
pub fn why(args: &NodeArgs) -> Result<(), CliError> {
    let space = Workspace::open(args.pipeline.as_deref(), &args.place)?;
    let plan = &space.loaded.plan;
    let targets = plan.find(&args.node).map_err(EngineError::from)?;
    let lines = forecast(plan, &space.store, &space.device)?;
    let mut tracer = Tracer::new(plan, &space.store, &space.device, &lines);
    let mut told = String::new();
    for target in targets {
        let Some(line) = tracer.line(target) else { continue };
        if line.fate == Fate::Hit {
            hit(plan, line, &mut told);
            continue;
        }
        let steps = tracer.trace(target)?;
        let roots = roots(plan, &steps);
        if let Some(first) = roots.first() {
            way(plan, &tracer, &steps, *first, &mut told);
        }
        name_roots(plan, &steps, &roots, &mut told);
    }
    text::out(&told)
}

/// Explains the key of a node that would not run.
fn hit(plan: &Plan, line: &Line, told: &mut String) {
    let when = line.record.as_ref().map_or(String::new(), |record| {
        let took = text::seconds(record.wall_ms as f64 / 1e3);
        format!(" (made by {}, first for {}, in {took})", record.program, record.node)
    });
    let _ = writeln!(told, "{} would not run: its key has a record{when}", plan.node(line.node).name());
    tell_lines(line.key.iter().flat_map(|key| key.as_str().lines()), told);
}

fn tell_lines<'a>(lines: impl Iterator<Item = &'a str>, told: &mut String) {
    for line in lines {
        let _ = writeln!(told, "    {}", shorten(line));
    }
}

/// The steps that have a cause, in the plan's order.
fn roots(plan: &Plan, steps: &[Step]) -> Vec<usize> {
    let mut roots: Vec<usize> = (0..steps.len()).filter(|at| !steps[*at].look.causes.is_empty()).collect();
    roots.sort_by_key(|at| plan.rank(steps[*at].node));
    roots
}

/// Shows the way from the target to a root. It may pass hundreds of epochs.
fn way(plan: &Plan, tracer: &Tracer<'_>, steps: &[Step], root: usize, told: &mut String) {
    let mut way: Vec<&Step> = std::iter::successors(Some(root), |at| steps[*at].after).map(|at| &steps[at]).collect();
    way.reverse();
    let waits = |step: &Step| matches!(tracer.line(step.node), Some(Line { fate: Fate::Pending { .. }, .. }));
    let waiting = way.iter().take_while(|step| waits(step)).count();
    let name = |step: &Step| plan.node(step.node).name();
    if let (Some(target), Some(first)) = (way[..waiting].first(), way.get(waiting)) {
        let through: Vec<_> = way[1..waiting].iter().map(|step| name(step)).collect();
        let by = if through.is_empty() { String::new() } else { format!(", by way of {}", named(&through)) };
        let _ = writeln!(told, "{} has no key yet: it depends on the output of {}{by}", name(target), name(first));
    }
    let shown = &way[waiting..];
    let left_out = shown.len().saturating_sub(NODES_SHOWN);
    for (at, step) in shown.iter().enumerate() {
        // The root itself is always shown.
        let last = at + 1 == shown.len();
        if left_out > 1 && at + 1 >= NODES_SHOWN && !last {
            if at + 1 == NODES_SHOWN {
                let _ = writeln!(told, "because of {left_out} more nodes, each of which read something else");
            }
            continue;
        }
        let because = if waiting + at == 0 { "" } else { "because " };
        let _ = writeln!(told, "{because}{} {}", name(step), headline(tracer.line(step.node)));
        tell_lines(step.look.lines.iter().map(String::as_str), told);
    }
}

fn named(nodes: &[String]) -> String {
    let more = nodes.len().saturating_sub(NODES_SHOWN);
    let shown = nodes[..nodes.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn headline(line: Option<&Line>) -> String {
    let Some(line) = line else { return NO_KEY.to_owned() };
    match &line.fate {
        Fate::Run(MissReason::KeyChanged { .. }) if line.stand.is_none() => {
            "would run: its key changed since the last run".to_owned()
        }
        Fate::Run(reason) => format!("would run: {}", because(line, reason)),
        Fate::Hit => "ran again with another key and produced different output".to_owned(),
        Fate::Pending { .. } => NO_KEY.to_owned(),
    }
}

/// Names all root causes at the end.
fn name_roots(plan: &Plan, steps: &[Step], roots: &[usize], told: &mut String) {
    let said = roots.iter().flat_map(|at| {
        let node = plan.node(steps[*at].node).name();
        steps[*at].look.causes.iter().map(move |cause| (node.clone(), vec![in_short(cause)]))
    });
    let groups = group(said);
    for (at, root) in groups.iter().enumerate() {
        let which =
            if groups.len() == 1 { "the root".to_owned() } else { format!("root {} of {}", at + 1, groups.len()) };
        let _ = writeln!(told, "{which}: {}: {}{}", root.node, root.what.join(", "), root.also());
    }
    if groups.is_empty() {
        let _ = writeln!(told, "the root cause is not known");
    }
}

fn in_short(cause: &Cause) -> String {
    match cause {
        Cause::Changed { lines } => changes(lines).join(", "),
        Cause::FirstRun => in_words(&MissReason::FirstRun),
        Cause::Damaged => DAMAGED.to_owned(),
        Cause::NeverFinished => in_words(&MissReason::NeverFinished),
        Cause::AskedFor => "its bytes are evicted, and keep: retains them".to_owned(),
        Cause::Forgotten { port, from, was } => format!(
            "input {port} was {}; no remembered run of {from} produced that (it is older than the last 8 keys, or {port} \
             was connected to another node)",
            shorten(was)
        ),
    }
}
