//! gallery: clusters, crops, vectors -> gallery: what a report shows: a row a cluster, montages of members, a map.

mod flows;
mod montage;
mod stats;

use crate::base::ImageId;
use crate::engine::{Before, Context, Device, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::dataset::IMAGES;
use crate::format::flows::{CONFUSION, FLOWS, write_confusion, write_flows};
use crate::format::gallery::{self, Point, Stats, write_map, write_members};
use crate::format::rows::PART;
use crate::format::{self, Centroids, Clusters, Dataset, clusters, crops, vectors};
use crate::image::JPEG_LIBRARY;
use crate::stages::{CLUSTERS, CROPS, DATASET, GALLERY, VECTORS};
use anyhow::ensure;
use montage::{Montages, choose};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes what `report.html` shows of an epoch: a row for each cluster, a montage of some of its members, and a map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gallery {
    /// Clusters with a montage: where there are more, half of them the tightest and half the loosest.
    #[serde(default = "default_clusters")]
    #[schemars(range(min = 1, max = 100_000))]
    pub clusters: u32,
    /// Members in a montage: half of them the nearest to the centroid, a quarter between, a quarter the farthest.
    #[serde(default = "default_per_cluster")]
    #[schemars(range(min = 1, max = 400))]
    pub per_cluster: u32,
    /// Side of a member in a montage, in pixels.
    #[serde(default = "default_tile")]
    #[schemars(range(min = 8, max = 512))]
    pub tile: u32,
    /// Points of the map; of more images every n-th.
    #[serde(default = "default_points")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub points: u32,
}

const OF_CLUSTERS: &[&str] = &[clusters::CLUSTERS.file, CENTROIDS.file];

fn default_clusters() -> u32 {
    200
}

fn default_per_cluster() -> u32 {
    24
}

fn default_tile() -> u32 {
    72
}

fn default_points() -> u32 {
    20_000
}

impl Stage for Gallery {
    const VERB: &'static str = "gallery";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("crops", CROPS.name),
        Port::required("clusters", CLUSTERS.name).reading(OF_CLUSTERS),
        Port::optional("before", CLUSTERS.name).reading(clusters::CLUSTERS.files()),
        Port::optional("vectors", VECTORS.name).reading(&[PART]),
    ];
    const OUTPUT: Noun = GALLERY;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const TELLS_EPOCH: bool = true;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(JPEG_LIBRARY.to_owned())
    }

    /// Version 1 had no flows and no confusion; all else is the same.
    fn before(&self, device: &Device) -> Before {
        Before { version: 1, format: Self::OUTPUT.format, numerics: Stage::numerics(self, device), by_parts: true }
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let range = |name, value: u32, from: u32, to: u32| {
            ensure!((from..=to).contains(&value), "{name} is {value}, not between {from} and {to}");
            Ok(())
        };
        range("clusters", self.clusters, 1, 100_000)?;
        range("per_cluster", self.per_cluster, 1, 400)?;
        range("tile", self.tile, 8, 512)?;
        range("points", self.points, 0, 1_000_000)
    }

    fn estimate(&self, _: &Facts) -> Option<u64> {
        // About a quarter of a byte a sample, as JPEG of this quality takes.
        Some(u64::from(self.clusters) * u64::from(self.per_cluster) * u64::from(self.tile).pow(2) * 3 / 8)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let dataset = Dataset::open(&cx.input("dataset")?.part(IMAGES.file)?)?;
        let clusters = Clusters::open(&cx.input("clusters")?.part(clusters::CLUSTERS.file)?)?;
        let centroids = Centroids::open(&cx.input("clusters")?.part(CENTROIDS.file)?)?;
        let before = match cx.input_if_any("before") {
            Some(before) => Some(Clusters::open(&before.part(clusters::CLUSTERS.file)?)?),
            None => None,
        };
        let (pixels, crop) = crops::open(&cx.input("crops")?.parts(PART)?)?;
        let images = clusters.cluster_id.len();
        ensure!(images == dataset.len(), "{images} images were clustered, the dataset has {}", dataset.len());
        ensure!(images == pixels.rows(), "{images} images were clustered, {} have crops", pixels.rows());

        let mut found = stats::of(&clusters, &centroids, before.as_ref(), &dataset, &|| cx.checkpoint())?;
        let members = clusters.members();
        let chosen = choose(&found, self.clusters as usize);
        let montages = Montages { pixels: &pixels, crop, tile: self.tile, per_cluster: self.per_cluster as usize };
        let mut out = cx.output().create()?;
        let mut shown = Vec::new();
        let mut offset = 0;
        for (done, cluster) in chosen.iter().enumerate() {
            cx.checkpoint()?;
            let (picture, picks) = montages.of(*cluster, &members[cluster.index()], &clusters, &dataset)?;
            std::io::Write::write_all(&mut out, &picture)?;
            found[cluster.index()].montage = Some((offset, picture.len() as u64));
            offset += picture.len() as u64;
            shown.extend(picks);
            cx.progress(done as u64 + 1, chosen.len() as u64, "montages");
        }
        cx.output().finish(out, gallery::MONTAGES)?;
        let stats = Stats { epoch: cx.epoch(), tile: self.tile, columns: montages.columns(), clusters: found };
        cx.write_part(gallery::STATS.file, |out| stats.write(out).map(drop))?;
        cx.write_part(gallery::MEMBERS.file, |out| write_members(out, &shown).map(drop))?;
        if let Some(before) = &before {
            let flows = flows::flows(&clusters, before);
            cx.write_part(FLOWS.file, |out| write_flows(out, &flows).map(drop))?;
        }
        let confusion = flows::confusion(&clusters, &stats.clusters, &dataset);
        cx.write_part(CONFUSION.file, |out| write_confusion(out, &confusion).map(drop))?;
        if let Some(vectors) = cx.input_if_any("vectors") {
            let points = self.map(&vectors::open(&vectors.parts(PART)?)?, &clusters, &dataset);
            cx.write_part(gallery::MAP.file, |out| write_map(out, &points).map(drop))?;
        }
        Ok(())
    }
}

impl Gallery {
    /// The first two axes of the vectors, which PCA has put in order of variance.
    fn map(&self, vectors: &format::Rows<f32>, clusters: &Clusters, dataset: &Dataset) -> Vec<Point> {
        let rows = vectors.rows().min(clusters.cluster_id.len());
        let step = rows.div_ceil((self.points as usize).max(1)).max(1);
        let point = |row: usize| {
            let image = ImageId(row as u32);
            let axes = vectors.image(image)?;
            Some(Point {
                image,
                at: [axes.first().copied()?, axes.get(1).copied().unwrap_or(0.0)],
                cluster: clusters.cluster_id[row],
                label: dataset.image(image).label.to_owned(),
            })
        };
        let points = if self.points == 0 { 0 } else { rows };
        (0..points).step_by(step).filter_map(point).collect()
    }
}
