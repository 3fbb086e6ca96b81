//! show: what a node made: its files, their columns, the first rows, statistics.

use crate::base::Noun;
use crate::cli::args::ShowArgs;
use crate::cli::error::CliError;
use crate::cli::text;
use crate::cli::workspace::Workspace;
use crate::engine::forecast::forecast;
use crate::engine::{EngineError, NodeId};
use crate::format::dataset::{Dataset, IMAGES, PACK};
use crate::format::{Description, describe};
use crate::store::{Record, Stand, Store};
use std::fmt::Write;

/// How many parts of a family are described in full; the others are only named.
const DESCRIBED: usize = 4;
/// How many files of the same bytes are named in a line.
const SAME: usize = 8;

/// dcpipe show
pub fn show(args: &ShowArgs) -> Result<(), CliError> {
    let space = Workspace::open(args.pipeline.as_deref(), &args.place)?;
    let plan = &space.loaded.plan;
    let targets = plan.find(&args.node).map_err(EngineError::from)?;
    // Of several epochs, the last one in the store.
    let found = match forecast(plan, &space.store, &space.device) {
        Ok(mut lines) => {
            lines.retain(|line| targets.contains(&line.node) && line.record.is_some());
            lines.pop().and_then(|line| Some((line.node, line.record?)))
        }
        // The images may be missing, or a parameter is refused; artifacts made earlier are there all the same.
        Err(EngineError::Observe { .. } | EngineError::Plan(_)) => of_last_run(&space, &targets),
        Err(error) => return Err(error.into()),
    };
    let Some((node, record)) = found else {
        return Err(CliError::Artifact(format!("{} has not run with this pipeline; dcpipe plan shows why", args.node)));
    };
    if args.paths {
        let paths = record.artifact.parts.iter().map(|part| format!("{}\n", space.store.path_of(part).display()));
        return text::out(&paths.collect::<String>());
    }
    let mut told = String::new();
    let name = plan.node(node).name();
    let artifact = &record.artifact;
    let _ = writeln!(
        told,
        "{name}: {} v{}, {}, {}",
        artifact.kind,
        artifact.format,
        text::bytes(artifact.bytes()),
        artifact.digest()
    );
    if !record.facts.is_empty() {
        let facts: Vec<_> = record.facts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(told, "when it was made: {}", facts.join(", "));
    }
    parts(&space.store, &record, plan.node(node).stage.def().output, args.rows, &mut told)?;
    text::out(&told)
}

/// The last of these nodes of which the pipeline's last run has a record.
fn of_last_run(space: &Workspace, nodes: &[NodeId]) -> Option<(NodeId, Record)> {
    let history = space.store.key_history(&space.loaded.plan.name);
    let record = |id: &NodeId| {
        let name = space.loaded.plan.node(*id).name();
        history.of(&name).find_map(|key| space.store.record(key).ok().flatten())
    };
    nodes.iter().rev().find_map(|id| Some((*id, record(id)?)))
}

fn parts(store: &Store, record: &Record, noun: Noun, rows: usize, told: &mut String) -> Result<(), CliError> {
    let mut of_families = 0;
    for part in &record.artifact.parts {
        let row = noun.row(&part.name);
        let means = row.map_or(String::new(), |row| format!(": {}", row.means));
        let _ = writeln!(told, "\n{} ({}){means}", part.name, text::bytes(part.bytes));
        of_families += usize::from(row.is_some_and(|row| row.is_many));
        if of_families > DESCRIBED || part.name == PACK {
            continue;
        }
        let lost = match store.stand_of(part) {
            Stand::Whole => None,
            Stand::Gone => Some("evicted; results computed from it are valid. A run rebuilds it when a node needs it"),
            Stand::Unknown => Some("unreadable: this user lacks the permission, or the disk fails"),
            Stand::Wrong => Some("damaged: something else stands under its name. A run, or verify, moves that away"),
        };
        if let Some(lost) = lost {
            let _ = writeln!(told, "  {lost}");
            continue;
        }
        let bytes = store.map(part)?;
        let unfit = |error| CliError::Artifact(format!("{}: {error}", part.name));
        tell(&describe(&part.name, &bytes, rows).map_err(unfit)?, told);
        if part.name == IMAGES.file && record.facts.contains_key("copies") {
            tell_copies(&Dataset::open(&bytes).map_err(unfit)?, rows, told);
        }
    }
    Ok(())
}

/// Which images have the same bytes: the first groups, as many as `show` shows rows.
fn tell_copies(dataset: &Dataset, rows: usize, told: &mut String) {
    let groups = dataset.copies();
    let files: usize = groups.iter().map(|group| group.len() - 1).sum();
    let what = if files == 1 { "1 file is a copy of another" } else { "files are copies of others" };
    let count = if files == 1 { String::new() } else { format!("{files} ") };
    let _ = writeln!(told, "\n  {count}{what}; files of a line have the same bytes");
    for group in groups.iter().take(rows) {
        let paths: Vec<_> = group.iter().take(SAME).map(|id| dataset.image(*id).path).collect();
        let rest = group.len() - paths.len();
        let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
        let _ = writeln!(told, "    {}{more}", paths.join(", "));
    }
    if groups.len() > rows {
        let _ = writeln!(told, "    {} more lines with --rows {}", groups.len() - rows, groups.len());
    }
}

fn tell(description: &Description, told: &mut String) {
    let _ = writeln!(told, "  schema {}, {} rows", description.schema, description.rows);
    for (key, value) in &description.metadata {
        let _ = writeln!(told, "  {key} = {value}");
    }
    let mut table = vec![["  column", "type", "min", "max", "mean"].map(str::to_owned).to_vec()];
    for column in &description.columns {
        let mut row = vec![format!("  {}", column.name), column.holds.clone()];
        if let Some(found) = column.statistics {
            row.extend([found.min, found.max, found.mean].map(|value| format!("{value:.6}")));
        }
        table.push(row);
    }
    told.push_str(&text::table(&table));
    if description.head.is_empty() {
        return;
    }
    let mut head = vec![description.columns.iter().map(|column| format!("  {}", column.name)).collect::<Vec<_>>()];
    head.extend(description.head.iter().map(|row| row.iter().map(|cell| format!("  {cell}")).collect()));
    told.push('\n');
    told.push_str(&text::table(&head));
}
