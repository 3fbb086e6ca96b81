//! export: hands the clusters of a run to other programs.

use crate::base::clock::Stopwatch;
use crate::cli::args::ExportArgs;
use crate::cli::error::CliError;
use crate::cli::verify::existing;
use crate::cli::{runs, text};
use crate::views::export::{Options, What, export as write};
use std::cell::RefCell;

/// Seconds between two lines of progress.
const HEARTBEAT_S: f64 = 5.0;

/// dcpipe export
pub fn export(args: &ExportArgs) -> Result<(), CliError> {
    check(args)?;
    let store = existing(&args.store)?;
    let name = match &args.run {
        Some(name) => name.clone(),
        None => runs::last(store.root())?,
    };
    runs::check(store.root(), &name)?;
    let plan = runs::plan(store.root(), &name)?;
    let options = Options { epoch: args.epoch, copy: args.copy, per_cluster: args.per_cluster, side: args.side };
    let said = RefCell::new(Stopwatch::new());
    let heard = |done, total, unit: &str| {
        if said.borrow().seconds() > HEARTBEAT_S {
            text::note(&format!("{done}/{total} {unit}"));
            said.replace(Stopwatch::new());
        }
    };
    let results = args.out.join(&name);
    let written = write(args.what, &plan, &store, options, args.output.as_deref(), &results, &heard)
        .map_err(|error| CliError::Files(format!("{error:#}")))?;
    written.notes.iter().for_each(|told| text::note(told));
    let (to, of, bytes) = (written.to.display(), written.of, text::bytes(written.bytes));
    let opens: String = written.opens.iter().map(|line| format!("  {line}\n")).collect();
    text::out(&format!("{to} ({of}, {bytes}); this opens it:\n{opens}"))
}

/// Refuses an option that the export does not have.
fn check(args: &ExportArgs) -> Result<(), CliError> {
    if args.copy && args.what != What::Folders {
        return Err(CliError::Usage("--copy is of dcpipe export folders alone".to_owned()));
    }
    if args.per_cluster.is_some() && !matches!(args.what, What::Folders | What::Labelstudio) {
        let of = "dcpipe export folders and dcpipe export labelstudio alone";
        return Err(CliError::Usage(format!("--per-cluster is of {of}")));
    }
    Ok(())
}
