//! epochs: three epochs of DeepCluster, all chance taken out, against an independent one (tests/golden/epochs.py).

use dcpipe::base::{ClusterId, PseudoLabel, Seed};
use dcpipe::learn::agreement::Contingency;
use dcpipe::learn::arch::{Arch, NetShape};
use dcpipe::learn::kmeans::Lloyd;
use dcpipe::learn::nearest::FaissAssigner;
use dcpipe::learn::net::Net;
use dcpipe::learn::pca::Scatter;
use dcpipe::learn::sampler::{self, Draw};
use dcpipe::learn::sgd::SgdOptions;
use dcpipe::learn::tensors::StateDict;
use dcpipe::learn::train::Trainer;
use std::path::Path;
use tch::{Device, Kind, Tensor};

const SHAPE: NetShape = NetShape::new(Arch::Alexnet, true, 64);
const SIDE: usize = SHAPE.input as usize;
const IMAGES: usize = 96;
const KINDS: usize = 6;
const EPOCHS: usize = 3;
const BATCH: usize = 32;
const DIMS: usize = 7;
const K: usize = 8;
const ITERATIONS: usize = 10;
const OPTIONS: SgdOptions = SgdOptions { lr: 0.01, momentum: 0.9, weight_decay: 1e-5 };

/// The integer hash of tests/golden/nets.py.
pub fn bits(name: &str, count: usize) -> Vec<u64> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    let mixed = |i: u64| {
        let h = seed.wrapping_add(i);
        let h = (h ^ h >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let h = (h ^ h >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        h ^ h >> 31
    };
    (0..count as u64).map(mixed).collect()
}

/// The test value of a parameter, drawn under `name` where a parameter is called `like`.
pub fn filled(name: &str, like: &str, sides: &[i64], kind: Kind) -> Tensor {
    let (mean, scale) = match sides {
        _ if like.ends_with("running_var") => (1., 0.2),
        [_] if like.ends_with("weight") => (1., 0.2),
        [_, _] => (0., 0.0173),
        [_, rest @ ..] if !rest.is_empty() => (0., (6. / rest.iter().product::<i64>() as f64).sqrt()),
        _ => (0., 0.1),
    };
    let value = |h: u64| (mean + scale * ((h >> 11) as f64 * 2f64.powi(-52) - 1.)) as f32;
    let values: Vec<f32> = bits(name, sides.iter().product::<i64>() as usize).into_iter().map(value).collect();
    Tensor::from_slice(&values).view(sides).to_kind(kind)
}

fn trunk(kind: Kind) -> StateDict {
    let edges = [1f32, 0., -1., 2., 0., -2., 1., 0., -1., 1., 2., 1., 0., 0., 0., -1., -2., -1.];
    let tensor = |name: &str, sides: &[i64]| match name {
        "sobel.0.weight" => Tensor::from_slice(&[1f32 / 3.; 3]).view(sides).to_kind(kind),
        "sobel.1.weight" => Tensor::from_slice(&edges).view(sides).to_kind(kind),
        "sobel.0.bias" | "sobel.1.bias" => Tensor::zeros(sides, (kind, Device::Cpu)),
        _ if name.ends_with("num_batches_tracked") => Tensor::zeros(sides, (Kind::Int64, Device::Cpu)),
        _ => filled(name, name, sides, kind),
    };
    let named = |(name, sides): (String, Vec<i64>)| {
        let tensor = tensor(&name, &sides);
        (name, tensor)
    };
    SHAPE.trunk().into_iter().map(named).collect()
}

/// One of six kinds of drawing, moved a little, with a little noise: u8 [s, s, 3].
fn drawing(image: usize) -> Vec<u8> {
    let h = bits(&format!("image {image}"), 2 + SIDE * SIDE * 3);
    let on = |x: i64, y: i64| match image % KINDS {
        0 => y / 8 % 2 == 1,
        1 => x / 4 % 2 == 1,
        2 => (x + y) / 8 % 2 == 1,
        3 => (x / 16 + y / 16) % 2 == 1,
        4 => (x - 34).pow(2) + (y - 34).pow(2) < 400,
        _ => x * y / 64 % 2 == 1,
    };
    let value = |(at, noise): (usize, &u64)| {
        let (x, y) = (at / 3 % SIDE + (h[0] % 5) as usize, at / 3 / SIDE + (h[1] % 5) as usize);
        40 + 160 * u8::from(on(x as i64, y as i64)) + (noise % 48) as u8
    };
    h[2..].iter().enumerate().map(value).collect()
}

/// The images in the order of their hashes.
fn order(name: &str) -> Vec<usize> {
    let keys = bits(name, IMAGES);
    let mut order: Vec<usize> = (0..IMAGES).collect();
    order.sort_by_key(|image| keys[*image]);
    order
}

/// What a run does wrong, to show that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    MomentumForgotten,
    FeaturesRectified,
}

/// What an epoch tells.
struct Told {
    /// Sum of the features, sum of their magnitudes.
    sums: [f64; 2],
    eigenvalues: Vec<f64>,
    objective: Vec<f64>,
    clusters: Vec<u32>,
    loss: Vec<f64>,
}

/// Epochs in the order of the stages: extract, whiten, cluster, sample, train.
fn run(kind: Kind, epochs: usize, mistake: Mistake) -> Vec<Told> {
    let images: Vec<Vec<u8>> = (0..IMAGES).map(drawing).collect();
    let (mut weights, mut momentum) = (trunk(kind), StateDict::new());
    let mut told = Vec::new();
    for epoch in 0..epochs {
        let mut features = features(&weights, &images);
        if mistake == Mistake::FeaturesRectified {
            features.iter_mut().for_each(|value| *value = value.max(0.));
        }
        let mut scatter = Scatter::new(SHAPE.feature_dims()).unwrap();
        scatter.add(&features).unwrap();
        let whitening = scatter.finish(DIMS, -0.5).unwrap();
        let mut vectors = vec![0.; IMAGES * DIMS];
        whitening.apply(&features, &mut vectors).unwrap();
        let (objective, clusters) = cluster(epoch, &vectors);
        let labels = labels(&clusters);

        let head = |name: &str, sides: &[i64]| filled(&format!("epoch {epoch} {name}"), name, sides, kind);
        let head = (head("weight", &[K as i64, 4096]), head("bias", &[K as i64]));
        let head = (&head.0, &head.1);
        let mut trainer = Trainer::new(&SHAPE, &weights, &momentum, head, OPTIONS, 0., Device::Cpu).unwrap();
        let mut loss = Vec::new();
        for batch in order(&format!("manifest {epoch}")).chunks(BATCH) {
            let pixels = batch.iter().flat_map(|image| images[*image].iter().copied()).collect::<Vec<_>>();
            let labels: Vec<PseudoLabel> = batch.iter().map(|image| labels[*image]).collect();
            loss.push(trainer.step(&pixels, &labels, 0).unwrap().loss);
        }
        weights = trainer.weights().unwrap();
        momentum = trainer.momentum().unwrap();
        if mistake == Mistake::MomentumForgotten {
            momentum.clear();
        }
        let sum = |of: fn(f32) -> f32| features.iter().map(|value| f64::from(of(*value))).sum();
        let sums = [sum(|value| value), sum(f32::abs)];
        let clusters = clusters.iter().map(|cluster| cluster.0).collect();
        told.push(Told { sums, eigenvalues: whitening.eigenvalues, objective, clusters, loss });
    }
    told
}

fn features(weights: &StateDict, images: &[Vec<u8>]) -> Vec<f32> {
    let net = Net::load(&SHAPE, weights, Device::Cpu).unwrap();
    images.chunks(40).flat_map(|batch| net.features(&batch.concat(), batch.len()).unwrap()).collect()
}

/// From given images; in one epoch an image starts two clusters, one of which is then empty and refilled.
fn cluster(epoch: usize, vectors: &[f32]) -> (Vec<f64>, Vec<ClusterId>) {
    let mut start = order(&format!("centroids {epoch}"))[..K].to_vec();
    if epoch == 1 {
        start[K - 1] = start[0];
    }
    let centroids = start.iter().flat_map(|image| vectors[image * DIMS..][..DIMS].iter().copied()).collect();
    let mut lloyd = Lloyd::from_centroids(centroids, DIMS).unwrap();
    let mut step = || lloyd.step(&[vectors], &mut FaissAssigner::default()).unwrap();
    let reports: Vec<_> = (0..ITERATIONS).map(|_| step()).collect();
    assert_eq!(reports[0].splits, u32::from(epoch == 1), "epoch {epoch}");
    let objective = reports.iter().map(|report| report.objective).collect();
    (objective, lloyd.assign(&[vectors], &mut FaissAssigner::default()).unwrap().clusters)
}

/// Pseudo-labels as `sample` gives them: the draw itself is chance, what a cluster is called in it is not.
fn labels(clusters: &[ClusterId]) -> Vec<PseudoLabel> {
    let drawn =
        sampler::draw(clusters, K as u32, 64 * IMAGES, Draw::Uniform, &Seed::of_node(31, "manifest@0")).unwrap();
    let label = |cluster: &ClusterId| {
        let at = drawn.cluster.iter().position(|drawn| drawn == cluster).unwrap();
        drawn.label[at]
    };
    clusters.iter().map(label).collect()
}

/// How far a run is from the golden one, per epoch.
#[derive(Debug)]
struct Apart {
    sums: f64,
    eigenvalues: f64,
    objective: f64,
    loss: f64,
    same: f64,
    nmi: f64,
}

fn compare(told: &[Told], kind: &str) -> Vec<Apart> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/epochs/run.safetensors");
    let golden = crate::nets::state_of(std::fs::read(path).unwrap());
    let numbers = |name: &str, epoch: usize| {
        Vec::<f64>::try_from(golden[&format!("{kind} {name}")].get(epoch as i64).to_kind(Kind::Double)).unwrap()
    };
    let worst = |ours: &[f64], theirs: &[f64]| {
        assert_eq!(ours.len(), theirs.len());
        ours.iter().zip(theirs).map(|(ours, theirs)| (ours / theirs - 1.).abs()).fold(0., f64::max)
    };
    let of_epoch = |(epoch, told): (usize, &Told)| {
        let theirs: Vec<u32> = numbers("clusters", epoch).into_iter().map(|cluster| cluster as u32).collect();
        let sums = numbers("sums", epoch);
        let same = told.clusters.iter().zip(&theirs).filter(|(ours, theirs)| ours == theirs).count();
        Apart {
            sums: (told.sums[0] - sums[0]).abs().max((told.sums[1] - sums[1]).abs()) / sums[1],
            eigenvalues: worst(&told.eigenvalues, &numbers("eigenvalues", epoch)),
            objective: worst(&told.objective, &numbers("objective", epoch)),
            loss: worst(&told.loss, &numbers("loss", epoch)),
            same: same as f64 / IMAGES as f64,
            nmi: Contingency::of(&told.clusters, &theirs).unwrap().nmi_arithmetic(),
        }
    };
    told.iter().enumerate().map(of_epoch).collect()
}

impl Apart {
    /// Oracle 13 asks for 0.99 of the labels and 0.001 of every step's loss; f32 alone makes 0.00001.
    fn agrees(&self) -> bool {
        self.same >= 0.99 && self.loss < 1e-4
    }
}

#[test]
fn three_epochs_lose_as_the_reference_does() {
    let apart = compare(&run(Kind::Float, EPOCHS, Mistake::None), "float32");
    assert!(apart.iter().all(Apart::agrees), "{apart:#?}");
}

#[test]
fn two_epochs_in_double_are_the_references_to_nine_digits() {
    let apart = compare(&run(Kind::Double, 2, Mistake::None), "float64");
    // Vectors and clusters are f32 in any case.
    let inner = |apart: &Apart| apart.sums < 1e-9 && apart.eigenvalues < 1e-6 && apart.objective < 1e-5;
    let exact = |apart: &Apart| inner(apart) && apart.same == 1. && apart.nmi > 1. - 1e-9 && apart.loss < 1e-9;
    assert!(apart.iter().all(exact), "{apart:#?}");
}

#[test]
fn a_mistake_is_noticed_within_two_epochs() {
    for (mistake, epochs) in [(Mistake::FeaturesRectified, 1), (Mistake::MomentumForgotten, 2)] {
        let apart = compare(&run(Kind::Float, epochs, mistake), "float32");
        assert!(!apart.iter().all(Apart::agrees), "{mistake:?}: {apart:#?}");
    }
}
