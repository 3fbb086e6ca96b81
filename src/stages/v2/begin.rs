//! begin: dataset, weights -> weights: a fresh projection, and a bank from one pass without learning.

use super::crops::{Pass, check_augment, over_published};
use super::held::{Held, Rows, save};
use super::train::published;
use crate::engine::{Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::{Metadata, Step};
use crate::image::{Augment, JPEG_LIBRARY};
use crate::learn::device;
use crate::learn::initial::initial_projection;
use crate::learn::projector::Projection;
use crate::learn::tensors::StateDict;
use crate::learn::train_v2::{BANKED, TrainerV2};
use crate::stages::originals::{IMAGES, Originals};
use crate::stages::saves::Saves;
use crate::stages::{DATASET, FIRST_BANK, WEIGHTS, weights};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws the projection of DeepCluster-v2 and fills the first bank. For it, two crops of each image pass the network once, in
/// training mode and without a gradient.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginV2 {
    /// Numbers between the projection's two layers; 2,048 is published.
    #[serde(default = "default_hidden")]
    #[schemars(range(min = 1, max = 16384))]
    pub hidden: u32,
    /// Numbers of a projected feature; 128 is published.
    #[serde(default = "default_dims")]
    #[schemars(range(min = 2, max = 4096))]
    pub dims: u32,
    /// Most images of a batch. Batches differ by one image at most.
    #[serde(default = "super::train::default_batch")]
    #[schemars(range(min = 2, max = 65536))]
    pub batch: u32,
    /// How crops are drawn and what becomes of their colours; what is left out is as published.
    #[serde(default = "published", deserialize_with = "over_published")]
    pub augment: Augment,
}

fn default_hidden() -> u32 {
    2048
}

fn default_dims() -> u32 {
    128
}

impl Stage for BeginV2 {
    const VERB: &'static str = "begin_v2";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART]),
    ];
    const OUTPUT: Noun = FIRST_BANK;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::UntilUsed;
    const DRAWS: bool = true;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(format!("{}, {JPEG_LIBRARY}", device.numerics))
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((1..=16384).contains(&self.hidden), "hidden is {}, not between 1 and 16384", self.hidden);
        ensure!((2..=4096).contains(&self.dims), "dims is {}, not between 2 and 4096", self.dims);
        ensure!((2..=65536).contains(&self.batch), "batch is {}, not between 2 and 65536", self.batch);
        check_augment(&self.augment)
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let mut sizes = weights::sizes_of_same(inputs);
        sizes.push(("projected", self.dims.into()));
        sizes
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let originals = Originals::open(cx.input("dataset")?)?;
        let seed = cx.seed()?.clone();
        let pass = Pass::new(&originals, &seed, self.augment, self.batch);
        let images = originals.dataset.len();
        let held = match Held::saved(cx, pass.steps(), images)? {
            Some(held) => held,
            None => {
                let (shape, mut state) = weights::read(cx.input("weights")?)?;
                let projection =
                    Projection { from: shape.feature_dims() as i64, hidden: self.hidden.into(), to: self.dims.into() };
                // Those of another method's heads are not this one's.
                state.retain(|name, _| !crate::learn::tensors::HEADS.iter().any(|head| name.starts_with(head)));
                state.extend(initial_projection(projection, &seed)?);
                Held { shape, state, momentum: StateDict::new(), rows: None, steps: Vec::new() }
            }
        };
        let shape = held.shape;
        let pass = pass.large(BANKED as u32, shape.input);
        let device = device::open(cx.device().parse()?)?;
        let mut trainer = TrainerV2::new(&shape, &held.state, &held.momentum, &[], device)?;
        let mut rows = held.rows.unwrap_or_else(|| Rows::new(images, trainer.dims()));
        let mut steps = held.steps;
        let mut seen: u64 = steps.iter().map(|step| step.images).sum();
        let mut saves = Saves::new(None);
        pass.each(steps.len() as u64, |number, crops| {
            let batch = pass.images(number);
            rows.put(batch, &trainer.project(&crops, batch.len())?);
            seen += batch.len() as u64;
            steps.push(Step { step: number, images: batch.len() as u64, loss: 0., lr: 0. });
            cx.progress(seen, images as u64, "images");
            if saves.is_due(number + 1, pass.steps(), cx) {
                save(cx, &shape, &trainer, &rows, &steps)?;
                saves.restart();
                cx.checkpoint()?;
            }
            Ok(())
        })?;
        weights::write(cx.output(), &shape, &trainer.weights()?, None, &Metadata::new())?;
        rows.write(cx.output(), &Metadata::new())
    }
}
