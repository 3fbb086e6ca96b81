//! listeners: who hears a run (the results folder, the journal, the terminal or `--json`), and what is noted of it first.

use crate::cli::args::RunArgs;
use crate::cli::error::CliError;
use crate::cli::runs::RESOLVED;
use crate::cli::terminal::{Terminal, Voice};
use crate::cli::text;
use crate::cli::workspace::{LastRun, Workspace, remember};
use crate::engine::journal::Journal;
use crate::engine::{Cancel, Event, Observer};
use crate::store::{Disk, Store, StoreIo};
use crate::views::{End, Lacks, Results};
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How often a run looks whether another one of its name has ended.
const TURN: Duration = Duration::from_millis(100);

/// The listeners of a run.
pub struct Listeners<'a> {
    results: Results<'a>,
    others: Vec<Box<dyn Observer + 'a>>,
    refusal: Refusal,
}

/// Why standard output did not take what was written to it.
type Refusal = Arc<OnceLock<io::Error>>;

/// Standard output that remembers its first refusal: a run of days goes on without it, and says so in the end.
struct Remembering(Refusal);

impl Write for Remembering {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(|error| self.remember(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(|error| self.remember(error))
    }
}

impl Remembering {
    fn remember(&self, error: &io::Error) {
        if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::BrokenPipe) {
            let _ = self.0.set(io::Error::new(error.kind(), error.to_string()));
        }
    }
}

impl<'a> Listeners<'a> {
    /// Ends the run.
    pub fn finish(self, end: End, cancel: &Cancel) -> Result<(), CliError> {
        let Self { results, others, refusal } = self;
        drop(others);
        if end != End::Broken {
            wait_for_turn(&results, cancel)?;
        }
        let folder = results.folder().display().to_string();
        let Lacks { mut complaints, bare, unproven } = results.finish(end);
        complaints.extend(refusal.get().map(|error| format!("events are missing from standard output: {error}")));
        if !unproven.is_empty() {
            text::note(&format!(
                "nothing says what the files of {} in {folder} hold: the folder's .index.json was gone, or not of this \
                 program, and their bytes are gone from the store. They are left as they are; delete them if in doubt",
                listed(&unproven)
            ));
        }
        if let [first, ..] = &*bare {
            let noun = first.split('@').next().unwrap_or(first);
            text::note(&format!(
                "files of {} are not all in the results, and the bytes to lay them out from are gone; keep: [{noun}] has \
                 them made again",
                listed(&bare)
            ));
        }
        if complaints.is_empty() { Ok(()) } else { Err(CliError::Files(complaints.join("\n"))) }
    }
}

impl Observer for Listeners<'_> {
    fn observe(&self, event: &Event) {
        (&self.results).observe(event);
        self.others.observe(event);
    }
}

impl<'a> Listeners<'a> {
    /// Opens their files before the run, which is not worth beginning where that fails.
    pub fn open(args: &RunArgs, space: &'a Workspace) -> Result<Self, CliError> {
        let plan = &space.loaded.plan;
        remember(&space.store, &last_run(args, space));
        write_resolved(&space.store, &plan.name, &space.loaded.resolved)?;
        let results = Results::open(&args.out.join(&plan.name), plan, &space.store).map_err(|error| {
            let out = args.out.display();
            CliError::Files(format!("could not prepare {out}: {error:#}; name another folder with --out"))
        })?;
        let refusal = Refusal::default();
        let mut others: Vec<Box<dyn Observer + 'a>> = Vec::new();
        match Journal::append_to(results.folder()) {
            Ok(journal) => others.push(Box::new(journal)),
            Err(error) => {
                text::note(&format!("this run has no events.jsonl, and dcpipe log will not know it: {error}"));
            }
        }
        if args.json {
            others.push(Box::new(Journal::to(Remembering(Refusal::clone(&refusal)))));
        } else {
            others.push(Box::new(Terminal::new(voice(args))));
        }
        Ok(Self { results, others, refusal })
    }
}

/// Names for a sentence: some of them, and how many more.
fn listed(names: &[String]) -> String {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED { format!("{named} and {} more", names.len() - NAMED) } else { named }
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

fn write_resolved(store: &Store, run: &str, resolved: &str) -> Result<(), CliError> {
    let folder = store.run_folder(run);
    if Disk.read(&folder.join(RESOLVED)).is_ok_and(|there| there == resolved.as_bytes()) {
        return Ok(()); // So that a store that cannot be written serves a run without work.
    }
    Ok(store.write_small(&folder, RESOLVED, resolved.as_bytes())?)
}
