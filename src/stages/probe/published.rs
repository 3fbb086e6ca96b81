//! published: images with labels, weights -> evaluation: the published linear probe, by SGD on random crops.

use super::cuts::Cuts;
use super::draw::{Drawn, Sizes as DrawSizes, draw};
use super::images::{self, Images};
use super::{BATCH, add_random, layers, measurable, verdict};
use crate::engine::{Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::dataset::IMAGES;
use crate::format::evaluation::{EVALUATION as TABLE, Subject};
use crate::format::{Evaluation, Measure};
use crate::learn::activations::Tap;
use crate::learn::calibrate::calibrated;
use crate::learn::device;
use crate::learn::heads::{Heads, likeliest, maps};
use crate::learn::net::Net;
use crate::learn::order::shuffle;
use crate::learn::probe::probe_lr;
use crate::learn::sgd::SgdOptions;
use crate::stages::saves::{Saves, after_step, newest, owner};
use crate::stages::{CROPS, DATASET, EVALUATION, WEIGHTS, weights};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Accuracy after the best epoch, which the held-out images choose, as published; and after the last one.
const MEASURES: [&str; 2] = ["linear", "linear_last"];
const PROTOCOL: &str = "published";

/// Trains a linear classifier on each layer of a frozen network, as the published linear probe does. SGD sees random crops
/// and their mirror images, and all layers learn in one pass.
///
/// The crops at its ports are larger than what the network takes: 256 pixels for 224 are published. Each epoch cuts its
/// own crops from them. The published program measures after each epoch and reports the best one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearProbe {
    /// Layers that are measured, such as conv5; all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Epochs; 90 is published.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1, max = 10000))]
    pub epochs: u32,
    /// Images of a step; 256 is published.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch: u32,
    /// Learning rate of the first step; 0.01 is published. At step t it is lr / sqrt(1 + lr * weight_decay * t).
    #[serde(default = "default_lr")]
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Share of the momentum that survives a step; 0.9 is published.
    #[serde(default = "default_momentum")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Pull of the classifiers' weights towards zero; 0.0001 is published.
    #[serde(default = "default_decay")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Whether an image is measured by ten crops: four corners and the centre, and their mirror images. Their shares are
    /// summed.
    #[serde(default)]
    pub ten_crops: bool,
    /// Share of each label's images that is held out to be measured. It is not used where `val` is connected.
    #[serde(default = "super::default_held_out")]
    #[schemars(range(min = 0, max = 0.9))]
    pub held_out: f64,
    /// Images to learn from, at most.
    #[serde(default = "default_most")]
    #[schemars(range(min = 2, max = 10_000_000))]
    pub learn_from: u32,
    /// Images to measure on, at most.
    #[serde(default = "default_most")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub measure_on: u32,
    /// Which images are held out.
    #[serde(default)]
    pub seed: u32,
    /// Whether batch norm's running statistics are first taken from the images: for a network that has seen none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
}

fn default_epochs() -> u32 {
    90
}

fn default_batch() -> u32 {
    256
}

fn default_lr() -> f64 {
    0.01
}

fn default_momentum() -> f64 {
    0.9
}

fn default_decay() -> f64 {
    1e-4
}

fn default_most() -> u32 {
    10_000_000
}

impl Stage for LinearProbe {
    const VERB: &'static str = "linear_probe";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("crops", CROPS.name),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART]),
        Port::optional("random", EVALUATION.name),
        Port::optional("val", DATASET.name).reading(IMAGES.files()),
        Port::optional("val_crops", CROPS.name),
    ];
    const OUTPUT: Noun = EVALUATION;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(device.numerics.clone())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let range = |name, value: u32, from: u32, to: u32| {
            ensure!((from..=to).contains(&value), "{name} is {value}, not between {from} and {to}");
            Ok(())
        };
        range("epochs", self.epochs, 1, 10_000)?;
        range("batch", self.batch, 1, 65_536)?;
        range("learn_from", self.learn_from, 2, 10_000_000)?;
        range("measure_on", self.measure_on, 1, 10_000_000)?;
        for (name, value) in [("lr", self.lr), ("weight_decay", self.weight_decay)] {
            ensure!(value.is_finite() && value >= 0.0, "{name} is {value}, not a number from 0 on");
        }
        ensure!((0.0..1.0).contains(&self.momentum), "momentum is {}, not from 0 to below 1", self.momentum);
        ensure!((0.0..=0.9).contains(&self.held_out), "held_out is {}, not between 0 and 0.9", self.held_out);
        Ok(())
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        ensure!(inputs.has("val") == inputs.has("val_crops"), "{}", images::ONE_OF_TWO);
        for port in ["crops", "val_crops"] {
            if let Some((side, input)) = inputs.get(port, "side").zip(inputs.get("weights", "input")) {
                check_room(port, side, input)?;
            }
        }
        measurable(inputs, self.calibrate, &self.layers, &self.compared())
    }

    fn sizes(&self, _: &InputSizes<'_>) -> Sizes {
        [("calibrated", self.calibrate.into())].into_iter().chain(self.compared()).collect()
    }

    fn estimate(&self, _: &Facts) -> Option<u64> {
        Some(10_000)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let images = Images::open(cx)?;
        let val = images.val.as_ref().map(|(val, _)| val);
        let drawn = draw(&images.dataset, val, &self.draw_sizes());
        ensure!(
            drawn.classes > 0 && drawn.learned > 0 && drawn.picks.len() > drawn.learned,
            "there are no images with labels both to learn from and to measure. Labels are names of folders: the data set's \
             root must be a folder of folders, and held_out above 0"
        );
        drawn.notes.iter().for_each(|note| cx.note(note.clone()));
        let (shape, state) = weights::read(cx.input("weights")?)?;
        check_room("crops", images.side.into(), shape.input.into())?;
        let taps = layers(&self.layers, &shape)?;
        let mut measures = self.plan(&taps, &drawn);
        let draw = drawn.digest(&images.dataset, val).to_string();
        let subject = Subject { net: serde_json::to_string(&shape)?, draw, decay: self.weight_decay };
        add_random(&mut measures, &subject, cx)?;

        let on = device::open(cx.device().parse()?)?;
        let seed = cx.seed()?.clone();
        let cuts = Cuts { images: &images, wide: images.side as usize, side: shape.input as usize, seed: &seed };
        let state = if self.calibrate {
            let mut batches = drawn.batches(BATCH);
            calibrated(&shape, &state, on, &mut |pixels| {
                cx.checkpoint()?;
                let batch = batches.next().unwrap_or_default();
                batch.iter().try_for_each(|row| cuts.push(drawn.picks[*row], cuts.centre(), pixels))?;
                Ok(batch.len())
            })?
        } else {
            state
        };
        let net = Net::load(&shape, &state, on)?;
        let mut heads = Heads::new(&taps, drawn.classes as usize, &seed, on)?;
        let evaluation = Evaluation { calibrated: self.calibrate, subject, measures };
        let mut course = Course { steps: 0, epochs: 0, evaluation };
        let per_epoch = drawn.learned.div_ceil(self.batch as usize) as u64;
        let total = u64::from(self.epochs) * per_epoch;
        course.resume(&mut heads, total, cx)?;
        let mut saves = Saves::new(None);
        while course.epochs < self.epochs {
            let epoch = course.epochs;
            let mut order: Vec<usize> = (0..drawn.learned).collect();
            shuffle(&mut order, &mut seed.stream("order", epoch.into()));
            let done = course.steps - u64::from(epoch) * per_epoch;
            for batch in order.chunks(self.batch as usize).skip(done as usize) {
                let mut pixels = Vec::new();
                for row in batch {
                    let pick = drawn.picks[*row];
                    cuts.push(pick, cuts.drawn(epoch, *row), &mut pixels)?;
                }
                let labels: Vec<u32> = batch.iter().map(|row| drawn.picks[*row].class).collect();
                let lr = probe_lr(self.lr, self.weight_decay, course.steps);
                let options = SgdOptions { lr, momentum: self.momentum, weight_decay: self.weight_decay };
                let losses = heads.step(&maps(&net, &taps, &pixels, batch.len())?, &labels, &options)?;
                cx.metric("loss", losses.iter().sum::<f64>() / losses.len().max(1) as f64);
                course.steps += 1;
                cx.progress(course.steps, total, "steps");
                // The last step has a measurement behind it, so it is saved as others are.
                if saves.is_due(course.steps, total + 1, cx) {
                    course.save(&shape, &heads, cx)?;
                    saves.restart();
                    cx.checkpoint()?;
                }
            }
            let right = self.right(&heads, &net, &taps, &drawn, &cuts, cx)?;
            course.take(&right, drawn.picks.len() - drawn.learned);
        }
        verdict::tell(&course.evaluation, cx);
        cx.write_part(TABLE.file, |out| course.evaluation.write(out).map(drop))
    }
}

fn check_room(port: &str, side: u64, input: u64) -> anyhow::Result<()> {
    ensure!(
        side >= input,
        "the {port} are {side} pixels wide and the network takes {input}. Give decode's crop the network's input or more, \
         such as 256 for 224"
    );
    Ok(())
}

impl LinearProbe {
    /// Parameters that it shares with its `random`, as whole numbers.
    fn compared(&self) -> [(&'static str, u64); 10] {
        [
            ("epochs", self.epochs.into()),
            ("batch", self.batch.into()),
            ("lr", self.lr.to_bits()),
            ("momentum", self.momentum.to_bits()),
            ("weight_decay", self.weight_decay.to_bits()),
            ("ten_crops", self.ten_crops.into()),
            ("held_out", self.held_out.to_bits()),
            ("learn_from", self.learn_from.into()),
            ("measure_on", self.measure_on.into()),
            ("seed", self.seed.into()),
        ]
    }

    fn draw_sizes(&self) -> DrawSizes {
        DrawSizes {
            held_out: self.held_out,
            learned: self.learn_from as usize,
            measured: self.measure_on as usize,
            seed: self.seed.into(),
        }
    }

    fn plan(&self, taps: &[Tap], drawn: &Drawn) -> Vec<Measure> {
        let measure = |tap: &Tap, name: &str| Measure {
            measure: name.to_owned(),
            layer: tap.name.clone(),
            protocol: PROTOCOL.to_owned(),
            k: 0,
            value: 0.0,
            random: None,
            learned_from: drawn.learned as u64,
            images: (drawn.picks.len() - drawn.learned) as u64,
            classes: drawn.classes.into(),
            seed: self.seed.into(),
        };
        taps.iter().flat_map(|tap| MEASURES.map(|name| measure(tap, name))).collect()
    }

    /// How many of the measured images each layer's classifier names.
    fn right(
        &self,
        heads: &Heads,
        net: &Net,
        taps: &[Tap],
        drawn: &Drawn,
        cuts: &Cuts<'_>,
        cx: &Context<'_>,
    ) -> anyhow::Result<Vec<u64>> {
        let places = if self.ten_crops { cuts.ten() } else { vec![cuts.centre()] };
        let mut right = vec![0; taps.len()];
        for some in drawn.picks[drawn.learned..].chunks(BATCH) {
            let mut shares: Vec<Vec<_>> = taps.iter().map(|_| Vec::new()).collect();
            for place in &places {
                cx.checkpoint()?;
                let mut pixels = Vec::new();
                some.iter().try_for_each(|pick| cuts.push(*pick, *place, &mut pixels))?;
                let of_place = heads.shares(&maps(net, taps, &pixels, some.len())?)?;
                shares.iter_mut().zip(of_place).for_each(|(all, share)| all.push(share));
            }
            for (count, shares) in right.iter_mut().zip(&shares) {
                let found = likeliest(shares)?;
                *count += found.iter().zip(some).filter(|(class, pick)| **class == pick.class).count() as u64;
            }
        }
        Ok(right)
    }
}

/// How far the training of the classifiers is.
struct Course {
    steps: u64,
    /// Epochs that were measured.
    epochs: u32,
    /// With what was found so far.
    evaluation: Evaluation,
}

impl Course {
    /// Takes what was found after an epoch: the best counts, and the last.
    fn take(&mut self, right: &[u64], images: usize) {
        self.epochs += 1;
        for (both, right) in self.evaluation.measures.chunks_mut(MEASURES.len()).zip(right) {
            let value = *right as f64 / images.max(1) as f64;
            both[0].value = both[0].value.max(value);
            both[1].value = value;
        }
    }

    fn save(&self, shape: &crate::learn::arch::NetShape, heads: &Heads, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let name = after_step(self.steps);
        let owner = owner(&name, cx);
        let mut so_far = self.evaluation.clone();
        // A save counts epochs where a result has none.
        so_far.measures.iter_mut().for_each(|measure| measure.k = self.epochs.into());
        cx.save(&name, |out| {
            weights::write(out, shape, &heads.weights()?, Some(&heads.momentum()?), &owner)?;
            out.write_part(TABLE.file, |out| so_far.write_with(out, owner.clone()).map(drop))
        })
    }

    /// Continues where an interrupted run was.
    fn resume(&mut self, heads: &mut Heads, total: u64, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let Some((steps, saved)) = newest(cx, total)? else { return Ok(()) };
        let opened = || -> anyhow::Result<_> {
            let so_far = Evaluation::open(&saved.part(TABLE.file)?)?;
            let (_, state) = weights::read(&saved)?;
            Ok((so_far, state, weights::read_momentum(&saved)?))
        };
        let found = opened().and_then(|(so_far, state, momentum)| heads.resume(&state, &momentum).map(|()| so_far));
        match found {
            Ok(so_far) => {
                self.steps = steps;
                self.epochs = so_far.measures.first().map_or(0, |measure| measure.k as u32);
                for (mine, saved) in self.evaluation.measures.iter_mut().zip(&so_far.measures) {
                    mine.value = saved.value;
                }
                Ok(())
            }
            Err(error) => {
                cx.note(format!("what an interrupted run saved cannot be read ({error:#}); the probe starts anew"));
                Ok(())
            }
        }
    }
}
