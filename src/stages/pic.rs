//! pic: vectors, neighbors -> clusters: power-iteration clustering, which finds the number of clusters itself.

use crate::base::ClusterId;
use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::clusters::{self, ITERATIONS, write_iterations};
use crate::format::neighbors::{NEIGHBORS as TABLE, Neighbors};
use crate::format::rows::PART;
use crate::format::{Centroids, Clusters, Iteration, vectors};
use crate::learn::assign::{Assignment, assign};
use crate::learn::nearest::assigner_on;
use crate::learn::pic::{Options, cluster};
use crate::learn::sums::Sums;
use crate::stages::{CLUSTERS, NEIGHBORS, VECTORS};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Groups vectors by following the flow on their graph of neighbours (PIC). The published program has five neighbours of
/// each image.
///
/// An image's cluster is the one where its flow ends, and not always that of the nearest centroid. A cluster's centroid is
/// the mean of its members.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pic {
    /// Distance at which the edge to a neighbour weighs 1/e; 0.2 is published.
    #[serde(default = "default_sigma")]
    #[schemars(range(min = 0.000001))]
    pub sigma: f64,
    /// Share of the flow that comes over the edges; 0.001 is published.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0.000001, max = 1.0))]
    pub alpha: f64,
    /// Steps of the flow; 200 is published.
    #[serde(default = "default_iterations")]
    #[schemars(range(min = 1, max = 10000))]
    pub iterations: u32,
}

fn default_sigma() -> f64 {
    0.2
}

fn default_alpha() -> f64 {
    0.001
}

fn default_iterations() -> u32 {
    200
}

impl Stage for Pic {
    const VERB: &'static str = "pic";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("vectors", VECTORS.name).reading(&[PART]),
        Port::required("neighbors", NEIGHBORS.name).reading(TABLE.files()),
    ];
    const OUTPUT: Noun = CLUSTERS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let Self { sigma, alpha, iterations } = *self;
        ensure!(sigma.is_finite() && sigma >= 1e-6, "sigma is {sigma}, not a number from 0.000001 on");
        ensure!((1e-6..=1.0).contains(&alpha), "alpha is {alpha}, not between 0.000001 and 1");
        ensure!((1..=10_000).contains(&iterations), "iterations is {iterations}, not between 1 and 10000");
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        inputs.handed_on("vectors", "dims").into_iter().collect()
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let table = vectors::open(&cx.input("vectors")?.parts(PART)?)?;
        let vectors: Vec<&[f32]> = table.iter().map(|(_, numbers)| numbers).collect();
        let (dims, rows) = (table.width(), table.rows());
        let near = Neighbors::open(&cx.input("neighbors")?.part(TABLE.file)?)?;
        ensure!(near.rows() == rows, "{} images have neighbours, and {rows} have vectors", near.rows());
        let options = Options { sigma: self.sigma, alpha: self.alpha, iterations: self.iterations };
        let (cluster_id, k) = cluster(&near.ids, &near.distances, near.n, options, &mut |done| {
            cx.progress(done.into(), self.iterations.into(), "iterations");
            cx.checkpoint()
        })?;
        let mut members = Assignment { clusters: cluster_id, distances: vec![0.0; rows], ..Assignment::default() };
        let sums = Sums::of(&vectors, dims, &members, k as usize)?;
        let mut centroids = vec![0.0; k as usize * dims];
        sums.mean(&mut centroids);
        let nearest = nearest(&vectors, &centroids, dims, cx)?;
        // Where another centroid is nearer, the margin of an image's own is none.
        members.seconds = nearest.seconds.clone();
        for (row, first) in nearest.clusters.iter().enumerate() {
            if *first != members.clusters[row] {
                members.seconds[row] = *first;
            }
        }
        let margin = members.margins(&vectors, &centroids, dims)?;
        let distance = members.distances_to(&vectors, &centroids, dims)?;
        cx.metric("clusters", k.into());
        if let Some(warning) = mostly_alone(&members.clusters, k, &near, self.sigma) {
            cx.warn("mostly_alone", &warning);
        }
        let objective = distance.iter().map(|distance| f64::from(*distance)).sum();
        let once = Iteration { objective, splits: 0, empty: 0, moved: rows as u64 };
        let clusters = Clusters { k, cluster_id: members.clusters, distance, margin };
        let centroids = Centroids { dims, sizes: clusters.sizes(), centroids };
        cx.write_part(clusters::CLUSTERS.file, |out| clusters.write(out).map(drop))?;
        cx.write_part(CENTROIDS.file, |out| centroids.write(out).map(drop))?;
        cx.write_part(ITERATIONS.file, |out| write_iterations(out, &[once]).map(drop))
    }
}

/// Products of two numbers in one search: some seconds on two cores.
const TOGETHER: usize = 1 << 36;

/// The nearest centroids of each vector, in pieces, so that the search can be stopped.
fn nearest(vectors: &[&[f32]], centroids: &[f32], dims: usize, cx: &Context<'_>) -> anyhow::Result<Assignment> {
    let mut assigner = assigner_on(cx.device())?;
    let rows = (TOGETHER / centroids.len().max(1)).max(256);
    let total = vectors.iter().map(|slice| slice.len() / dims).sum::<usize>() as u64;
    let mut all = Assignment::default();
    for piece in vectors.iter().flat_map(|slice| slice.chunks(rows * dims)) {
        cx.progress(all.clusters.len() as u64, total, "images");
        cx.checkpoint()?;
        let found = assign(&[piece], centroids, dims, &mut *assigner)?;
        all.clusters.extend(found.clusters);
        all.distances.extend(found.distances);
        all.seconds.extend(found.seconds);
    }
    Ok(all)
}

/// What to say where more than half of the images are alone in their clusters: no flow reaches their neighbours.
fn mostly_alone(clusters: &[ClusterId], k: u32, near: &Neighbors, sigma: f64) -> Option<String> {
    let mut sizes = vec![0_u64; k as usize];
    clusters.iter().for_each(|cluster| sizes[cluster.index()] += 1);
    let (alone, images) = (sizes.iter().filter(|size| **size == 1).count(), clusters.len());
    let mut nearest: Vec<f32> = near.distances.iter().step_by(near.n).copied().collect();
    nearest.sort_by(f32::total_cmp);
    let median = nearest.get(nearest.len() / 2).map_or(0.0, |squared| f64::from(*squared).sqrt());
    (2 * alone > images).then(|| {
        format!(
            "{alone} of {images} images are alone in their clusters. The nearest neighbour is {median:.3} away in the median, and \
             sigma is {sigma}: raise sigma, or the neighbours' n"
        )
    })
}
