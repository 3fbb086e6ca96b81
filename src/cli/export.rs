//! export: hands the clusters and the weights of a run to other programs.

use crate::base::clock::Stopwatch;
use crate::cli::args::ExportArgs;
use crate::cli::error::CliError;
use crate::cli::verify::existing;
use crate::cli::{runs, text};
use crate::views::export::{Options, SIDE, What, export as write};
use std::cell::RefCell;

/// Seconds between two lines of progress.
const HEARTBEAT_S: f64 = 5.0;

/// dcpipe export
pub fn export(args: &ExportArgs) -> Result<(), CliError> {
    check(args)?;
    let store = existing(&args.store)?;
    let (name, plan) = runs::named(store.root(), args.run.as_ref())?;
    let options = Options {
        started_in: runs::started_in(store.root(), &name),
        epoch: args.epoch,
        copy: args.copy,
        per_cluster: args.per_cluster,
        side: args.side.unwrap_or(SIDE),
        naming: args.naming.unwrap_or_default(),
    };
    let said = RefCell::new(Stopwatch::new());
    let heard = |done, total, unit: &str| {
        if said.borrow().seconds() > HEARTBEAT_S {
            text::note(&format!("{done}/{total} {unit}"));
            said.replace(Stopwatch::new());
        }
    };
    let results = args.out.join(&name);
    let written = write(args.what, &plan, &store, &options, args.output.as_deref(), &results, &heard)
        .map_err(|error| CliError::Files(format!("{error:#}")))?;
    written.notes.iter().for_each(|told| text::note(told));
    let (to, of, (files, bytes)) = (written.to.display(), written.of, written.files);
    let what = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let opens: String = written.opens.iter().map(|line| format!("  {line}\n")).collect();
    text::out(&format!("{to} ({of}: {what}, {}). To open it:\n{opens}", text::bytes(bytes)))
}

/// Refuses an option that the export does not have.
fn check(args: &ExportArgs) -> Result<(), CliError> {
    let lists = [What::Folders, What::Labelstudio];
    for (is_given, option, of) in [
        (args.copy, "--copy", &lists[..1]),
        (args.per_cluster.is_some(), "--per-cluster", &lists),
        (args.side.is_some(), "--side", &[What::Atlas]),
        (args.naming.is_some(), "--naming", &[What::Weights]),
    ] {
        if is_given && !of.contains(&args.what) {
            let names: Vec<_> = of.iter().map(|what| what.name()).collect();
            let (what, names) = (args.what.name(), names.join(" and "));
            return Err(CliError::Usage(format!("{what} has no {option}, which is of {names}; leave it out")));
        }
    }
    Ok(())
}
