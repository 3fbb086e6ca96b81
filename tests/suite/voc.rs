//! voc: the real program measures frozen features on a made-up VOC folder, as scikit-learn does.

use crate::readers::script;
use crate::space::{Space, image, start};
use dcpipe::engine::Event;
use dcpipe::format::Evaluation;
use std::fmt::Write;

const PIPELINE: &str = "name: voc
seed: 31
epochs: 1
keep: [crops, weights]
once:
  dataset: { stage: scan, with: { root: VOC/JPEGImages } }
  marks: { stage: voc, with: { root: VOC } }
  crops: { stage: decode, from: { dataset: dataset }, with: { short_side: 64, crop: 64 } }
  weights: { stage: init, with: { arch: alexnet, input: 64 } }
  random: { stage: svm, from: { dataset: dataset, crops: crops, weights: weights, marks: marks },
    with: { costs: [0.01, 0.1, 1, 10], calibrate: true, layers: [conv1, conv5, fc2] } }
each_epoch:
  given: { stage: svm, from: { dataset: dataset, crops: crops, weights: weights, marks: marks, random: random },
    with: { costs: [0.01, 0.1, 1, 10], layers: [conv1, conv5, fc2] } }
";

const LABELS: [&str; 4] = ["aeroplane", "bicycle", "bird", "cow"];

/// What an image is to a label: the kind of its drawing with some noise, and every eleventh is difficult. Only one image shows
/// a cow.
fn mark(number: usize, label: usize) -> i32 {
    match (label, number) {
        (3, 7) => 1,
        (3, _) => -1,
        _ if (number + label).is_multiple_of(11) => 0,
        _ if (number / 20 == label) != (number * 7 + label).is_multiple_of(13) => 1,
        _ => -1,
    }
}

/// A VOC folder with ninety images, every third of which is to be measured.
fn filled() -> Space {
    let space = Space::empty();
    for number in 0..90 {
        space.write(&format!("VOC/JPEGImages/{number:06}.jpg"), image(number).1);
    }
    for (at, label) in LABELS.iter().enumerate() {
        let [mut learn, mut measure] = [String::new(), String::new()];
        for number in 0..90 {
            let list = if number % 3 == 2 { &mut measure } else { &mut learn };
            // The lists have two spaces before a mark without a sign.
            writeln!(list, "{number:06} {:2}", mark(number, at)).unwrap();
        }
        space.write(&format!("VOC/ImageSets/Main/{label}_trainval.txt"), learn);
        space.write(&format!("VOC/ImageSets/Main/{label}_test.txt"), measure);
    }
    space.write("VOC/ImageSets/Main/trainval.txt", "000000\n");
    space.write("voc.yaml", PIPELINE);
    space
}

#[test]
fn machines_on_frozen_features_are_as_precise_as_those_of_scikit_learn() {
    let space = filled();
    let ran = space.run(&["run", "voc.yaml", "--json"]).ok();
    let read = |path: &str| Evaluation::open(&std::fs::read(space.path(path)).unwrap().into()).unwrap();
    let given = read("runs/voc/given/epoch=0001/evaluation.parquet");
    let named: Vec<_> = given.measures.iter().map(|m| (m.layer.as_str(), m.measure.as_str())).collect();
    assert_eq!(named[..3], [("conv1", "svm_map"), ("conv1", "svm_map_11"), ("conv5", "svm_map")]);
    for measure in &given.measures {
        assert_eq!((measure.learned_from, measure.images, measure.classes), (60, 30, 3));
        assert!(measure.value > 0.3 && measure.value <= 1.0 && measure.random.is_some(), "{measure:?}");
    }
    let notes: Vec<_> = ran
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Note { text, .. } = event { Some(text) } else { None })
        .collect();
    let left_out =
        "1 label is left out, for among the images to learn from, fewer than 3 show it or fewer than 3 do not: cow";
    for due in ["labels: 4; images to learn from: 60 (trainval), to measure: 30 (test)", left_out, "conv5 SVM mAP: "] {
        assert!(notes.iter().any(|note| note.contains(due)), "{due} {notes:?}");
    }
    assert_eq!(space.run(&["run", "voc.yaml", "--json"]).ok().ran(), [""; 0]);

    let Some(mut command) = script(&space, "check_voc.py") else { return };
    command.env("OPENBLAS_NUM_THREADS", "1").args(["runs/voc", "VOC"]);
    let read = start(command).wait().ok();
    assert_eq!(read.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{}", read.stdout);
}

#[test]
fn a_changed_list_measures_again_and_a_wrong_one_is_refused_at_its_line() {
    let space = filled();
    space.run(&["run", "voc.yaml", "-q"]).ok();
    let list = "VOC/ImageSets/Main/bird_test.txt";
    let text = std::fs::read_to_string(space.path(list)).unwrap();
    space.write(list, text.replacen("-1", " 1", 1));
    let again = space.run(&["run", "voc.yaml", "--json"]).ok().ran();
    assert_eq!(again, ["given@1", "marks@0", "random@0"]);
    for (wrong, told) in [
        (text.replacen("-1", "2", 1), "bird_test.txt:1: "),
        (format!("{text}{}\n", text.lines().next().unwrap()), "has the image 000002 twice"),
        (format!("{text}999999 1\n"), "the data set lacks 1 of 91 images with marks, such as \"999999\""),
        (format!("{text}000000 1\n"), "the image 000000 is in both sets"),
    ] {
        space.write(list, wrong);
        space.run(&["run", "voc.yaml", "-q"]).ended(1).complains_of(&[told]);
    }
    // What copies from a Mac leave behind is no list, and a mark of the byte order is no letter.
    space.write("VOC/ImageSets/Main/._bird_trainval.txt", b"\x00\x05\x16\x07\xb0");
    space.write(list, format!("\u{feff}{}", text.replace('\n', "\r\n")));
    assert_eq!(space.run(&["run", "voc.yaml", "--json"]).ok().ran(), ["marks@0"], "the marks are those of before");
    for (set, told) in [("given.costs=[0.1, 1]", "has another costs"), ("given.folds=5", "has another folds")] {
        space.run(&["plan", "voc.yaml", "--set", set]).ended(3).complains_of(&[told]);
    }
    std::fs::remove_file(space.path(list)).unwrap();
    space.run(&["run", "voc.yaml", "-q"]).ended(1).complains_of(&["no list at", "bird_test.txt"]);
}
