//! results: the folder `<out>/<name>/`, kept up to date while the run goes.

use crate::base::StageKey;
use crate::engine::forecast::forecast;
use crate::engine::{Event, Keep, Node, NodeId, Observer, Plan};
use crate::format::Dataset;
use crate::store::{Record, Store};
use crate::views::ledger::Ledger;
use crate::views::{files, tables};
use anyhow::Context;
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
    ledger: Ledger,
    complaints: Vec<String>,
}

impl<'a> Results<'a> {
    /// Opens the folder, which is made where there is none.
    pub fn open(folder: &Path, plan: &'a Plan, store: &'a Store) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let state = Mutex::new(State { ledger: Ledger::open(folder), complaints: Vec::new() });
        Ok(Self { folder: folder.to_owned(), plan, store, state })
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the run: removes files of other runs from between this one's, and says what could not be laid out.
    ///
    /// Nodes that this run did not reach keep their files if their key is still the one they were made from.
    pub fn finish(self, device: &str) -> Vec<String> {
        let State { mut ledger, mut complaints } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unseen = self.plan.order().iter().any(|id| !ledger.has(&self.plan.node(*id).name()));
        if unseen && let Ok(lines) = forecast(self.plan, self.store, device) {
            for line in lines {
                let name = self.plan.node(line.node).name();
                if let Some(key) = line.key.map(|text| text.key()).filter(|key| ledger.vouches(&name, *key)) {
                    ledger.note(&name, key);
                }
            }
        }
        for id in self.plan.order() {
            let node = self.plan.node(*id);
            // Every epoch's node of a noun shares its folders; one look at them is enough.
            if node.epoch.0 <= 1 {
                folders(node).iter().for_each(|folder| ledger.clean(&self.folder.join(folder), &node.noun));
            }
        }
        if let Err(error) = ledger.close() {
            complaints.push(format!("could not write to {}: {error}", self.folder.display()));
        }
        complaints
    }

    /// Lays out a node's files, unless those that are there were made from the same key.
    fn update(&self, name: &str, key: StageKey) {
        let Some(node) = self.node(name) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.ledger.vouches(name, key) && self.folder.join(principal(node)).exists() {
            return state.ledger.note(name, key);
        }
        match self.lay_out(node, key) {
            Ok(true) => state.ledger.note(name, key),
            Ok(false) => {}
            Err(error) => state.complaints.push(format!("could not write the results of {name}: {error:#}")),
        }
    }

    fn lay_out(&self, node: &Node, key: StageKey) -> anyhow::Result<bool> {
        let Some(record) = self.store.record(key)? else { return Ok(false) };
        if !self.store.contains_all(&record.artifact) {
            return Ok(false);
        }
        let place = tables::Place { store: self.store, record: &record, epoch: node.epoch };
        let folders = folders(node);
        let at = |which: usize| self.make(&folders[which], node);
        match node.stage.def().output.name {
            "dataset" => self.dataset(&record)?,
            "clusters" => {
                place.clusters(&at(0)?, &self.images()?)?;
                place.iterations(&at(1)?)?;
                self.share(&record, "centroids.arrow", &at(2)?)?;
            }
            "manifest" => place.manifest(&at(0)?)?,
            "metrics" => place.metrics(&at(0)?)?,
            "weights" if node.keep == Keep::All => {
                let file = self.folder.join(principal(node));
                std::fs::create_dir_all(file.parent().unwrap_or(&self.folder))?;
                let part = record.artifact.part("weights.safetensors").context("there is no weights.safetensors")?;
                files::share(&self.store.path_of(part), &file)?;
                if record.artifact.part("steps.parquet").is_some() {
                    place.steps(&at(1)?)?;
                }
            }
            "crops" | "features" | "vectors" if node.asked_for => {
                for part in &record.artifact.parts {
                    let which = usize::from(!part.name.starts_with("part-"));
                    self.share(&record, &part.name, &at(which)?)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn node(&self, name: &str) -> Option<&Node> {
        let found: Option<NodeId> = self.plan.find(name).ok().and_then(|found| found.first().copied());
        found.map(|id| self.plan.node(id))
    }

    /// Makes a folder of a node's epoch.
    fn make(&self, folder: &str, node: &Node) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(folder).join(epoch(node));
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    fn share(&self, record: &Record, part: &str, folder: &Path) -> anyhow::Result<()> {
        let found = record.artifact.part(part).with_context(|| format!("there is no {part}"))?;
        files::share(&self.store.path_of(found), &folder.join(part))
    }

    fn images(&self) -> anyhow::Result<Dataset> {
        Ok(Dataset::open(&files::read(&self.folder.join("images.parquet"))?)?)
    }

    fn dataset(&self, record: &Record) -> anyhow::Result<()> {
        self.share(record, "images.parquet", &self.folder)?;
        self.share(record, "bad.parquet", &self.folder)?;
        match record.artifact.part("images.pack") {
            Some(pack) => files::unpack(&self.folder.join("images"), &self.images()?, &self.store.map(pack)?),
            None => Ok(()),
        }
    }

    /// Removes what shares its bytes with an evicted artifact: kept, it would keep the disk full. Tables are copies, and
    /// stay.
    fn evicted(&self, name: &str) {
        let Some(node) = self.node(name) else { return };
        if !["weights", "crops", "features", "vectors"].contains(&node.stage.def().output.name) {
            return;
        }
        let path = self.folder.join(principal(node));
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ledger.strike(name);
    }
}

/// The folders that a node's files are in, below the results; the first is named after the node.
fn folders(node: &Node) -> Vec<String> {
    let noun = &node.noun;
    // Two nodes of one kind must not share a folder: what is not called as usual gets its name in front.
    let beside = |word: &str, usual: &str| if noun == usual { word.to_owned() } else { format!("{noun}-{word}") };
    let more = match node.stage.def().output.name {
        "dataset" => return Vec::new(),
        "clusters" => vec![beside("iterations", "clusters"), beside("centroids", "clusters")],
        "weights" => vec![beside("steps", "weights")],
        "vectors" => vec![beside("whitening", "vectors")],
        _ => Vec::new(),
    };
    std::iter::once(noun.clone()).chain(more).collect()
}

/// The file or folder by which one sees that a node was laid out.
fn principal(node: &Node) -> PathBuf {
    match node.stage.def().output.name {
        "dataset" => PathBuf::from("images.parquet"),
        "weights" => Path::new(&node.noun).join(format!("epoch={:04}.safetensors", node.epoch.0)),
        _ => Path::new(&node.noun).join(epoch(node)),
    }
}

/// The Hive folder of an epoch; none for what is made once.
fn epoch(node: &Node) -> String {
    if node.epoch.0 == 0 { String::new() } else { format!("epoch={:04}", node.epoch.0) }
}

impl Observer for &Results<'_> {
    fn observe(&self, event: &Event) {
        match event {
            Event::NodeHit { node, key } | Event::NodeFinished { node, key, .. } => self.update(node, *key),
            Event::Evicted { node, .. } => self.evicted(node),
            _ => {}
        }
    }
}
