//! results: the folder `<out>/<name>/`: links to what a run made, kept current during the run.

use crate::base::clock::Stopwatch;
use crate::base::{Digest, Part, StageKey};
use crate::engine::{Cancel, Event, Node, NodeId, Observer, Plan};
use crate::format::Dataset;
use crate::format::dataset::{IMAGES, PACK};
use crate::store::blocked::make;
use crate::store::{Record, Stand, Store};
use crate::views::list::List;
use crate::views::places::Shelf;
use crate::views::turn::Turn;
use crate::views::{files, places};
use anyhow::{Context, anyhow};
use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// For how long the list on the disk may be behind the files.
const LISTED: Duration = Duration::from_secs(5);

/// How many hits at most wait for one message.
const TOGETHER: usize = 256;

/// Listens to a run. Another thread exports its results: a run never waits for that.
pub struct Results<'scope> {
    folder: PathBuf,
    heard: Sender<Vec<Made>>,
    /// Hits that the keeper has not heard of yet. A run can find thousands at once, and each message wakes a thread.
    hits: Mutex<Vec<Made>>,
    keeper: ScopedJoinHandle<'scope, Keeper<'scope>>,
}

/// What a node made, or what the store already had of it.
struct Made {
    node: String,
    key: StageKey,
    artifact: Digest,
    /// Whether this run has just made it.
    is_new: bool,
}

/// What the results lack.
#[derive(Default)]
pub struct Lacks {
    /// What failed, a sentence each.
    pub complaints: Vec<String>,
    /// Nodes whose bytes the store has evicted and the results lack as well.
    pub gone: Vec<String>,
}

/// How far a run came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To the end of its plan.
    Complete,
    /// To the nodes that `--to` names.
    Partial,
    /// It failed or was interrupted.
    Broken,
}

impl<'scope> Results<'scope> {
    /// Opens the folder, or makes it if there is none.
    ///
    /// # Errors
    /// If that fails, or if two nodes of the plan would share a file.
    pub fn open(
        scope: &'scope Scope<'scope, '_>,
        folder: &Path,
        plan: &'scope Plan,
        store: &'scope Store,
        cancel: Cancel,
    ) -> anyhow::Result<Self> {
        places::check(plan)?;
        make(folder).map_err(|why| anyhow!("could not make {}: {why}; name another with --out", folder.display()))?;
        let turn = Turn::take(folder).with_context(|| format!("locking {}", folder.display()))?;
        let mut keeper = Keeper {
            folder: folder.to_owned(),
            plan,
            store,
            cancel,
            is_cut_short: false,
            held: None,
            later: Vec::new(),
            replaced: Vec::new(),
            left: HashSet::new(),
            gone: BTreeSet::new(),
            made: HashSet::new(),
            lacks: Lacks::default(),
        };
        let (heard, made) = channel();
        // This thread checks thousands of files while the run looks at the store.
        let keep = move || {
            turn.into_iter().for_each(|turn| keeper.open(turn));
            keeper.keep(&made)
        };
        Ok(Self { folder: folder.to_owned(), heard, hits: Mutex::default(), keeper: scope.spawn(keep) })
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the run, and reports what is missing. While another run writes to the folder, `waits` decides whether to
    /// try again. If it gives up, nothing is exported, and the result is `None`.
    ///
    /// A complete run leaves only its own files among its own. A run with `--to` deletes what was made from something
    /// that it replaced. A broken run deletes nothing: the same command resumes it.
    ///
    /// # Errors
    /// If the folder cannot be locked.
    pub fn finish(self, end: End, waits: &mut dyn FnMut() -> bool) -> anyhow::Result<Option<Lacks>> {
        self.tell(&mut self.hits.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self.heard);
        let mut keeper = self.keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        while !keeper.take_turn()? {
            if end == End::Broken || !waits() {
                return Ok((end == End::Broken).then(Lacks::default));
            }
        }
        Ok(Some(keeper.finish(end)))
    }
}

impl Observer for Results<'_> {
    fn observe(&self, event: &Event) {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = matches!(event, Event::NodeFinished { .. });
        if let Event::NodeHit { node, key, artifact } | Event::NodeFinished { node, key, artifact, .. } = event {
            hits.push(Made { node: node.clone(), key: *key, artifact: *artifact, is_new });
        }
        if !matches!(event, Event::NodeHit { .. }) || hits.len() == TOGETHER {
            self.tell(&mut hits);
        }
    }
}

impl Results<'_> {
    fn tell(&self, made: &mut Vec<Made>) {
        if !made.is_empty() {
            // The keeper's thread ends after this sender, or by a panic, which is reported at the run's end.
            let _ = self.heard.send(std::mem::take(made));
        }
    }
}

/// Exports results into the folder.
struct Keeper<'a> {
    folder: PathBuf,
    plan: &'a Plan,
    store: &'a Store,
    /// The request to stop, and whether something was not exported because of it.
    cancel: Cancel,
    is_cut_short: bool,
    /// The right to write to the folder, and its list; none while another run writes to it.
    held: Option<(Turn, List)>,
    /// What was made meanwhile, or could not be exported the first time.
    later: Vec<Made>,
    /// Nodes that now show other files than before this run.
    replaced: Vec<String>,
    /// Files that are wrong, perhaps not dcpipe's, and cannot be repaired.
    left: HashSet<PathBuf>,
    /// Nodes that lack bytes.
    gone: BTreeSet<NodeId>,
    /// Folders that this run has made, or has cleared of a killed run's unfinished files.
    made: HashSet<PathBuf>,
    lacks: Lacks,
}

impl Keeper<'_> {
    fn keep(mut self, heard: &Receiver<Vec<Made>>) -> Self {
        let mut written = Stopwatch::new();
        for made in heard.iter().flatten() {
            if self.cancel.is_requested() {
                self.is_cut_short = true; // A stopping run waits for no copy; the same command resumes.
                continue;
            }
            self.later.retain(|older| older.node != made.node);
            // A failure here is tried again, and reported, at the run's end.
            match self.take_turn() {
                Ok(true) if self.show(&made).is_ok() => {}
                _ => {
                    self.made.clear(); // One of them may have been deleted.
                    self.later.push(made);
                }
            }
            // So a killed run leaves a list of most of its files.
            if let Some((_, list)) = self.held.as_mut().filter(|_| written.elapsed() > LISTED) {
                let _ = list.close(); // The run's end reports a failure.
                written = Stopwatch::new();
            }
        }
        self
    }

    /// Takes the right to write to the folder, and reads its list. False while another run writes to it.
    fn take_turn(&mut self) -> anyhow::Result<bool> {
        if self.held.is_none() {
            let folder = &self.folder;
            let turn = Turn::take(folder).with_context(|| format!("locking {}", folder.display()))?;
            let Some(turn) = turn else { return Ok(false) };
            self.open(turn);
            let later = std::mem::take(&mut self.later);
            self.later =
                later.into_iter().filter(|made| self.cancel.is_requested() || self.show(made).is_err()).collect();
        }
        Ok(true)
    }

    fn open(&mut self, turn: Turn) {
        files::clear(&self.folder);
        let mut list = List::open(&self.folder);
        remove_wrong(&mut list, self.store);
        self.held = Some((turn, list));
    }

    /// Exports the files of a node, unless the folder has them.
    fn show(&mut self, made: &Made) -> anyhow::Result<()> {
        let Ok(&[id]) = self.plan.find(&made.node).as_deref() else { return Ok(()) };
        let Some((turn, list)) = &mut self.held else { return Ok(()) };
        let (plan, node, kept) = (self.plan, self.plan.node(id), places::is_kept(self.plan, self.plan.node(id)));
        if !places::has_place(plan, node) && !list.knows(&made.node) {
            return Ok(());
        }
        // A damaged object, perhaps linked here, may be the reason why this run made it.
        if !made.is_new && list.accept(&made.node, made.artifact, kept) {
            return Ok(());
        }
        if !turn.is_there() {
            return Ok(()); // It was moved or deleted; the run's end reports that.
        }
        let Some(record) = self.store.record(made.key)? else { return Ok(()) };
        let artifact = record.artifact.digest();
        if list.shows_another(&made.node, artifact) {
            self.replaced.push(told_as(plan, id));
        }
        let (mut there, mut is_whole) = (Vec::new(), true);
        for (file, part) in places::files(plan, node, &record.artifact) {
            match self.store.stand_of(part) {
                Stand::Whole => {
                    let to = self.folder.join(&file);
                    if let Some(folder) = to.parent().filter(|folder| !self.made.contains(*folder)) {
                        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
                        files::clear(folder);
                        self.made.insert(folder.to_owned());
                    }
                    files::share(&self.store.path_of(part), &to)?;
                }
                // The results may still have it, as a copy or a link.
                _ if is(self.store, &self.folder.join(&file), part) => {}
                _ => {
                    is_whole = false;
                    match list.is_own(&made.node, &file) {
                        true => files::remove(&self.folder, &file),
                        false => _ = self.left.insert(self.folder.join(&file)),
                    }
                    continue;
                }
            }
            there.push(file);
        }
        if is_whole && places::is_dataset(node) {
            unpack(&self.folder.join(places::images(plan, node)), self.store, &record)?;
        }
        self.gone.remove(&id);
        if !is_whole {
            self.gone.insert(id);
        }
        Ok(list.note(&made.node, artifact, is_whole, kept, &there)?)
    }

    fn finish(mut self, end: End) -> Lacks {
        for made in std::mem::take(&mut self.later) {
            if self.cancel.is_requested() {
                self.is_cut_short = true;
            } else if let Err(error) = self.show(&made) {
                let node = self.plan.find(&made.node).map_or(made.node, |found| told_as(self.plan, found[0]));
                self.lacks.complaints.push(format!("could not write the results of {node}: {error:#}"));
            }
        }
        if self.is_cut_short && end != End::Broken {
            let what = "the run was stopped before all results were exported; the same command exports them";
            self.lacks.complaints.push(what.to_owned());
        }
        self.lacks.gone = self.gone.iter().map(|id| told_as(self.plan, *id)).collect();
        self.lacks.gone.dedup();
        let (folder, mut lacks) = (self.folder, self.lacks);
        let Some((turn, mut list)) = self.held else { return lacks };
        if !turn.is_there() {
            let folder = folder.display();
            let what =
                format!("{folder} was moved or deleted during the run; the same command exports what is missing");
            lacks.complaints.push(what);
            return lacks;
        }
        remove_wrong(&mut list, self.store); // This run found it damaged; the next exports it again.
        match end {
            End::Complete if lacks.complaints.is_empty() => {
                list.remove_rest();
                self.left.extend(list.shown());
                clean(&folder, self.plan, &self.left);
            }
            End::Partial if !self.is_cut_short => list.remove(&downstream(self.plan, &self.replaced)),
            End::Complete | End::Partial | End::Broken => {}
        }
        if let Err(error) = list.close() {
            let what = "; its .index.json lists dcpipe's files: if something else has that name, delete it";
            lacks.complaints.push(format!("could not write to {}: {error}{what}", folder.display()));
        }
        lacks
    }
}

/// The name under which a person knows a node: for tables, that of the node that they belong to.
fn told_as(plan: &Plan, id: NodeId) -> String {
    plan.node(plan.followed(id).unwrap_or(id)).name()
}

/// Whether a file is identical to this part.
fn is(store: &Store, file: &Path, part: &Part) -> bool {
    let is_long = std::fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() == part.bytes);
    is_long && store.hash(file, part.bytes).is_ok_and(|digest| digest == part.object.0)
}

/// Writes the images that a data set carries as files.
fn unpack(folder: &Path, store: &Store, record: &Record) -> anyhow::Result<()> {
    let parts = record.artifact.part(IMAGES.file).zip(record.artifact.part(PACK));
    let Some((images, pack)) = parts.filter(|(_, pack)| store.contains(pack)) else { return Ok(()) };
    files::unpack(folder, &Dataset::open(&store.map(images)?)?, &store.map(pack)?)
}

/// Deletes files that share their bytes with a quarantined file: such a link is damaged as well.
fn remove_wrong(list: &mut List, store: &Store) {
    let place = |path: &Path| std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let wrong: BTreeSet<_> = store.quarantined().iter().filter_map(|(path, _)| place(path)).collect();
    if !wrong.is_empty() {
        list.remove_wrong(|path| place(path).is_some_and(|place| wrong.contains(&place)));
    }
}

/// Deletes files of epochs that this run does not show and no list names. Only a run that reached its end may do so:
/// any other has not reached all its nodes. Only files with names that dcpipe gives in that folder are deleted.
fn clean(root: &Path, plan: &Plan, shown: &HashSet<PathBuf>) {
    let filled: HashSet<&Path> = shown.iter().filter_map(|file| file.parent()).collect();
    let is_folder = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let clear = |folder: &Path, shelf: &Shelf| {
        // All names first: a folder that is read while files are deleted from it may skip some.
        let all: Vec<_> = named(folder).collect();
        for (path, ..) in all.iter().filter(|(path, name, _)| shelf.takes(name) && !shown.contains(path)) {
            let _ = path.strip_prefix(root).map(|file| files::remove(root, file));
        }
        let _ = std::fs::remove_dir(folder); // Only if it is empty.
    };
    for shelf in places::shelves(plan) {
        let folder = root.join(&shelf.folder);
        if !is_folder(&folder) {
            continue; // The target of a link is not dcpipe's.
        }
        if !shelf.is_flat {
            // There are thousands of them, and the listing already says what they are.
            let epochs = named(&folder).filter(|(_, name, is_folder)| *is_folder && places::is_epoch(name));
            epochs.filter(|(path, ..)| !filled.contains(&**path)).for_each(|(path, ..)| clear(&path, &shelf));
        }
        if shelf.is_flat {
            clear(&folder, &shelf);
        } else {
            let _ = std::fs::remove_dir(&folder); // Only if it is empty.
        }
    }
}

/// The entries of a folder: path, name, and whether it is a folder (no link to one).
fn named(folder: &Path) -> impl Iterator<Item = (PathBuf, String, bool)> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        (entry.path(), entry.file_name().to_string_lossy().into_owned(), is_folder)
    })
}

/// The nodes that read, directly or not, what one of `names` makes.
fn downstream(plan: &Plan, names: &[String]) -> Vec<String> {
    let mut after = vec![false; plan.len()];
    let mut found = Vec::new();
    for id in plan.order() {
        let node: &Node = plan.node(*id);
        let reads = |from: &NodeId| after[from.index()];
        if node.inputs.iter().any(|(_, from)| reads(from)) {
            found.push(node.name());
            after[id.index()] = true;
        }
        after[id.index()] |= names.contains(&node.name());
    }
    found
}
