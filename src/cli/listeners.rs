//! listeners: the results folder, the journal, and the terminal or `--json`, which all hear a run.

use crate::cli::args::RunArgs;
use crate::cli::error::CliError;
use crate::cli::eta::Eta;
use crate::cli::runs::RESOLVED;
use crate::cli::terminal::{Terminal, Voice};
use crate::cli::text;
use crate::cli::workspace::Workspace;
use crate::engine::journal::Journal;
use crate::engine::{Cancel, Event, NodeId, Observer};
use crate::store::{Disk, Store, StoreIo};
use crate::views::{End, Lacks, Results};
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, OnceLock};
use std::thread::Scope;
use std::time::Duration;

/// How often a run checks whether another run of its name has ended. Both share a results folder, and the later one
/// exports its results after the other's end.
const TURN: Duration = Duration::from_millis(100);

/// The listeners of a run.
pub struct Listeners<'a> {
    results: Results<'a>,
    others: Vec<Box<dyn Observer + 'a>>,
    refusal: Refusal,
}

/// Why standard output refused a write.
type Refusal = Arc<OnceLock<io::Error>>;

/// Standard output that remembers its first refusal: a run of days continues without it, and reports that at its end.
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
        let folder = results.folder().display().to_string();
        let mut told = false;
        let waits = &mut || {
            if !std::mem::replace(&mut told, true) {
                text::note(&format!(
                    "done; waiting to export the results: another run of this name writes to {folder}"
                ));
            }
            std::thread::sleep(TURN);
            !cancel.is_requested()
        };
        let lacks = results.finish(end, waits);
        let lacks = lacks.map_err(|error| CliError::Files(format!("could not write to {folder}: {error:#}")))?;
        let Some(Lacks { mut complaints, gone }) = lacks else {
            return Err(CliError::Locked(format!(
                "the store has all results, but another run of this name still writes to {folder}. When it has ended, run \
                 the same command to export them"
            )));
        };
        complaints.extend(refusal.get().map(|error| format!("events are missing from standard output: {error}")));
        if let ([first, ..], true) = (&*gone, end != End::Broken) {
            let noun = first.split('@').next().unwrap_or(first);
            text::note(&format!(
                "the results of {} are incomplete: their bytes were evicted. Add keep: [{noun}] and run again",
                listed(&gone)
            ));
        }
        if complaints.is_empty() { Ok(()) } else { Err(CliError::Files(complaints.join("\n"))) }
    }
}

impl Observer for Listeners<'_> {
    fn observe(&self, event: &Event) {
        self.results.observe(event);
        self.others.observe(event);
    }
}

impl<'a> Listeners<'a> {
    /// Opens their files before the run. If that fails, the run does not begin.
    pub fn open(
        args: &RunArgs,
        space: &'a Workspace,
        to: &[NodeId],
        scope: &'a Scope<'a, '_>,
        cancel: &Cancel,
    ) -> Result<Self, CliError> {
        let plan = &space.loaded.plan;
        write_resolved(&space.store, &plan.name, &space.loaded.resolved)?;
        let results = Results::open(scope, &args.how.out.join(&plan.name), plan, &space.store, cancel.clone())
            .map_err(|error| CliError::Files(format!("{error:#}")))?;
        let refusal = Refusal::default();
        let mut others: Vec<Box<dyn Observer + 'a>> = Vec::new();
        match Journal::append_to(results.folder()) {
            Ok(journal) => others.push(Box::new(journal)),
            Err(error) => {
                text::note(&format!(
                    "this run writes no journal (events.jsonl), so dcpipe log cannot show it: {error}"
                ));
            }
        }
        if args.how.json {
            others.push(Box::new(Journal::to(Remembering(Refusal::clone(&refusal)))));
        } else {
            others.push(Box::new(Terminal::new(voice(args), Eta::new(plan, to))));
        }
        Ok(Self { results, others, refusal })
    }
}

/// Names for a sentence: some of them, and the number of the others.
fn listed(names: &[String]) -> String {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED { format!("{named} and {} more", names.len() - NAMED) } else { named }
}

fn voice(args: &RunArgs) -> Voice {
    match (args.how.quiet, args.how.verbose) {
        (true, _) => Voice::Quiet,
        (_, true) => Voice::Verbose,
        _ => Voice::Plain,
    }
}

fn write_resolved(store: &Store, run: &str, resolved: &str) -> Result<(), CliError> {
    let folder = store.run_folder(run);
    if Disk.read(&folder.join(RESOLVED)).is_ok_and(|there| there == resolved.as_bytes()) {
        return Ok(()); // A read-only store then serves a run without work.
    }
    Ok(store.write_small(&folder, RESOLVED, resolved.as_bytes())?)
}
