//! train: dataset, manifest, weights -> weights: one pass over the manifest, towards the pseudo-labels.

use crate::engine::{Before, Context, Device, Facts, Input, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::metrics::{STEPS, end_loss, mean_loss, open_steps, write_steps};
use crate::format::{FormatError, Manifest, Metadata, Step, manifest};
use crate::image::{Augment, JPEG_LIBRARY};
use crate::learn::arch::NetShape;
use crate::learn::device;
use crate::learn::health::{self, Learning};
use crate::learn::initial::initial_head;
use crate::learn::sgd::SgdOptions;
use crate::learn::tensors::StateDict;
use crate::learn::train::{self, Head, Trainer};
use crate::stages::batches::Batches;
use crate::stages::originals::{IMAGES, Originals};
use crate::stages::saves::{Saves, after_step, owner};
use crate::stages::{DATASET, MANIFEST, WEIGHTS, is_default, weights};
use anyhow::{Context as _, anyhow, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many clusters may be claimed whatever the images.
const CLAIMED_K: usize = 1 << 16;

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
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Pull of every parameter towards zero; 0.00001 is published.
    #[serde(default = "default_decay")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Share of the values that dropout leaves out; 0.5 is published.
    #[serde(default = "default_dropout")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// How crops are drawn and what becomes of their colours; left out, they are as published.
    #[serde(default, skip_serializing_if = "is_default")]
    pub augment: Augment,
    /// Steps between two checkpoints, from which an interrupted run resumes; if left out, one comes every two minutes.
    /// Results do not depend on it.
    #[serde(default, skip_serializing)]
    #[schemars(range(min = 1))]
    pub save_every: Option<u32>,
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
        Port::required("dataset", DATASET.name).reading(IMAGES),
        Port::required("manifest", MANIFEST.name),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART, weights::MOMENTUM_PART]),
    ];
    const OUTPUT: Noun = WEIGHTS;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::Every(10);
    const DRAWS: bool = true;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(format!("{}, {JPEG_LIBRARY}", device.numerics))
    }

    fn before(&self, device: &Device) -> Before {
        let numerics = Some(format!("{}, libjpeg-turbo", device.numerics));
        Before { version: Self::VERSION, format: Self::OUTPUT.format, numerics, by_parts: false }
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((2..=65536).contains(&self.batch), "batch is {}, not between 2 and 65536", self.batch);
        ensure!(self.lr.is_finite() && self.lr >= 0.0, "lr is {}, not a number from 0 on", self.lr);
        ensure!((0.0..1.0).contains(&self.momentum), "momentum is {}, not from 0 to below 1", self.momentum);
        let decay = self.weight_decay;
        ensure!(decay.is_finite() && decay >= 0.0, "weight_decay is {decay}, not a number from 0 on");
        ensure!((0.0..1.0).contains(&self.dropout), "dropout is {}, not from 0 to below 1", self.dropout);
        self.augment.check().map_err(|wrong| anyhow!(wrong))?;
        ensure!(self.save_every != Some(0), "save_every is 0, not a number of steps from 1 on");
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        weights::sizes_of_trained(inputs)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let originals = Originals::open(cx.input("dataset")?)?;
        let manifest = Manifest::open(&cx.input("manifest")?.part(manifest::MANIFEST.file)?)?;
        let total = manifest.image_id.len().div_ceil(self.batch as usize) as u64;
        // No clustering makes more clusters than there are images; a head for what a wrong file says would not fit.
        let (k, images) = (manifest.k as usize, originals.dataset.len());
        if k > images.max(CLAIMED_K) {
            let (kind, reason) = (manifest::MANIFEST.file.to_owned(), format!("{k} clusters of {images} images"));
            return Err(FormatError::Damaged { kind, reason }.into());
        }
        let start = self.start(cx, &manifest, total)?;
        let (shape, seed) = (start.shape, cx.seed()?.clone());
        let options = SgdOptions { lr: self.lr, momentum: self.momentum, weight_decay: self.weight_decay };
        let device = device::open(cx.device().parse()?)?;
        let head = (&start.head.0, &start.head.1);
        let mut trainer = Trainer::new(&shape, &start.state, &start.momentum, head, options, self.dropout, device)?;
        let mut steps = start.steps;
        drop((start.state, start.momentum, start.head));

        let images = manifest.image_id.len() as u64;
        let mut seen: u64 = steps.iter().map(|step| step.images).sum();
        let mut saves = Saves::new(self.save_every);
        let batches = Batches {
            originals: &originals,
            manifest: &manifest,
            seed: &seed,
            augment: self.augment,
            size: shape.input,
        };
        batches.each(self.batch as usize, steps.len(), |number, batch| {
            let report = trainer
                .step(&batch.pixels, batch.labels, seed.number("step", number))
                .with_context(|| format!("after {seen} images"))?;
            let size = batch.labels.len() as u64;
            seen += size;
            steps.push(Step { step: number, images: size, loss: report.loss, lr: self.lr });
            cx.metric("loss", report.loss);
            cx.progress(seen, images, "images");
            if saves.is_due(number + 1, total, cx) {
                save(cx, &shape, &trainer, &steps)?;
                saves.restart();
                cx.checkpoint()?;
            }
            Ok(())
        })?;
        cx.metric("loss", mean_loss(&steps));
        let learning = Learning { epoch: cx.epoch().0, steps: steps.len(), classes: manifest.classes.into() };
        if let Some(loss) = end_loss(&steps).filter(|loss| learning.is_chance(*loss)) {
            cx.warn("loss_at_chance", &health::text("loss_at_chance", loss));
        }
        weights::write(cx.output(), &shape, &trainer.weights()?, Some(&trainer.momentum()?), &Metadata::new())?;
        cx.write_part(STEPS.file, |out| write_steps(out, &steps, &Metadata::new()).map(drop))
    }
}

/// Where an epoch begins, or resumes.
struct Start {
    shape: NetShape,
    state: StateDict,
    momentum: StateDict,
    head: Head,
    steps: Vec<Step>,
}

impl Train {
    fn start(&self, cx: &mut Context<'_>, manifest: &Manifest, total: u64) -> anyhow::Result<Start> {
        match cx.saved((1..total).rev().map(after_step))?.map(|(_, saved)| reopen(&saved)) {
            Some(Ok(start)) => return Ok(start),
            Some(Err(error)) => {
                cx.note(format!("what an interrupted run saved cannot be read ({error:#}); the epoch starts anew"));
            }
            None => {}
        }
        let (shape, state) = weights::read(cx.input("weights")?)?;
        // As published the head has an output for every cluster, though targets are only those that hold an image.
        let head = initial_head(manifest.k as usize, shape.feature_dims(), cx.seed()?)?;
        let momentum = weights::read_momentum(cx.input("weights")?)?;
        Ok(Start { shape, state, momentum, head, steps: Vec::new() })
    }
}

fn reopen(saved: &Input<'_>) -> anyhow::Result<Start> {
    let (shape, state) = weights::read(saved)?;
    let (head, momentum) = (train::head(&state)?, weights::read_momentum(saved)?);
    Ok(Start { shape, state, momentum, head, steps: open_steps(&saved.part(STEPS.file)?)? })
}

/// Weights, batch-norm statistics, head, momentum and losses: all that decides the rest of the epoch. What is drawn is
/// drawn by position.
fn save(cx: &mut Context<'_>, shape: &NetShape, trainer: &Trainer, steps: &[Step]) -> anyhow::Result<()> {
    let name = after_step(steps.len() as u64);
    let owner = owner(&name, cx);
    cx.save(&name, |out| {
        weights::write(out, shape, &trainer.weights()?, Some(&trainer.momentum()?), &owner)?;
        out.write_part(STEPS.file, |out| write_steps(out, steps, &owner).map(drop))
    })
}
