//! results: the folder `<out>/<name>/`, kept up to date while the run goes.

use crate::base::{Digest, StageKey};
use crate::engine::{Event, Node, NodeId, Observer, Plan};
use crate::format::Dataset;
use crate::store::{Disk, Record, Store, StoreIo};
use crate::views::ledger::Ledger;
use crate::views::places::{self, BAD, DATASET, IMAGES, STEPS};
use crate::views::turn::Turn;
use crate::views::{files, tables};
use anyhow::{Context, bail};
use bytes::Bytes;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Listens to a run and lays out its results.
pub struct Results<'a> {
    folder: PathBuf,
    plan: &'a Plan,
    store: &'a Store,
    state: Mutex<State>,
}

struct State {
    /// The right to write to the folder; while another run has it, what this one made is laid out later.
    turn: Option<Turn>,
    /// The data sets that are known by now, by node.
    datasets: Datasets,
    later: Vec<(String, StageKey, Digest)>,
    ledger: Ledger,
    /// Nodes whose files hold something else than before this run.
    replaced: Vec<String>,
    complaints: Vec<String>,
    /// Nodes that could not be laid out and are tried again at the end; none from then on.
    again: Option<Vec<(String, StageKey, Digest)>>,
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

type Datasets = BTreeMap<String, StageKey>;

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

impl<'a> Results<'a> {
    /// Opens the folder, which is made where there is none.
    pub fn open(folder: &Path, plan: &'a Plan, store: &'a Store) -> anyhow::Result<Self> {
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
        Ok(Self { folder: folder.to_owned(), plan, store, state: Mutex::new(state) })
    }

    /// Lays out what could not be while another run wrote to the folder. False while it still does.
    pub fn catch_up(&self) -> anyhow::Result<bool> {
        let later = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.turn.is_none() {
                state.turn = Turn::take(&self.folder).with_context(|| format!("locking {}", self.folder.display()))?;
                if state.turn.is_none() {
                    return Ok(false);
                }
                files::clear(&self.folder);
                state.ledger = without_wrong(Ledger::open(&self.folder), self.store);
            }
            std::mem::take(&mut state.later)
        };
        later.into_iter().for_each(|(node, key, artifact)| self.update(&node, key, artifact, true));
        Ok(true)
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the run, and says what could not be laid out.
    ///
    /// A complete run leaves only its own files between its own. One that stopped where it was asked to removes what was
    /// made from something that it replaced. A broken one removes nothing: the same command goes on.
    pub fn finish(self, end: End) -> Lacks {
        let again = self.state.lock().unwrap_or_else(PoisonError::into_inner).again.take();
        again.into_iter().flatten().for_each(|(node, key, artifact)| self.update(&node, key, artifact, true));
        let State { turn, mut ledger, replaced, mut complaints, bare, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if turn.is_none() {
            return Lacks { complaints, bare, unproven: Vec::new() };
        }
        ledger = without_wrong(ledger, self.store); // Found while this run went; the next lays them out.
        match end {
            End::Complete if complaints.is_empty() => {
                ledger.remove_rest();
                // Every epoch's node of a noun shares its folders; one look at them is enough.
                let firsts = self.plan.order().iter().map(|id| self.plan.node(*id)).filter(|node| node.epoch.0 <= 1);
                let places: Vec<_> =
                    firsts.flat_map(|node| places::folders(node).into_iter().map(|f| (f, &node.noun))).collect();
                places.par_iter().for_each(|(folder, noun)| ledger.clean(&self.folder.join(folder), noun));
            }
            End::Partial => downstream(self.plan, &replaced).iter().for_each(|name| ledger.remove(name)),
            End::Complete | End::Broken => {}
        }
        let unproven = ledger.unproven();
        if let Err(error) = ledger.close() {
            let what =
                "; its .index.json says which of its files are whose: if something else is in its place, delete it";
            complaints.push(format!("could not write to {}: {error}{what}", self.folder.display()));
        }
        Lacks { complaints, bare, unproven }
    }

    /// Lays out a node's files, unless those that are there hold the same artifact.
    fn update(&self, name: &str, key: StageKey, artifact: Digest, made_now: bool) {
        let Some(node) = self.node(name) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.turn.is_none() {
            return state.later.push((name.to_owned(), key, artifact));
        }
        if node.stage.def().output.name == DATASET {
            state.datasets.insert(name.to_owned(), key);
        }
        let nowhere = !places::has_place(node) && !state.ledger.knows(name);
        let known = !nowhere && state.ledger.accept(name, artifact);
        // What was made now may have been made because what was there, perhaps as a link in here, was found wrong.
        if nowhere || (known && !made_now) {
            return;
        }
        let Some(record) = self.store.record(key).ok().flatten() else { return };
        let files = places::files(self.plan, node, &record.artifact);
        if !self.has_bytes(node, &record) {
            let whole = state.ledger.carry(name, artifact, &files, || self.prove(&files, &record));
            if !whole && (node.keep.stays(node.epoch, self.plan.epochs) || !places::is_large(node)) {
                state.bare.push(name.to_owned());
            }
            return;
        }
        state.bare.retain(|other| other != name); // It has been made again.
        let mut lay_out = || {
            if state.ledger.strike(name).is_some_and(|was| was != artifact) {
                state.replaced.push(name.to_owned());
            }
            self.lay_out(node, &record, &state.datasets)?;
            if files.is_empty() { Ok(()) } else { Ok(state.ledger.note(name, artifact, &files, made_now)?) }
        };
        let done: anyhow::Result<()> = lay_out();
        match (done, &mut state.again) {
            (Ok(()), _) => {}
            // What it needs besides its own bytes may be made again in this run.
            (Err(_), Some(again)) => again.push((name.to_owned(), key, artifact)),
            (Err(error), None) => {
                state.complaints.push(format!("could not write the results of {name}: {error:#}"));
            }
        }
    }

    /// Whether the bytes that a node is laid out from are there; evicted ones leave what was laid out before.
    fn has_bytes(&self, node: &Node, record: &Record) -> bool {
        let is_small = node.stage.def().output.name == "weights" && !node.keep.stays(node.epoch, self.plan.epochs);
        let mut needed = record.artifact.parts.iter().filter(|part| !is_small || part.name == STEPS);
        needed.all(|part| self.store.contains(part))
    }

    /// Whether each of the files says, or is by its digest, what the record says that they hold.
    fn prove(&self, files: &[PathBuf], record: &Record) -> bool {
        let proves = |file: &PathBuf| {
            let Ok(bytes) = Disk.read(&self.folder.join(file)).map(Bytes::from) else { return false };
            let digest = Digest::of(&bytes);
            record.artifact.parts.iter().any(|part| part.object.0 == digest) || tables::is_of(&bytes, &record.artifact)
        };
        files.iter().all(proves)
    }

    /// Lays out a node's files; none where it has no place in the results.
    fn lay_out(&self, node: &Node, record: &Record, datasets: &Datasets) -> anyhow::Result<()> {
        let place = tables::Place { store: self.store, record, epoch: node.epoch };
        let folders = places::folders(node);
        let at = |which: usize| self.make(&folders[which], node);
        match node.stage.def().output.name {
            DATASET => self.dataset(record),
            "clusters" => {
                place.clusters(&at(0)?, &self.images(node, datasets)?)?;
                place.iterations(&at(1)?)?;
                self.share(record, "centroids.arrow", &at(2)?)
            }
            "manifest" => place.manifest(&at(0)?),
            "metrics" => place.metrics(&at(0)?),
            "weights" => {
                if record.artifact.part(STEPS).is_some() {
                    place.steps(&at(1)?)?;
                }
                if node.keep.stays(node.epoch, self.plan.epochs) { self.weights(node, record) } else { Ok(()) }
            }
            _ if places::is_large(node) && node.asked_for => {
                let parts = record.artifact.parts.iter();
                parts
                    .into_iter()
                    .try_for_each(|part| self.share(record, &part.name, &at(places::folder_of(&part.name))?))
            }
            _ => Ok(()),
        }
    }

    fn node(&self, name: &str) -> Option<&Node> {
        let found: Option<NodeId> = self.plan.find(name).ok().and_then(|found| found.first().copied());
        found.map(|id| self.plan.node(id))
    }

    /// Makes a folder of a node's epoch, without what a killed run was about to put there: it is this run's turn.
    fn make(&self, folder: &str, node: &Node) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(folder).join(places::epoch(node));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        files::clear(&path);
        Ok(path)
    }

    fn share(&self, record: &Record, part: &str, folder: &Path) -> anyhow::Result<()> {
        let found = record.artifact.part(part).with_context(|| format!("there is no {part}"))?;
        files::share(&self.store.path_of(found), &folder.join(part))
    }

    fn weights(&self, node: &Node, record: &Record) -> anyhow::Result<()> {
        let part = record.artifact.part("weights.safetensors").context("there is no weights.safetensors")?;
        std::fs::create_dir_all(self.folder.join(&node.noun))?;
        files::share(&self.store.path_of(part), &self.folder.join(places::weights_file(node)))
    }

    /// The images that a node is about: of the nearest data set before it.
    fn images(&self, node: &Node, datasets: &Datasets) -> anyhow::Result<Dataset> {
        let mut above: VecDeque<NodeId> = node.inputs.iter().map(|(_, from)| *from).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = above.pop_front() {
            let node = self.plan.node(id);
            if node.stage.def().output.name == DATASET {
                let key = datasets.get(&node.name()).with_context(|| format!("{} is not there", node.name()))?;
                return self.listed(&self.store.record(*key)?.context("its record is gone")?);
            }
            above.extend(node.inputs.iter().map(|(_, from)| *from).filter(|from| seen.insert(*from)));
        }
        bail!("nothing before it is a data set")
    }

    fn listed(&self, dataset: &Record) -> anyhow::Result<Dataset> {
        let images = dataset.artifact.part(IMAGES).context("there is no images.parquet")?;
        let bytes = self.store.map(images).or_else(|gone| {
            // The results may have it still, as a copy or a link.
            let bytes = Disk.read(&self.folder.join(IMAGES)).ok().filter(|b| Digest::of(b) == images.object.0);
            bytes.map(Into::into).ok_or(gone)
        })?;
        Ok(Dataset::open(&bytes)?)
    }

    fn dataset(&self, record: &Record) -> anyhow::Result<()> {
        [IMAGES, BAD].iter().try_for_each(|part| self.share(record, part, &self.folder))?;
        if let Some(pack) = record.artifact.part("images.pack") {
            files::unpack(&self.folder.join("images"), &self.listed(record)?, &self.store.map(pack)?)?;
        }
        Ok(())
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
                let _ = std::fs::remove_file(self.folder.join(&file));
                state.ledger.forget(name, &file);
            }
            _ if places::is_large(node) => {
                let _ = std::fs::remove_dir_all(self.folder.join(&node.noun).join(places::epoch(node)));
                state.ledger.strike(name);
            }
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
            Event::NodeHit { node, key, artifact } => self.update(node, *key, *artifact, false),
            Event::NodeFinished { node, key, artifact, .. } => self.update(node, *key, *artifact, true),
            Event::Evicted { node, .. } => self.evicted(node),
            _ => {}
        }
    }
}
