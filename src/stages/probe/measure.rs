//! measure: fills in what a probe has planned: layer by layer, from activations that fit into memory together.

use super::draw::Drawn;
use super::images::Images;
use crate::engine::Context;
use crate::format::evaluation::EVALUATION as TABLE;
use crate::format::{Evaluation, Measure};
use crate::learn::activations::{Activations, Tap, collect};
use crate::learn::agreement::Contingency;
use crate::learn::grouping::{effective_dims, groups};
use crate::learn::net::Net;
use crate::learn::{device, knn, linear};
use crate::stages::saves::owner;
use anyhow::Context as _;

/// Accuracy of the nearest neighbours' vote.
pub(super) const KNN: &str = "knn";
/// Accuracy of a linear classifier.
pub(super) const LINEAR: &str = "linear";
/// What k-means finds, against the labels. The first is the share of images in the group of their label, one to one.
pub(super) const KMEANS: [&str; 4] = ["kmeans_accuracy", "kmeans_nmi", "kmeans_ami", "kmeans_ari"];
/// Mean over the labels of a linear machine's average precision, as the area under the curve.
pub(super) const MAP: &str = "svm_map";
/// The same by eleven points, as VOC2007's own program counts.
pub(super) const MAP_11: &str = "svm_map_11";
/// Dimensions that the activations fill.
pub(super) const DIMS: &str = "effective_dims";

/// The code of the warning that a layer could not be measured.
pub(super) const BEYOND_HALF: &str = "beyond_half_precision";

/// The warning itself.
pub(super) fn beyond(layer: &str) -> String {
    format!(
        "{layer} answers beyond half precision (65,504), so it is not measured. Weights that diverge do this: if the loss \
         rises too, lower lr"
    )
}

/// Bytes of activations that are held at once, unless a single layer has more. What exceeds it costs one more pass.
const HELD: usize = 2 << 30;

/// What is measured, and how.
pub(super) struct Probing<'a> {
    /// The network.
    pub net: &'a Net,
    /// The pixels.
    pub images: &'a Images,
    /// Which of them.
    pub drawn: &'a Drawn,
    /// Pull of the linear classifier's weights.
    pub decay: f64,
    /// Of k-means.
    pub seed: u64,
    /// What a person sees as done before: the calibration.
    pub before: usize,
}

impl Probing<'_> {
    /// Measures everything that is planned, and saves after each layer. A layer beyond half precision leaves the plan
    /// with a warning.
    pub(super) fn all(&self, taps: &[Tap], plan: &mut Evaluation, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let picks = &self.drawn.picks;
        let rows = picks.len();
        // A layer counts twice: once for the pass, once for its measures.
        let total = (self.before + 2 * rows * taps.len()) as u64;
        let mut measured = resumed(taps, plan, cx)?;
        let mut done = self.before + 2 * rows * measured;
        for group in together(&taps[measured..], rows) {
            let layers = collect(self.net, group, rows, &mut |range, pixels| {
                cx.checkpoint()?;
                cx.progress((done + range.start * group.len()) as u64, total, "activations");
                picks[range].iter().try_for_each(|pick| self.images.push(*pick, pixels))
            })?;
            done += rows * group.len();
            for (tap, layer) in group.iter().zip(layers) {
                cx.progress(done as u64, total, "activations");
                let name = &tap.name;
                if let Some(layer) = layer {
                    self.of_layer(&layer, &mut plan.measures, cx).with_context(|| format!("probing {name}"))?;
                } else {
                    // Training may work well with such numbers, so no measurement ends the run.
                    cx.warn(BEYOND_HALF, &beyond(name));
                    plan.measures.retain(|measure| measure.layer != *name);
                }
                done += rows;
                measured += 1;
                if measured < taps.len() {
                    save(&taps[..measured], plan, cx)?;
                }
            }
        }
        Ok(())
    }

    fn of_layer(&self, layer: &Activations, measures: &mut [Measure], cx: &Context<'_>) -> anyhow::Result<()> {
        let drawn = self.drawn;
        let step = &mut |_: usize| cx.checkpoint();
        let on = device::open(cx.device().parse()?)?;
        let classes = drawn.classes as usize;
        let labels: Vec<u32> = drawn.picks.iter().map(|pick| pick.class).collect();
        let mut mine: Vec<&mut Measure> = measures.iter_mut().filter(|measure| measure.layer == layer.name).collect();

        let most = mine.iter().filter(|measure| measure.measure == KNN).map(|measure| measure.k).max();
        if let Some(most) = most {
            let all = 0..drawn.picks.len();
            let is_held_out = drawn.learned < all.end;
            let (known, asked) =
                if is_held_out { (0..drawn.learned, drawn.learned..all.end) } else { (all.clone(), all) };
            let similar = knn::most_similar(layer, known, asked.clone(), most as usize, on, step)?;
            for measure in mine.iter_mut().filter(|measure| measure.measure == KNN) {
                let votes = knn::votes(&similar, &labels, measure.k as usize, classes);
                measure.value =
                    share(votes.iter().zip(&labels[asked.clone()]).map(|(vote, label)| *vote == Some(*label)));
            }
        }
        for measure in mine.iter_mut().filter(|measure| measure.measure == LINEAR) {
            let learned = drawn.learned;
            let fitted = linear::fit(layer, &labels[..learned], classes, self.decay, on, step)?;
            let found = fitted.classes_of(layer, learned..labels.len())?;
            measure.value = share(found.iter().zip(&labels[learned..]).map(|(found, label)| found == label));
        }
        if mine.iter().any(|measure| KMEANS.contains(&measure.measure.as_str())) {
            let groups = groups(layer, classes, self.seed, cx.device(), step)?;
            let table = Contingency::of(&groups, &labels)?;
            let matched = table.matched().images as f64 / labels.len() as f64;
            let found = [matched, table.nmi_arithmetic(), table.ami(), table.ari()];
            for (name, value) in KMEANS.iter().zip(found) {
                mine.iter_mut().filter(|measure| measure.measure == *name).for_each(|measure| measure.value = value);
            }
        }
        for measure in mine.iter_mut().filter(|measure| measure.measure == DIMS) {
            measure.value = effective_dims(layer)?;
        }
        Ok(())
    }
}

fn name_of(measured: usize) -> String {
    format!("after layer {measured}")
}

fn is_among(taps: &[Tap], measure: &Measure) -> bool {
    taps.iter().any(|tap| tap.name == measure.layer)
}

/// Saves the measures of these layers.
pub(super) fn save(taps: &[Tap], plan: &Evaluation, cx: &mut Context<'_>) -> anyhow::Result<()> {
    let measures = plan.measures.iter().filter(|measure| is_among(taps, measure)).cloned().collect();
    let so_far = Evaluation { measures, ..plan.clone() };
    let name = name_of(taps.len());
    let owner = owner(&name, cx);
    cx.save(&name, |out| out.write_part(TABLE.file, |out| so_far.write_with(out, owner).map(drop)))
}

/// Takes over what an interrupted run measured, and counts its layers.
pub(super) fn resumed(taps: &[Tap], plan: &mut Evaluation, cx: &mut Context<'_>) -> anyhow::Result<usize> {
    let Some((name, saved)) = cx.saved((1..taps.len()).rev().map(name_of))? else { return Ok(0) };
    let opened = saved.part(TABLE.file).and_then(|bytes| Ok(Evaluation::open(&bytes)?));
    let saved = match opened {
        Ok(saved) => saved.measures,
        Err(error) => {
            cx.note(format!("what an interrupted run measured cannot be read ({error:#}); the probe starts anew"));
            return Ok(0);
        }
    };
    let measured = (1..taps.len()).find(|count| name == name_of(*count)).unwrap_or_default();
    for tap in taps[..measured].iter().filter(|tap| !saved.iter().any(|measure| measure.layer == tap.name)) {
        cx.warn(BEYOND_HALF, &beyond(&tap.name));
    }
    plan.measures.retain(|measure| !is_among(&taps[..measured], measure));
    plan.measures.splice(0..0, saved);
    Ok(measured)
}

/// Runs of layers whose activations are held at once.
fn together(taps: &[Tap], rows: usize) -> Vec<&[Tap]> {
    let mut groups = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (at, tap) in taps.iter().enumerate() {
        let bytes = rows.saturating_mul(tap.dims()).saturating_mul(2);
        if held > 0 && held + bytes > HELD {
            groups.push(&taps[start..at]);
            (start, held) = (at, 0);
        }
        held += bytes;
    }
    groups.push(&taps[start..]);
    groups
}

fn share(right: impl Iterator<Item = bool>) -> f64 {
    let (mut count, mut all) = (0_u64, 0_u64);
    right.for_each(|right| {
        count += u64::from(right);
        all += 1;
    });
    count as f64 / all.max(1) as f64
}
