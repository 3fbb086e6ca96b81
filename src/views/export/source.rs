//! source: what an export reads of one clustering: its images, and what the store has of crops, vectors and gallery.

use super::Options;
use crate::base::{ClusterId, Epoch, ImageId, Noun};
use crate::engine::{Input, NodeId, Plan};
use crate::format::clusters::CLUSTERS as TABLE;
use crate::format::gallery::{MAP, open_map};
use crate::format::neighbors::{NEIGHBORS, Neighbors};
use crate::format::noun::{self, CLUSTERS, CROPS, DATASET, GALLERY, VECTORS};
use crate::format::projection::{PROJECTION, open_projection};
use crate::format::rows::PART;
use crate::format::{Clusters, Rows, crops, vectors};
use crate::learn::projection::unit;
use crate::stages::originals::Originals;
use crate::store::{Record, Store};
use crate::views::made::{Made, NO_GALLERY, made};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why something has no map, and how to get one.
pub const NO_VECTORS: &str =
    "the store lacks the vectors' bytes. Add vectors to keep: in the pipeline and run it again";

/// A clustering of a run.
pub struct Source<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// The store.
    pub store: &'a Store,
    /// All that the run made.
    pub made: Vec<Made<'a>>,
    /// The node, such as `clusters@3`.
    pub name: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// The cluster of every image.
    pub clusters: Clusters,
    /// The images.
    pub originals: Originals,
    id: NodeId,
}

impl<'a> Source<'a> {
    /// The clustering of the epoch that is named, or of the last epoch that has its bytes. With `shown`, one that has a
    /// gallery.
    ///
    /// # Errors
    /// If there is none: the message says what there is, and what to do.
    pub fn open(
        plan: &'a Plan,
        records: &'a [Option<Record>],
        store: &'a Store,
        options: &Options,
        shown: bool,
    ) -> anyhow::Result<Self> {
        let made = made(plan, records);
        let at = choose(&made, store, options.epoch, shown)?;
        let (id, name, epoch) = (made[at].id, made[at].node.name(), made[at].node.epoch);
        let table = made[at].part(store, TABLE.file)?;
        let clusters = Clusters::open(&table.with_context(|| evicted(&name))?)?;
        let dataset = nearest(plan, &made, id, &DATASET).with_context(|| format!("{name} is of no data set"))?;
        let source = dataset.node.stage.source().map(|root| options.started_in.join(root));
        let originals = Originals::open(&Input::new(store, dataset.node.name(), &dataset.record.artifact, source))?;
        let (images, known) = (clusters.cluster_id.len(), originals.dataset.len());
        ensure!(images == known, "{name} has {images} images, its data set {known}");
        Ok(Self { plan, store, made, name, epoch, clusters, originals, id })
    }

    /// How many images.
    pub fn images(&self) -> usize {
        self.clusters.cluster_id.len()
    }

    /// Every image, in the order of the ids.
    pub fn ids(&self) -> impl Iterator<Item = ImageId> + use<> {
        (0..self.images() as u32).map(ImageId)
    }

    /// The gallery of the clustering, where the store has all of it.
    pub fn gallery(&self) -> Option<&Made<'a>> {
        galleries(&self.made, self.id).find(|gallery| gallery.is_whole(self.store))
    }

    /// The crops and the side of each, where the store has them.
    pub fn crops(&self) -> anyhow::Result<Option<(Rows<u8>, u32)>> {
        let parts = self.parts(&CROPS)?;
        let crops = parts.map(|parts| crops::open(&parts)).transpose()?;
        Ok(crops.filter(|(rows, _)| rows.rows() == self.images()))
    }

    /// The vectors that were clustered, where the store has them.
    pub fn vectors(&self) -> anyhow::Result<Option<Rows<f32>>> {
        let parts = self.parts(&VECTORS)?;
        let vectors = parts.map(|parts| vectors::open(&parts)).transpose()?;
        Ok(vectors.filter(|rows| rows.rows() == self.images() && rows.first() == ImageId(0)))
    }

    /// The nearest images of each, where the epoch has them.
    pub fn neighbors(&self) -> anyhow::Result<Option<Neighbors>> {
        let near = self.beside(&noun::NEIGHBORS, NEIGHBORS.file)?.map(|bytes| Neighbors::open(&bytes)).transpose()?;
        Ok(near.filter(|near| near.rows() == self.images()))
    }

    /// A part of a node of this epoch.
    fn beside(&self, noun: &Noun, part: &str) -> anyhow::Result<Option<Bytes>> {
        let made = self.made.iter().find(|made| made.is(noun) && made.node.epoch == self.epoch);
        made.map_or(Ok(None), |made| made.part(self.store, part))
    }

    /// A place for every image, within 0 and 1, both axes on one scale. A node `map` of this epoch has them, or else they are
    /// the first two axes of the vectors. None if the store has neither, nor a gallery with points of all images.
    pub fn projection(&self) -> anyhow::Result<Option<Vec<[f32; 2]>>> {
        if let Some(bytes) = self.beside(&noun::MAP, PROJECTION.file)? {
            let places = open_projection(&bytes)?;
            if places.len() == self.images() {
                return Ok(Some(places));
            }
        }
        if let Some(vectors) = self.vectors()? {
            let axes = |row: &[f32]| [row[0], row.get(1).copied().unwrap_or(0.0)];
            let rows = vectors.iter().flat_map(|(_, numbers)| numbers.chunks_exact(vectors.width()));
            return Ok(Some(unit(&rows.map(axes).collect::<Vec<_>>())));
        }
        let map = self.gallery().map(|gallery| gallery.part(self.store, MAP.file)).transpose()?.flatten();
        let points = map.map(|map| open_map(&map, self.clusters.k.into())).transpose()?.unwrap_or_default();
        let is_whole = points.len() == self.images() && points.iter().map(|point| point.image).eq(self.ids());
        Ok(is_whole.then(|| unit(&points.into_iter().map(|point| point.at).collect::<Vec<_>>())))
    }

    /// What people call each cluster: `12: dog 83 %` after its commonest label, or `12` without labels.
    pub fn titles(&self) -> Vec<String> {
        let dataset = &self.originals.dataset;
        let mut counts: Vec<BTreeMap<i32, u64>> = vec![BTreeMap::new(); self.clusters.k as usize];
        for (cluster, label) in self.clusters.cluster_id.iter().zip(dataset.label_ids()).filter(|(_, id)| **id >= 0) {
            *counts[cluster.index()].entry(*label).or_default() += 1;
        }
        let title = |(id, counts): (usize, BTreeMap<i32, u64>)| {
            let all: u64 = counts.values().sum();
            let most = counts.into_iter().max_by_key(|(label, count)| (*count, std::cmp::Reverse(*label)));
            most.map_or_else(
                || id.to_string(),
                |(label, count)| format!("{id}: {} {} %", dataset.labels()[label as usize], count * 100 / all),
            )
        };
        counts.into_iter().enumerate().map(title).collect()
    }

    fn parts(&self, noun: &Noun) -> anyhow::Result<Option<Vec<Bytes>>> {
        nearest(self.plan, &self.made, self.id, noun).map_or(Ok(None), |made| made.parts(self.store, PART))
    }
}

/// What a cluster is called in columns, so that no tool takes it for a number.
pub fn cluster_name(cluster: ClusterId) -> String {
    format!("cluster {cluster}")
}

fn evicted(name: &str) -> String {
    let noun = name.split('@').next().unwrap_or(name);
    format!("the run has evicted the bytes of {name}: add {noun} to keep: in the pipeline and run it again")
}

/// The last clustering that fits, of those with bytes if there are any.
fn choose(made: &[Made<'_>], store: &Store, epoch: Option<u32>, shown: bool) -> anyhow::Result<usize> {
    let is_shown = |id| galleries(made, id).any(|gallery| gallery.is_whole(store));
    let all: Vec<usize> = (0..made.len()).filter(|at| made[*at].is(&CLUSTERS)).collect();
    let fit: Vec<usize> = all.iter().copied().filter(|at| !shown || is_shown(made[*at].id)).collect();
    let of = |at: &&usize| epoch.is_none_or(|epoch| made[**at].node.epoch == Epoch(epoch));
    let has_bytes = |at: &&usize| made[**at].part(store, TABLE.file).is_ok_and(|table| table.is_some());
    let wanted = || fit.iter().rev().filter(of);
    if let Some(at) = wanted().find(has_bytes).or_else(|| wanted().next()) {
        return Ok(*at);
    }
    let names = |of: &[usize]| of.iter().map(|at| made[*at].node.name()).collect::<Vec<_>>().join(", ");
    match (all.is_empty(), fit.is_empty(), epoch) {
        (true, ..) => bail!("the run has no clusters yet; dcpipe run makes them"),
        (_, true, _) => bail!("{NO_GALLERY}"),
        (.., Some(epoch)) if shown => bail!("epoch {epoch} has no gallery; there is one of {}", names(&fit)),
        (.., epoch) => bail!("epoch {} has no clusters; there are: {}", epoch.unwrap_or(0), names(&fit)),
    }
}

fn galleries<'m, 'p>(made: &'m [Made<'p>], of: NodeId) -> impl Iterator<Item = &'m Made<'p>> {
    let is_of = move |made: &&Made<'_>| made.node.inputs.contains(&("clusters", of));
    made.iter().filter(|made| made.is(&GALLERY)).filter(is_of)
}

/// The nearest artifact of a noun that a node was made from.
fn nearest<'m, 'p>(plan: &Plan, made: &'m [Made<'p>], of: NodeId, noun: &Noun) -> Option<&'m Made<'p>> {
    let (mut next, mut seen) = (VecDeque::from([of]), BTreeSet::new());
    while let Some(id) = next.pop_front() {
        if let Some(found) = made.iter().find(|made| made.id == id && made.is(noun)) {
            return Some(found);
        }
        let inputs = plan.node(id).inputs.iter().map(|(_, from)| *from);
        next.extend(inputs.filter(|from| seen.insert(*from)));
    }
    None
}
