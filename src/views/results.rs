//! results: the folder `<out>/<name>/`, kept up to date while the run goes.

use crate::base::{Digest, StageKey};
use crate::engine::{Event, Node, NodeId, Observer, Plan};
use crate::store::Store;
use crate::views::files;
use crate::views::layout::{Datasets, Layout};
use crate::views::ledger::Ledger;
use crate::views::places::{self, DATASET};
use crate::views::turn::Turn;
use anyhow::Context;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Listens to a run and lays out its results.
pub struct Results<'a> {
    layout: Layout<'a>,
    state: Mutex<State>,
}

struct State {
    /// The right to write to the folder; while another run has it, what this one made is laid out later.
    turn: Option<Turn>,
    /// The data sets that are known by now, by node.
    datasets: Datasets,
    later: Vec<Made>,
    ledger: Ledger,
    /// Nodes whose files hold something else than before this run.
    replaced: Vec<String>,
    complaints: Vec<String>,
    /// Nodes that could not be laid out and are tried again at the end; none from then on.
    again: Option<Vec<Made>>,
    /// Nodes that are to have files, have not all of them, and whose bytes are gone.
    bare: Vec<String>,
}

/// What could not be laid out.
#[derive(Default)]
pub struct Lacks {
    /// What failed, a sentence each.
    pub complaints: Vec<String>,
    /// Nodes whose bytes are gone.
    pub bare: Vec<String>,
    /// Nodes whose files are as they were found: neither a ledger nor their bytes say what they should hold.
    pub unproven: Vec<String>,
}

/// What a node made, or was found to have made.
#[derive(Clone)]
struct Made {
    node: String,
    key: StageKey,
    artifact: Digest,
    /// By this run, just now.
    now: bool,
    /// Why it could not be laid out the first time.
    failed: Option<String>,
}

/// How far a run came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To the end of its plan.
    Complete,
    /// To the nodes that were asked for.
    Partial,
    /// It failed or was interrupted.
    Broken,
}

impl Made {
    fn of(node: &str, key: StageKey, artifact: Digest, now: bool) -> Self {
        Self { node: node.to_owned(), key, artifact, now, failed: None }
    }
}

impl<'a> Results<'a> {
    /// Opens the folder, which is made where there is none.
    pub fn open(folder: &Path, plan: &'a Plan, store: &'a Store) -> anyhow::Result<Self> {
        places::check(plan)?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let turn = Turn::take(folder).with_context(|| format!("locking {}", folder.display()))?;
        if turn.is_some() {
            files::clear(folder);
        }
        let state = State {
            turn,
            datasets: Datasets::new(),
            later: Vec::new(),
            ledger: without_wrong(Ledger::open(folder), store),
            replaced: Vec::new(),
            complaints: Vec::new(),
            again: Some(Vec::new()),
            bare: Vec::new(),
        };
        let layout = Layout { folder: folder.to_owned(), plan, store };
        Ok(Self { layout, state: Mutex::new(state) })
    }

    /// Lays out what could not be while another run wrote to the folder. False while it still does.
    pub fn catch_up(&self) -> anyhow::Result<bool> {
        let later = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.turn.is_none() {
                let folder = self.folder();
                state.turn = Turn::take(folder).with_context(|| format!("locking {}", folder.display()))?;
                if state.turn.is_none() {
                    return Ok(false);
                }
                files::clear(folder);
                state.ledger = without_wrong(Ledger::open(folder), self.layout.store);
            }
            std::mem::take(&mut state.later)
        };
        later.into_iter().for_each(|made| self.update(made));
        Ok(true)
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.layout.folder
    }

    /// Ends the run, and says what could not be laid out.
    ///
    /// A complete run leaves only its own files between its own. One that stopped where it was asked to removes what was
    /// made from something that it replaced. A broken one removes nothing: the same command goes on.
    pub fn finish(self, end: End) -> Lacks {
        let again = self.state.lock().unwrap_or_else(PoisonError::into_inner).again.take();
        again.into_iter().flatten().for_each(|made| self.update(made));
        let (folder, plan) = (&self.layout.folder, self.layout.plan);
        let State { turn, mut ledger, replaced, mut complaints, bare, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(turn) = turn else { return Lacks { complaints, bare, unproven: Vec::new() } };
        if !turn.is_there() {
            let folder = folder.display();
            complaints
                .push(format!("{folder} was moved or deleted meanwhile; the same command lays out what is missing"));
            return Lacks { complaints, bare, unproven: Vec::new() };
        }
        ledger = without_wrong(ledger, self.layout.store); // Found while this run went; the next lays them out.
        match end {
            End::Complete if complaints.is_empty() => {
                ledger.remove_rest();
                // Every epoch's node of a noun shares its folders; one look at them is enough.
                let firsts = plan.order().iter().map(|id| plan.node(*id)).filter(|node| node.epoch.0 <= 1);
                let places: Vec<_> =
                    firsts.flat_map(|node| places::folders(node).into_iter().map(|f| (f, &node.noun))).collect();
                places.par_iter().for_each(|(below, noun)| ledger.clean(&folder.join(below), noun));
            }
            End::Partial => ledger.remove(&downstream(plan, &replaced)),
            End::Complete | End::Broken => {}
        }
        let unproven = ledger.unproven();
        let closed = ledger.close();
        let lost = ledger.failed();
        complaints.extend(lost.map(|(file, why)| {
            format!(
                "could not put {} on the disk: {why}; the same command lays it out again",
                folder.join(file).display()
            )
        }));
        if let Err(error) = closed {
            let what =
                "; its .index.json says which of its files are whose: if something else is in its place, delete it";
            complaints.push(format!("could not write to {}: {error}{what}", folder.display()));
        }
        Lacks { complaints, bare, unproven }
    }

    /// Lays out a node's files as soon as it is this run's turn: what is evicted before that cannot be laid out any more.
    fn hear(&self, made: Made) {
        // What fails here is tried again when the run ends, and said then.
        if self.catch_up().unwrap_or(false) {
            return self.update(made);
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).later.push(made);
    }

    /// Lays out a node's files, unless those that are there hold the same.
    fn update(&self, made: Made) {
        let (layout, name) = (&self.layout, made.node.as_str());
        let Some(node) = self.node(name) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if node.stage.def().output.name == DATASET {
            state.datasets.insert(made.node.clone(), (made.key, made.artifact));
        }
        let nowhere = !places::has_place(node) && !state.ledger.knows(name);
        let holds = layout.holds(node, made.artifact, &state.datasets);
        let known = !nowhere && state.ledger.accept(name, holds);
        // What was made now may have been made because what was there, perhaps as a link in here, was found wrong.
        if nowhere || (known && !made.now) {
            return;
        }
        let done = (|| {
            let Some(record) = layout.store.record(made.key)? else { return Ok(()) };
            let files = places::files(layout.plan, node, &record.artifact);
            if !layout.has_bytes(node, &record) {
                let whole = state.ledger.carry(name, holds, &files, |file| layout.proves(file, &record, holds));
                let is_owed = node.keep.stays(node.epoch, layout.plan.epochs) || !places::is_large(node);
                match &made.failed {
                    _ if whole || !is_owed => {}
                    // It was there to be laid out, and was not kept for a second try.
                    Some(why) => {
                        anyhow::bail!("{why}; its bytes are gone since: keep: [{}] has them made again", node.noun)
                    }
                    None => state.bare.push(made.node.clone()),
                }
                return Ok(());
            }
            state.bare.retain(|other| other != name); // It has been made again.
            if state.ledger.holds(name).is_some_and(|held| held != Some(holds)) {
                state.replaced.push(made.node.clone());
            }
            layout.lay_out(node, &record, &state.datasets)?;
            if files.is_empty() { Ok(()) } else { Ok(state.ledger.note(name, holds, &files, made.now)?) }
        })();
        let done: anyhow::Result<()> = done;
        match (done, &mut state.again) {
            (Ok(()), _) => {}
            // What it needs besides its own bytes may be made again in this run.
            (Err(error), Some(again)) => again.push(Made { now: true, failed: Some(format!("{error:#}")), ..made }),
            (Err(error), None) => {
                state.complaints.push(format!("could not write the results of {name}: {error:#}"));
            }
        }
    }

    fn node(&self, name: &str) -> Option<&Node> {
        let found: Option<NodeId> = self.layout.plan.find(name).ok().and_then(|found| found.first().copied());
        found.map(|id| self.layout.plan.node(id))
    }

    /// Removes what shares its bytes with an evicted artifact: kept, it would keep the disk full. Tables are copies, and
    /// stay.
    fn evicted(&self, name: &str) {
        let Some(node) = self.node(name) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match node.stage.def().output.name {
            _ if state.turn.is_none() => {}
            "weights" => {
                let file = places::weights_file(node);
                state.ledger.let_go(name, |own| own == file);
            }
            _ if places::is_large(node) => state.ledger.let_go(name, |_| true),
            _ => {}
        }
    }
}

/// Takes away the files that share their bytes with something that was found wrong: as a link they are wrong as well.
fn without_wrong(mut ledger: Ledger, store: &Store) -> Ledger {
    let place = |path: &Path| std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let wrong: BTreeSet<_> = store.quarantined().iter().filter_map(|(path, _)| place(path)).collect();
    if !wrong.is_empty() {
        ledger.remove_files(|path| place(path).is_some_and(|place| wrong.contains(&place)));
    }
    ledger
}

/// The nodes that read, directly or not, what one of `names` makes.
fn downstream(plan: &Plan, names: &[String]) -> Vec<String> {
    let mut after = vec![false; plan.len()];
    let mut found = Vec::new();
    for id in plan.order() {
        let node = plan.node(*id);
        if node.inputs.iter().any(|(_, from)| after[from.index()]) {
            found.push(node.name());
            after[id.index()] = true;
        }
        after[id.index()] |= names.contains(&node.name());
    }
    found
}

impl Observer for &Results<'_> {
    fn observe(&self, event: &Event) {
        match event {
            Event::NodeHit { node, key, artifact } => self.hear(Made::of(node, *key, *artifact, false)),
            Event::NodeFinished { node, key, artifact, .. } => self.hear(Made::of(node, *key, *artifact, true)),
            Event::Evicted { node, .. } => self.evicted(node),
            _ => {}
        }
    }
}
