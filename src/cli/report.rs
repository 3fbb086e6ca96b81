//! report: writes `report.html`, on request and at the end of a run.

use crate::cli::args::{ReportArgs, RunArgs};
use crate::cli::error::CliError;
use crate::cli::verify::existing;
use crate::cli::workspace::Workspace;
use crate::cli::{runs, text};
use crate::engine::Outcome;
use crate::engine::journal::FILE as JOURNAL;
use crate::format::noun::GALLERY;
use crate::store::blocked;
use crate::views::export::apart_of_plan;
use crate::views::report::{Asked, FILE, Wanted, Written, is_of, write};
use std::fmt::Write;
use std::path::Path;

/// dcpipe report
pub fn report(args: &ReportArgs) -> Result<(), CliError> {
    let store = existing(&args.store)?;
    let (name, plan) = runs::named(store.root(), args.run.as_ref())?;
    let to = args.output.clone().unwrap_or_else(|| args.out.join(&name).join(FILE));
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), blocked::make).map_err(|why| {
        CliError::Files(format!("could not make the folder of {}: {why}; name another file with -o", to.display()))
    })?;
    args.output
        .as_deref()
        .map_or(Ok(()), |to| apart_of_plan(&plan, &runs::started_in(store.root(), &name), to))
        .map_err(|error| CliError::Files(error.to_string()))?;
    let asked = Asked { clusters: args.clusters, per_cluster: args.per_cluster };
    let (journal, wanted) =
        (args.out.join(&name).join(JOURNAL), Wanted { epoch: args.epoch, asked, ..Wanted::default() });
    let written = write(&plan, &store, &journal, wanted, &to).map_err(|error| CliError::Files(format!("{error:#}")))?;
    text::out(&format!("{}\n", told(&to, &written)))
}

/// A line for a person.
fn told(to: &Path, written: &Written) -> String {
    let mut told = format!("{} ({})", to.display(), text::bytes(written.bytes));
    if let Some((folder, files, bytes)) = &written.folder {
        let size = text::bytes(*bytes);
        let _ = write!(told, " and the folder {} ({size}, {files} files): keep both together", folder.display());
    }
    if let Some(left_out) = &written.left_out {
        let _ = write!(told, "; {left_out}");
    }
    told
}

/// Writes the report of a run that has just ended, if its pipeline has a gallery. A file that shows all of it already
/// stays. A report never makes a run fail.
pub fn after_run(space: &Workspace, args: &RunArgs, outcome: &Outcome) {
    let plan = &space.loaded.plan;
    let to = args.how.out.join(&plan.name).join(FILE);
    let has_gallery = plan.order().iter().any(|id| plan.node(*id).stage.def().output.name == GALLERY.name);
    if !has_gallery || (outcome.ran == 0 && is_of(plan, &outcome.digests, &to)) {
        return;
    }
    let journal = args.how.out.join(&plan.name).join(JOURNAL);
    match write(plan, &space.store, &journal, Wanted::default(), &to) {
        Ok(written) if !args.how.quiet && !args.how.json => {
            text::note(&format!("report: {}", told(&to, &written)));
        }
        Ok(_) => {}
        Err(error) => text::note(&format!("no report was written: {error:#}; dcpipe report {} tries again", plan.name)),
    }
}
