//! probe: images with labels, weights -> evaluation: what a network's features are worth, beside a random network's.

mod cuts;
mod draw;
mod images;
mod measure;
pub mod published;
pub mod svm;
pub mod verdict;

use crate::engine::{Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Stage};
use crate::format::dataset::IMAGES;
use crate::format::evaluation::{EVALUATION as TABLE, Subject};
use crate::format::{Evaluation, Measure};
use crate::learn::activations::{Tap, taps};
use crate::learn::arch::NetShape;
use crate::learn::calibrate::calibrated;
use crate::learn::device;
use crate::learn::net::Net;
use crate::stages::{CROPS, DATASET, EVALUATION, WEIGHTS, weights};
use anyhow::{Context as _, ensure};
use draw::{Drawn, Sizes, draw};
use images::Images;
use measure::Probing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a linear classifier is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// On activations of the centre crops, taken once, to its optimum. Never put it beside published numbers.
    #[default]
    Cached,
    /// Not at all.
    None,
}

/// Measures what a network's features are worth, by nearest neighbours, a linear classifier and k-means against labels.
/// Without labels it counts the dimensions that the features fill.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Layers that are measured, such as conv5; all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Numbers of nearest neighbours that vote.
    #[serde(default = "default_knn")]
    pub knn: Vec<u32>,
    /// How a linear classifier is fitted.
    #[serde(default)]
    pub linear: Protocol,
    /// Pull of the linear classifier's weights towards zero, at activations of length 1.
    #[serde(default = "default_decay")]
    pub decay: f64,
    /// Share of each label's images that is held out to be measured; 0: none, and each image asks all others. It is not
    /// used where `val` is connected.
    #[serde(default = "default_held_out")]
    #[schemars(range(min = 0, max = 0.9))]
    pub held_out: f64,
    /// Images to learn from, at most.
    #[serde(default = "default_learned")]
    #[schemars(range(min = 2, max = 10_000_000))]
    pub learn_from: u32,
    /// Images to measure on, at most.
    #[serde(default = "default_measured")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub measure_on: u32,
    /// Which images are held out.
    #[serde(default)]
    pub seed: u32,
    /// Whether batch norm's running statistics are first taken from the images: for a network that has seen none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
}

fn default_knn() -> Vec<u32> {
    vec![20, 200]
}

fn default_decay() -> f64 {
    1e-4
}

fn default_held_out() -> f64 {
    0.1
}

fn default_learned() -> u32 {
    50_000
}

fn default_measured() -> u32 {
    10_000
}

impl Stage for Probe {
    const VERB: &'static str = "probe";
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

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(device.numerics.clone())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let range = |name, value: u32, from: u32, to: u32| {
            ensure!((from..=to).contains(&value), "{name} is {value}, not between {from} and {to}");
            Ok(())
        };
        range("learn_from", self.learn_from, 2, 10_000_000)?;
        range("measure_on", self.measure_on, 1, 10_000_000)?;
        self.knn.iter().try_for_each(|k| range("knn", *k, 1, 10_000))?;
        ensure!((0.0..=0.9).contains(&self.held_out), "held_out is {}, not between 0 and 0.9", self.held_out);
        ensure!(self.decay > 0.0 && self.decay <= 1.0, "decay is {}, not above 0 and at most 1", self.decay);
        Ok(())
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        ensure!(inputs.has("val") == inputs.has("val_crops"), "{}", images::ONE_OF_TWO);
        for port in ["crops", "val_crops"] {
            if let Some((side, input)) = inputs.get(port, "side").zip(inputs.get("weights", "input")) {
                check_side(port, side, input)?;
            }
        }
        measurable(inputs, self.calibrate, &self.layers, &self.compared())
    }

    /// Tells probes that read this one as their `random`, before anything runs.
    fn sizes(&self, _: &InputSizes<'_>) -> crate::engine::Sizes {
        [("calibrated", self.calibrate.into())].into_iter().chain(self.compared()).collect()
    }

    fn estimate(&self, _: &Facts) -> Option<u64> {
        Some(10_000)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let images = Images::open(cx)?;
        let drawn = draw(&images.dataset, images.val.as_ref().map(|(val, _)| val), &self.draw_sizes());
        let (shape, state) = weights::read(cx.input("weights")?)?;
        check_side("crops", images.side.into(), shape.input.into())?;
        let taps = layers(&self.layers, &shape)?;
        let mut measures = self.plan(&taps, &drawn, cx)?;
        let draw = drawn.digest(&images.dataset, images.val.as_ref().map(|(val, _)| val));
        let subject = Subject { net: serde_json::to_string(&shape)?, draw: draw.to_string(), decay: self.decay };
        add_random(&mut measures, &subject, cx)?;

        let on = device::open(cx.device().parse()?)?;
        // What a person sees counts activations: of an image, one for each layer that it passes.
        let before = if self.calibrate { drawn.mixed.len() * taps.len() } else { 0 };
        let total = (before + 2 * drawn.picks.len() * taps.len()) as u64;
        let state = if self.calibrate {
            let (mut batches, mut done) = (drawn.batches(BATCH), 0);
            calibrated(&shape, &state, on, &mut |pixels| {
                cx.progress((done * taps.len()) as u64, total, "activations");
                cx.checkpoint()?;
                let batch = batches.next().unwrap_or_default();
                batch.iter().try_for_each(|row| images.push(drawn.picks[*row], pixels))?;
                done += batch.len();
                Ok(batch.len())
            })?
        } else {
            state
        };
        let net = Net::load(&shape, &state, on)?;
        let probing =
            Probing { net: &net, images: &images, drawn: &drawn, decay: self.decay, seed: self.seed.into(), before };
        let mut evaluation = Evaluation { calibrated: self.calibrate, subject, measures };
        probing.all(&taps, &mut evaluation, cx)?;
        verdict::tell(&evaluation, cx);
        cx.write_part(TABLE.file, |out| evaluation.write(out).map(drop))
    }
}

/// Refuses, before anything runs, what every measure of a network refuses: a calibration of trained weights, layers that the
/// network lacks, and an evaluation at `random` that was made otherwise. `mine` are the parameters that both share.
fn measurable(
    inputs: &InputSizes<'_>,
    calibrate: bool,
    names: &[String],
    mine: &[(&'static str, u64)],
) -> anyhow::Result<()> {
    ensure!(!(calibrate && weights::are_trained(inputs)), "{CALIBRATED_AFTER}");
    if let Some(shape) = weights::planned(inputs) {
        layers(names, &shape)?;
    }
    ensure!(inputs.get("random", "calibrated") != Some(0), "{UNCALIBRATED}");
    for (name, value) in mine {
        let theirs = inputs.get("random", name).unwrap_or(*value);
        ensure!(theirs == *value, "the evaluation at `random` has another {name}. Give both nodes the same parameters");
    }
    Ok(())
}

fn check_side(port: &str, side: u64, input: u64) -> anyhow::Result<()> {
    ensure!(
        side == input,
        "the {port} are {side} pixels wide and the network takes {input}; give decode's crop and init's input one value"
    );
    Ok(())
}

/// Images that pass together while batch norm is calibrated; its statistics depend on it.
const BATCH: usize = 256;

/// What the evaluation at `random` must be of. Without calibration its answers vanish, and anything would beat it.
const UNCALIBRATED: &str =
    "the evaluation at `random` is of a network whose batch norm was not calibrated: write calibrate: true in its with";

/// All that reads trained weights uses the statistics that training left in them. An evaluation with others would be of
/// another network, and would have no verdict: it counts as one before training.
const CALIBRATED_AFTER: &str = "calibrate: true is for weights before training, whose evaluation stands at `random`. \
    These are trained, and have statistics of their own. Remove it here";

/// Puts the values of the network before training beside those that will be measured.
fn add_random(measures: &mut [Measure], subject: &Subject, cx: &Context<'_>) -> anyhow::Result<()> {
    let Some(random) = cx.input_if_any("random") else { return Ok(()) };
    let random = Evaluation::open(&random.part(TABLE.file)?)?;
    ensure!(random.calibrated, "{UNCALIBRATED}");
    let Subject { net, draw, decay } = &random.subject;
    let (mine, theirs) = (&subject.net, net);
    ensure!(mine == theirs, "the evaluation at `random` is of the network {theirs}, and the weights are of {mine}");
    ensure!(
        subject.draw == *draw,
        "the evaluation at `random` is of other images. Give both nodes the same images, and the same parameters that \
         choose among them"
    );
    ensure!(
        subject.decay.to_bits() == decay.to_bits(),
        "decay is {} here and {decay} in the evaluation at `random`; give both nodes one value",
        subject.decay
    );
    let has = |layer: &str| random.measures.iter().any(|other| other.layer == layer);
    let mut alone: Vec<&str> = measures.iter().map(|m| m.layer.as_str()).filter(|layer| !has(layer)).collect();
    alone.dedup();
    if !alone.is_empty() {
        // Such a layer is beyond half precision there, or was not asked for.
        cx.note(format!("the evaluation at `random` has no {}, so nothing stands beside it", alone.join(", ")));
    }
    for measure in measures.iter_mut().filter(|measure| has(&measure.layer)) {
        let same = random.measures.iter().find(|other| measure.is_same_of(other));
        let same = same.with_context(|| {
            let Measure { measure, layer, .. } = &measure;
            format!(
                "the evaluation at `random` has no {measure} of {layer} of the same images and settings. Give both nodes \
                 the same parameters and the same images; only calibrate differs"
            )
        })?;
        measure.random = Some(same.value);
    }
    Ok(())
}

/// The layers that are asked for; all if none is named.
fn layers(names: &[String], shape: &NetShape) -> anyhow::Result<Vec<Tap>> {
    let mut taps = taps(shape);
    let known: Vec<_> = taps.iter().map(|tap| tap.name.clone()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        anyhow::bail!("this network has no layer {name}; it has {}", known.join(", "));
    }
    taps.retain(|tap| names.is_empty() || names.contains(&tap.name));
    Ok(taps)
}

impl Probe {
    /// Parameters that a probe and its `random` share, as whole numbers.
    fn compared(&self) -> [(&'static str, u64); 5] {
        [
            ("held_out", self.held_out.to_bits()),
            ("learn_from", self.learn_from.into()),
            ("measure_on", self.measure_on.into()),
            ("seed", self.seed.into()),
            ("decay", self.decay.to_bits()),
        ]
    }

    fn draw_sizes(&self) -> Sizes {
        Sizes {
            held_out: self.held_out,
            learned: self.learn_from as usize,
            measured: self.measure_on as usize,
            seed: self.seed.into(),
        }
    }

    /// What will be measured, without its values.
    fn plan(&self, taps: &[Tap], drawn: &Drawn, cx: &Context<'_>) -> anyhow::Result<Vec<Measure>> {
        let all = drawn.picks.len();
        ensure!(all > 0, "there is no image to measure features on");
        let held_out = all - drawn.learned;
        drawn.notes.iter().for_each(|note| cx.note(note.clone()));
        // Each image asks all others where none is held out.
        let (known, asked) = if held_out > 0 { (drawn.learned, held_out) } else { (all - 1, all) };
        let mut neighbours: Vec<u64> = self.knn.iter().map(|k| u64::from(*k).min(known as u64)).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        let linear = self.linear == Protocol::Cached && held_out > 0;
        if self.linear == Protocol::Cached && !linear && drawn.classes > 0 {
            cx.note("held_out is 0, so no linear classifier is measured; set it above 0, or connect val and val_crops");
        }
        let mut measures = Vec::new();
        for tap in taps {
            let mut push = |measure: &str, protocol: &str, k: u64, learned_from: usize, images: usize| {
                let classes = if measure == measure::DIMS { 0 } else { drawn.classes.into() };
                measures.push(Measure {
                    measure: measure.to_owned(),
                    layer: tap.name.clone(),
                    protocol: protocol.to_owned(),
                    k,
                    value: 0.0,
                    random: None,
                    learned_from: learned_from as u64,
                    images: images as u64,
                    classes,
                    seed: self.seed.into(),
                });
            };
            if drawn.classes > 0 {
                neighbours.iter().for_each(|k| push(measure::KNN, "cosine", *k, known, asked));
                if linear {
                    push(measure::LINEAR, "cached", 0, drawn.learned, held_out);
                }
                if tap.side == 1 && all >= drawn.classes as usize {
                    let k = drawn.classes.into();
                    measure::KMEANS.iter().for_each(|name| push(name, "cosine", k, 0, all));
                }
            }
            push(measure::DIMS, "covariance", 0, 0, all);
        }
        Ok(measures)
    }
}
