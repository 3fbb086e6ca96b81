//! ls: the runs of a store, or the nodes of a pipeline and what the store has of them.

use crate::cli::args::LsArgs;
use crate::cli::error::CliError;
use crate::cli::runs;
use crate::cli::text;
use crate::cli::verify::existing;
use crate::cli::workspace::Workspace;
use crate::engine::fate::Fate;
use crate::engine::forecast::{Line, forecast};
use crate::store::{Stand, Store};

/// dcpipe ls
pub fn ls(args: &LsArgs) -> Result<(), CliError> {
    let rows = match &args.pipeline {
        Some(pipeline) => nodes(&Workspace::open(Some(pipeline), &args.place)?)?,
        None => all(&existing(&args.place.store)?),
    };
    text::out(&text::table(&rows))
}

fn all(store: &Store) -> Vec<Vec<String>> {
    let mut rows = vec![["run", "nodes", "pipeline"].map(str::to_owned).to_vec()];
    rows.extend(runs::names(store.root()).into_iter().map(|name| {
        let resolved = store.run_folder(&name).join(runs::RESOLVED);
        vec![name.clone(), store.node_keys(&name).len().to_string(), resolved.display().to_string()]
    }));
    rows
}

/// Whether a line adds nothing: a whole table, or a table without a record.
fn is_aside(space: &Workspace, line: &Line) -> bool {
    let stand = line.record.as_ref().map(|record| space.store.stand(&record.artifact));
    space.loaded.plan.node(line.node).is_implied && stand.is_none_or(|stand| stand == Stand::Whole)
}

fn nodes(space: &Workspace) -> Result<Vec<Vec<String>>, CliError> {
    let mut rows = vec![["node", "record", "bytes", "parts", "there", "took", "digest"].map(str::to_owned).to_vec()];
    for line in forecast(&space.loaded.plan, &space.store, &space.device)? {
        if is_aside(space, &line) {
            continue;
        }
        let name = space.loaded.plan.node(line.node).name();
        let Some(record) = &line.record else {
            let state = if matches!(line.fate, Fate::Pending { .. }) { "pending" } else { "none" };
            rows.push(vec![name, state.to_owned()]);
            continue;
        };
        let there = match space.store.stand(&record.artifact) {
            Stand::Whole => "yes",
            Stand::Gone => "evicted",
            Stand::Wrong => "damaged",
            Stand::Unknown => "unreadable",
        };
        rows.push(vec![
            name,
            "yes".to_owned(),
            text::bytes(record.artifact.bytes()),
            record.artifact.parts.len().to_string(),
            there.to_owned(),
            text::seconds(record.wall_ms as f64 / 1e3),
            record.artifact.digest().short(),
        ]);
    }
    Ok(rows)
}
