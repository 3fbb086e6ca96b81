//! runs: the runs that a store remembers, by name.

use crate::cli::error::CliError;
use crate::cli::program::this;
pub use crate::cli::workspace::RESOLVED;
use crate::cli::workspace::last_run;
use crate::engine::Plan;
use crate::pipeline;
use std::path::{Path, PathBuf};

/// A run's folder has at least one of these files.
const OURS: [&str; 4] = ["nodes.json", "before.json", "state.json", RESOLVED];

/// The names of the runs that a store remembers, sorted.
pub fn names(store: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(store.join("runs")).into_iter().flatten().flatten();
    let is_run = |folder: PathBuf| OURS.iter().any(|file| folder.join(file).symlink_metadata().is_ok());
    let folders = folders.filter(|entry| is_run(entry.path()));
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The name of the store's last run.
pub fn last(store: &Path) -> Result<String, CliError> {
    let named = last_run(store).ok().and_then(|last| Some(last.run).filter(|run| !run.is_empty()).or(last.name));
    named.ok_or_else(|| CliError::Usage(format!("no run is named, and {}", there_are(store))))
}

/// The name and the plan of the run that is named, or else of the store's last run.
pub fn named(store: &Path, name: Option<&String>) -> Result<(String, Plan), CliError> {
    let name = name.cloned().map_or_else(|| last(store), Ok)?;
    check(store, &name)?;
    let plan = plan(store, &name)?;
    Ok((name, plan))
}

/// Refuses a name without a run.
pub fn check(store: &Path, name: &str) -> Result<(), CliError> {
    if names(store).iter().any(|known| known == name) {
        return Ok(());
    }
    Err(CliError::Usage(format!("there is no run {name}: {}", there_are(store))))
}

fn there_are(store: &Path) -> String {
    match names(store).as_slice() {
        [] => format!(
            "nothing has run on the store {}. Run a pipeline first, or name another store with --store",
            store.display()
        ),
        names => {
            format!("the store {} has {}. Name one of them, or another --store", store.display(), names.join(", "))
        }
    }
}

/// Deletes a discarded run's folder: dcpipe's own files, and the folder unless it holds other files.
pub fn forget(folder: &Path) {
    for path in OURS.map(|file| folder.join(file)) {
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
    }
    let _ = std::fs::remove_dir(folder);
}

/// The plan of the last run called `name`.
pub fn plan(store: &Path, name: &str) -> Result<Plan, CliError> {
    let path = store.join("runs").join(name).join(RESOLVED);
    if !path.is_file() {
        return Err(CliError::Usage(format!(
            "the pipeline of run {name} is not known: there is no file {}. Run its pipeline again, which writes that file",
            path.display()
        )));
    }
    Ok(pipeline::load(&path, &[], (this().stages)(), &|_| None)?.plan)
}

/// The folder in which a run's command was given. A store knows it of its last run only; of others this is the current one.
pub fn started_in(store: &Path, run: &str) -> PathBuf {
    last_run(store).ok().filter(|last| last.run == run).unwrap_or_default().folder
}
