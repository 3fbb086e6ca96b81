//! report: writes `report.html`, on request and at the end of a run.

use crate::cli::args::{ReportArgs, RunArgs};
use crate::cli::error::CliError;
use crate::cli::verify::existing;
use crate::cli::workspace::Workspace;
use crate::cli::{runs, text};
use crate::engine::Outcome;
use crate::format::noun::GALLERY;
use crate::store::blocked;
use crate::views::report::{FILE, is_of, write};

/// dcpipe report
pub fn report(args: &ReportArgs) -> Result<(), CliError> {
    let store = existing(&args.store)?;
    let (name, plan) = runs::named(store.root(), args.run.as_ref())?;
    let to = args.output.clone().unwrap_or_else(|| args.out.join(&name).join(FILE));
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), blocked::make).map_err(|why| {
        CliError::Files(format!("could not make the folder of {}: {why}; name another file with -o", to.display()))
    })?;
    let bytes = write(&plan, &store, args.epoch, &to).map_err(|error| CliError::Files(format!("{error:#}")))?;
    text::out(&format!("{} ({})\n", to.display(), text::bytes(bytes)))
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
    match write(plan, &space.store, None, &to) {
        Ok(bytes) if !args.how.quiet && !args.how.json => {
            text::note(&format!("report: {} ({})", to.display(), text::bytes(bytes)));
        }
        Ok(_) => {}
        Err(error) => text::note(&format!("no report was written: {error:#}; dcpipe report {} tries again", plan.name)),
    }
}
