//! diff: where two runs of a store differ, and what made them differ.

use crate::base::Digest;
use crate::cli::args::DiffArgs;
use crate::cli::changes::group;
use crate::cli::error::CliError;
use crate::cli::plan::shorten;
use crate::cli::workspace::open_store;
use crate::cli::{runs, text};
use crate::engine::NodeId;
use crate::engine::key::input_of;
use crate::engine::keys::read_at;
use crate::engine::plan::is_implied;
use crate::engine::why::difference;
use crate::format::metrics::{METRICS, Metric, open_metrics};
use crate::store::{Record, Stand, Store};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a run has of a node.
#[derive(Clone)]
enum Made {
    Done(Box<Record>),
    /// Its record is of an earlier run: what it was made from is not what the run has now.
    Outdated,
    Unfinished,
}

/// A node of a run: what it is, and which nodes its ports read.
#[derive(Clone)]
struct Node {
    made: Made,
    reads: BTreeMap<String, String>,
}

/// A node that one of the runs has, or both.
struct Pair {
    node: String,
    one: Option<Node>,
    other: Option<Node>,
}

/// dcpipe diff
pub fn diff(args: &DiffArgs) -> Result<(), CliError> {
    runs::check(&args.store, &args.one)?;
    runs::check(&args.store, &args.other)?;
    let store = open_store(&args.store, &|| true)?;
    let mut pairs = pairs(nodes(&store, &args.one), nodes(&store, &args.other));
    // They differ where, and because, the nodes do whose tables they are.
    pairs.retain(|pair| !is_implied(&pair.node));
    let mut told = String::new();
    let mut rows = vec![["node", "what", &args.one, &args.other].map(str::to_owned).to_vec()];
    rows.extend(pairs.iter().map(|pair| {
        let digest = |node: &Option<Node>| record(node).map_or(String::new(), |made| made.artifact.digest().short());
        vec![pair.node.clone(), pair.what(args), digest(&pair.one), digest(&pair.other)]
    }));
    told.push_str(&text::table(&rows));
    tell_roots(&pairs, &mut told);
    tell_metrics(args, &store, &pairs, &mut told)?;
    text::out(&told)
}

/// The nodes of a run in its plan's order, as the last run that came to them left them. Without a plan they are in the
/// order of their epochs.
fn nodes(store: &Store, run: &str) -> Vec<(String, Node)> {
    let keys = store.node_keys(run);
    let made = |name: &str| match keys.get(name).and_then(|key| store.record(*key).ok().flatten()) {
        Some(record) => Made::Done(Box::new(record)),
        None => Made::Unfinished,
    };
    let Ok(plan) = runs::plan(store.root(), run) else {
        let node = |name: &String| (name.clone(), Node { made: made(name), reads: BTreeMap::new() });
        let mut nodes: Vec<_> = keys.keys().map(node).collect();
        nodes.sort_by_key(|(name, _)| epoch(name));
        return nodes;
    };
    let mut nodes = BTreeMap::new();
    for id in plan.order() {
        let inputs = || plan.node(*id).inputs.iter();
        let reads = inputs().map(|(port, from)| ((*port).to_owned(), plan.node(*from).name())).collect();
        let name = plan.node(*id).name();
        let mut made = made(&name);
        let stage = &*plan.node(*id).stage;
        // By the parts that the stage reads, or, in a key of an earlier program, by all.
        let input = |port: &str, from: &NodeId| match nodes.get(from) {
            Some((_, Node { made: Made::Done(record), .. })) => {
                vec![read_at(stage, port, record), record.artifact.digest()]
            }
            _ => Vec::new(),
        };
        if let Made::Done(record) = &made {
            let read =
                |port: &str, digest: Digest| record.key_text.lines().any(|l| l == format!("input {port} = {digest}"));
            if !inputs().all(|(port, from)| input(port, from).into_iter().any(|digest| read(port, digest))) {
                made = Made::Outdated;
            }
        }
        nodes.insert(*id, (name, Node { made, reads }));
    }
    plan.order().iter().filter_map(|id| nodes.remove(id)).collect()
}

fn record(node: &Option<Node>) -> Option<&Record> {
    match node {
        Some(Node { made: Made::Done(record), .. }) => Some(record),
        _ => None,
    }
}

fn epoch(node: &str) -> u32 {
    node.split_once('@').and_then(|(_, epoch)| epoch.parse().ok()).unwrap_or(0)
}

fn pairs(one: Vec<(String, Node)>, other: Vec<(String, Node)>) -> Vec<Pair> {
    let mut of_other: BTreeMap<String, Node> = other.iter().cloned().collect();
    let both = one.into_iter().map(|(node, one)| Pair { one: Some(one), other: of_other.remove(&node), node });
    let mut pairs: Vec<Pair> = both.collect();
    let only = other.into_iter().filter(|(node, _)| of_other.contains_key(node));
    pairs.extend(only.map(|(node, other)| Pair { node, one: None, other: Some(other) }));
    pairs
}

impl Pair {
    fn both(&self) -> Option<(&Record, &Record)> {
        Some((record(&self.one)?, record(&self.other)?))
    }

    fn what(&self, args: &DiffArgs) -> String {
        let (Some(one), Some(other)) = (&self.one, &self.other) else {
            return format!("only in {}", if self.one.is_some() { &args.one } else { &args.other });
        };
        match (&one.made, &other.made) {
            (Made::Done(one), Made::Done(other)) if one.key() == other.key() => "equal".to_owned(),
            (Made::Done(one), Made::Done(other)) if one.artifact == other.artifact => {
                "same bytes by another key".to_owned()
            }
            (Made::Done(_), Made::Done(_)) => "different".to_owned(),
            (Made::Unfinished, _) => format!("not finished in {}", args.one),
            (_, Made::Unfinished) => format!("not finished in {}", args.other),
            (Made::Outdated, _) => format!("out of date in {}", args.one),
            (_, Made::Outdated) => format!("out of date in {}", args.other),
        }
    }

    /// The lines that differ in something else than what the same nodes before it gave.
    fn own_lines(&self) -> Vec<String> {
        let Some((one, other)) = self.both() else { return Vec::new() };
        let reads = |node: &Option<Node>, port: &str| node.as_ref().and_then(|node| node.reads.get(port).cloned());
        let mut lines = difference(&one.key_text, &other.key_text);
        lines.retain(|line| match input_of(&line[2..]) {
            Some((port, _)) => reads(&self.one, port) != reads(&self.other, port),
            None => true,
        });
        lines
    }

    fn differs(&self) -> bool {
        self.both().is_some_and(|(one, other)| one.artifact != other.artifact)
    }
}

fn tell_roots(pairs: &[Pair], told: &mut String) {
    let roots =
        group(pairs.iter().map(|pair| (pair.node.clone(), pair.own_lines())).filter(|(_, own)| !own.is_empty()));
    let differ: Vec<&Pair> = pairs.iter().filter(|pair| pair.differs()).collect();
    let follow = differ.iter().filter(|pair| pair.own_lines().is_empty()).count();
    if differ.is_empty() && roots.is_empty() {
        let _ = writeln!(told, "\nno node that both have finished differs");
        return;
    }
    let _ = writeln!(told, "\nroot causes:");
    for root in &roots {
        let _ = writeln!(told, "{}{}", root.node, root.also());
        for line in &root.what {
            let _ = writeln!(told, "    {}", shorten(line));
        }
    }
    match (roots.is_empty(), follow) {
        (true, n) => drop(writeln!(told, "none is known: {n} differ in nothing but what they read")),
        (false, 0) => {}
        (false, 1) => told.push_str("1 more node differs only because of these\n"),
        (false, n) => drop(writeln!(told, "{n} more nodes differ only because of these")),
    }
}

/// The metrics of the last epoch of which both runs have them.
fn tell_metrics(args: &DiffArgs, store: &Store, pairs: &[Pair], told: &mut String) -> Result<(), CliError> {
    let mut last: BTreeMap<&str, &Pair> = BTreeMap::new();
    for pair in pairs {
        let Some((noun, _)) = pair.node.split_once('@') else { continue };
        let there =
            |record: &Record| record.artifact.kind == METRICS.name && store.stand(&record.artifact) == Stand::Whole;
        let newer = last.get(noun).is_none_or(|known| epoch(&known.node) <= epoch(&pair.node));
        if newer && pair.both().is_some_and(|(one, other)| there(one) && there(other)) {
            last.insert(noun, pair);
        }
    }
    for pair in last.values() {
        let Some((one, other)) = pair.both() else { continue };
        let (one, other) = (metrics(store, one)?, metrics(store, other)?);
        let mut rows = vec![[pair.node.as_str(), &args.one, &args.other, "difference"].map(str::to_owned).to_vec()];
        for metric in &one {
            let Some(found) = other.iter().find(|found| found.name == metric.name) else { continue };
            let numbers = [metric.value, found.value, found.value - metric.value];
            // Counts are whole numbers, and are told as such.
            let decimals = if numbers.iter().all(|number| number.fract() == 0.0) { 0 } else { 6 };
            let cells = numbers.map(|number| format!("{number:.decimals$}"));
            rows.push(std::iter::once(metric.name.clone()).chain(cells).collect());
        }
        let _ = write!(told, "\n{}", text::table(&rows));
    }
    Ok(())
}

fn metrics(store: &Store, record: &Record) -> Result<Vec<Metric>, CliError> {
    let Some(part) = record.artifact.part(METRICS.file) else { return Ok(Vec::new()) };
    open_metrics(&store.map(part)?).map_err(|error| CliError::Artifact(format!("{}: {error}", part.name)))
}
