//! neighbors: vectors -> neighbors: for each image the others whose vectors are nearest.

use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::neighbors::{NEIGHBORS as KIND, Neighbors as Table};
use crate::format::rows::PART;
use crate::format::{Centroids, Clusters, clusters, vectors};
use crate::learn::neighbors::{among_cells, exact, recall};
use crate::stages::{CLUSTERS, NEIGHBORS, VECTORS};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds for each image the others that are nearest to it. Up to a number of images it compares all with all; above it,
/// those of clusters near by.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Neighbors {
    /// Neighbours of each image.
    #[serde(default = "default_n")]
    #[schemars(range(min = 1, max = 200))]
    pub n: u32,
    /// Images up to which all are compared with all.
    #[serde(default = "default_exact_up_to")]
    pub exact_up_to: u32,
    /// Above that: clusters besides an image's own that are searched, the nearest by their centroids.
    #[serde(default = "default_cells")]
    #[schemars(range(min = 1, max = 1000))]
    pub cells: u32,
}

const OF_CLUSTERS: &[&str] = &[clusters::CLUSTERS.file, CENTROIDS.file];

fn default_n() -> u32 {
    15
}

fn default_exact_up_to() -> u32 {
    200_000
}

fn default_cells() -> u32 {
    8
}

impl Stage for Neighbors {
    const VERB: &'static str = "neighbors";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("vectors", VECTORS.name).reading(&[PART]),
        Port::optional("clusters", CLUSTERS.name).reading(OF_CLUSTERS),
    ];
    const OUTPUT: Noun = NEIGHBORS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((1..=200).contains(&self.n), "n is {}, not between 1 and 200", self.n);
        ensure!((1..=1000).contains(&self.cells), "cells is {}, not between 1 and 1000", self.cells);
        Ok(())
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        let n = u64::from(self.n);
        let images = inputs.get("vectors", "images").unwrap_or(u64::MAX);
        ensure!(
            images > n,
            "{images} images do not have n = {n} neighbours each; n may be {} at most",
            images.max(1) - 1
        );
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * u64::from(self.n) * 8)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let table = vectors::open(&cx.input("vectors")?.parts(PART)?)?;
        let vectors: Vec<&[f32]> = table.iter().map(|(_, numbers)| numbers).collect();
        let (dims, rows, n) = (table.width(), table.rows(), self.n as usize);
        let found = if rows <= self.exact_up_to as usize {
            exact(&vectors, dims, n, &mut |done| tell(cx, done, rows))?
        } else {
            let input = cx.input_if_any("clusters").with_context(|| {
                format!("{rows} images are more than exact_up_to = {}: connect the port clusters", self.exact_up_to)
            })?;
            let clusters = Clusters::open(&input.part(clusters::CLUSTERS.file)?)?;
            let centroids = Centroids::open(&input.part(CENTROIDS.file)?)?;
            ensure!(
                clusters.cluster_id.len() == rows,
                "{} images were clustered, {rows} have vectors",
                clusters.cluster_id.len()
            );
            ensure!(centroids.dims == dims, "centroids of {} dimensions, vectors of {dims}", centroids.dims);
            let cells = (&centroids.centroids[..], dims);
            let limits = (n, self.cells as usize);
            let found = among_cells(&vectors, cells, &clusters.members(), limits, &mut |done| tell(cx, done, rows))?;
            cx.metric("recall", recall(&vectors, dims, &found, n, &mut |done| tell(cx, done, rows))?);
            found
        };
        let table = Table { n, ids: found.ids, distances: found.distances };
        cx.write_part(KIND.file, |out| table.write(out).map(drop))
    }
}

fn tell(cx: &Context<'_>, done: usize, rows: usize) -> anyhow::Result<()> {
    cx.progress(done as u64, rows as u64, "images");
    cx.checkpoint()
}
