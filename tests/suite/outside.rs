//! outside: weights leave under other programs' names and come back as the same network; a wrong file is refused by name.

use crate::readers::script;
use crate::space::{Space, TINY, start};
use dcpipe::format::weights::{Tensor, write_foreign};
use dcpipe::format::{Metadata, TensorRef, Tensors};
use std::collections::BTreeMap;

const ALEXNET: &str = "arch: alexnet, sobel: true, input: 64";
const RESNET: &str = "arch: resnet18, sobel: false, input: 32, stem: cifar";

/// A pipeline of another name whose first weights are these, for crops of 32 pixels where they are a ResNet's.
fn pipeline(name: &str, init: &str) -> String {
    let text =
        TINY.replace("name: tiny", &format!("name: {name}")).replace(ALEXNET, init).replace("epochs: 2", "epochs: 1");
    if init.contains("input: 32") { text.replace("short_side: 64, crop: 64", "short_side: 32, crop: 32") } else { text }
}

fn open(bytes: Vec<u8>) -> Tensors {
    Tensors::open_any("file", &bytes.into()).unwrap()
}

fn file(space: &Space, name: &str) -> Tensors {
    open(std::fs::read(space.path(name)).unwrap())
}

/// The tensors of a node's weights.
fn weights(space: &Space, run: &str, node: &str) -> Tensors {
    let store = space.store();
    let record = store.record(store.node_keys(run)[node]).unwrap().unwrap();
    open(store.map(record.artifact.part("weights.safetensors").unwrap()).unwrap().to_vec())
}

/// What a file has besides a head, to be compared.
fn trunk(file: &Tensors) -> BTreeMap<&str, (&[usize], &[u8])> {
    let body = file.iter().filter(|(name, _)| !name.starts_with("top_layer."));
    body.map(|(name, tensor)| (name, (tensor.shape(), tensor.bytes()))).collect()
}

/// Runs only what makes the first weights of a pipeline that takes them from `from`.
fn take(space: &Space, run: &str, init: &str, from: &str) -> crate::space::Output {
    space.write(&format!("{run}.yaml"), pipeline(run, &format!("{init}, from: {from}")));
    space.run(&["run", &format!("{run}.yaml"), "--to", "weights@0", "--json"])
}

#[test]
fn weights_under_any_naming_come_back_as_the_same_network() {
    let space = Space::after_a_run();
    for naming in ["dcpipe", "published"] {
        let name = format!("{naming}.safetensors");
        let told = space.run(&["export", "weights", "tiny", "--naming", naming, "-o", &name]).ok().stdout;
        assert!(told.starts_with(&format!("{name} (weights@2: 1 file")), "{told}");
        take(&space, naming, ALEXNET, &name).ok();
        assert_eq!(trunk(&weights(&space, naming, "weights@0")), trunk(&weights(&space, "tiny", "weights@2")));
    }
    let published = file(&space, "published.safetensors");
    assert!(published.get("features.module.14.weight").is_some() && published.get("top_layer.bias").is_some());
    assert!(published.metadata().get("dcpipe.schema").is_none());
    // Another file, another key; the same network, the same artifact, and so the same features.
    assert_eq!(space.digests_of("dcpipe")["weights@0"], space.digests_of("published")["weights@0"]);
    space.run(&["export", "weights", "tiny", "--epoch", "1"]).ok();
    assert!(space.path("runs/tiny/export/weights/epoch=0001.dcpipe.safetensors").is_file());
    let refused = space.run(&["export", "weights", "tiny", "--naming", "torchvision"]);
    assert!(refused.code != Some(0));
    refused.complains_of(&["Alexnet has no torchvision names", "--naming dcpipe"]);
    space.run(&["export", "csv", "--naming", "published"]).ended(2).complains_of(&["csv has no --naming"]);
}

#[test]
fn a_resnet_runs_an_epoch_and_leaves_by_torchvisions_names() {
    let space = Space::filled();
    space.write("resnet.yaml", pipeline("resnet", RESNET));
    space.run(&["run", "resnet.yaml", "-q"]).ok();
    space.run(&["export", "weights", "--naming", "torchvision", "-o", "out/tv.safetensors"]).ok();
    let exported = file(&space, "out/tv.safetensors");
    assert_eq!(exported.get("fc.weight").map(Tensor::shape), Some(&[7, 512][..]));
    assert_eq!(exported.get("layer2.0.downsample.0.weight").map(Tensor::shape), Some(&[128, 64, 1, 1][..]));
    let told = take(&space, "back", RESNET, "out/tv.safetensors").ok().stdout;
    assert!(told.contains("left out: fc.bias, fc.weight"), "{told}");
    assert_eq!(trunk(&weights(&space, "back", "weights@0")), trunk(&weights(&space, "resnet", "weights@1")));
    let refused = space.run(&["export", "weights", "resnet", "--naming", "published"]);
    assert!(refused.code != Some(0));
    refused.complains_of(&["Resnet18 has no published names"]);
}

/// The same file with each tensor passed through `change`, which may rename it, reshape it or drop it.
fn changed(file: &Tensors, change: impl Fn(&str, &Tensor) -> Option<(String, Vec<usize>)>) -> Vec<u8> {
    let all: Vec<_> = file.iter().filter_map(|(name, tensor)| Some((change(name, tensor)?, tensor))).collect();
    let tensor = |((name, shape), tensor)| {
        let tensor: &Tensor = tensor;
        (name, shape, tensor.scalar(), tensor.bytes())
    };
    let all: Vec<(String, Vec<usize>, _, &[u8])> = all.into_iter().map(tensor).collect();
    let refs: Vec<_> = all
        .iter()
        .map(|(name, shape, scalar, bytes)| {
            let count = shape.iter().product::<usize>() * scalar.bytes();
            TensorRef { name, scalar: *scalar, shape, bytes: &bytes[..count] }
        })
        .collect();
    write_foreign(Vec::new(), "file", &refs, &Metadata::new()).unwrap()
}

#[test]
fn a_file_that_does_not_fit_is_refused_by_the_tensors_name_before_anything_runs() {
    let space = Space::filled();
    space.write("first.yaml", pipeline("first", RESNET));
    space.run(&["run", "first.yaml", "--to", "weights@0", "-q"]).ok();
    let sound = weights(&space, "first", "weights@0");
    let same = |name: &str, tensor: &Tensor| Some((name.to_owned(), tensor.shape().to_vec()));
    let whole = changed(&sound, same);
    let missing = changed(&sound, |name, tensor| same(name, tensor).filter(|_| name != "layer3.1.bn2.running_var"));
    let misnamed = changed(&sound, |name, tensor| same(if name == "bn1.bias" { "bn1.shift" } else { name }, tensor));
    let misshapen = changed(&sound, |name, tensor| {
        let shape = if name == "conv1.weight" { vec![64, 3, 2, 2] } else { tensor.shape().to_vec() };
        Some((name.to_owned(), shape))
    });
    let uncounted =
        changed(&sound, |name, tensor| same(name, tensor).filter(|_| !name.ends_with("num_batches_tracked")));
    let half = whole[..whole.len() / 2].to_vec();
    let no_tensors = b"PK\x03\x04 what torch.save writes begins so".to_vec();
    for (case, bytes, words) in [
        ("missing", missing, &["tensor layer3.1.bn2.running_var is missing", "of shape [256]"][..]),
        ("misnamed", misnamed, &["tensor bn1.shift is of another network"][..]),
        ("misshapen", misshapen, &["tensor conv1.weight has shape [64, 3, 2, 2]", "needs [64, 3, 3, 3]"][..]),
        ("truncated", half, &["truncated.safetensors", "Copy or download it again", "scripts/import-weights"][..]),
        ("other", no_tensors, &["other.safetensors", "scripts/import-weights"][..]),
    ] {
        space.write(&format!("{case}.safetensors"), bytes);
        let refused = take(&space, case, RESNET, &format!("{case}.safetensors"));
        assert!(refused.code == Some(1), "{case}: {refused:?}");
        refused.complains_of(words);
    }
    take(&space, "absent", RESNET, "absent.safetensors").ended(1).complains_of(&["no weights at absent.safetensors"]);
    // Files from before the counter lack it; nothing is computed from it.
    space.write("uncounted.safetensors", uncounted);
    take(&space, "uncounted", RESNET, "uncounted.safetensors").ok();
    assert_eq!(trunk(&weights(&space, "uncounted", "weights@0")), trunk(&sound));
    // A path is in no key: the same content elsewhere is a hit.
    space.write("a/b.safetensors", whole.clone());
    space.write("c.safetensors", whole);
    assert_eq!(take(&space, "elsewhere", RESNET, "a/b.safetensors").ok().ran(), ["weights@0"]);
    assert!(take(&space, "elsewhere", RESNET, "c.safetensors").ok().ran().is_empty());
}

#[test]
fn an_onnx_file_gives_the_features_and_clusters_of_its_run() {
    let space = Space::after_a_run();
    let told = space.run(&["export", "onnx", "tiny"]).ok().stdout;
    let file = "runs/tiny/export/onnx/epoch=0002.onnx";
    assert!(told.starts_with(&format!("{file} (clusters@2: 1 file")), "{told}");
    let Some(mut command) = script(&space, "read_onnx.py") else { return };
    command.args(["runs/tiny", file, "2"]);
    let read = start(command).wait().ok();
    assert!(read.stdout.contains("cluster_id: 60 of 60 are the run's"), "{}", read.stdout);
}
