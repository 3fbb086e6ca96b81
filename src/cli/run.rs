//! run: runs a pipeline, with listeners for the terminal, the journal and the result folder.

use crate::cli::args::RunArgs;
use crate::cli::error::CliError;
use crate::cli::signals;
use crate::cli::terminal::{Terminal, Voice};
use crate::cli::text;
use crate::cli::workspace::{LastRun, Workspace, remember};
use crate::engine::journal::Journal;
use crate::engine::{Cancel, EngineError, Executor, Observer, Settings};
use crate::views::{End, Results};
use std::path::Path;
use std::time::Duration;

/// More threads than this for each core only wait for each other.
const MOST_THREADS: usize = 8;

/// How often a run looks whether another one of its name has ended.
const TURN: Duration = Duration::from_millis(100);

/// dcpipe run
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let Workspace { loaded, store, device } = Workspace::open(Some(&args.pipeline), &args.place)?;
    let plan = &loaded.plan;
    let cancel = Cancel::default();
    signals::listen(cancel.clone())
        .map_err(|error| CliError::Environment(format!("could not listen for signals: {error}")))?;
    crate::learn::device::set_threads(threads(args.threads)?);
    remember(&store, &last_run(args, &plan.name, &device));
    write_resolved(&store.run_folder(&plan.name), &loaded.resolved)?;

    let mut to = Vec::new();
    for name in &args.to {
        to.extend(plan.find(name).map_err(EngineError::from)?);
    }
    let settings = Settings { device: &device, to, cancel };
    let results = Results::open(&args.out.join(&plan.name), plan, &store)
        .map_err(|error| CliError::Files(format!("could not prepare {}: {error:#}", args.out.display())))?;
    let mut observers: Vec<Box<dyn Observer + '_>> = vec![Box::new(&results)];
    if let Ok(journal) = Journal::append_to(results.folder()) {
        observers.push(Box::new(journal));
    }
    if args.json {
        observers.push(Box::new(Journal::to(std::io::stdout())));
    } else {
        observers.push(Box::new(Terminal::new(voice(args))));
    }
    let outcome = Executor::new(plan, &store, &settings, &observers).run();
    drop(observers);
    if outcome.is_ok() {
        wait_for_turn(&results, &settings.cancel)?;
    }
    let complaints = results.finish(match &outcome {
        Err(_) => End::Broken,
        Ok(_) if settings.to.is_empty() => End::Complete,
        Ok(_) => End::Partial,
    });
    match outcome {
        Err(EngineError::Interrupted) => Err(CliError::Interrupted { again: again() }),
        Err(error) => Err(error.into()),
        Ok(_) if !complaints.is_empty() => Err(CliError::Files(complaints.join("\n"))),
        Ok(_) => Ok(()),
    }
}

/// Two runs of one name share a results folder: the second lays its results out when the first has ended.
fn wait_for_turn(results: &Results<'_>, cancel: &Cancel) -> Result<(), CliError> {
    let folder = results.folder().display();
    let mut told = false;
    loop {
        if results.catch_up().map_err(|error| CliError::Files(format!("could not write to {folder}: {error:#}")))? {
            return Ok(());
        }
        if cancel.is_requested() {
            return Err(CliError::Locked(format!(
                "everything is in the store, but another run of this name still writes to {folder}; when it has ended \
                 the same command lays these results out"
            )));
        }
        if !told {
            text::note(&format!("done; waiting to lay the results out: another run of this name writes to {folder}"));
            told = true;
        }
        std::thread::sleep(TURN);
    }
}

fn voice(args: &RunArgs) -> Voice {
    match (args.quiet, args.verbose) {
        (true, _) => Voice::Quiet,
        (_, true) => Voice::Verbose,
        _ => Voice::Plain,
    }
}

fn threads(asked: Option<usize>) -> Result<usize, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match asked {
        Some(n) if n == 0 || n > MOST_THREADS * cores => {
            Err(CliError::Usage(format!("--threads {n} would not do: 1 to {} on {cores} cores", MOST_THREADS * cores)))
        }
        asked => Ok(asked.unwrap_or(cores)),
    }
}

fn last_run(args: &RunArgs, run: &str, device: &str) -> LastRun {
    LastRun {
        pipeline: std::path::absolute(&args.pipeline).unwrap_or_else(|_| args.pipeline.clone()),
        sets: args.place.sets.clone(),
        name: args.place.name.clone(),
        run: run.to_owned(),
        device: device.to_owned(),
    }
}

fn write_resolved(folder: &Path, resolved: &str) -> Result<(), CliError> {
    let write = || {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("pipeline.yaml"), resolved)
    };
    write().map_err(|error| CliError::Files(format!("could not write to {}: {error}", folder.display())))
}

/// The command that goes on, as it was typed.
fn again() -> String {
    let quote = |arg: String| {
        let plain = arg.chars().all(|c| c.is_alphanumeric() || "-_=./:,@+".contains(c));
        if plain { arg } else { format!("'{}'", arg.replace('\'', r"'\''")) }
    };
    let args = std::env::args_os().skip(1).map(|arg| quote(arg.to_string_lossy().into_owned()));
    std::iter::once("dcpipe".to_owned()).chain(args).collect::<Vec<_>>().join(" ")
}
