//! train: dataset, weights, clusters -> weights: one pass over all images, towards the centroids of their clusters.

use super::bank::has_projection;
use super::crops::{Pass, check_augment, over_published};
pub use super::crops::{Small, published};
use super::held::{Held, Rows, save};
use crate::engine::{Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::metrics::{STEPS, mean_loss, write_steps};
use crate::format::{Centroids, Clusters, Metadata, Step, clusters};
use crate::image::{Augment, JPEG_LIBRARY};
use crate::learn::arch::NetShape;
use crate::learn::device;
use crate::learn::sgd::SgdOptions;
use crate::learn::train_v2::{BANKED, Options, Prototypes, TrainerV2};
use crate::stages::originals::{IMAGES, Originals};
use crate::stages::saves::Saves;
use crate::stages::{CLUSTERS, DATASET, WEIGHTS, is_default, weights};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The ports at which clusterings are. Those that are connected count.
const HEADS: [&str; 3] = ["clusters", "clusters_2", "clusters_3"];
/// What is read of each.
const OF_CLUSTERS: &[&str] = &[clusters::CLUSTERS.file, CENTROIDS.file];

/// Trains the network for one epoch of DeepCluster-v2. Every crop of an image is pulled towards the centroid of the
/// image's cluster, in each clustering at its ports.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainV2 {
    /// Epochs of the whole schedule of learning rates. A stage knows its own epoch, and not how many a run has.
    #[schemars(range(min = 1))]
    pub epochs: u32,
    /// Epochs in which the learning rate rises from `first_lr` to `lr`; 10 is published. Then it falls as a cosine does.
    #[serde(default = "default_warm_up")]
    pub warm_up: u32,
    /// Learning rate at the first step; the published one, 0.3 for 4,096 images, scaled to 256.
    #[serde(default = "default_first_lr")]
    #[schemars(range(min = 0.0))]
    pub first_lr: f64,
    /// Largest learning rate; 4.8 is published for steps of 4,096 images, which is 0.3 for 256.
    #[serde(default = "default_lr")]
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Learning rate at the end of the schedule; the published one, 0.0048 for 4,096 images, scaled to 256.
    #[serde(default = "default_last_lr")]
    #[schemars(range(min = 0.0))]
    pub last_lr: f64,
    /// Most images of a step; 4,096 is published. Steps differ by one image at most.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 2, max = 65536))]
    pub batch: u32,
    /// Share of the momentum that survives a step; 0.9 is published.
    #[serde(default = "default_momentum")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Pull of every parameter towards zero; 0.000001 is published.
    #[serde(default = "default_decay")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// By which share of its length a layer moves at a learning rate of 1 (LARS); 0.001 is published.
    #[serde(default = "default_trust")]
    #[schemars(range(min = 0.0))]
    pub trust: f64,
    /// What scores are divided by; 0.1 is published.
    #[serde(default = "default_temperature")]
    #[schemars(range(min = 0.001))]
    pub temperature: f64,
    /// Large crops of each image; 2 is published. The bank has the first two.
    #[serde(default = "default_crops")]
    #[schemars(range(min = 2, max = 64))]
    pub crops: u32,
    /// How crops are drawn and what becomes of their colours; what is left out is as published. `scale` is of the large
    /// crops; 0.14 is published where there are small ones.
    #[serde(default = "published", deserialize_with = "over_published")]
    pub augment: Augment,
    /// Small crops of each image, beside the large ones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub small: Small,
    /// Steps between two checkpoints, from which an interrupted run resumes; if left out, one comes every two minutes.
    /// Results do not depend on it.
    #[serde(default, skip_serializing)]
    #[schemars(range(min = 1))]
    pub save_every: Option<u32>,
}

fn default_warm_up() -> u32 {
    10
}

fn default_first_lr() -> f64 {
    0.01875
}

fn default_lr() -> f64 {
    0.3
}

fn default_last_lr() -> f64 {
    0.0003
}

pub(super) fn default_batch() -> u32 {
    256
}

fn default_momentum() -> f64 {
    0.9
}

fn default_decay() -> f64 {
    1e-6
}

fn default_trust() -> f64 {
    0.001
}

fn default_temperature() -> f64 {
    0.1
}

fn default_crops() -> u32 {
    BANKED as u32
}

impl Stage for TrainV2 {
    const VERB: &'static str = "train_v2";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART, weights::MOMENTUM_PART]),
        Port::required(HEADS[0], CLUSTERS.name).reading(OF_CLUSTERS),
        Port::optional(HEADS[1], CLUSTERS.name).reading(OF_CLUSTERS),
        Port::optional(HEADS[2], CLUSTERS.name).reading(OF_CLUSTERS),
    ];
    const OUTPUT: Noun = WEIGHTS;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::Every(10);
    const DRAWS: bool = true;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(format!("{}, {JPEG_LIBRARY}", device.numerics))
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let Self { epochs, warm_up, batch, .. } = *self;
        ensure!(epochs > 0, "epochs is 0; the schedule needs one");
        ensure!(
            warm_up <= epochs,
            "warm_up is {warm_up}, and the schedule has {epochs} epochs; set warm_up: {epochs} at most"
        );
        ensure!((2..=65536).contains(&batch), "batch is {batch}, not between 2 and 65536");
        for (name, value) in [
            ("first_lr", self.first_lr),
            ("lr", self.lr),
            ("last_lr", self.last_lr),
            ("weight_decay", self.weight_decay),
            ("trust", self.trust),
        ] {
            ensure!(value.is_finite() && value >= 0.0, "{name} is {value}, not a number from 0 on");
        }
        ensure!((0.0..1.0).contains(&self.momentum), "momentum is {}, not from 0 to below 1", self.momentum);
        let temperature = self.temperature;
        ensure!(temperature.is_finite() && temperature >= 0.001, "temperature is {temperature}, not from 0.001 on");
        ensure!((2..=64).contains(&self.crops), "crops is {}, not between 2 and 64", self.crops);
        check_augment(&self.augment)?;
        self.small.check()?;
        ensure!(self.save_every != Some(0), "save_every is 0, not a number of steps from 1 on");
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let mut sizes = weights::sizes_of_trained(inputs);
        sizes.extend(inputs.handed_on("weights", "projected"));
        sizes
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        has_projection(inputs)?;
        let Some(projected) = inputs.get("weights", "projected") else { return Ok(()) };
        for port in HEADS {
            let dims = inputs.get(port, "dims").unwrap_or(projected);
            ensure!(
                dims == projected,
                "the clusters at the port {port} have {dims} dimensions, and a projection has {projected}; \
                 cluster a bank"
            );
        }
        weights::planned(inputs).map_or(Ok(()), |shape| self.check_small(&shape))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let originals = Originals::open(cx.input("dataset")?)?;
        let images = originals.dataset.len();
        let heads = Heads::open(cx, images)?;
        let seed = cx.seed()?.clone();
        let pass = Pass::new(&originals, &seed, self.augment, self.batch);
        let held = match Held::saved(cx, pass.steps(), images)? {
            Some(held) => held,
            None => {
                let (shape, state) = weights::read(cx.input("weights")?)?;
                let momentum = weights::read_momentum(cx.input("weights")?)?;
                Held { shape, state, momentum, rows: None, steps: Vec::new() }
            }
        };
        let shape = held.shape;
        self.check_small(&shape)?;
        let pass = pass.large(self.crops, shape.input).small(self.small);
        let device = device::open(cx.device().parse()?)?;
        let mut trainer = TrainerV2::new(&shape, &held.state, &held.momentum, &heads.prototypes(), device)?;
        let mut rows = held.rows.unwrap_or_else(|| Rows::new(images, trainer.dims()));
        let mut steps = held.steps;
        drop((held.state, held.momentum));

        let mut seen: u64 = steps.iter().map(|step| step.images).sum();
        let mut saves = Saves::new(self.save_every);
        let epoch = cx.epoch().0;
        pass.each(steps.len() as u64, |number, crops| {
            let batch = pass.images(number);
            let labels =
                heads.0.iter().map(|(clusters, _)| batch.iter().map(|i| clusters.cluster_id[i.index()]).collect());
            let lr = self.rate(epoch, number, pass.steps());
            let sgd = SgdOptions { lr, momentum: self.momentum, weight_decay: self.weight_decay };
            let options = Options { sgd, trust: self.trust, temperature: self.temperature };
            let labels: Vec<Vec<_>> = labels.collect();
            let report = trainer.step(&crops, &labels, &options).with_context(|| format!("after {seen} images"))?;
            rows.put(batch, &report.banked);
            let size = batch.len() as u64;
            seen += size;
            steps.push(Step { step: number, images: size, loss: report.loss, lr });
            cx.metric("loss", report.loss);
            cx.progress(seen, images as u64, "images");
            if saves.is_due(number + 1, pass.steps(), cx) {
                save(cx, &shape, &trainer, &rows, &steps)?;
                saves.restart();
                cx.checkpoint()?;
            }
            Ok(())
        })?;
        // A loss near ln k says nothing here: it may fall through it, for scores begin anywhere.
        cx.metric("loss", mean_loss(&steps));
        weights::write(cx.output(), &shape, &trainer.weights()?, Some(&trainer.momentum()?), &Metadata::new())?;
        cx.write_part(STEPS.file, |out| write_steps(out, &steps, &Metadata::new()).map(drop))?;
        rows.write(cx.output(), &Metadata::new())
    }
}

impl TrainV2 {
    /// The learning rate of a step, which counts from 0, in an epoch of so many; epochs count from 1.
    pub fn rate(&self, epoch: u32, step: u64, steps: u64) -> f64 {
        let at = f64::from(epoch.saturating_sub(1)) + step as f64 / steps.max(1) as f64;
        let (warm_up, epochs) = (f64::from(self.warm_up), f64::from(self.epochs));
        if at < warm_up {
            return self.first_lr + (self.lr - self.first_lr) * at / warm_up;
        }
        let share = ((at - warm_up) / (epochs - warm_up)).min(1.0);
        let share = if share.is_nan() { 1.0 } else { share };
        self.last_lr + (self.lr - self.last_lr) * (1.0 + (PI * share).cos()) / 2.0
    }

    /// Refuses small crops that the network cannot take.
    fn check_small(&self, shape: &NetShape) -> anyhow::Result<()> {
        let side = self.small.side;
        if self.small.crops == 0 || side == shape.input {
            return Ok(());
        }
        let smallest = shape.smallest().with_context(|| {
            format!(
                "small crops of {side} pixels do not fit the network: it takes {} pixels alone. Take resnet18 or \
                 resnet50 in init's arch, or leave small out",
                shape.input
            )
        })?;
        ensure!(
            side >= smallest,
            "small crops of {side} pixels are too small for the network; set small's side to {smallest} or more"
        );
        Ok(())
    }
}

/// The clusterings.
struct Heads(Vec<(Clusters, Centroids)>);

impl Heads {
    fn open(cx: &Context<'_>, images: usize) -> anyhow::Result<Self> {
        let mut heads = Vec::new();
        for port in HEADS {
            let Some(input) = cx.input_if_any(port) else { continue };
            let clusters = Clusters::open(&input.part(clusters::CLUSTERS.file)?)?;
            let centroids = Centroids::open(&input.part(CENTROIDS.file)?)?;
            let of = clusters.cluster_id.len();
            ensure!(of == images, "the clusters at the port {port} are of {of} images, and the dataset has {images}");
            let (k, found) = (clusters.k as usize, centroids.sizes.len());
            ensure!(k == found, "the clusters at the port {port} are {k}, and their centroids {found}");
            heads.push((clusters, centroids));
        }
        Ok(Self(heads))
    }

    fn prototypes(&self) -> Vec<Prototypes<'_>> {
        let centroids = self.0.iter().map(|(_, centroids)| centroids);
        centroids.map(|all| Prototypes { k: all.sizes.len(), centroids: &all.centroids }).collect()
    }
}
