//! results: the folder `<out>/<name>/`, kept up to date while the run goes.

use crate::base::StageKey;
use crate::engine::{Event, Keep, Node, NodeId, Observer, Plan};
use crate::format::Dataset;
use crate::store::{Record, Store};
use crate::views::{files, tables};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Which key each node's files in the folder were made from, and by which version of this code.
#[derive(serde::Serialize, serde::Deserialize, Default)]
struct Index {
    version: u32,
    nodes: BTreeMap<String, StageKey>,
}

/// Counts up when files of the folder change their form, so that those of an older program are written anew.
const VERSION: u32 = 1;

/// Listens to a run and lays out its results.
pub struct Results<'a> {
    folder: PathBuf,
    plan: &'a Plan,
    store: &'a Store,
    state: Mutex<State>,
}

struct State {
    index: Index,
    complaints: Vec<String>,
}

impl<'a> Results<'a> {
    /// Opens the folder, which is made where there is none.
    pub fn open(folder: &Path, plan: &'a Plan, store: &'a Store) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let index = std::fs::read(folder.join(".index.json")).ok();
        let index: Index = index.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let index = if index.version == VERSION { index } else { Index { version: VERSION, ..Index::default() } };
        let state = Mutex::new(State { index, complaints: Vec::new() });
        Ok(Self { folder: folder.to_owned(), plan, store, state })
    }

    /// Where the results are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the index, and says what could not be laid out.
    pub fn finish(self) -> Vec<String> {
        let mut state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Ok(text) = serde_json::to_vec(&state.index)
            && let Err(error) = files::replace(&self.folder.join(".index.json"), &text)
        {
            state.complaints.push(format!("could not write to {}: {error}", self.folder.display()));
        }
        state.complaints
    }

    /// Lays out a node's files, unless those that are there were made from the same key.
    fn update(&self, name: &str, key: StageKey) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.index.nodes.get(name) == Some(&key) {
            return;
        }
        let laid_out = self.lay_out(name, key);
        match laid_out {
            Ok(true) => drop(state.index.nodes.insert(name.to_owned(), key)),
            Ok(false) => {}
            Err(error) => state.complaints.push(format!("could not write the results of {name}: {error:#}")),
        }
    }

    fn lay_out(&self, name: &str, key: StageKey) -> anyhow::Result<bool> {
        let Some(id) = self.node(name) else { return Ok(false) };
        let Some(record) = self.store.record(key)? else { return Ok(false) };
        if !self.store.contains_all(&record.artifact) {
            return Ok(false); // Evicted; what was laid out before stays.
        }
        let node = self.plan.node(id);
        match node.stage.def().output.name {
            "dataset" => self.dataset(&record)?,
            "clusters" => {
                let view = self.place(node, &record);
                let images = Dataset::open(&files::read(&self.folder.join("images.parquet"))?)?;
                view.clusters(&self.at(node, "")?, &images)?;
                view.iterations(&self.at(node, "iterations")?)?;
                let centroids = record.artifact.part("centroids.arrow").context("there is no centroids.arrow")?;
                files::share(&self.store.path_of(centroids), &self.at(node, "centroids")?.join("centroids.arrow"))?;
            }
            "manifest" => self.place(node, &record).manifest(&self.at(node, "")?)?,
            "metrics" => self.place(node, &record).metrics(&self.at(node, "")?)?,
            "weights" if node.keep == Keep::All => self.weights(node, &record)?,
            "crops" | "features" | "vectors" if node.asked_for => self.arrays(node, &record)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn place<'b>(&'b self, node: &Node, record: &'b Record) -> tables::Place<'b> {
        tables::Place { store: self.store, record, epoch: node.epoch }
    }

    fn node(&self, name: &str) -> Option<NodeId> {
        self.plan.find(name).ok().and_then(|found| found.first().copied())
    }

    /// The folder of a node's files: `<noun>/epoch=0007`, or that of another noun at the same epoch.
    fn at(&self, node: &Node, noun: &str) -> anyhow::Result<PathBuf> {
        let noun = if noun.is_empty() { &node.noun } else { noun };
        let epoch = if node.epoch.0 == 0 { String::new() } else { format!("epoch={:04}", node.epoch.0) };
        let folder = self.folder.join(noun).join(epoch);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    fn dataset(&self, record: &Record) -> anyhow::Result<()> {
        for name in ["images.parquet", "bad.parquet"] {
            let part = record.artifact.part(name).with_context(|| format!("the dataset has no {name}"))?;
            files::share(&self.store.path_of(part), &self.folder.join(name))?;
        }
        if let Some(pack) = record.artifact.part("images.pack") {
            let images = Dataset::open(&files::read(&self.folder.join("images.parquet"))?)?;
            files::unpack(&self.folder.join("images"), &images, &self.store.map(pack)?)?;
        }
        Ok(())
    }

    fn weights(&self, node: &Node, record: &Record) -> anyhow::Result<()> {
        let folder = self.folder.join(&node.noun);
        std::fs::create_dir_all(&folder)?;
        let part = record.artifact.part("weights.safetensors").context("there is no weights.safetensors")?;
        files::share(&self.store.path_of(part), &folder.join(format!("epoch={:04}.safetensors", node.epoch.0)))?;
        match record.artifact.part("steps.parquet") {
            Some(_) => self.place(node, record).steps(&self.at(node, "steps")?),
            None => Ok(()),
        }
    }

    fn arrays(&self, node: &Node, record: &Record) -> anyhow::Result<()> {
        let folder = self.at(node, "")?;
        for part in &record.artifact.parts {
            let target = if part.name.starts_with("part-") { folder.clone() } else { self.at(node, "whitening")? };
            files::share(&self.store.path_of(part), &target.join(&part.name))?;
        }
        Ok(())
    }

    /// Removes what shares its bytes with an evicted artifact: kept, it would keep the disk full.
    fn evicted(&self, name: &str) {
        let Some(id) = self.node(name) else { return };
        let node = self.plan.node(id);
        let noun = node.stage.def().output.name;
        if noun == "weights" {
            let file = self.folder.join(&node.noun).join(format!("epoch={:04}.safetensors", node.epoch.0));
            let _ = std::fs::remove_file(file);
        } else if ["crops", "features", "vectors"].contains(&noun) {
            let _ = std::fs::remove_dir_all(self.folder.join(&node.noun).join(format!("epoch={:04}", node.epoch.0)));
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.index.nodes.remove(name);
    }
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
