//! probe: the real program measures what features are worth, as numpy does from the pixels, and says what it found.

use crate::readers::script;
use crate::space::{Output, Space, start};
use dcpipe::engine::Event;
use dcpipe::format::evaluation::EVALUATION;
use dcpipe::format::{Evaluation, Measure};

/// A network as it is drawn and the same with batch norm calibrated, both on images of their own and on others.
const NETWORKS: &str = "name: probe
seed: 31
epochs: 1
keep: [crops, test_crops, weights]
once:
  dataset: { stage: generate, with: { images: 120, size: 64 } }
  test: { stage: generate, with: { images: 60, size: 64 } }
  crops: { stage: decode, from: { dataset: dataset }, with: { short_side: 64, crop: 64 } }
  test_crops: { stage: decode, from: { dataset: test }, with: { short_side: 64, crop: 64 } }
  weights: { stage: init, with: { arch: alexnet, input: 64 } }
  calibrated: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights, val: test, val_crops: test_crops },
    with: { knn: [5, 50], calibrate: true } }
each_epoch:
  given: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights, val: test, val_crops: test_crops,
    random: calibrated }, with: { knn: [5, 50] } }
";

/// One folder of images, whose files have no label.
const FLAT: &str = "name: flat
seed: 1
epochs: 1
once:
  dataset: { stage: scan, with: { root: images/FOLDER } }
  crops: { stage: decode, from: { dataset: dataset }, with: { short_side: 64, crop: 64 } }
  weights: { stage: init, with: { arch: alexnet, input: 64 } }
each_epoch:
  evaluation: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights }, with: { layers: [conv5, fc2] } }
";

/// Training that harms a network, by far: its steps are ten times as long as they should be.
const HARMED: &str = "name: harmed
seed: 31
epochs: 1
once:
  dataset: { stage: generate, with: { images: 120, size: 64 } }
  crops: { stage: decode, from: { dataset: dataset }, with: { short_side: 64, crop: 64 } }
  weights: { stage: init, with: { arch: alexnet, input: 64 } }
  random: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights },
    with: { layers: [conv5], calibrate: true, held_out: 0.5 } }
each_epoch:
  features: { stage: extract, from: { crops: crops, weights: weights@prev } }
  vectors: { stage: whiten, from: { features: features }, with: { dims: 8 } }
  clusters: { stage: cluster, from: { vectors: vectors }, with: { k: 7, iterations: 6 } }
  manifest: { stage: sample, from: { clusters: clusters } }
  weights: { stage: train, from: { dataset: dataset, manifest: manifest, weights: weights@prev }, with: { batch: 20, lr: 0.5 } }
  evaluation: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights, random: random },
    with: { layers: [conv5], held_out: 0.5 } }
";

fn evaluation(space: &Space, path: &str) -> Evaluation {
    Evaluation::open(&std::fs::read(space.path(path)).unwrap().into()).unwrap()
}

fn notes(ran: &Output) -> Vec<String> {
    let note = |event| if let Event::Note { text, .. } = event { Some(text) } else { None };
    ran.events().into_iter().filter_map(note).collect()
}

#[test]
fn every_layer_is_worth_what_numpy_finds_from_the_pixels() {
    let space = Space::empty();
    space.write("probe.yaml", NETWORKS);
    let ran = space.run(&["run", "probe.yaml", "--json"]).ok();
    let given = evaluation(&space, "runs/probe/given/epoch=0001/evaluation.parquet");
    let calibrated = evaluation(&space, "runs/probe/calibrated/evaluation.parquet");
    assert!(calibrated.calibrated && !given.calibrated);
    assert_eq!(given.measures.len(), 6 * 4 + 4);
    for (measure, random) in given.measures.iter().zip(&calibrated.measures) {
        assert!(measure.is_same_of(random), "{measure:?} {random:?}");
        assert_eq!((measure.random, random.random), (Some(random.value), None));
        assert_eq!(measure.images, if measure.learned_from > 0 { 60 } else { 180 }, "{measure:?}");
    }
    // Batch norm that nobody calibrated lets the answers of deep layers vanish, and their dimensions.
    assert_ne!(given.measures, calibrated.measures);
    let told: Vec<_> = notes(&ran).into_iter().filter(|note| note.starts_with("verdict: conv5 kNN: ")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(" before training: ") && told[0].contains(", of 60 images"), "{told:?}");

    let Some(mut command) = script(&space, "check_probe.py") else { return };
    // Threads of BLAS wait for each other where other tests have the cores.
    command.env("OPENBLAS_NUM_THREADS", "1").arg("runs/probe");
    let read = start(command).wait().ok();
    assert_eq!(read.stdout.lines().filter(|line| line.starts_with("ok ")).count(), 30, "{}", read.stdout);
}

#[test]
fn a_probe_that_is_killed_resumes_behind_the_layers_that_it_measured() {
    let run = ["run", "probe.yaml", "--json", "--to", "calibrated@0"];
    let space = || {
        let space = Space::empty();
        space.write("probe.yaml", NETWORKS);
        space
    };
    let undisturbed = space();
    undisturbed.run(&run).ok();
    let space = space();
    let mut killed = space.start(&run);
    let saved = |events: &[Event], found: bool| {
        let layers = events.iter().filter_map(|event| match event {
            Event::PutDown { node, part, hit } if node == "calibrated@0" && *hit == found => {
                part.strip_prefix("after layer ")
            }
            _ => None,
        });
        layers.map(|layer| layer.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    assert!(killed.until(|events| saved(events, false).len() >= 2));
    killed.signal(libc::SIGKILL);
    killed.wait();
    let rest = space.run(&run).ok().events();
    let found = saved(&rest, true);
    assert!(found.len() == 1 && found[0] >= 2, "{found:?}");
    assert_eq!(saved(&rest, false), (found[0] + 1..6).collect::<Vec<_>>());
    assert_eq!(space.digests_of("probe"), undisturbed.digests_of("probe"));
}

#[test]
fn a_probe_of_more_layers_leaves_that_of_fewer_whole() {
    let space = Space::empty();
    space.write("probe.yaml", NETWORKS);
    let mut first = None;
    for layers in ["calibrated.layers=[conv1]", "calibrated.layers=[conv1, conv2]"] {
        space.run(&["run", "probe.yaml", "--to", "calibrated@0", "--set", layers]).ok();
        let store = space.store();
        let artifact = store.record(store.node_keys("probe")["calibrated@0"]).unwrap().unwrap().artifact;
        first.get_or_insert(artifact);
    }
    // The measures of conv1 are the same, and what the second one saved of them is deleted at its end.
    let part = first.unwrap().part(EVALUATION.file).cloned().unwrap();
    assert!(space.store().map(&part).is_ok());
}

#[test]
fn a_share_is_held_out_the_line_stands_at_the_end_and_worse_features_are_a_warning() {
    let space = Space::filled();
    let yaml = crate::space::TINY
        .replace("each_epoch:", "  random: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights }, with: { calibrate: true, held_out: 0.5 } }\neach_epoch:")
        + "  evaluation: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights, random: random }, with: { held_out: 0.5 } }\n";
    space.write("tiny.yaml", &yaml);
    let ran = space.run(&["run", "tiny.yaml", "--to", "evaluation@1"]).ok();
    let of = evaluation(&space, "runs/tiny/evaluation/epoch=0001/evaluation.parquet");
    let conv5 =
        |measure: &str| of.measures.iter().find(|m| m.layer == "conv5" && m.measure == measure).unwrap().clone();
    let (knn, linear) = (conv5("knn"), conv5("linear"));
    assert_eq!((knn.learned_from, knn.images, knn.k, knn.classes), (30, 30, 20, 3));
    let worse = [&knn, &linear].iter().any(|measure| {
        let (p, q) = (measure.value, measure.random.unwrap());
        p - q < -2.0 * ((p * (1.0 - p) + q * (1.0 - q)) / 30.0).sqrt()
    });
    let warned = ran.stderr.contains("warning (below_random)");
    assert_eq!(worse, warned, "{}", ran.stderr);
    is_told_twice(&ran, "evaluation@1");
}

/// A person reads of the last judgement twice: where it comes up, and at the end.
fn is_told_twice(ran: &Output, node: &str) {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let end = lines.iter().position(|line| line.contains(" ran, ")).unwrap();
    let (during, after) = lines.split_at(end);
    for part in [during, after] {
        let told: Vec<_> =
            part.iter().filter(|line| line.contains(" before training") && line.contains(node)).collect();
        assert_eq!(told.len(), 1, "{}", ran.stderr);
    }
    let others = after.iter().filter(|line| line.contains(" before training")).count();
    assert_eq!(others, 1, "{}", ran.stderr);
}

#[test]
fn features_that_are_worse_than_before_training_are_told_once_while_it_runs_and_once_at_the_end() {
    let space = Space::empty();
    space.write("harmed.yaml", HARMED);
    let ran = space.run(&["run", "harmed.yaml"]).ok();
    assert!(ran.stderr.contains("warning (below_random)"), "{}", ran.stderr);
    is_told_twice(&ran, "evaluation@1");
}

#[test]
fn without_labels_dimensions_are_counted_and_that_is_said() {
    let space = Space::filled();
    space.own_images();
    let folder = std::fs::read_dir(space.path("images")).unwrap().next().unwrap().unwrap().file_name();
    space.write("flat.yaml", FLAT.replace("FOLDER", &folder.to_string_lossy()));
    let ran = space.run(&["run", "flat.yaml", "--json"]).ok();
    assert!(notes(&ran).iter().any(|note| note.contains("fewer than two labels")), "{:?}", notes(&ran));
    let found = evaluation(&space, "runs/flat/evaluation/epoch=0001/evaluation.parquet");
    let names: Vec<_> = found.measures.iter().map(|m: &Measure| (m.layer.as_str(), m.measure.as_str())).collect();
    assert_eq!(names, [("conv5", "effective_dims"), ("fc2", "effective_dims")]);
    assert!(found.measures.iter().all(|m| m.value > 1.0 && m.classes == 0));
}

#[test]
fn a_random_evaluation_of_other_settings_is_refused_before_anything_is_measured() {
    let space = Space::empty();
    space.write(
        "probe.yaml",
        NETWORKS.replace("random: calibrated }, with: { knn: [5, 50] }", "random: calibrated }, with: { knn: [7] }"),
    );
    let refused = space.run(&["run", "probe.yaml"]);
    assert!(refused.stderr.contains("Give both nodes the same parameters"), "{}", refused.stderr);
    let with = "with: { knn: [5, 50], decay: 0.01 }";
    let yaml =
        NETWORKS.replace("random: calibrated }, with: { knn: [5, 50] }", &format!("random: calibrated }}, {with}"));
    space.write("probe.yaml", yaml);
    let refused = space.run(&["run", "probe.yaml"]);
    assert!(refused.stderr.contains("the evaluation at `random` has another decay"), "{}", refused.stderr);
}

#[test]
fn a_random_evaluation_without_calibration_is_refused_before_anything_runs() {
    let space = Space::empty();
    space.write("probe.yaml", NETWORKS.replace(", calibrate: true", ""));
    let refused = space.run(&["run", "probe.yaml"]);
    assert!(refused.stderr.contains("write calibrate: true"), "{}", refused.stderr);
    assert!(!space.path("runs/probe/dataset").exists(), "{}", refused.stderr);
}

/// The tiny run with a probe of what it trains.
fn probed(with: &str) -> String {
    let node = "evaluation: { stage: probe, from: { dataset: dataset, crops: crops, weights: weights }";
    format!("{}  {node}, with: {{ {with} }} }}\n", crate::space::TINY)
}

/// Insists that plan and run refuse a pipeline with these words, and that nothing runs.
fn refused_before_anything_runs(space: &Space, yaml: &str, words: &[&str]) {
    space.write("tiny.yaml", yaml);
    space.run(&["plan", "tiny.yaml"]).ended(3).complains_of(words);
    let refused = space.run(&["run", "tiny.yaml", "--json"]).ended(3).complains_of(words);
    assert!(refused.began().is_empty(), "{}", refused.stdout);
}

#[test]
fn calibration_of_trained_weights_is_refused_before_anything_runs() {
    let space = Space::filled();
    let words = ["evaluation@1: calibrate: true is for weights before training", "Remove it here"];
    refused_before_anything_runs(&space, &probed("calibrate: true"), &words);
    // Those of the first epoch's start are not trained.
    let first =
        probed("calibrate: true").replace("weights: weights }, with: { cal", "weights: weights@prev }, with: { cal");
    space.write("tiny.yaml", first.replace("epochs: 2", "epochs: 1"));
    space.run(&["plan", "tiny.yaml"]).ok();
}

#[test]
fn a_layer_that_the_network_lacks_is_refused_with_the_layers_that_it_has_before_anything_runs() {
    let space = Space::filled();
    let has = "it has conv1, conv2, conv3, conv4, conv5, fc2";
    refused_before_anything_runs(&space, &probed("layers: [conv5, conv9]"), &["evaluation@1", "no layer conv9", has]);
    let alexnet = "arch: alexnet, sobel: true, input: 64";
    for (init, has) in [
        ("arch: vgg16, input: 64", "conv12, conv13, fc2"),
        ("arch: resnet18, sobel: false, input: 64", "it has conv1, layer1, layer2, layer3, layer4, avgpool"),
        (
            "arch: resnet50, sobel: false, input: 64, stem: cifar",
            "it has conv1, layer1, layer2, layer3, layer4, avgpool",
        ),
        ("arch: alexnet_small, input: 64", "it has conv1, conv2, conv3, conv4, conv5, fc2"),
    ] {
        let yaml = probed("layers: [layer9]").replace(alexnet, init);
        refused_before_anything_runs(&space, &yaml, &["evaluation@1", "no layer layer9", has]);
    }
    space.write("tiny.yaml", probed("layers: [conv5, fc2]"));
    space.run(&["plan", "tiny.yaml"]).ok();
}

#[test]
fn val_without_its_crops_is_refused_before_anything_runs_and_equal_numbers_of_neighbours_are_one() {
    let space = Space::empty();
    space.write("probe.yaml", NETWORKS.replace("val: test, val_crops: test_crops", "val: test"));
    let refused = space.run(&["run", "probe.yaml"]);
    assert!(refused.stderr.contains("connect both or neither"), "{}", refused.stderr);
    assert!(!space.path("runs/probe/dataset").exists(), "{}", refused.stderr);

    space.write("probe.yaml", NETWORKS.replace("knn: [5, 50]", "layers: [fc2], knn: [10000, 5, 9000, 5]"));
    space.run(&["run", "probe.yaml"]).ok();
    let given = evaluation(&space, "runs/probe/given/epoch=0001/evaluation.parquet");
    let counts: Vec<_> = given.measures.iter().filter(|m| m.measure == "knn").map(|m| m.k).collect();
    assert_eq!(counts, [5, 120]);
}

/// The published linear probe of a random network, on crops of 72 pixels of which it takes 64.
const PUBLISHED: &str = "name: published
seed: 31
epochs: 1
once:
  dataset: { stage: generate, with: { images: 160, size: 72 } }
  crops: { stage: decode, from: { dataset: dataset }, with: { short_side: 72, crop: 72 } }
  weights: { stage: init, with: { arch: alexnet, input: 64 } }
  random: { stage: linear_probe, from: { dataset: dataset, crops: crops, weights: weights },
    with: { layers: [conv2, conv5], epochs: 6, batch: 16, held_out: 0.25, calibrate: true } }
each_epoch:
  given: { stage: linear_probe, from: { dataset: dataset, crops: crops, weights: weights, random: random },
    with: { layers: [conv2, conv5], epochs: 6, batch: 16, held_out: 0.25 } }
";

#[test]
fn the_published_probe_learns_and_a_killed_one_ends_with_the_same_bytes() {
    let run = ["run", "published.yaml", "--json"];
    let space = || {
        let space = Space::empty();
        space.write("published.yaml", PUBLISHED);
        space
    };
    let undisturbed = space();
    undisturbed.run(&run).ok();
    let random = evaluation(&undisturbed, "runs/published/random/evaluation.parquet");
    let named: Vec<_> = random.measures.iter().map(|m| (m.layer.as_str(), m.measure.as_str())).collect();
    let due = [("conv2", "linear"), ("conv2", "linear_last"), ("conv5", "linear"), ("conv5", "linear_last")];
    assert_eq!(named, due);
    for both in random.measures.chunks(2) {
        assert_eq!((both[0].protocol.as_str(), both[0].images, both[0].k), ("published", 40, 0));
        // Chance is one of the kinds.
        assert!(both[0].value > 2.0 / f64::from(both[0].classes as u32) && both[0].value >= both[1].value, "{both:?}");
    }
    let given = evaluation(&undisturbed, "runs/published/given/epoch=0001/evaluation.parquet");
    assert!(given.measures.iter().all(|measure| measure.random.is_some()));

    let space = space();
    let mut interrupted = space.start(&run);
    let steps = |events: &[Event]| {
        let of = |event: &Event| match event {
            Event::Progress { node, done, .. } if node == "random@0" => Some(*done),
            _ => None,
        };
        events.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert!(interrupted.until(|events| steps(events).last() > Some(&20)));
    interrupted.signal(libc::SIGINT);
    interrupted.wait().ended(75);
    let rest = space.run(&run).ok().events();
    assert!(steps(&rest)[0] > 20, "it resumes where it saved: {:?}", steps(&rest));
    assert_eq!(space.digests_of("published"), undisturbed.digests_of("published"));
}

#[test]
fn ten_crops_are_measured_and_crops_that_are_too_small_are_refused_before_anything_runs() {
    let space = Space::empty();
    space.write("published.yaml", PUBLISHED);
    let few = ["--set", "random.epochs=1", "--set", "dataset.images=40"];
    let ten = ["--set", "random.ten_crops=true", "--set", "given.ten_crops=true", "--set", "given.epochs=1"];
    let args = [&["run", "published.yaml", "-q", "--to", "random@0"][..], &ten].concat();
    space.run(&[&args[..], &few].concat()).ok();
    let random = evaluation(&space, "runs/published/random/evaluation.parquet");
    assert!(random.measures.iter().all(|measure| (0.0..=1.0).contains(&measure.value)));
    let small = ["plan", "published.yaml", "--set", "crops.crop=48"];
    space.run(&small).ended(3).complains_of(&["the crops are 48 pixels wide and the network takes 64"]);
    let other = ["plan", "published.yaml", "--set", "given.lr=0.1"];
    space.run(&other).ended(3).complains_of(&["the evaluation at `random` has another lr"]);
}
