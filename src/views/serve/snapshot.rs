//! snapshot: what the store has of a run at one moment: numbers, and each epoch's nodes.

use crate::base::{Digest, Epoch};
use crate::engine::{NodeId, Plan};
use crate::format::noun::{CLUSTERS, CROPS, DATASET, GALLERY, ODDITIES, WEIGHTS};
use crate::store::{Record, Stand, Store};
use crate::views::made::{map_of, of_epoch, records};
use crate::views::report::{filters, gather};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// What the store has of a run.
pub(super) struct Snapshot {
    /// Counts the snapshots of a process.
    pub(super) number: u64,
    /// Names all that the page shows of it.
    pub(super) version: Digest,
    /// The page's data but the clusters.
    pub(super) numbers: Value,
    /// Epochs that have clusters.
    pub(super) epochs: BTreeMap<u32, Sources>,
    plan: Plan,
    records: Vec<Option<Record>>,
    /// Seconds that the newest node of each name took.
    usual: BTreeMap<String, f64>,
}

/// Nodes with records from which an epoch is shown.
pub(super) struct Sources {
    pub(super) clusters: NodeId,
    pub(super) gallery: Option<NodeId>,
    /// Whether the store has the bytes of the gallery.
    pub(super) is_shown: bool,
    /// Places of all images on a map.
    pub(super) map: Option<NodeId>,
    /// Images to look at.
    pub(super) oddities: Option<NodeId>,
    pub(super) dataset: Option<NodeId>,
    pub(super) crops: Option<NodeId>,
}

impl Snapshot {
    /// Reads the records of the plan's last run, and its journal.
    pub(super) fn of(plan: Plan, store: &Store, journal: &Path, number: u64) -> anyhow::Result<Self> {
        let records = records(&plan, store)?;
        let numbers = gather::gather(&plan, store, &records, journal)?;
        let (mut epochs, mut usual) = (BTreeMap::new(), BTreeMap::new());
        let has = |id: &NodeId| records[id.index()].as_ref();
        for id in plan.order() {
            let node = plan.node(*id);
            let Some(record) = has(id) else { continue };
            if node.epoch.0 > 0 {
                usual.insert(node.noun.clone(), record.wall_ms as f64 / 1e3);
            }
            let noun = record.artifact.kind.as_str();
            let clusters = node.inputs.iter().find(|(port, _)| *port == CLUSTERS.name).map(|(_, from)| *from);
            let (gallery, clusters) = match clusters {
                Some(clusters) if noun == GALLERY.name => (Some(*id), clusters),
                _ if noun == CLUSTERS.name && !epochs.contains_key(&node.epoch.0) => (None, *id),
                _ => continue,
            };
            let up = |noun| upstream(&plan, clusters, noun).filter(|id| has(id).is_some());
            let is_shown = gallery.is_some() && store.stand(&record.artifact) == Stand::Whole;
            let map = map_of(&plan, node.epoch, &records);
            let oddities = of_epoch(&plan, &ODDITIES, node.epoch, &records);
            let (dataset, crops) = (up(DATASET.name), up(CROPS.name));
            let sources = Sources { clusters, gallery, is_shown, map, oddities, dataset, crops };
            epochs.insert(node.epoch.0, sources);
        }
        let mut text = numbers.to_string();
        for (epoch, sources) in &epochs {
            let digests = [Some(sources.clusters), sources.gallery, sources.map, sources.oddities, sources.dataset]
                .map(|id| id.and_then(|id| has(&id)).map(|record| record.artifact.digest()));
            text.push_str(&format!("\n{epoch} {digests:?} {}", sources.is_shown));
        }
        Ok(Self { number, version: Digest::of(text.as_bytes()), numbers, epochs, plan, records, usual })
    }

    /// A node's record.
    pub(super) fn record(&self, id: NodeId) -> anyhow::Result<&Record> {
        let record = self.records[id.index()].as_ref();
        record.ok_or_else(|| anyhow::anyhow!("BUG: {} has no record", self.plan.node(id).name()))
    }

    /// The name of a node without its epoch.
    pub(super) fn noun(&self, id: NodeId) -> &str {
        &self.plan.node(id).noun
    }

    /// The first convolution of an epoch's network.
    pub(super) fn filters(&self, store: &Store, epoch: u32) -> Value {
        filters::filters(&self.plan, store, &self.records, Epoch(epoch))
    }

    /// Where the paths of a data set begin.
    pub(super) fn root(&self, dataset: NodeId) -> Option<PathBuf> {
        self.plan.node(dataset).stage.source()
    }

    /// The newest epoch with a gallery, or else the newest.
    pub(super) fn newest(&self) -> Option<u32> {
        let shown = self.epochs.iter().rfind(|(_, sources)| sources.is_shown);
        shown.or(self.epochs.last_key_value()).map(|(epoch, _)| *epoch)
    }

    /// Seconds that a node of this name took in an earlier epoch.
    pub(super) fn usual(&self, node: &str) -> Option<f64> {
        self.usual.get(node.split('@').next()?).copied()
    }
}

/// The nearest node of a noun that leads to `node`. What the networks were trained on does not count.
fn upstream(plan: &Plan, node: NodeId, noun: &str) -> Option<NodeId> {
    let (mut open, mut seen) = (VecDeque::from([node]), BTreeSet::new());
    while let Some(id) = open.pop_front() {
        let output = plan.node(id).stage.def().output.name;
        if output == noun {
            return Some(id);
        }
        if output != WEIGHTS.name && seen.insert(id) {
            open.extend(plan.node(id).inputs.iter().map(|(_, from)| *from));
        }
    }
    None
}
