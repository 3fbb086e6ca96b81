//! sample: clusters -> manifest: the epoch's reading order, every cluster equally often.

use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::{self, Clusters, clusters, manifest};
use crate::learn::sampler::{self, Draw};
use crate::stages::{CLUSTERS, MANIFEST};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws the images that an epoch trains on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How images are drawn.
    #[serde(default)]
    pub draw: Draw,
    /// How many; the default is as many as there are images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub length: Option<u32>,
}

impl Stage for Sample {
    const VERB: &'static str = "sample";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("clusters", CLUSTERS.name).reading(clusters::CLUSTERS.files())];
    const OUTPUT: Noun = MANIFEST;
    const POOL: Pool = Pool::Light;
    // Small, and what people look at when they ask what was trained on.
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!(self.length != Some(0), "length is 0; an epoch needs at least one image");
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        self.length.map(u64::from).or(facts.get("images").copied()).map(|length| length * 12)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let clusters = Clusters::open(&cx.input("clusters")?.part(clusters::CLUSTERS.file)?)?;
        let length = self.length.map_or(clusters.cluster_id.len(), |length| length as usize);
        let drawn = sampler::draw(&clusters.cluster_id, clusters.k, length, self.draw, cx.seed()?)?;
        cx.metric("classes", f64::from(drawn.classes));
        let manifest = format::Manifest {
            k: clusters.k,
            classes: drawn.classes,
            image_id: drawn.image,
            cluster_id: drawn.cluster,
            pseudo_label: drawn.label,
        };
        cx.write_part(manifest::MANIFEST.file, |out| manifest.write(out).map(drop))
    }
}
