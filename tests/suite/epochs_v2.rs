//! epochs_v2: three epochs of DeepCluster-v2, all chance taken out, against an independent one (tests/golden/epochs_v2.py).

use crate::epochs::{bits, filled};
use dcpipe::base::ClusterId;
use dcpipe::learn::arch::{Arch, NetShape, Stem};
use dcpipe::learn::kmeans::Lloyd;
use dcpipe::learn::nearest::FaissAssigner;
use dcpipe::learn::projector::Projection;
use dcpipe::learn::sgd::SgdOptions;
use dcpipe::learn::tensors::StateDict;
use dcpipe::learn::train_v2::{Crops, Options, Prototypes, TrainerV2};
use dcpipe::stages::v2::train::TrainV2;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const SHAPE: NetShape = NetShape { stem: Stem::Cifar, ..NetShape::new(Arch::Resnet18, false, 12) };
const IMAGES: usize = 32;
const KINDS: usize = 6;
const EPOCHS: u32 = 3;
const BATCH: usize = 12;
/// Side, crops of an image.
const SIZES: [(u32, usize); 2] = [(12, 2), (9, 1)];
const PROJECTION: Projection = Projection { from: 512, hidden: 32, to: 8 };
const DIMS: usize = PROJECTION.to as usize;
const K: usize = 5;
const HEADS: usize = 3;
const ITERATIONS: usize = 10;
const STEPS: usize = IMAGES.div_ceil(BATCH);

/// One of six kinds of drawing, moved a little, with a little noise: u8 [s, s, 3].
fn drawing(epoch: u32, image: usize, crop: usize, side: usize) -> Vec<u8> {
    let h = bits(&format!("crop {epoch} {image} {crop}"), 2 + side * side * 3);
    let on = |x: i64, y: i64| match image % KINDS {
        0 => y / 2 % 2 == 1,
        1 => x / 2 % 2 == 1,
        2 => (x + y) / 4 % 2 == 1,
        3 => (x / 4 + y / 4) % 2 == 1,
        4 => (x - 8).pow(2) + (y - 8).pow(2) < 25,
        _ => x * y / 8 % 2 == 1,
    };
    let value = |(at, noise): (usize, &u64)| {
        let (x, y) = (at / 3 % side + (h[0] % 3) as usize, at / 3 / side + (h[1] % 3) as usize);
        40 + 160 * u8::from(on(x as i64, y as i64)) + (noise % 48) as u8
    };
    h[2..].iter().enumerate().map(value).collect()
}

fn order(name: &str) -> Vec<usize> {
    let keys = bits(name, IMAGES);
    let mut order: Vec<usize> = (0..IMAGES).collect();
    order.sort_by_key(|image| keys[*image]);
    order
}

fn batches(epoch: u32) -> Vec<Vec<usize>> {
    let order = order(&format!("order {epoch}"));
    (0..STEPS).map(|step| order[IMAGES * step / STEPS..IMAGES * (step + 1) / STEPS].to_vec()).collect()
}

/// The crops of a batch, in the sizes of which the first `sizes` are meant.
fn crops(epoch: u32, images: &[usize], sizes: usize) -> Vec<Crops> {
    let mut first = 0;
    let of_size = |(side, count): &(u32, usize)| {
        let numbers = first..first + count;
        first = numbers.end;
        let pixels = numbers.flat_map(|crop| images.iter().map(move |image| (crop, *image)));
        let pixels = pixels.flat_map(|(crop, image)| drawing(epoch, image, crop, *side as usize)).collect();
        Crops { pixels, side: *side, count: *count }
    };
    SIZES[..sizes].iter().map(of_size).collect()
}

fn weights(kind: Kind) -> StateDict {
    let tensor = |name: &str, sides: &[i64]| match (name, sides) {
        _ if name.ends_with("num_batches_tracked") => Tensor::zeros(sides, (Kind::Int64, Device::Cpu)),
        _ if !name.starts_with("projection_head") => filled(name, name, sides, kind),
        _ => {
            let is_norm = name.starts_with("projection_head.1.");
            let mean = f64::from(u8::from(is_norm && !name.ends_with("bias") && !name.ends_with("running_mean")));
            let scale = match sides {
                [_, inputs] => (3. / *inputs as f64).sqrt(),
                _ => 0.02 + 0.18 * mean,
            };
            let value = |h: u64| (mean + scale * ((h >> 11) as f64 * 2f64.powi(-52) - 1.)) as f32;
            let count = sides.iter().product::<i64>() as usize;
            let values: Vec<f32> = bits(name, count).into_iter().map(value).collect();
            Tensor::from_slice(&values).view(sides).to_kind(kind)
        }
    };
    let named = |(name, sides): (String, Vec<i64>)| {
        let tensor = tensor(&name, &sides);
        (name, tensor)
    };
    SHAPE.trunk().into_iter().chain(PROJECTION.tensors()).map(named).collect()
}

/// What a run does wrong, to show that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    MomentumForgotten,
    EmptySplit,
    OneBank,
    LabelsOfOtherImages,
}

/// What the epochs tell. The first bank is that before them.
struct Told {
    bank: Vec<[Vec<f32>; 2]>,
    clusters: Vec<Vec<Vec<ClusterId>>>,
    loss: Vec<Vec<f64>>,
    rate: Vec<Vec<f64>>,
}

fn put(bank: &mut [Vec<f32>; 2], images: &[usize], banked: &[f32]) {
    for (rows, banked) in bank.iter_mut().zip(banked.chunks(images.len() * DIMS)) {
        for (image, row) in images.iter().zip(banked.chunks(DIMS)) {
            rows[image * DIMS..][..DIMS].copy_from_slice(row);
        }
    }
}

fn cluster(epoch: u32, head: usize, rows: &[f32], mistake: Mistake) -> (Vec<f32>, Vec<ClusterId>) {
    let mut start = order(&format!("centroids {epoch} {head}"))[..K].to_vec();
    if (epoch, head) == (2, 0) {
        start[K - 1] = start[0];
    }
    let centroids = start.iter().flat_map(|image| rows[image * DIMS..][..DIMS].iter().copied()).collect();
    let mut lloyd = Lloyd::from_centroids(centroids, DIMS).unwrap().by_cosine();
    if mistake != Mistake::EmptySplit {
        lloyd = lloyd.keeping_empty();
    }
    for iteration in 0..ITERATIONS {
        let report = lloyd.step(&[rows], &mut FaissAssigner::default()).unwrap();
        assert!(iteration > 0 || report.empty == u32::from((epoch, head) == (2, 0)), "{epoch} {head}: {report:?}");
    }
    let clusters = lloyd.assign(&[rows], &mut FaissAssigner::default()).unwrap().clusters;
    (lloyd.centroids, clusters)
}

fn run(kind: Kind, epochs: u32, mistake: Mistake) -> Told {
    let stage = r#"{"epochs": 3, "warm_up": 1, "first_lr": 0.1, "lr": 1.0, "last_lr": 0.02}"#;
    let stage: TrainV2 = serde_json::from_str(stage).unwrap();
    let (mut state, mut momentum) = (weights(kind), StateDict::new());
    let mut bank = [vec![0.; IMAGES * DIMS], vec![0.; IMAGES * DIMS]];
    let mut trainer = TrainerV2::new(&SHAPE, &state, &momentum, &[], Device::Cpu).unwrap();
    for batch in batches(0) {
        put(&mut bank, &batch, &trainer.project(&crops(0, &batch, 1), batch.len()).unwrap());
    }
    state = trainer.weights().unwrap();
    let mut told = Told { bank: vec![bank.clone()], clusters: vec![], loss: vec![], rate: vec![] };
    for epoch in 1..=epochs {
        let of_head = |head: usize| if mistake == Mistake::OneBank { 0 } else { head % 2 };
        let heads: Vec<_> = (0..HEADS).map(|head| cluster(epoch, head, &bank[of_head(head)], mistake)).collect();
        let prototypes: Vec<_> = heads.iter().map(|(centroids, _)| Prototypes { k: K, centroids }).collect();
        let mut trainer = TrainerV2::new(&SHAPE, &state, &momentum, &prototypes, Device::Cpu).unwrap();
        let (mut losses, mut rates) = (vec![], vec![]);
        for (step, batch) in batches(epoch).into_iter().enumerate() {
            let lr = stage.rate(epoch, step as u64, STEPS as u64);
            let sgd = SgdOptions { lr, momentum: 0.9, weight_decay: 1e-3 };
            let options = Options { sgd, trust: 0.003, temperature: 0.1 };
            let shift = usize::from(mistake == Mistake::LabelsOfOtherImages);
            let labels = |(_, clusters): &(Vec<f32>, Vec<ClusterId>)| {
                batch.iter().map(|image| clusters[(image + shift) % IMAGES]).collect::<Vec<_>>()
            };
            let labels: Vec<_> = heads.iter().map(labels).collect();
            let report = trainer.step(&crops(epoch, &batch, 2), &labels, &options).unwrap();
            put(&mut bank, &batch, &report.banked);
            losses.push(report.loss);
            rates.push(lr);
        }
        state = trainer.weights().unwrap();
        momentum = trainer.momentum().unwrap();
        if mistake == Mistake::MomentumForgotten {
            momentum.clear();
        }
        told.bank.push(bank.clone());
        told.clusters.push(heads.into_iter().map(|(_, clusters)| clusters).collect());
        told.loss.push(losses);
        told.rate.push(rates);
    }
    told
}

/// How far a run is from the golden one.
#[derive(Debug)]
struct Apart {
    bank: f64,
    loss: f64,
    rate: f64,
    /// Labels that differ.
    labels: usize,
}

fn compare(told: &Told, kind: &str) -> Apart {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/epochs_v2/run.safetensors");
    let golden = crate::nets::state_of(std::fs::read(path).unwrap());
    let numbers = |name: &str, count: usize| {
        let tensor = golden[&format!("{kind} {name}")].flatten(0, -1).to_kind(Kind::Double);
        let all = Vec::<f64>::try_from(tensor).unwrap();
        assert!(count > 0 && all.len() >= count, "{name}: {count} of {}", all.len());
        all[..count].to_vec()
    };
    let most = |name: &str, ours: Vec<f64>| {
        let apart = ours.iter().zip(numbers(name, ours.len())).map(|(ours, theirs)| (ours - theirs).abs());
        apart.fold(0., f64::max)
    };
    let bank = told.bank.iter().flatten().flatten().map(|number| f64::from(*number)).collect();
    let clusters: Vec<f64> = told.clusters.iter().flatten().flatten().map(|cluster| cluster.0.into()).collect();
    let theirs = numbers("clusters", clusters.len());
    Apart {
        bank: most("bank", bank),
        loss: most("loss", told.loss.concat()),
        rate: most("rate", told.rate.concat()),
        labels: clusters.iter().zip(theirs).filter(|(ours, theirs)| *ours != theirs).count(),
    }
}

impl Apart {
    /// Banks and centroids are f32 in any case, and each step multiplies what differs: a layer's gradient counts by its
    /// direction alone.
    fn agrees(&self) -> bool {
        self.labels == 0 && self.loss < 1e-5 && self.bank < 1e-5 && self.rate < 1e-12
    }
}

#[test]
fn three_epochs_of_v2_are_the_references() {
    let apart = compare(&run(Kind::Double, EPOCHS, Mistake::None), "float64");
    assert!(apart.agrees(), "{apart:?}");
}

#[test]
fn an_epoch_of_v2_in_single_is_the_references() {
    let apart = compare(&run(Kind::Float, 1, Mistake::None), "float32");
    assert!(apart.labels == 0 && apart.loss < 2e-2, "{apart:?}");
}

#[test]
fn a_mistake_in_v2_is_noticed_within_two_epochs() {
    for (mistake, epochs) in [
        (Mistake::LabelsOfOtherImages, 1),
        (Mistake::OneBank, 1),
        (Mistake::EmptySplit, 2),
        (Mistake::MomentumForgotten, 2),
    ] {
        let apart = compare(&run(Kind::Double, epochs, mistake), "float64");
        assert!(!apart.agrees(), "{mistake:?}: {apart:?}");
    }
}
