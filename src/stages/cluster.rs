//! cluster: vectors -> clusters: k-means, with every image's cluster, the centroids, and how it went.

use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::clusters::{self, ITERATIONS, write_iterations};
use crate::format::rows::PART;
use crate::format::search::{SEARCH, Search};
use crate::format::{self, Centroids, Iteration, vectors};
use crate::learn::kmeans::Lloyd;
use crate::learn::nearest::assigner_on;
use crate::stages::{CLUSTERS, VECTORS};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

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
    const INPUTS: &'static [Port] = &[Port::required("vectors", VECTORS.name).reading(&[PART])];
    const OUTPUT: Noun = CLUSTERS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        ensure!(self.k >= 1, "k is 0; at least one cluster is needed");
        ensure!((1..=10_000).contains(&self.iterations), "iterations is {}, not between 1 and 10000", self.iterations);
        facts.get("images").map_or(Ok(()), |images| self.check_k(*images))
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        inputs.get("vectors", "images").map_or(Ok(()), |images| self.check_k(images))
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 12 + u64::from(self.k) * 1024)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let table = vectors::open(&cx.input("vectors")?.parts(PART)?)?;
        let vectors: Vec<&[f32]> = table.iter().map(|(_, numbers)| numbers).collect();
        let dims = table.width();
        let mut assigner = assigner_on(cx.device())?;
        let (mut lloyd, mut iterations) = self.start(cx, &vectors, dims)?;
        let every = iterations_between_saves(table.rows() * dims, self.k as usize);
        for done in lloyd.iteration + 1..=self.iterations {
            let report = lloyd.step(&vectors, &mut *assigner)?;
            let (splits, empty, moved) = (report.splits, report.empty, report.moved);
            iterations.push(Iteration { objective: report.objective, splits, empty, moved });
            cx.metric("objective", report.objective);
            cx.progress(u64::from(done), u64::from(self.iterations) + 1, "iterations");
            if done.is_multiple_of(every) || cx.is_interrupted() {
                save(cx, &lloyd, &iterations)?;
                cx.checkpoint()?;
            }
        }
        let assigned = lloyd.assign(&vectors, &mut *assigner)?;
        let margin = assigned.margins(&vectors, &lloyd.centroids, dims)?;
        let clusters =
            format::Clusters { k: self.k, cluster_id: assigned.clusters, distance: assigned.distances, margin };
        let sizes = clusters.sizes();
        let empty = sizes.iter().filter(|size| **size == 0).count();
        cx.metric("empty", empty as f64);
        let centroids = Centroids { dims, sizes, centroids: lloyd.centroids };
        cx.write_part(clusters::CLUSTERS.file, |out| clusters.write(out).map(drop))?;
        cx.write_part(CENTROIDS.file, |out| centroids.write(out).map(drop))?;
        cx.write_part(ITERATIONS.file, |out| write_iterations(out, &iterations).map(drop))
    }
}

/// Multiplications that a save may be far from the last: seconds of one core.
const SAVE_AFTER: u64 = 1 << 38;

/// From the sizes alone, so that an interrupted run and an undisturbed one save the same. Numbers of all vectors are
/// multiplied with every centroid.
fn iterations_between_saves(numbers: usize, k: usize) -> u32 {
    let each = (numbers as u64).saturating_mul(k as u64).max(1);
    u32::try_from(SAVE_AFTER.div_ceil(each)).unwrap_or(u32::MAX)
}

fn name_of(iteration: u32) -> String {
    format!("after iteration {iteration}")
}

fn save(cx: &mut Context<'_>, lloyd: &Lloyd, iterations: &[Iteration]) -> anyhow::Result<()> {
    let owner = cx.key().to_string();
    let state = Search {
        k: lloyd.k,
        dims: lloyd.dims,
        centroids: Cow::Borrowed(&lloyd.centroids),
        previous: Cow::Borrowed(&lloyd.previous),
        iterations: Cow::Borrowed(iterations),
    };
    cx.save(&name_of(lloyd.iteration), |out| out.write_part(SEARCH.file, |out| state.write(out, &owner).map(drop)))
}

impl Cluster {
    fn check_k(&self, images: u64) -> anyhow::Result<()> {
        let k = self.k;
        ensure!(images >= u64::from(k), "{images} images cannot make k = {k} clusters; k may be {images} at most");
        Ok(())
    }

    /// The first centroids, or those that an interrupted run came to, with how it went so far.
    fn start(&self, cx: &mut Context<'_>, vectors: &[&[f32]], dims: usize) -> anyhow::Result<(Lloyd, Vec<Iteration>)> {
        let saved = cx.saved((1..=self.iterations).rev().map(name_of))?;
        let opened = saved.map(|saved| Ok::<_, anyhow::Error>(Search::open(&saved.part(SEARCH.file)?)?));
        let state = match opened {
            Some(Ok(state)) => state,
            other => {
                if let Some(Err(error)) = other {
                    cx.note(format!("what an interrupted run saved cannot be read ({error:#}); starting anew"));
                }
                return Ok((Lloyd::from_permutation(vectors, dims, self.k as usize, cx.seed()?)?, Vec::new()));
            }
        };
        let mut lloyd = Lloyd::from_centroids(state.centroids.into_owned(), state.dims)?;
        lloyd.iteration = state.iterations.len() as u32;
        lloyd.previous = state.previous.into_owned();
        Ok((lloyd, state.iterations.into_owned()))
    }
}
