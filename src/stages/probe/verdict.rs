//! verdict: what an evaluation says in one line, and when it is a warning.

use super::measure::MAP;
use crate::engine::Context;
use crate::engine::event::VERDICT;
use crate::format::{Evaluation, Measure};
use crate::learn::arch::NetShape;

/// The code of the warning that features are worse than before training.
pub const BELOW_RANDOM: &str = "below_random";

/// The accuracies that a line tells of: those of the last layer before the feature. Where the feature alone was measured, its.
fn headlines(evaluation: &Evaluation) -> Vec<&Measure> {
    let is_accuracy = |m: &&Measure| m.measure == "knn" || m.measure == "linear" || m.measure == MAP;
    let mut layers: Vec<&str> =
        evaluation.measures.iter().filter(is_accuracy).map(|measure| measure.layer.as_str()).collect();
    layers.dedup();
    let feature = feature(evaluation);
    let is_map = |layer: &&&str| feature.as_deref() != Some(**layer);
    let Some(layer) = layers.iter().rev().find(is_map).or(layers.last()) else { return Vec::new() };
    let mut told: Vec<&Measure> = Vec::new();
    for measure in evaluation.measures.iter().filter(is_accuracy).filter(|measure| measure.layer == *layer) {
        // Of several numbers of neighbours, the first.
        if told.iter().all(|known| known.measure != measure.measure) {
            told.push(measure);
        }
    }
    told
}

/// What the feature is called, as the network says that was measured.
fn feature(evaluation: &Evaluation) -> Option<String> {
    let shape: NetShape = serde_json::from_str(&evaluation.subject.net).ok()?;
    shape.check().ok()?; // A file may name a network that nobody can build.
    Some(shape.feature_name())
}

/// Says what was found, in one line: a warning where features are worse than before training.
pub(super) fn tell(evaluation: &Evaluation, cx: &Context<'_>) {
    if evaluation.calibrated {
        return; // Of a network before training there is nothing to judge.
    }
    // A warning has the verdict in it.
    if let Some(warning) = warning(evaluation) {
        cx.warn(BELOW_RANDOM, &warning);
    } else if let Some(verdict) = verdict(evaluation) {
        cx.note(format!("{VERDICT}{verdict}"));
    }
}

/// Such as "conv5 kNN: .412 trained, .405 before training: +0.7 points, of 800 images"; nothing where no accuracy was
/// measured.
pub fn verdict(evaluation: &Evaluation) -> Option<String> {
    let told: Vec<String> = headlines(evaluation).into_iter().map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn told(measure: &Measure) -> String {
    let what = match measure.measure.as_str() {
        "knn" => "kNN",
        MAP => "SVM mAP",
        other => other,
    };
    let head = format!("{} {what}: {}", measure.layer, share(measure.value));
    let images = measure.images;
    match (measure.random, measure.difference()) {
        (Some(random), Some(difference)) => {
            let (random, points) = (share(random), 100.0 * difference);
            format!("{head} trained, {random} before training: {points:+.1} points, of {images} images")
        }
        _ => format!("{head}, of {images} images"),
    }
}

/// What a person is warned of: a layer whose features are worse than before training, beyond
/// chance.
pub fn warning(evaluation: &Evaluation) -> Option<String> {
    let below: Vec<&str> = headlines(evaluation)
        .into_iter()
        .filter(|measure| is_below(measure))
        .map(|measure| measure.layer.as_str())
        .collect();
    let layer = below.first()?;
    let verdict = verdict(evaluation)?;
    Some(format!(
        "the features of {layer} are worse than before training ({verdict}). Train on more images or for more epochs"
    ))
}

/// Whether a share is more than two standard deviations of the difference below. Less is chance at so few images.
fn is_below(measure: &Measure) -> bool {
    let variance = |share: f64| share * (1.0 - share) / measure.images.max(1) as f64;
    // A mean of average precisions is no share of the images, and has another deviation.
    let is_share = measure.measure != MAP;
    is_share
        && measure.random.is_some_and(|random| {
            measure.value - random < -2.0 * (variance(measure.value) + variance(random)).max(0.0).sqrt()
        })
}

/// Three digits, as accuracies are printed.
fn share(value: f64) -> String {
    let text = format!("{value:.3}");
    text.strip_prefix('0').map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::evaluation::Subject;

    fn evaluation(rows: &[(&str, &str, f64, Option<f64>)]) -> Evaluation {
        of(r#"{"arch":"alexnet","sobel":true,"input":64}"#, rows)
    }

    fn of(net: &str, rows: &[(&str, &str, f64, Option<f64>)]) -> Evaluation {
        let measure = |(measure, layer, value, random): &(&str, &str, f64, Option<f64>)| Measure {
            measure: (*measure).to_owned(),
            layer: (*layer).to_owned(),
            protocol: String::new(),
            k: 20,
            value: *value,
            random: *random,
            learned_from: 900,
            images: 100,
            classes: 10,
            seed: 0,
        };
        let subject = Subject { net: net.to_owned(), ..Subject::default() };
        Evaluation { calibrated: false, subject, measures: rows.iter().map(measure).collect() }
    }

    #[test]
    fn a_line_tells_the_last_map_and_warns_below_random_only() {
        let better = evaluation(&[
            ("knn", "conv4", 0.3, Some(0.2)),
            ("knn", "conv5", 0.412, Some(0.405)),
            ("knn", "conv5", 0.5, Some(0.6)),
            ("effective_dims", "conv5", 12.0, None),
            ("linear", "conv5", 0.5, Some(0.5)),
            ("knn", "fc2", 0.1, Some(0.9)),
        ]);
        let due = "conv5 kNN: .412 trained, .405 before training: +0.7 points, of 100 images; \
                   conv5 linear: .500 trained, .500 before training: +0.0 points, of 100 images";
        assert_eq!(verdict(&better).unwrap(), due);
        assert_eq!(warning(&better), None);
        // Of 100 images, two deviations are 13.8 points.
        let chance = evaluation(&[("knn", "fc2", 0.376, Some(0.512))]);
        assert_eq!(warning(&chance), None);
        let worse = evaluation(&[("knn", "fc2", 0.376, Some(0.522))]);
        let due = "fc2 kNN: .376 trained, .522 before training: -14.6 points, of 100 images";
        assert!(warning(&worse).unwrap().contains(due), "{worse:?}");
        let alone = evaluation(&[("knn", "fc2", 1.0, None), ("effective_dims", "fc2", 3.0, None)]);
        assert_eq!((verdict(&alone).unwrap().as_str(), warning(&alone)), ("fc2 kNN: 1.000, of 100 images", None));
        assert_eq!(verdict(&evaluation(&[("effective_dims", "fc2", 3.0, None)])), None);
        let [alexnet, resnet, none] = [
            r#"{"arch":"alexnet","sobel":true,"input":64}"#,
            r#"{"arch":"resnet18","sobel":false,"input":32,"stem":"cifar"}"#,
            r#"{"arch":"alexnet","sobel":true,"input":4000000000}"#,
        ];
        for (net, layers, due) in [
            (alexnet, ["conv1", "conv5"], "conv5"),
            (alexnet, ["conv5", "fc2"], "conv5"),
            (resnet, ["layer4", "avgpool"], "layer4"),
            // The network says which layer is the feature, and a name does not.
            (resnet, ["layer4", "fc2"], "fc2"),
            (none, ["conv5", "fc2"], "fc2"),
        ] {
            let some = of(net, &layers.map(|layer| ("knn", layer, 1.0, None)));
            assert!(verdict(&some).unwrap().starts_with(due), "{net} {layers:?}");
        }
    }
}
