//! outside: weights leave under other programs' names and come back as the same network; a wrong file is refused by name.

use crate::readers::{script, script_at};
use crate::space::{Space, TINY, start};
use crate::toys::{Draft, TestSpace};
use dcpipe::base::Digest;
use dcpipe::engine::{Context, Keep, Noun, Pool, Port, Stage};
use dcpipe::format::weights::{Tensor, write_foreign};
use dcpipe::format::{Metadata, TensorRef, Tensors};
use dcpipe::stages::FIRST_WEIGHTS;
use dcpipe::stages::init::Init;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    // The whole run too: it looks at all its sources first.
    for case in ["misshapen", "absent"] {
        let refused = space.run(&["run", &format!("{case}.yaml"), "--json"]).ended(1);
        assert!(refused.began().is_empty(), "{}", refused.stdout);
        space.run(&["plan", &format!("{case}.yaml")]).ended(1).complains_of(&[&format!("{case}.safetensors")]);
    }
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

/// The file with another number at a place of a tensor.
fn with_number(file: &Tensors, name: &str, place: usize, number: f32) -> Vec<u8> {
    let mut bytes = file.get(name).unwrap().bytes().to_vec();
    bytes[4 * place..4 * place + 4].copy_from_slice(&number.to_le_bytes());
    let refs: Vec<_> = file
        .iter()
        .map(|(of, tensor)| {
            let bytes = if of == name { &bytes[..] } else { tensor.bytes() };
            TensorRef { name: of, scalar: tensor.scalar(), shape: tensor.shape(), bytes }
        })
        .collect();
    write_foreign(Vec::new(), "file", &refs, &Metadata::new()).unwrap()
}

#[test]
fn a_number_that_no_network_has_is_refused_by_the_tensors_name_before_anything_runs() {
    let space = Space::filled();
    space.write("first.yaml", pipeline("first", RESNET));
    space.run(&["run", "first.yaml", "--to", "weights@0", "-q"]).ok();
    let sound = weights(&space, "first", "weights@0");
    for (case, name, place, number, told) in [
        ("negative", "layer3.1.bn2.running_var", 255, -1e-9, "has the variance -1.000e-9 at place 255"),
        ("nan", "layer3.1.bn2.running_var", 0, f32::NAN, "has NaN at place 0"),
        ("infinite", "conv1.weight", 7, f32::NEG_INFINITY, "has -inf at place 7"),
    ] {
        let file = format!("{case}.safetensors");
        space.write(&file, with_number(&sound, name, place, number));
        let words = [&format!("{file}: tensor {name} {told}")[..], "name another file in init's from"];
        take(&space, case, RESNET, &file).ended(1).complains_of(&words);
        space.run(&["plan", &format!("{case}.yaml")]).ended(1).complains_of(&words);
    }
    // A channel that never varied has the variance 0, which may have a sign.
    for (case, number) in [("zero", 0.0), ("signed", -0.0)] {
        let file = format!("{case}.safetensors");
        space.write(&file, with_number(&sound, "bn1.running_var", 5, number));
        take(&space, case, RESNET, &file).ok();
    }
}

/// `init`, whose file is another one while it reads, and has its own bytes again when it has ended.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Swapped {
    init: Init,
    other: PathBuf,
}

impl Swapped {
    fn file(&self) -> &Path {
        self.init.from.as_deref().unwrap()
    }
}

impl Stage for Swapped {
    const VERB: &'static str = "swapped";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = FIRST_WEIGHTS;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;
    const OBSERVES: bool = true;

    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Stage::observe(&self.init)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let own = std::fs::read(self.file())?;
        std::fs::write(self.file(), std::fs::read(&self.other)?)?;
        let ran = Stage::run(&self.init, cx);
        std::fs::write(self.file(), own)?;
        ran
    }
}

#[test]
fn a_file_of_weights_that_changes_before_it_is_read_is_never_taken_under_the_key_of_the_old_one() {
    let space = TestSpace::new();
    let init = || serde_json::from_str::<Init>(r#"{ "arch": "alexnet_small", "input": 8 }"#).unwrap();
    let plan = Draft::new().node("a", init(), &[]).keep(Keep::All).node("b", init(), &[]).keep(Keep::All).plan();
    let run = space.run(&plan);
    let file = |name: &str| {
        let part = run.artifact(&plan, name).part("weights.safetensors").unwrap().clone();
        let path = space.folder.path().join(format!("{name}.safetensors"));
        std::fs::write(&path, space.store.map(&part).unwrap()).unwrap();
        path
    };
    let (path, other) = (file("a"), file("b"));
    let from = || Init { from: Some(path.clone()), ..init() };
    let error = space.run(&Draft::new().node("c", Swapped { init: from(), other: other.clone() }, &[]).plan()).error();
    let told = format!("{} has changed since the run looked at it", path.display());
    assert!(error.contains(&told) && error.contains("run the same command again"), "{error}");
    // Unchanged, it is taken.
    let same = Draft::new().node("c", Swapped { init: from(), other: path.clone() }, &[]).plan();
    assert_eq!(space.run(&same).finished(), ["c@0"]);
}

#[test]
fn files_of_torch_go_in_and_come_out_with_equal_tensors() {
    let space = Space::filled();
    let python = |path: &str, args: &[&str]| {
        let mut command = script_at(&space, path)?;
        command.args(args);
        Some(start(command).wait())
    };
    for (kind, init, naming, count) in [
        ("published", ALEXNET, "published", 43),
        ("torchvision", "arch: resnet18, sobel: false, input: 64", "torchvision", 120),
    ] {
        let Some(made) = python("tests/readers/torch_files.py", &["make", kind, &format!("{kind}.pth")]) else {
            return;
        };
        made.ok();
        let told = python("scripts/import-weights", &[&format!("{kind}.pth")]).unwrap().ok().stdout;
        assert!(told.starts_with(&format!("{kind}.safetensors: {} tensors, ", count + 2)), "{told}");
        take(&space, kind, init, &format!("{kind}.safetensors")).ok();
        space.run(&["export", "weights", kind, "--naming", naming, "-o", "out.safetensors"]).ok();
        let told = python("scripts/export-weights", &["out.safetensors", "-o", "out.pth"]).unwrap().ok().stdout;
        assert_eq!(told, format!("out.pth: {count} tensors\n"));
        let read = python("tests/readers/torch_files.py", &["compare", &format!("{kind}.pth"), "out.pth"]).unwrap();
        let head = if kind == "published" { "top_layer.bias, top_layer.weight" } else { "fc.bias, fc.weight" };
        assert_eq!(read.ok().stdout, format!("{count} tensors are equal; left out: {head}\n"));
    }
}

#[test]
fn a_file_of_torch_with_code_in_it_is_refused_and_its_code_does_not_run() {
    let space = Space::empty();
    for (kind, file) in [("code", "code.pth"), ("plain_code", "plain.pth")] {
        let Some(mut command) = script(&space, "torch_files.py") else { return };
        command.args(["make", kind, file]);
        start(command).wait().ok();
        let mut command = script_at(&space, "scripts/import-weights").unwrap();
        command.args([file, "-o", "out.safetensors"]);
        let refused = start(command).wait().ended(1);
        refused.complains_of(&[file, "has more than tensors", "torch.save(model.state_dict(), FILE)"]);
        assert!(!space.path("it-ran").exists() && !space.path("out.safetensors").exists(), "{file}");
    }
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
