//! export: clusters, manifest, metrics, weights -> tables: what people and other tools read of an epoch.

use crate::engine::{Context, Facts, Input, Keep, Noun, Pool, Port, Stage};
use crate::format::clusters::open_iterations;
use crate::format::dataset::IMAGES;
use crate::format::metrics::{open_metrics, open_steps};
use crate::format::tables::{self, Of};
use crate::format::{Clusters, Dataset, Kind, Manifest, clusters, manifest, metrics};
use crate::stages::{CLUSTERS, DATASET, MANIFEST, METRICS, TABLES, WEIGHTS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes what people read of a node, with the epoch in every row, and with paths and labels beside clusters.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {}

const OF_CLUSTERS: &[&str] = &[clusters::CLUSTERS.file, clusters::ITERATIONS.file];
const OF_MANIFEST: &[&str] = manifest::MANIFEST.files();
const OF_METRICS: &[&str] = metrics::METRICS.files();
const OF_WEIGHTS: &[&str] = metrics::STEPS.files();

impl Stage for Export {
    const VERB: &'static str = "export";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::optional("clusters", CLUSTERS.name).reading(OF_CLUSTERS),
        Port::optional("manifest", MANIFEST.name).reading(OF_MANIFEST),
        Port::optional("metrics", METRICS.name).reading(OF_METRICS),
        Port::optional("weights", WEIGHTS.name).reading(OF_WEIGHTS),
        Port::optional("dataset", DATASET.name).reading(IMAGES.files()),
    ];
    const OUTPUT: Noun = TABLES;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;
    const TELLS_EPOCH: bool = true;
    const IMPLIED: bool = true;

    /// The mean of the tables of an epoch: those of clusters and manifest grow with the images.
    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 6)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        if let Some((input, of)) = connected(cx, "clusters", OF_CLUSTERS) {
            let clusters = Clusters::open(&input.part(clusters::CLUSTERS.file)?)?;
            let iterations = open_iterations(&input.part(clusters::ITERATIONS.file)?)?;
            if let Some(dataset) = cx.input_if_any("dataset") {
                let images = Dataset::open(&dataset.part(IMAGES.file)?)?;
                write(cx, &tables::CLUSTERS, |out| of.clusters(out, &clusters, &images).map(drop))?;
            }
            write(cx, &tables::ITERATIONS, |out| of.iterations(out, &iterations).map(drop))?;
        }
        if let Some((input, of)) = connected(cx, "manifest", OF_MANIFEST) {
            let manifest = Manifest::open(&input.part(manifest::MANIFEST.file)?)?;
            write(cx, &tables::MANIFEST, |out| of.manifest(out, &manifest).map(drop))?;
        }
        if let Some((input, of)) = connected(cx, "metrics", OF_METRICS) {
            let metrics = open_metrics(&input.part(metrics::METRICS.file)?)?;
            write(cx, &tables::METRICS, |out| of.metrics(out, &metrics).map(drop))?;
        }
        if let Some((input, of)) = connected(cx, "weights", OF_WEIGHTS) {
            let steps = open_steps(&input.part(metrics::STEPS.file)?)?;
            write(cx, &tables::STEPS, |out| of.steps(out, &steps).map(drop))?;
        }
        Ok(())
    }
}

/// What is at a port, and what its tables say of where they are from.
fn connected<'c, 'a>(cx: &'c Context<'a>, port: &str, parts: &[&str]) -> Option<(&'c Input<'a>, Of)> {
    let input = cx.input_if_any(port)?;
    Some((input, Of { epoch: cx.epoch(), artifact: input.artifact.digest_of(parts) }))
}

fn write(
    cx: &mut Context<'_>,
    kind: &Kind,
    write: impl FnOnce(&mut (dyn std::io::Write + Send)) -> crate::format::error::Result<()>,
) -> anyhow::Result<()> {
    cx.write_part(kind.file, write)
}
