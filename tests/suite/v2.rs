//! v2: DeepCluster-v2 as stages: the bank is what training saw, and a run that is stopped ends as one that is not.

use crate::space::{IMAGES, Space};
use dcpipe::base::{ImageId, Seed};
use dcpipe::engine::Event;
use dcpipe::format::centroids::CENTROIDS;
use dcpipe::format::clusters::CLUSTERS;
use dcpipe::format::metrics::{STEPS, open_steps};
use dcpipe::format::weights::WEIGHTS;
use dcpipe::format::{Centroids, Clusters, Dataset, Rows, dataset, vectors};
use dcpipe::image::{Augment, Crop, Limits, decode};
use dcpipe::learn::arch::NetShape;
use dcpipe::learn::tensors::StateDict;
use dcpipe::learn::train_v2::{Crops, Prototypes, TrainerV2};
use dcpipe::stages::v2::train::published;
use std::collections::BTreeMap;
use tch::Device;

const V2: &str = include_str!("../data/v2/tiny.yaml");
const RUN: [&str; 5] = ["run", "tiny.yaml", "--json", "-q", "--set=each_epoch.weights.with.save_every=1"];

fn space() -> Space {
    let space = Space::filled();
    space.write("tiny.yaml", V2);
    space
}

fn part(space: &Space, node: &str, name: &str) -> bytes::Bytes {
    space.store().map(space.record(node).artifact.part(name).unwrap()).unwrap()
}

fn rows(space: &Space, node: &str, name: &str) -> Rows<f32> {
    vectors::open(&[part(space, node, name)]).unwrap()
}

fn weights(space: &Space, node: &str) -> (NetShape, StateDict) {
    let bytes = part(space, node, WEIGHTS.file);
    let file = dcpipe::format::Tensors::open(&WEIGHTS, &bytes).unwrap();
    (serde_json::from_str(&file.metadata()["dcpipe.net"]).unwrap(), crate::nets::state_of(bytes.to_vec()))
}

/// A set of crops: their numbers, side, smallest and largest share.
type Set = (std::ops::Range<u32>, u32, f64, f64);

/// The crops of all images, in the order of their ids, drawn as the stages promise.
fn crops(space: &Space, node: &str, augment: Augment, sets: &[Set]) -> Vec<Crops> {
    let table = Dataset::open(&part(space, "dataset@0", dataset::IMAGES.file)).unwrap();
    let seed = Seed::of_node(7, node);
    let read =
        |id| decode(&std::fs::read(space.path("images").join(table.image(id).path)).unwrap(), &Limits::default());
    let pictures: Vec<_> = (0..IMAGES as u32).map(|id| read(ImageId(id)).unwrap()).collect();
    let of_set = |(numbers, side, smallest, largest): &Set| {
        let mut pixels = vec![];
        for number in numbers.clone() {
            for (id, picture) in (0..).zip(&pictures) {
                let mut stream = seed.stream(&format!("crop {number}"), id);
                let crop = Crop::draw_between(&mut stream, *smallest, *largest, picture.width, picture.height);
                let mut rgb = vec![0; (side * side * 3) as usize];
                crop.render(picture, *side, &mut rgb);
                augment.apply(&mut seed.stream(&format!("colours {number}"), id), &mut rgb, *side as usize);
                pixels.extend(rgb);
            }
        }
        Crops { pixels, side: *side, count: numbers.len() }
    };
    sets.iter().map(of_set).collect()
}

fn apart(space: &Space, node: &str, due: &[f32]) -> f32 {
    let banked = (0..2).flat_map(|crop| {
        let rows = rows(space, node, &format!("bank-{crop}.arrow"));
        rows.whole().unwrap().to_vec()
    });
    let (banked, due): (Vec<f32>, _) = (banked.collect(), due);
    assert_eq!(banked.len(), due.len());
    banked.iter().zip(due).map(|(is, due)| (is - due).abs()).fold(0., f32::max)
}

#[test]
fn a_bank_holds_the_projections_of_the_crops_that_training_saw() {
    let space = space();
    // One batch: then the statistics of batch norm, and so the projections, do not depend on the order.
    space.write("tiny.yaml", V2.replace("batch: 25", "batch: 64").replace("batch: 20", "batch: 64"));
    space.run(&["run", "tiny.yaml", "-q", "--to", "weights@1"]).ok();
    let augment = published();
    let large: Set = (0..2, 16, 0.08, 1.0);
    let project = |weights: &(NetShape, StateDict), crops: &[Crops]| {
        let mut trainer = TrainerV2::new(&weights.0, &weights.1, &StateDict::new(), &[], Device::Cpu).unwrap();
        trainer.project(crops, IMAGES).unwrap()
    };
    let first = weights(&space, "weights@0");
    // A pass in training mode depends on no running statistics, so the weights after it give the same bank.
    let due = project(&first, &crops(&space, "weights@0", augment, std::slice::from_ref(&large)));
    assert!(apart(&space, "weights@0", &due) < 1e-4, "{}", apart(&space, "weights@0", &due));
    let due = project(&first, &crops(&space, "weights@1", augment, &[large, (2..3, 10, 0.05, 0.14)]));
    assert!(apart(&space, "weights@1", &due) < 1e-4, "{}", apart(&space, "weights@1", &due));
    // And k-means reads that bank.
    for (node, crop) in [("bank@1", 0), ("bank_2@1", 1)] {
        let vectors = rows(&space, node, "part-00000.arrow");
        assert_eq!(vectors.rows(), IMAGES);
        let name = format!("bank-{crop}.arrow");
        assert_eq!(vectors.whole().unwrap(), rows(&space, "weights@0", &name).whole().unwrap());
    }
}

#[test]
fn three_clusterings_of_two_banks_are_the_labels_and_the_loss_begins_as_theirs() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let of = |node: &str| {
        let centroids = Centroids::open(&part(&space, node, CENTROIDS.file)).unwrap();
        let clusters = Clusters::open(&part(&space, node, CLUSTERS.file)).unwrap();
        (centroids, clusters)
    };
    let heads = ["clusters@1", "clusters_2@1", "clusters_3@1"].map(of);
    assert!(heads[0].0 != heads[2].0, "two clusterings of one bank begin at other images");
    let (shape, state) = weights(&space, "weights@0");
    let augment = published();
    let all = crops(&space, "weights@1", augment, &[(0..2, 16, 0.08, 1.0), (2..3, 10, 0.05, 0.14)]);
    // The first batch of the stage's own order, at a learning rate of nothing.
    let mut order: Vec<u32> = (0..IMAGES as u32).collect();
    dcpipe::learn::order::shuffle(&mut order, &mut Seed::of_node(7, "weights@1").stream("order", 0));
    let batch = &order[..20];
    let chosen = |crops: &Crops| {
        let bytes = (crops.side * crops.side * 3) as usize;
        let row = |crop: usize, image: u32| &crops.pixels[(crop * IMAGES + image as usize) * bytes..][..bytes];
        let pixels = (0..crops.count).flat_map(|crop| batch.iter().flat_map(move |image| row(crop, *image).to_vec()));
        Crops { pixels: pixels.collect(), ..*crops }
    };
    let all: Vec<Crops> = all.iter().map(chosen).collect();
    let labels =
        heads.each_ref().map(|(_, clusters)| batch.iter().map(|id| clusters.cluster_id[*id as usize]).collect());
    let prototypes = heads.each_ref().map(|(all, _)| Prototypes { k: 5, centroids: &all.centroids });
    let mut trainer = TrainerV2::new(&shape, &state, &StateDict::new(), &prototypes, Device::Cpu).unwrap();
    let sgd = dcpipe::learn::sgd::SgdOptions { lr: 0.0, momentum: 0.0, weight_decay: 0.0 };
    let options = dcpipe::learn::train_v2::Options { sgd, trust: 0.001, temperature: 0.1 };
    let due = trainer.step(&all, &labels, &options).unwrap().loss;
    let steps = open_steps(&part(&space, "weights@1", STEPS.file)).unwrap();
    assert_eq!(steps.iter().map(|step| step.images).collect::<Vec<_>>(), [20, 20, 20]);
    assert!((steps[0].loss - due).abs() < 1e-4, "{} {due}", steps[0].loss);
    assert!(steps[0].loss > 0.5 && steps[0].loss < 5.0, "{}", steps[0].loss);
}

#[test]
fn prototypes_that_are_equal_make_a_loss_of_ln_k() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q", "--to", "weights@0"]).ok();
    let (shape, state) = weights(&space, "weights@0");
    let mut same = [0f32; 8 * 7];
    same.iter_mut().step_by(8).for_each(|first| *first = 1.0);
    let prototypes = [Prototypes { k: 7, centroids: &same }];
    let all = crops(&space, "weights@1", Augment::default(), &[(0..2, 16, 0.08, 1.0)]);
    let labels = vec![(0..IMAGES as u32).map(|id| dcpipe::base::ClusterId(id % 7)).collect::<Vec<_>>()];
    let mut trainer = TrainerV2::new(&shape, &state, &StateDict::new(), &prototypes, Device::Cpu).unwrap();
    let sgd = dcpipe::learn::sgd::SgdOptions { lr: 0.3, momentum: 0.9, weight_decay: 1e-6 };
    let options = dcpipe::learn::train_v2::Options { sgd, trust: 0.001, temperature: 0.1 };
    // They stand still: after a step their scores are still equal.
    for _ in 0..2 {
        let loss = trainer.step(&all, &labels, &options).unwrap().loss;
        assert!((loss - 7f64.ln()).abs() < 1e-5, "{loss}");
    }
}

fn saved(events: &[Event], node: &str, part: &str, found: bool) -> bool {
    let is = |event: &Event| matches!(event, Event::PutDown { node: n, part: p, hit } if n == node && p == part && *hit == found);
    events.iter().any(is)
}

#[test]
fn a_run_of_v2_that_is_stopped_and_killed_ends_with_the_same_bytes() {
    let undisturbed = space();
    undisturbed.run(&["run", "tiny.yaml", "-q"]).ok();
    let due: BTreeMap<_, _> = undisturbed.digests();

    let space = space();
    let mut run = space.start(&RUN);
    let is_at_work = |events: &[Event]| {
        let is = |event: &Event| matches!(event, Event::Progress { node, unit, .. } if node == "weights@0" && unit == "images");
        events.iter().any(is)
    };
    assert!(run.until(is_at_work));
    run.signal(libc::SIGINT);
    let stopped = run.wait().ended(75);
    for (node, part) in [("weights@1", "after step 1"), ("weights@2", "after step 2")] {
        let mut run = space.start(&RUN);
        assert!(run.until(|events| saved(events, node, part, false)));
        run.child.kill().unwrap();
        assert_eq!(run.wait().signal, Some(9));
    }
    let last = space.run(&RUN).ok();
    assert!(saved(&last.events(), "weights@2", "after step 2", true), "{}", last.stdout);
    assert_eq!(space.digests(), due, "{}", stopped.stdout);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
}

#[test]
fn what_v2_cannot_take_is_refused_before_anything_runs() {
    let space = space();
    let alexnet = V2.replace("resnet18", "alexnet_small").replace(", stem: cifar", "");
    let plain = V2.replace("stage: begin_v2, from: { dataset: dataset, weights: trunk }", "stage: init");
    let plain = plain.replace("hidden: 32, dims: 8, batch: 25", "arch: resnet18, input: 16, stem: cifar");
    let whitened = V2.replace("  bank:       {", "  features: { stage: extract, from: { crops: crops, weights: weights@prev } }\n  bank: { stage: whiten, from: { features: features }, with: { dims: 9 } }\n  other:       {");
    let small = V2.replace("side: 10", "side: 8");
    for (yaml, told) in [
        (alexnet, "small crops of 10 pixels do not fit the network: it takes 16 pixels alone. Take resnet18"),
        (plain, "the weights have no projection and no bank; under once, add a node of the stage begin_v2"),
        (whitened, "the clusters at the port clusters have 9 dimensions, and a projection has 8"),
        (small, "small crops of 8 pixels are too small for the network; set small's side to 9 or more"),
    ] {
        space.write("tiny.yaml", yaml);
        let run = space.run(&["run", "tiny.yaml", "--json"]).complains_of(&[told]);
        assert!(run.ran().is_empty(), "{:?}", run.ran());
    }
    let without = V2
        .replace("resnet18", "alexnet_small")
        .replace(", stem: cifar", "")
        .replace(", small: { crops: 1, side: 10 }", "");
    space.write("tiny.yaml", without);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
}

#[test]
fn a_network_of_v2_is_exported_without_its_projection_where_names_have_none() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q", "--to", "weights@1"]).ok();
    let names = |path: &str| {
        let bytes = std::fs::read(space.path(path)).unwrap();
        crate::nets::state_of(bytes).into_keys().filter(|name| name.starts_with("projection_head")).count()
    };
    space.run(&["export", "weights", "tiny", "-o", "own.safetensors"]).ok();
    assert_eq!(names("own.safetensors"), 9);
    let told = space.run(&["export", "weights", "tiny", "--naming", "torchvision", "-o", "tv.safetensors"]).ok();
    assert!((told.stdout + &told.stderr).contains("left out: projection_head"));
    assert_eq!(names("tv.safetensors"), 0);
}
