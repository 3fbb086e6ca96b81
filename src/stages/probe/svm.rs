//! svm: images with marks, weights -> evaluation: how well linear machines on frozen features find what images show.

use super::images::Images;
use super::measure::{BEYOND_HALF, MAP, MAP_11, beyond, resumed, save};
use super::{BATCH, add_random, check_side, draw::Pick, layers, measurable, verdict};
use crate::base::{Digest, ImageId};
use crate::engine::{Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::dataset::IMAGES;
use crate::format::evaluation::{EVALUATION as TABLE, Subject};
use crate::format::marks::{MARKS as MARKS_TABLE, Mark as Row, open_marks};
use crate::format::{Dataset, Evaluation, Measure};
use crate::learn::activations::{Activations, collect};
use crate::learn::calibrate::calibrated;
use crate::learn::device;
use crate::learn::net::Net;
use crate::learn::svm::{Machine, Mark, Options, Products, answers, average_precision, eleven_points};
use crate::stages::{CROPS, DATASET, EVALUATION, MARKS, WEIGHTS, weights};
use anyhow::{Context as _, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const PROTOCOL: &str = "voc07";

/// Fits a linear support vector machine for each label on a network's frozen features, and measures its mean average
/// precision.
///
/// The settings are VISSL's for VOC2007: features of length 1, squared hinge loss, a bias. Of eleven costs,
/// cross-validation chooses one for each label.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Svm {
    /// Layers that are measured, such as conv5; all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Costs that are tried, in rising order; VISSL's by default.
    #[serde(default = "default_costs")]
    pub costs: Vec<f64>,
    /// Folds of the cross-validation.
    #[serde(default = "default_folds")]
    #[schemars(range(min = 2, max = 100))]
    pub folds: u32,
    /// What an image that shows a label weighs, beside one that does not.
    #[serde(default = "default_shown_weight")]
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub shown_weight: f64,
    /// Whether batch norm's running statistics are first taken from the images: for a network that has seen none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
}

fn default_costs() -> Vec<f64> {
    vec![0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0]
}

fn default_folds() -> u32 {
    3
}

fn default_shown_weight() -> f64 {
    2.0
}

/// Images to learn from, at most: the products of each pair take 3.2 GB.
const MOST: usize = 20_000;

impl Stage for Svm {
    const VERB: &'static str = "svm";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("crops", CROPS.name),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART]),
        Port::required("marks", MARKS.name),
        Port::optional("random", EVALUATION.name),
    ];
    const OUTPUT: Noun = EVALUATION;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::All;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(device.numerics.clone())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let is_cost = |cost: &f64| cost.is_finite() && *cost > 0.0;
        ensure!(
            !self.costs.is_empty() && self.costs.iter().all(is_cost) && self.costs.is_sorted(),
            "costs are {:?}, not numbers above 0 in rising order",
            self.costs
        );
        ensure!((2..=100).contains(&self.folds), "folds is {}, not between 2 and 100", self.folds);
        let weight = self.shown_weight;
        ensure!((0.001..=1000.0).contains(&weight), "shown_weight is {weight}, not between 0.001 and 1000");
        Ok(())
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        if let Some((side, input)) = inputs.get("crops", "side").zip(inputs.get("weights", "input")) {
            check_side("crops", side, input)?;
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
        let rows = open_marks(&cx.input("marks")?.part(MARKS_TABLE.file)?)?;
        let asked = Asked::of(&rows, &images.dataset, self.folds as usize)?;
        asked.notes.iter().for_each(|note| cx.note(note.clone()));
        let (shape, state) = weights::read(cx.input("weights")?)?;
        check_side("crops", images.side.into(), shape.input.into())?;
        let taps = layers(&self.layers, &shape)?;
        let measure = |layer: &str, name: &str| Measure {
            measure: name.to_owned(),
            layer: layer.to_owned(),
            protocol: PROTOCOL.to_owned(),
            k: 0,
            value: 0.0,
            random: None,
            learned_from: asked.learned as u64,
            images: (asked.picks.len() - asked.learned) as u64,
            classes: asked.labels.len() as u64,
            seed: 0,
        };
        let mut measures: Vec<_> =
            taps.iter().flat_map(|tap| [MAP, MAP_11].map(|name| measure(&tap.name, name))).collect();
        let draw = asked.digest(&images.dataset);
        let subject = Subject { net: serde_json::to_string(&shape)?, draw: draw.to_string(), decay: 0.0 };
        add_random(&mut measures, &subject, cx)?;

        let on = device::open(cx.device().parse()?)?;
        let push = |at: usize, pixels: &mut Vec<u8>| images.push(asked.picks[at], pixels);
        let state = if self.calibrate {
            let mut batches =
                (0..asked.learned).collect::<Vec<_>>().chunks(BATCH).map(<[usize]>::to_vec).collect::<Vec<_>>();
            // A smaller last batch would count as much as the others.
            if batches.len() > 1 && asked.learned % BATCH != 0 {
                batches.pop();
            }
            let mut batches = batches.into_iter();
            calibrated(&shape, &state, on, &mut |pixels| {
                cx.checkpoint()?;
                let batch = batches.next().unwrap_or_default();
                batch.iter().try_for_each(|at| push(*at, pixels))?;
                Ok(batch.len())
            })?
        } else {
            state
        };
        let net = Net::load(&shape, &state, on)?;
        let count = asked.picks.len();
        let mut evaluation = Evaluation { calibrated: self.calibrate, subject, measures };
        // What a person sees as done: each layer passes the images, and fits a machine a label.
        let each = (count + asked.labels.len()) as u64;
        let total = taps.len() as u64 * each;
        let from = resumed(&taps, &mut evaluation, cx)?;
        for (nth, tap) in taps.iter().enumerate().skip(from) {
            let done = nth as u64 * each;
            let found = collect(&net, std::slice::from_ref(tap), count, &mut |range, pixels| {
                cx.checkpoint()?;
                cx.progress(done + range.start as u64, total, "images and labels");
                range.into_iter().try_for_each(|at| push(at, pixels))
            })?;
            if let Some(layer) = found.into_iter().next().flatten() {
                let precisions = self.of_layer(&layer, &asked, (done + count as u64, total), cx)?;
                let mean = |at: usize| precisions.iter().map(|both| both[at]).sum::<f64>() / precisions.len() as f64;
                for measure in evaluation.measures.iter_mut().filter(|measure| measure.layer == tap.name) {
                    measure.value = mean(usize::from(measure.measure != MAP));
                }
                let each = asked.labels.iter().zip(&precisions);
                let each: Vec<_> = each.map(|((label, _), both)| format!("{label} {:.3}", both[0])).collect();
                cx.note(format!("average precision on {}: {}", tap.name, each.join(", ")));
            } else {
                cx.warn(BEYOND_HALF, &beyond(&tap.name));
                evaluation.measures.retain(|measure| measure.layer != tap.name);
            }
            if nth + 1 < taps.len() {
                save(&taps[..=nth], &evaluation, cx)?;
            }
        }
        verdict::tell(&evaluation, cx);
        cx.write_part(TABLE.file, |out| evaluation.write(out).map(drop))
    }
}

impl Svm {
    /// Parameters that it shares with its `random`, as whole numbers.
    fn compared(&self) -> [(&'static str, u64); 3] {
        let costs = Digest::of(format!("{:?}", self.costs).as_bytes()).to_string();
        // Fifteen hexadecimal digits tell lists of costs apart.
        let costs = u64::from_str_radix(&costs[..15], 16).unwrap_or_default();
        [("costs", costs), ("folds", self.folds.into()), ("shown_weight", self.shown_weight.to_bits())]
    }

    /// Area and eleven points of each label. `done` of all was done before.
    fn of_layer(
        &self,
        layer: &Activations,
        asked: &Asked,
        (done, total): (u64, u64),
        cx: &Context<'_>,
    ) -> anyhow::Result<Vec<[f64; 2]>> {
        let (learned, all) = (asked.learned, asked.picks.len());
        let on = device::open(cx.device().parse()?)?;
        let step = &mut || cx.checkpoint();
        let products = Products::of(layer, 0..learned, on, step)?;
        let options = Options { costs: &self.costs, shown_weight: self.shown_weight, folds: self.folds as usize };
        let mut machines = Vec::with_capacity(asked.labels.len());
        for (label, marks) in &asked.labels {
            let machine = Machine::fit(&products, &marks[..learned], options, step);
            machines.push(machine.with_context(|| format!("fitting {label} on {}", layer.name))?);
            cx.progress(done + machines.len() as u64, total, "images and labels");
        }
        let answers = answers(&machines, layer, 0..learned, learned..all, on, step)?;
        let precision = |((_, marks), answers): (&(String, Vec<Mark>), &Vec<f64>)| {
            let counted = answers.iter().zip(&marks[learned..]).filter(|(_, mark)| **mark != Mark::Difficult);
            let (answers, shown): (Vec<f64>, Vec<bool>) =
                counted.map(|(answer, mark)| (*answer, *mark == Mark::Shown)).unzip();
            [average_precision(&answers, &shown), eleven_points(&answers, &shown)]
        };
        Ok(asked.labels.iter().zip(&answers).map(precision).collect())
    }
}

/// Images and their marks, in one order.
struct Asked {
    /// Those to learn from, then those to measure.
    picks: Vec<Pick>,
    learned: usize,
    /// What each image is to each label; an image that a label's list lacks does not count for it.
    labels: Vec<(String, Vec<Mark>)>,
    notes: Vec<String>,
}

impl Asked {
    fn of(rows: &[Row], dataset: &Dataset, folds: usize) -> anyhow::Result<Self> {
        let mut by_name: BTreeMap<&str, ImageId> = BTreeMap::new();
        for (row, image) in dataset.iter().enumerate() {
            if by_name.insert(stem(image.path), ImageId(row as u32)).is_some() {
                bail!(
                    "two images of the data set are called {}, and marks are of one. Scan the folder of these images \
                     alone, such as VOC2007/JPEGImages",
                    stem(image.path)
                );
            }
        }
        let names: BTreeSet<(bool, &str)> = rows.iter().map(|row| (row.held_out, row.image.as_str())).collect();
        let lost: Vec<&str> = names.iter().map(|(_, name)| *name).filter(|name| !by_name.contains_key(name)).collect();
        if let Some(first) = lost.first() {
            bail!(
                "the data set lacks {} of {} images with marks, such as {first:?}. Scan the folder that holds them, such as \
                 VOC2007/JPEGImages; the dataset's bad.parquet names what was left out",
                lost.len(),
                names.len()
            );
        }
        let is_in_both = |(held_out, name): &&(bool, &str)| *held_out && names.contains(&(false, *name));
        if let Some((_, first)) = names.iter().find(is_in_both) {
            bail!(
                "the image {first} is in both sets; one that is learned from cannot be measured. Name two sets that share none"
            );
        }
        let learned = names.iter().filter(|(held_out, _)| !held_out).count();
        ensure!(
            learned <= MOST,
            "{learned} images to learn from are more than {MOST}, whose products take {:.1} GB. Name a smaller set in voc's \
             learn",
            (8 * MOST * MOST) as f64 / 1e9
        );
        let place: BTreeMap<&str, usize> = names.iter().map(|(_, name)| *name).zip(0..).collect();
        let picks = names.iter().map(|(_, name)| Pick { of_val: false, image: by_name[name], class: 0 }).collect();
        let mut by_label: BTreeMap<&str, Vec<Mark>> = BTreeMap::new();
        for row in rows {
            let marks = by_label.entry(&row.label).or_insert_with(|| vec![Mark::Difficult; names.len()]);
            marks[place[row.image.as_str()]] = match row.mark {
                1 => Mark::Shown,
                0 => Mark::Difficult,
                _ => Mark::Absent,
            };
        }
        let (mut labels, mut few, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        for (label, marks) in by_label {
            let count = |marks: &[Mark], of: Mark| marks.iter().filter(|mark| **mark == of).count();
            if count(&marks[..learned], Mark::Shown).min(count(&marks[..learned], Mark::Absent)) < folds {
                few.push(label);
            } else if count(&marks[learned..], Mark::Shown) == 0 {
                unseen.push(label);
            } else {
                labels.push((label.to_owned(), marks));
            }
        }
        let mut notes = Vec::new();
        let mut leave_out = |labels: &[&str], why: &str| {
            let count =
                if labels.len() == 1 { "1 label is".to_owned() } else { format!("{} labels are", labels.len()) };
            let told = format!("{count} left out, for {why}: {}", labels.join(", "));
            notes.extend((!labels.is_empty()).then_some(told));
        };
        leave_out(
            &few,
            &format!("among the images to learn from, fewer than {folds} show it or fewer than {folds} do not"),
        );
        leave_out(&unseen, "no image to measure shows it");
        ensure!(!labels.is_empty(), "there is no label to fit. {}", notes.join("; "));
        Ok(Self { picks, learned, labels, notes })
    }

    /// Names images and marks.
    fn digest(&self, dataset: &Dataset) -> Digest {
        let mut text = format!("dcpipe marks {}\n", self.learned);
        for pick in &self.picks {
            text += &format!("{}\n", dataset.image(pick.image).digest);
        }
        for (label, marks) in &self.labels {
            let signs = marks.iter().map(|mark| match mark {
                Mark::Shown => '+',
                Mark::Absent => '-',
                Mark::Difficult => '?',
            });
            text += &format!("{label:?} {}\n", signs.collect::<String>());
        }
        Digest::of(text.as_bytes())
    }
}

/// A file's name without folder and ending.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
