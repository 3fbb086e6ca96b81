//! run: runs a pipeline, or finds that the store has all of it.

use crate::base::clock::unix_ms;
use crate::base::shell::shell;
use crate::cli::args::RunArgs;
use crate::cli::error::CliError;
use crate::cli::listeners::Listeners;
use crate::cli::program::this;
use crate::cli::workspace::{LastRun, Variables, Workspace, remember};
use crate::cli::{native, report, signals, threads, work};
use crate::engine::crew::process::Process;
use crate::engine::crew::wire::Hello;
use crate::engine::crew::{Crew, Hire, IN_FLIGHT, Reports};
use crate::engine::{Cancel, EngineError, Executor, Settings};
use crate::store::StoreError;
use crate::views::End;
use std::cell::OnceCell;
use std::path::{Component, Path, PathBuf};

/// dcpipe run
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    if std::fs::metadata(&args.pipeline).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let pipeline = args.pipeline.display();
        return Err(CliError::Usage(format!(
            "{pipeline} is not a regular file. dcpipe reads it again to resume a run, so a pipe cannot be used"
        )));
    }
    until_stopped(|cancel, environment| until(args, cancel, environment))
}

/// Does work that the first signal stops; then the error is the command that resumes. The work notes the environment
/// that it used.
pub fn until_stopped(work: impl FnOnce(&Cancel, &OnceCell<Variables>) -> Result<(), CliError>) -> Result<(), CliError> {
    let cancel = Cancel::default();
    signals::listen(cancel.clone())
        .map_err(|error| CliError::Environment(format!("could not listen for signals: {error}")))?;
    let environment = OnceCell::new();
    let interrupted = || CliError::Interrupted { again: again(environment.get()) };
    match work(&cancel, &environment) {
        Err(CliError::Store(StoreError::InUse { .. })) if cancel.is_requested() => Err(interrupted()),
        Err(CliError::Engine(EngineError::Interrupted)) => Err(interrupted()),
        // A signal to the whole group also ended the program that was asked for the device.
        Err(CliError::Environment(_)) if cancel.is_requested() => Err(interrupted()),
        done => done,
    }
}

/// Runs until the end or a request to stop. Reports which variables the pipeline took from the environment.
fn until(args: &RunArgs, cancel: &Cancel, environment: &OnceCell<Variables>) -> Result<(), CliError> {
    let mut space = Workspace::open_while(Some(&args.pipeline), &args.place, &|| !cancel.is_requested())?;
    let _ = environment.set(space.environment.clone());
    apart("--out", &args.how.out.join(&space.loaded.plan.name), space.store.root())?;
    space.store.look_closely(args.how.verify.policy(), unix_ms());
    let done = on(&space, args, Some(&last_run(args, &space)), cancel);
    space.store.close();
    done
}

/// Runs on an open store, and exports the results. The store remembers `last` as its last run.
pub fn on(space: &Workspace, args: &RunArgs, last: Option<&LastRun>, cancel: &Cancel) -> Result<(), CliError> {
    let plan = &space.loaded.plan;
    (this().set_threads)(threads::count(args.how.threads)?);
    let mut to = Vec::new();
    for name in &args.to {
        to.extend(plan.find(name).map_err(EngineError::from)?);
    }
    let to = plan.with_tables(to);
    last.into_iter().for_each(|last| remember(&space.store, last));
    let hire = |reports| -> Result<Box<dyn Crew>, EngineError> { Ok(Box::new(workers(args, space, reports))) };
    let hire: Option<Hire<'_>> = if this().runs { None } else { Some(&hire) };
    let settings = Settings { device: &space.device, to, cancel: cancel.clone(), hire, in_flight: IN_FLIGHT };
    let (outcome, finished) = std::thread::scope(|scope| {
        let listeners = Listeners::open(args, space, &settings.to, scope, cancel)?;
        let outcome = Executor::new(plan, &space.store, &settings, &listeners).run();
        let end = match &outcome {
            Err(_) => End::Broken,
            Ok(_) if settings.to.is_empty() => End::Complete,
            Ok(_) => End::Partial,
        };
        Ok::<_, CliError>((outcome, listeners.finish(end, cancel)))
    })?;
    match outcome {
        Err(error) => Err(error.into()),
        // The store met this during the export of results.
        Ok(outcome) => finished
            .map(|()| report::after_run(space, args, &outcome))
            .and_then(|()| space.store.take_stuck().map_or(Ok(()), |error| Err(error.into()))),
    }
}

/// A worker process: a native library that ends it ends an action, but not the run.
fn workers(args: &RunArgs, space: &Workspace, reports: Reports) -> Process {
    let hello = Hello {
        pipeline: space.loaded.resolved.clone(),
        run: space.loaded.plan.name.clone(),
        device: space.device.clone(),
    };
    let (store, threads, closely) = (space.store.root().to_owned(), args.how.threads, args.how.verify);
    let start = move || {
        let mut command = native::worker(threads).map_err(|error| EngineError::NoCrew { why: error.to_string() })?;
        command.args(work::arguments(&store, threads, closely));
        Ok(command)
    };
    Process::new(Box::new(start), hello, reports)
}

fn last_run(args: &RunArgs, space: &Workspace) -> LastRun {
    LastRun {
        pipeline: std::path::absolute(&args.pipeline).unwrap_or_else(|_| args.pipeline.clone()),
        sets: args.place.sets.clone(),
        name: args.place.name.clone(),
        run: space.loaded.plan.name.clone(),
        device: space.device.name.clone(),
        folder: std::env::current_dir().unwrap_or_default(),
        environment: space.environment.clone(),
    }
}

/// Refuses results inside the store, which would take them for its own files. `option` names them.
pub fn apart(option: &str, out: &Path, store: &Path) -> Result<(), CliError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = |path: &Path| path.ancestors().find_map(|above| std::fs::canonicalize(above).ok());
    let plain = |path: &Path| {
        path.components().fold(PathBuf::new(), |mut plain, part| {
            match part {
                Component::ParentDir => _ = plain.pop(),
                part => plain.push(part),
            }
            plain
        })
    };
    let (out_at, store_at) = (absolute(out), absolute(store));
    let (Some(to), Some(at)) = (there(&out_at), there(&store_at)) else { return Ok(()) };
    if to.starts_with(&at) || plain(&out_at).starts_with(plain(&store_at)) {
        let (out, store) = (out.display(), store.display());
        return Err(CliError::Usage(format!("{option} {out} is in the store {store}; name a folder outside it")));
    }
    Ok(())
}

/// The command that resumes, as it was typed, after the variables that it needs.
fn again(environment: Option<&Variables>) -> String {
    let given = environment.into_iter().flatten().map(|(name, value)| format!("{name}={}", shell(value)));
    let typed = std::env::args_os().map(|arg| shell(&arg.to_string_lossy()));
    given.chain(typed).collect::<Vec<_>>().join(" ")
}
