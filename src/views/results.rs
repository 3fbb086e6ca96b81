//! results: the folder `<out>/<name>/`: links to what a run made, kept up to date while it goes.

use crate::base::clock::Stopwatch;
use crate::base::{Digest, Part, StageKey};
use crate::engine::{Cancel, Event, Node, NodeId, Observer, Plan};
use crate::format::Dataset;
use crate::format::dataset::{IMAGES, PACK};
use crate::store::{Record, Stand, Store};
use crate::views::list::List;
use crate::views::places::Shelf;
use crate::views::turn::Turn;
use crate::views::{files, places};
use anyhow::Context;
use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// How old the list on the disk grows while files are put there.
const LISTED: Duration = Duration::from_secs(5);

/// Listens to a run. Another thread puts its results where people look for them: a run never waits for that.
pub struct Results<'scope> {
    folder: PathBuf,
    heard: Sender<Made>,
    keeper: ScopedJoinHandle<'scope, Keeper<'scope>>,
}

/// What a node made, or was found to have made.
struct Made {
    node: String,
    key: StageKey,
    artifact: Digest,
    /// By this run, just now.
    is_new: bool,
}

/// What is not as it should be in the results.
#[derive(Default)]
pub struct Lacks {
    /// What failed, a sentence each.
    pub complaints: Vec<String>,
    /// Nodes whose bytes were deleted from the store, and are not in the results either.
    pub gone: Vec<String>,
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

impl<'scope> Results<'scope> {
    /// Opens the folder, which is made where there is none.
    ///
    /// # Errors
    /// Where it cannot be, or where two nodes of the plan would share a file.
    pub fn open(
        scope: &'scope Scope<'scope, '_>,
        folder: &Path,
        plan: &'scope Plan,
        store: &'scope Store,
        cancel: Cancel,
    ) -> anyhow::Result<Self> {
        places::check(plan)?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
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
        // Thousands of files are looked at, while the run looks at the store.
        let keep = move || {
            turn.into_iter().for_each(|turn| keeper.open(turn));
            keeper.keep(&made)
        };
        Ok(Self { folder: folder.to_owned(), heard, keeper: scope.spawn(keep) })
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the run, and says what is missing. While another run writes to the folder, `waits` is asked whether to look
    /// again; where it does not want to, nothing is put there, and the answer is `None`.
    ///
    /// A complete run leaves only its own files between its own. One that stopped where it was asked to deletes what was
    /// made from something that it replaced. A broken one deletes nothing: the same command goes on.
    ///
    /// # Errors
    /// Where the folder cannot be locked.
    pub fn finish(self, end: End, waits: &mut dyn FnMut() -> bool) -> anyhow::Result<Option<Lacks>> {
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
        let (node, key, artifact, is_new) = match event {
            Event::NodeHit { node, key, artifact } => (node, *key, *artifact, false),
            Event::NodeFinished { node, key, artifact, .. } => (node, *key, *artifact, true),
            _ => return,
        };
        // Who keeps the folder ends when this sender does, or by a panic, which is told when the run ends.
        let _ = self.heard.send(Made { node: node.clone(), key, artifact, is_new });
    }
}

/// Who puts results into the folder.
struct Keeper<'a> {
    folder: PathBuf,
    plan: &'a Plan,
    store: &'a Store,
    /// The wish to stop, and whether something was not put there for its sake.
    cancel: Cancel,
    is_cut_short: bool,
    /// The right to write to the folder, and the list of what is there; nothing while another run writes to it.
    held: Option<(Turn, List)>,
    /// What was made meanwhile, or could not be put there the first time.
    later: Vec<Made>,
    /// Nodes whose files show something else than before this run.
    replaced: Vec<String>,
    /// Files that are not what they should be, are not known to be dcpipe's, and cannot be made right.
    left: HashSet<PathBuf>,
    /// Nodes of which bytes are gone.
    gone: BTreeSet<NodeId>,
    /// Folders that this run has made, or cleared of what a killed one was about to put there.
    made: HashSet<PathBuf>,
    lacks: Lacks,
}

impl Keeper<'_> {
    fn keep(mut self, heard: &Receiver<Made>) -> Self {
        let mut written = Stopwatch::new();
        while let Ok(made) = heard.recv() {
            if self.cancel.is_requested() {
                self.is_cut_short = true; // Who wants to stop waits for no copy; the same command goes on.
                continue;
            }
            self.later.retain(|older| older.node != made.node);
            // What fails here is tried again when the run ends, and told then.
            match self.take_turn() {
                Ok(true) if self.show(&made).is_ok() => {}
                _ => {
                    self.made.clear(); // Somebody may have deleted one.
                    self.later.push(made);
                }
            }
            // A run that is killed leaves a list of most of what it put there.
            if let Some((_, list)) = self.held.as_mut().filter(|_| written.elapsed() > LISTED) {
                let _ = list.close(); // Told when the run ends.
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

    /// Puts the files of a node into the folder, unless they are there.
    fn show(&mut self, made: &Made) -> anyhow::Result<()> {
        let Ok(&[id]) = self.plan.find(&made.node).as_deref() else { return Ok(()) };
        let Some((turn, list)) = &mut self.held else { return Ok(()) };
        let (plan, node, kept) = (self.plan, self.plan.node(id), places::is_kept(self.plan, self.plan.node(id)));
        if !places::has_place(plan, node) && !list.knows(&made.node) {
            return Ok(());
        }
        // What was made now may have been made because what was there, perhaps as a link in here, was found wrong.
        if !made.is_new && list.accept(&made.node, made.artifact, kept) {
            return Ok(());
        }
        if !turn.is_there() {
            return Ok(()); // It was moved or deleted; that is told when the run ends.
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
                // The results may have it still, as a copy or a link.
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
        remove_wrong(&mut list, self.store); // Found while this run went; the next puts it there again.
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

/// The name under which a person knows a node: of tables, that of the node whose they are.
fn told_as(plan: &Plan, id: NodeId) -> String {
    plan.node(plan.followed(id).unwrap_or(id)).name()
}

/// Whether a file is, to the last bit, this part.
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

/// Deletes what shares its bytes with something that was found wrong: as a link it is wrong as well.
fn remove_wrong(list: &mut List, store: &Store) {
    let place = |path: &Path| std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let wrong: BTreeSet<_> = store.quarantined().iter().filter_map(|(path, _)| place(path)).collect();
    if !wrong.is_empty() {
        list.remove_wrong(|path| place(path).is_some_and(|place| wrong.contains(&place)));
    }
}

/// Deletes files of epochs that this run does not show and no list names. Only for a run that reached its end: one that
/// did not has no say about what it has not come to. Only files by names that dcpipe itself gives there are touched.
fn clean(root: &Path, plan: &Plan, shown: &HashSet<PathBuf>) {
    let filled: HashSet<&Path> = shown.iter().filter_map(|file| file.parent()).collect();
    let is_folder = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let clear = |folder: &Path, shelf: &Shelf| {
        for (path, ..) in named(folder).filter(|(path, name, _)| shelf.takes(name) && !shown.contains(path)) {
            let _ = path.strip_prefix(root).map(|file| files::remove(root, file));
        }
        let _ = std::fs::remove_dir(folder); // Only if it is empty.
    };
    for shelf in places::shelves(plan) {
        let folder = root.join(&shelf.folder);
        if !is_folder(&folder) {
            continue; // What a link leads to is somebody else's.
        }
        if !shelf.is_flat {
            // Thousands of them: what they are is told with their names.
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

/// What a folder has: the path and name of each thing, and whether it is a folder and no link to one.
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
