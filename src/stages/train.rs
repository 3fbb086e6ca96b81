//! train: dataset, manifest, weights -> weights: one pass over the manifest, towards the pseudo-labels.

use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::metrics::write_steps;
use crate::format::{Manifest, Step};
use crate::learn::initial::initial_head;
use crate::learn::sgd::SgdOptions;
use crate::learn::train::Trainer;
use crate::learn::{device, place};
use crate::stages::batches::Batches;
use crate::stages::originals::Originals;
use crate::stages::{DATASET, MANIFEST, WEIGHTS, weights};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trains the network for one epoch to predict each image's cluster.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Images of a step; 256 is published.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 2, max = 65536))]
    pub batch: u32,
    /// Learning rate; 0.05 is published, the same in every epoch.
    #[serde(default = "default_lr")]
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Share of the body's momentum that survives a step; 0.9 is published. The head has none.
    #[serde(default = "default_momentum")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Pull of every parameter towards zero; 0.00001 is published.
    #[serde(default = "default_decay")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Share of the values that dropout leaves out; 0.5 is published.
    #[serde(default = "default_dropout")]
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

fn default_batch() -> u32 {
    256
}

fn default_lr() -> f64 {
    SgdOptions::default().lr
}

fn default_momentum() -> f64 {
    SgdOptions::default().momentum
}

fn default_decay() -> f64 {
    SgdOptions::default().weight_decay
}

fn default_dropout() -> f64 {
    0.5
}

impl Stage for Train {
    const VERB: &'static str = "train";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name),
        Port::required("manifest", MANIFEST.name),
        Port::required("weights", WEIGHTS.name),
    ];
    const OUTPUT: Noun = WEIGHTS;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::Milestones;
    const DRAWS: bool = true;

    fn numerics(&self, device: &str) -> Option<String> {
        Some(format!("{}, libjpeg-turbo", place::numerics_of(device)))
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((2..=65536).contains(&self.batch), "batch is {}, not between 2 and 65536", self.batch);
        ensure!(self.lr.is_finite() && self.lr >= 0.0, "lr is {}, not a number from 0 on", self.lr);
        ensure!((0.0..1.0).contains(&self.momentum), "momentum is {}, not between 0 and 1", self.momentum);
        let decay = self.weight_decay;
        ensure!(decay.is_finite() && decay >= 0.0, "weight_decay is {decay}, not a number from 0 on");
        ensure!((0.0..1.0).contains(&self.dropout), "dropout is {}, not between 0 and 1", self.dropout);
        Ok(())
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let originals = Originals::open(cx.input("dataset")?)?;
        let manifest = Manifest::open(&cx.input("manifest")?.part("manifest.parquet")?)?;
        let (shape, state) = weights::read(cx.input("weights")?)?;
        let momentum = weights::read_momentum(cx.input("weights")?)?;
        let seed = cx.seed()?.clone();
        // As published the head has an output for every cluster, though targets are only those that hold an image.
        let (weight, bias) = initial_head(manifest.k as usize, shape.feature_dims(), &seed)?;
        let options = SgdOptions { lr: self.lr, momentum: self.momentum, weight_decay: self.weight_decay };
        let device = device::open(cx.device().parse()?)?;
        let mut trainer = Trainer::new(&shape, &state, &momentum, (&weight, &bias), options, self.dropout, device)?;
        drop((state, momentum, weight, bias));

        let total = manifest.image_id.len() as u64;
        let mut steps: Vec<Step> = Vec::new();
        let mut seen = 0;
        let batches = Batches { originals: &originals, manifest: &manifest, seed: &seed, size: shape.input };
        batches.each(self.batch as usize, |number, batch| {
            cx.checkpoint()?;
            let report = trainer
                .step(&batch.pixels, batch.labels, seed.number("step", number))
                .with_context(|| format!("after {seen} images"))?;
            let images = batch.labels.len() as u64;
            seen += images;
            steps.push(Step { step: number, images, loss: report.loss, lr: self.lr });
            cx.metric("loss", report.loss);
            cx.progress(seen, total, "images");
            Ok(())
        })?;
        let mean = steps.iter().map(|step| step.loss * step.images as f64).sum::<f64>() / seen.max(1) as f64;
        cx.metric("loss", mean);
        weights::write(cx, &shape, &trainer.weights()?)?;
        weights::write_momentum(cx, &shape, &trainer.momentum()?)?;
        cx.write_part("steps.parquet", |out| write_steps(out, &steps).map(drop))
    }
}
