//! layout: writes what a node made into its places in the results folder, and says whether what stands there is that.

use crate::base::{Digest, StageKey};
use crate::engine::{Node, NodeId, Plan};
use crate::format::Dataset;
use crate::store::{Disk, Record, Store, StoreIo};
use crate::views::places::{self, BAD, DATASET, IMAGES, STEPS};
use crate::views::{files, tables};
use anyhow::Context;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// The data sets that are known by now, by node: the key and the artifact.
pub(super) type Datasets = BTreeMap<String, (StageKey, Digest)>;

/// Where things are laid out, and from what.
pub(super) struct Layout<'a> {
    pub(super) folder: PathBuf,
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
}

impl Layout<'_> {
    /// What a node's files hold: its artifact, and of clusters also the data set's, whose paths and labels stand in them.
    pub(super) fn holds(&self, node: &Node, artifact: Digest, datasets: &Datasets) -> Digest {
        match self.dataset_of(node, datasets) {
            Some((_, dataset)) if node.stage.def().output.name == "clusters" => {
                Digest::of(format!("{artifact}\n{dataset}\n").as_bytes())
            }
            _ => artifact,
        }
    }

    /// Whether the bytes that a node is laid out from are there; evicted ones leave what was laid out before.
    pub(super) fn has_bytes(&self, node: &Node, record: &Record) -> bool {
        let is_small = node.stage.def().output.name == "weights" && !node.keep.stays(node.epoch, self.plan.epochs);
        let mut needed = record.artifact.parts.iter().filter(|part| !is_small || part.name == STEPS);
        needed.all(|part| self.store.contains(part))
    }

    /// Whether a file says, or is by its digest, what a node made.
    pub(super) fn proves(&self, file: &Path, record: &Record, holds: Digest) -> bool {
        let Ok(bytes) = Disk.read(&self.folder.join(file)).map(Bytes::from) else { return false };
        let digest = Digest::of(&bytes);
        record.artifact.parts.iter().any(|part| part.object.0 == digest) || tables::holds(&bytes, holds)
    }

    /// Lays out a node's files; none where it has no place in the results.
    pub(super) fn lay_out(&self, node: &Node, record: &Record, datasets: &Datasets) -> anyhow::Result<()> {
        let holds = self.holds(node, record.artifact.digest(), datasets);
        let place = tables::Place { store: self.store, record, epoch: node.epoch, holds };
        let folders = places::folders(node);
        let at = |which: usize| self.make(&folders[which], node);
        match node.stage.def().output.name {
            DATASET => self.dataset(&self.folder.join(places::top(self.plan, node)), record),
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
                let mut parts = record.artifact.parts.iter();
                parts.try_for_each(|part| {
                    let to = at(places::folder_of(&part.name))?.join(part.plain_name());
                    files::share(&self.store.path_of(part), &to)
                })
            }
            _ => Ok(()),
        }
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

    /// The images that a node is about.
    fn images(&self, node: &Node, datasets: &Datasets) -> anyhow::Result<Dataset> {
        let (key, _) = self.dataset_of(node, datasets).context("the data set before it is not there")?;
        self.listed(&self.store.record(*key)?.context("the record of its data set is gone")?)
    }

    /// The nearest data set before a node.
    fn dataset_of<'d>(&self, node: &Node, datasets: &'d Datasets) -> Option<&'d (StageKey, Digest)> {
        let mut above: VecDeque<NodeId> = node.inputs.iter().map(|(_, from)| *from).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = above.pop_front() {
            let node = self.plan.node(id);
            if node.stage.def().output.name == DATASET {
                return datasets.get(&node.name());
            }
            above.extend(node.inputs.iter().map(|(_, from)| *from).filter(|from| seen.insert(*from)));
        }
        None
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

    fn dataset(&self, folder: &Path, record: &Record) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        [IMAGES, BAD].iter().try_for_each(|part| self.share(record, part, folder))?;
        if let Some(pack) = record.artifact.part("images.pack") {
            files::unpack(&folder.join("images"), &self.listed(record)?, &self.store.map(pack)?)?;
        }
        Ok(())
    }
}
