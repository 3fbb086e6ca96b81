//! cluster: vectors -> clusters: k-means, with every image's cluster, the centroids, and how it went.

use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::clusters::write_iterations;
use crate::format::{self, Centroids, Iteration, vectors};
use crate::learn::kmeans::Lloyd;
use crate::learn::place::assigner_on;
use crate::stages::{CLUSTERS, VECTORS};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Groups the vectors by k-means, as faiss does: random vectors to begin with, empty clusters refilled by splitting.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Number of clusters; 10,000 is published for ImageNet, about ten times the classes there are.
    #[schemars(range(min = 1))]
    pub k: u32,
    /// Iterations; 20 is published.
    #[serde(default = "default_iterations")]
    #[schemars(range(min = 1, max = 10000))]
    pub iterations: u32,
}

fn default_iterations() -> u32 {
    20
}

impl Stage for Cluster {
    const VERB: &'static str = "cluster";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("vectors", VECTORS.name)];
    const OUTPUT: Noun = CLUSTERS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        ensure!(self.k >= 1, "k is 0; at least one cluster is needed");
        ensure!((1..=10_000).contains(&self.iterations), "iterations is {}, not between 1 and 10000", self.iterations);
        if let Some(images) = facts.get("images") {
            let k = self.k;
            ensure!(*images >= u64::from(k), "{images} images cannot make k = {k} clusters; k may be {images} at most");
        }
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 12 + u64::from(self.k) * 1024)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let table = vectors::open(&cx.input("vectors")?.parts("part-"))?;
        let vectors = table.whole().context("the vectors are in several batches")?;
        let dims = table.width();
        let mut assigner = assigner_on(cx.device())?;
        let mut lloyd = Lloyd::from_permutation(vectors, dims, self.k as usize, cx.seed()?)?;
        let mut iterations = Vec::with_capacity(self.iterations as usize);
        for done in 1..=self.iterations {
            cx.checkpoint()?;
            let report = lloyd.step(vectors, &mut *assigner)?;
            let (splits, empty, moved) = (report.splits, report.empty, report.moved);
            iterations.push(Iteration { objective: report.objective, splits, empty, moved });
            cx.metric("objective", report.objective);
            cx.progress(u64::from(done), u64::from(self.iterations) + 1, "iterations");
        }
        let assigned = lloyd.assign(vectors, &mut *assigner)?;
        let margin = assigned.margins(vectors, &lloyd.centroids, dims);
        let clusters =
            format::Clusters { k: self.k, cluster_id: assigned.clusters, distance: assigned.distances, margin };
        let sizes = clusters.sizes();
        let empty = sizes.iter().filter(|size| **size == 0).count();
        cx.metric("empty", empty as f64);
        let centroids = Centroids { dims, sizes, centroids: lloyd.centroids };
        cx.write_part("clusters.parquet", |out| clusters.write(out).map(drop))?;
        cx.write_part("centroids.arrow", |out| centroids.write(out).map(drop))?;
        cx.write_part("iterations.parquet", |out| write_iterations(out, &iterations).map(drop))
    }
}
