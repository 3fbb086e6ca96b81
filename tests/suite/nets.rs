//! nets: the networks, their training step and the probe against PyTorch (tests/golden/nets.py).

use dcpipe::base::{Digest, PseudoLabel, Seed};
use dcpipe::format::{Scalar, Tensors};
use dcpipe::learn::arch::{Arch, NetShape, Stem};
use dcpipe::learn::initial::{initial_head, initial_trunk};
use dcpipe::learn::net::Net;
use dcpipe::learn::sgd::SgdOptions;
use dcpipe::learn::tensors::{Number, Raw, StateDict, tensor_of};
use dcpipe::learn::torch::reproducible;
use dcpipe::learn::train::Trainer;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use tch::{Device, Kind, Tensor};

#[path = "nets/probe.rs"]
mod probe;
#[path = "nets/refusals.rs"]
mod refusals;

const CPU: Device = Device::Cpu;
const SHAPES: [(&str, NetShape); 5] = [
    ("alexnet True 64", NetShape::new(Arch::Alexnet, true, 64)),
    ("alexnet False 67", NetShape::new(Arch::Alexnet, false, 67)),
    ("vgg16 True 32", NetShape::new(Arch::Vgg16, true, 32)),
    ("vgg16 False 64", NetShape::new(Arch::Vgg16, false, 64)),
    ("alexnet True 224", NetShape::new(Arch::Alexnet, true, 224)),
];
const SMALL: NetShape = SHAPES[0].1;
const CIFAR: NetShape = NetShape { stem: Stem::Cifar, ..NetShape::new(Arch::Resnet18, false, 32) };
const LITTLE: (&str, NetShape) = ("alexnet_small False 32", NetShape::new(Arch::AlexnetSmall, false, 32));
const RESNETS: [(&str, NetShape); 4] = [
    ("resnet18 False 64 imagenet", NetShape::new(Arch::Resnet18, false, 64)),
    ("resnet18 True 33 imagenet", NetShape::new(Arch::Resnet18, true, 33)),
    ("resnet18 False 32 cifar", CIFAR),
    ("resnet50 False 64 imagenet", NetShape::new(Arch::Resnet50, false, 64)),
];

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/nets").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tensors of a safetensors file.
pub fn state_of(bytes: Vec<u8>) -> StateDict {
    let file = Tensors::open_any("golden", &bytes.into()).unwrap();
    let number = |scalar| match scalar {
        Scalar::U8 => Number::U8,
        Scalar::I64 => Number::I64,
        Scalar::F32 => Number::F32,
        Scalar::F64 => Number::F64,
        other => panic!("a golden of {other}"),
    };
    let tensor = |(name, tensor): (&str, &dcpipe::format::weights::Tensor)| {
        (name.to_owned(), tensor_of(number(tensor.scalar()), tensor.shape(), tensor.bytes()).unwrap())
    };
    file.iter().map(tensor).collect()
}

fn raw(state: &StateDict) -> BTreeMap<String, Raw> {
    state.iter().map(|(name, tensor)| (name.clone(), Raw::of(tensor).unwrap())).collect()
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

/// The integer hash of tests/golden/nets.py: FNV-1a of the name, SplitMix64's finaliser of seed + i.
fn bits(name: &str, count: usize) -> impl Iterator<Item = u64> {
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    (0..count as u64).map(move |i| {
        let h = seed.wrapping_add(i);
        let h = (h ^ h >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let h = (h ^ h >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        h ^ h >> 31
    })
}

fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    bits(name, count).map(|h| (h >> 11) as f64 * 2f64.powi(-52) - 1.)
}

fn pixels(name: &str, n: usize, shape: &NetShape) -> Vec<u8> {
    bits(name, n * (shape.input * shape.input * 3) as usize).map(|h| (h >> 56) as u8).collect()
}

fn filled(name: &str, sides: &[i64], kind: Kind) -> Tensor {
    let scale_and_mean = match sides {
        _ if name.ends_with("running_var") => (0.2, 1.),
        [_] if name.ends_with("weight") => (0.2, 1.),
        [_, _] => (0.0173, 0.),
        [_, rest @ ..] if !rest.is_empty() => ((6. / rest.iter().product::<i64>() as f64).sqrt(), 0.),
        _ => (0.1, 0.),
    };
    let (scale, mean) = scale_and_mean;
    let values: Vec<f32> =
        uniform(name, sides.iter().product::<i64>() as usize).map(|u| (mean + scale * u) as f32).collect();
    Tensor::from_slice(&values).view(sides).to_kind(kind)
}

/// Every parameter from the hash; Sobel's kernels and the counters as the network brings them.
fn weights(shape: &NetShape, kind: Kind) -> StateDict {
    let drawn = |name: &str| !name.starts_with("sobel") && !name.ends_with("num_batches_tracked");
    let own = initial_trunk(&NetShape { input: SMALL.input, ..*shape }, &Seed::of_node(0, "test")).unwrap();
    let tensor =
        |name: &str, sides: &[i64]| if drawn(name) { filled(name, sides, kind) } else { own[name].shallow_clone() };
    let mut state: StateDict = shape
        .trunk()
        .into_iter()
        .map(|(n, s)| {
            let t = tensor(&n, &s);
            (n, t)
        })
        .collect();
    for name in ["sobel.0.weight", "sobel.0.bias", "sobel.1.weight", "sobel.1.bias"] {
        if let Some(tensor) = state.get_mut(name) {
            *tensor = tensor.to_kind(kind);
        }
    }
    state
}

fn head(k: i64, kind: Kind) -> (Tensor, Tensor) {
    head_of(&SMALL, k, kind)
}

fn head_of(shape: &NetShape, k: i64, kind: Kind) -> (Tensor, Tensor) {
    (filled("top_layer.weight", &[k, shape.feature_dims() as i64], kind), filled("top_layer.bias", &[k], kind))
}

/// Every so-many-th value, the sum, the sum of magnitudes: what the golden files hold of a tensor.
fn sample(tensor: &Tensor, most: i64) -> Vec<f64> {
    let flat = tensor.to_kind(Kind::Double).contiguous().view(-1);
    let stride = (flat.size()[0] / most).max(1);
    let picked = flat.slice(0, None, None, stride);
    let mut values = Vec::<f64>::try_from(picked.slice(0, None, Some(most), 1)).unwrap();
    values.extend([flat.sum(Kind::Double), flat.abs().sum(Kind::Double)].map(|t| t.double_value(&[])));
    values
}

/// Largest difference, as a share of the largest magnitude; of the two sums, as a share of the sum of magnitudes.
fn distance(got: &[f64], want: &Tensor) -> f64 {
    let want = Vec::<f64>::try_from(want.to_kind(Kind::Double)).unwrap();
    assert_eq!(got.len(), want.len());
    let (values, sums) = want.split_at(want.len() - 2);
    let largest = values.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
    let scale = |i: usize| if i < values.len() { largest } else { sums[1].max(1e-12) };
    got.iter().zip(&want).enumerate().map(|(i, (g, w))| (g - w).abs() / scale(i)).fold(0., f64::max)
}

#[test]
fn tensor_names_and_shapes_are_those_of_the_torch_module() {
    let (keys, of_resnets) = (json("keys.json"), json("resnet_keys.json"));
    let full = ("vgg16 True 224", NetShape::new(Arch::Vgg16, true, 224));
    let of_little = json("alexnet_small.json");
    for (tag, shape) in SHAPES.into_iter().chain([full, LITTLE]).chain(RESNETS) {
        let mut ours: BTreeMap<String, Vec<i64>> = shape.trunk().into_iter().collect();
        let dims = match shape.arch {
            Arch::Resnet18 => 512,
            Arch::Resnet50 => 2048,
            Arch::AlexnetSmall => 1024,
            Arch::Alexnet | Arch::Vgg16 => 4096,
        };
        ours.insert("top_layer.weight".into(), vec![7, dims]);
        ours.insert("top_layer.bias".into(), vec![7]);
        let theirs: BTreeMap<String, Vec<i64>> =
            serde_json::from_value(keys.get(tag).or(of_resnets.get(tag)).unwrap_or(&of_little).clone()).unwrap();
        assert_eq!(ours, theirs, "{tag}");
    }
}

#[test]
fn sobel_answers_as_described() {
    let goldens = state_of(golden("sobel.safetensors"));
    // The front needs no room for pooling, but the network does: put the 9 x 9 image into a corner of grey zero.
    for kind in [Kind::Double, Kind::Float] {
        let net = Net::load(&SMALL, &weights(&SMALL, kind), CPU).unwrap();
        let flat = net.front(&vec![200; 64 * 64 * 3], 1).unwrap();
        let inside = flat.slice(2, Some(1), Some(63), 1).slice(3, Some(1), Some(63), 1);
        assert!(inside.abs().max().double_value(&[]) < 1e-6);
        assert!(flat.select(2, 0).abs().max().double_value(&[]) > 1.);
        // Corners of ours and theirs see the same neighbours: 8 rows and columns from the top left corner.
        for (name, noise) in
            [("noise", bits("sobel", 243).map(|h| (h >> 56) as u8).collect::<Vec<_>>()), ("flat", vec![200; 243])]
        {
            let mut image = vec![0u8; 64 * 64 * 3];
            for (row, line) in noise.chunks_exact(27).enumerate() {
                image[row * 64 * 3..][..27].copy_from_slice(line);
            }
            let corner =
                |t: &Tensor| t.slice(1, Some(0), Some(8), 1).slice(2, Some(0), Some(8), 1).to_kind(Kind::Double);
            let difference = corner(&net.front(&image, 1).unwrap().get(0)) - corner(&goldens[name]);
            let largest = corner(&goldens[name]).abs().max().double_value(&[]);
            let tolerance = if kind == Kind::Double { 1e-12 } else { 1e-6 };
            assert!(difference.abs().max().double_value(&[]) <= tolerance * largest, "{name} {kind:?}");
        }
    }
}

#[test]
fn activations_and_features_equal_torch() {
    let mut goldens = state_of(golden("activations.safetensors"));
    goldens.extend(state_of(golden("resnet_activations.safetensors")));
    goldens.extend(state_of(golden("alexnet_small.safetensors")));
    for (tag, shape) in SHAPES.into_iter().chain([LITTLE]).chain(RESNETS) {
        for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-4)] {
            let net = Net::load(&shape, &weights(&shape, kind), CPU).unwrap();
            let pixels = pixels("pixels", 3, &shape);
            let maps = net.activations(&pixels, 3).unwrap();
            assert_eq!(maps.len(), shape.maps().len());
            for (map, told) in maps.iter().zip(shape.maps()) {
                assert_eq!(map.size(), [3, told.channels, told.side, told.side], "{tag} {}", told.name);
                let apart = distance(&sample(map, 64), &goldens[&format!("{tag} {}", told.name)]);
                assert!(apart < tolerance, "{tag} {kind:?} {}: {apart}", told.name);
            }
            let feature = if tag.starts_with("resnet") { "feature" } else { "fc2" };
            let golden = &goldens[&format!("{tag} {feature}")];
            let apart = distance(&sample(&net.features_on_device(&pixels, 3).unwrap(), 256), golden);
            assert!(apart < tolerance, "{tag} {kind:?} {feature}: {apart}");
        }
    }
}

#[test]
fn initial_weights_have_the_published_moments() {
    [SMALL, CIFAR].iter().for_each(moments);
}

fn moments(shape: &NetShape) {
    let seed = Seed::of_node(31, "weights@0");
    let state = initial_trunk(shape, &seed).unwrap();
    for (name, sides) in shape.trunk() {
        let (tensor, n) = (&state[&name], sides.iter().product::<i64>() as f64);
        assert_eq!(tensor.size(), sides, "{name}");
        let deviation = match sides[..] {
            _ if name.starts_with("sobel") => continue,
            [outputs, _, kernel, _] => (2. / (kernel * kernel * outputs) as f64).sqrt(),
            [_, _] => 0.01,
            _ => {
                let one = name.ends_with("var") || name.ends_with("weight");
                let mean = tensor.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
                assert_eq!(mean, if one { 1. } else { 0. }, "{name}");
                continue;
            }
        };
        let values = tensor.to_kind(Kind::Double).view(-1);
        let (mean, sd) = (values.mean(Kind::Double).double_value(&[]), values.std(true).double_value(&[]));
        assert!(mean.abs() < 4. * deviation / n.sqrt(), "{name}: mean {mean}");
        assert!((sd / deviation - 1.).abs() < 4. / (2. * n).sqrt(), "{name}: deviation {sd}, expected {deviation}");
    }
    assert!(raw(&state) == raw(&initial_trunk(shape, &seed).unwrap()));
}

fn labels(step: usize) -> Vec<PseudoLabel> {
    bits(&format!("labels {step}"), 8).map(|h| PseudoLabel((h % 10) as u32)).collect()
}

#[test]
fn training_steps_equal_torch() {
    let cases = [
        ("training_alexnet.safetensors", SHAPES[0].1, 10),
        ("training_vgg16.safetensors", SHAPES[2].1, 2),
        ("training_resnet18.safetensors", NetShape::new(Arch::Resnet18, true, 64), 2),
    ];
    for (file, shape, steps) in cases {
        let goldens = state_of(golden(file));
        let weights = weights(&shape, Kind::Double);
        let (weight, bias) = head_of(&shape, 10, Kind::Double);
        let options = SgdOptions::default();
        let mut trainer =
            Trainer::new(&shape, &weights, &StateDict::new(), (&weight, &bias), options, 0., CPU).unwrap();
        for step in 0..steps {
            let report = trainer.step(&pixels(&format!("step {step}"), 8, &shape), &labels(step), 0).unwrap();
            let want = goldens["float64 loss"].double_value(&[step as i64]);
            assert!((report.loss - want).abs() < 1e-9 * want, "{file} step {step}: {} {want}", report.loss);
            if step > 0 && step + 1 < steps {
                continue;
            }
            let momentum = trainer.momentum().unwrap().into_iter().map(|(name, t)| (format!("momentum {name}"), t));
            let mut compared = 0;
            for (name, tensor) in trainer.weights().unwrap().into_iter().chain(momentum) {
                let golden = &goldens[&format!("float64 after {} {name}", step + 1)];
                let of_a_convolution = name
                    .strip_prefix("momentum ")
                    .and_then(|parameter| parameter.strip_suffix(".bias"))
                    .is_some_and(|stem| weights[&format!("{stem}.weight")].dim() == 4);
                if of_a_convolution {
                    // A bias before batch norm has no gradient but rounding: its share of so little means nothing.
                    let want = Vec::<f64>::try_from(golden.to_kind(Kind::Double)).unwrap();
                    let most = sample(&tensor, 12).iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0., f64::max);
                    assert!(most < 1e-12, "{file} step {step} {name}: {most}");
                } else {
                    let apart = distance(&sample(&tensor, 12), golden);
                    assert!(apart < 1e-9, "{file} step {step} {name}: {apart}");
                }
                compared += 1;
            }
            assert_eq!(
                compared,
                goldens.keys().filter(|name| name.starts_with(&format!("float64 after {} ", step + 1))).count()
            );
        }
    }
}

#[test]
fn f32_training_loses_as_torch_does() {
    let goldens = state_of(golden("training_alexnet.safetensors"));
    let (weight, bias) = head(10, Kind::Float);
    let options = SgdOptions::default();
    let weights = weights(&SMALL, Kind::Float);
    let mut trainer = Trainer::new(&SMALL, &weights, &StateDict::new(), (&weight, &bias), options, 0., CPU).unwrap();
    for step in 0..3 {
        let report = trainer.step(&pixels(&format!("step {step}"), 8, &SMALL), &labels(step), 0).unwrap();
        let want = goldens["float32 loss"].double_value(&[step as i64]);
        assert!((report.loss - want).abs() < 1e-5 * want, "step {step}: {} {want}", report.loss);
    }
    let after = trainer.weights().unwrap();
    for name in weights.keys().filter(|name| name.starts_with("sobel")) {
        assert_eq!(after[name], weights[name], "{name} is frozen");
    }
}

fn run(trainer: &mut Trainer, steps: std::ops::Range<usize>) -> Vec<f64> {
    let mut step = |step: usize| {
        trainer.step(&pixels(&format!("step {step}"), 8, &SMALL), &labels(step), step as i64).unwrap().loss
    };
    steps.map(&mut step).collect()
}

#[test]
fn a_resumed_trainer_gives_the_same_bytes() {
    let weights = initial_trunk(&SMALL, &Seed::of_node(31, "weights@0")).unwrap();
    let (weight, bias) = initial_head(10, 4096, &Seed::of_node(31, "weights@1")).unwrap();
    let start = |weights: &StateDict, momentum: &StateDict, head: (&Tensor, &Tensor)| {
        Trainer::new(&SMALL, weights, momentum, head, SgdOptions::default(), 0.5, CPU).unwrap()
    };
    let bytes = |trainer: &Trainer| [trainer.weights(), trainer.momentum()].map(|state| raw(&state.unwrap()));
    let mut straight = start(&weights, &StateDict::new(), (&weight, &bias));
    let losses = run(&mut straight, 0..5);
    for stop in [1, 3] {
        let mut first = start(&weights, &StateDict::new(), (&weight, &bias));
        let mut again = run(&mut first, 0..stop);
        let read = |(name, raw): (String, Raw)| (name, tensor_of(raw.number, &raw.shape, &raw.bytes).unwrap());
        let [kept, momentum] = bytes(&first).map(|state| state.into_iter().map(read).collect::<StateDict>());
        drop(first);
        let mut second = start(&kept, &momentum, (&kept["top_layer.weight"], &kept["top_layer.bias"]));
        again.extend(run(&mut second, stop..5));
        assert_eq!(again, losses, "losses after a stop at step {stop}");
        assert!(bytes(&second) == bytes(&straight), "bytes after a stop at step {stop}");
    }
}

#[test]
fn a_new_head_starts_fresh_and_the_body_keeps_its_momentum() {
    let weights = weights(&SMALL, Kind::Float);
    let (seed, options) = (Seed::of_node(31, "weights@1"), SgdOptions { lr: 0.05, momentum: 0.9, weight_decay: 0. });
    let (weight, bias) = initial_head(10, 4096, &seed).unwrap();
    let (other, _) = initial_head(10, 4096, &Seed::of_node(31, "weights@2")).unwrap();
    assert_ne!(weight, other);
    assert_eq!(weight, initial_head(10, 4096, &seed).unwrap().0);
    let mut trainer = Trainer::new(&SMALL, &weights, &StateDict::new(), (&weight, &bias), options, 0., CPU).unwrap();
    run(&mut trainer, 0..1);
    let (first, buffers) = (trainer.weights().unwrap(), trainer.momentum().unwrap());
    let gradient = (&weight - &first["top_layer.weight"]) / 0.05;
    // The second step of a head without momentum moves by its gradient alone: start over from the same point.
    let second = |trainer: &mut Trainer| {
        run(trainer, 1..2);
        trainer.weights().unwrap()
    };
    let mut fresh = Trainer::new(
        &SMALL,
        &first,
        &buffers,
        (&first["top_layer.weight"], &first["top_layer.bias"]),
        options,
        0.,
        CPU,
    )
    .unwrap();
    let (through, anew) = (second(&mut trainer), second(&mut fresh));
    assert_eq!(through["top_layer.weight"], anew["top_layer.weight"], "the head's optimizer has no memory");
    assert!(gradient.abs().max().double_value(&[]) > 0.);
    let mut forgot = Trainer::new(
        &SMALL,
        &first,
        &StateDict::new(),
        (&first["top_layer.weight"], &first["top_layer.bias"]),
        options,
        0.,
        CPU,
    )
    .unwrap();
    let without = second(&mut forgot);
    let carried = &without["classifier.1.weight"] - &through["classifier.1.weight"];
    let expected = &buffers["classifier.1.weight"] * (0.05 * 0.9);
    assert!(carried.allclose(&expected, 1e-3, 1e-7, false), "what momentum adds is lr * 0.9 * buffer");
}

#[test]
fn a_batch_of_one_trains_and_stays_finite() {
    let smallest = [NetShape::new(Arch::Alexnet, false, 63), NetShape::new(Arch::Resnet18, true, 33)];
    let smallest = smallest.into_iter().chain([NetShape { input: 9, ..CIFAR }]);
    for shape in [SMALL, SHAPES[2].1].into_iter().chain(smallest) {
        let (weight, bias) = head_of(&shape, 10, Kind::Float);
        let weights = weights(&shape, Kind::Float);
        let mut trainer =
            Trainer::new(&shape, &weights, &StateDict::new(), (&weight, &bias), SgdOptions::default(), 0.5, CPU)
                .unwrap();
        trainer.step(&pixels("one", 1, &shape), &[PseudoLabel(3)], 1).unwrap();
        trainer.weights().unwrap();
    }
}

const SAME: &str = "features_are_the_same_bits_in_any_batch_on_any_number_of_threads";

/// Runs itself in processes with other numbers of threads, which are a process's own and not a test's to change.
#[test]
fn features_are_the_same_bits_in_any_batch_on_any_number_of_threads() {
    let threads = std::env::var("DCPIPE_TEST_THREADS").ok();
    threads.iter().for_each(|threads| tch::set_num_threads(threads.parse().unwrap()));
    let pixels = pixels("pixels", 100, &SMALL);
    let image = pixels.len() / 100;
    let nets = [SMALL, RESNETS[0].1].map(|shape| Net::load(&shape, &weights(&shape, Kind::Float), CPU).unwrap());
    let features = nets.each_ref().map(|net| net.features(&pixels, 100).unwrap());
    let digest = Digest::of(&features.iter().flatten().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).to_string();
    if threads.is_some() {
        let mut out = std::io::stdout();
        return writeln!(out, "digest {digest} on {} threads", tch::get_num_threads()).unwrap();
    }
    for batch in [1, 7, 16, 33, 65] {
        for (net, all) in nets.iter().zip(&features) {
            let some = net.features(&pixels[..batch * image], batch).unwrap();
            assert!(some == all[..some.len()] && some.len() == all.len() / 100 * batch, "batch of {batch}");
        }
    }
    let module = module_path!().split_once("::").map(|(_, module)| format!("{module}::")).unwrap_or_default();
    let on = |threads: usize| {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        // As a worker is started.
        again.envs(reproducible().iter().copied()).env("DCPIPE_TEST_THREADS", threads.to_string());
        again.args([&format!("{module}{SAME}"), "--exact", "--nocapture"]);
        let said = String::from_utf8_lossy(&again.output().unwrap().stdout).into_owned();
        let digest = said.split_once(&format!(" on {threads} threads")).map(|(before, _)| before.to_owned());
        digest.unwrap_or_else(|| panic!("{said}")).rsplit(' ').next().unwrap().to_owned()
    };
    let digests = [1, 2, 3, 4].map(on);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}
