//! pipelines: every shipped pipeline plans, every bad one is refused with a message worth reading, and no text panics.
//!
//! `tests/data/pipelines/bad/*.yaml` each stand beside the message they get; lines `# set: PATH=VALUE` are overrides.
//! DCPIPE_ACCEPT=1 writes messages and the schema anew.

use dcpipe::base::Epoch;
use dcpipe::engine::{Context, Keep, NodeId, Noun, Plan, Pool, Port, Registered, Registry, Stage};
use dcpipe::pipeline::{Loaded, PipelineError, load, load_text, schema};
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stage of the toy registry: its parameters, its ports, what it makes, how long that stays, how it refuses.
macro_rules! toy {
    ($name:ident = $verb:literal, [$($port:expr),*] -> $noun:literal, $keep:expr, $check:expr,
     { $($(#[$meta:meta])* $field:ident: $kind:ty),* }) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name { $($(#[$meta])* $field: $kind),* }
        impl Stage for $name {
            const VERB: &'static str = $verb;
            const VERSION: u32 = 1;
            const INPUTS: &'static [Port] = &[$($port),*];
            const OUTPUT: Noun = Noun::plain($noun, 1);
            const POOL: Pool = Pool::Light;
            const KEEP: Keep = $keep;
            fn check(&self, _: &dcpipe::engine::Facts) -> anyhow::Result<()> {
                let check: fn(&Self) -> anyhow::Result<()> = $check;
                check(self)
            }
            fn run(&self, _: &mut Context<'_>) -> anyhow::Result<()> { Ok(()) }
        }
    };
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Arch {
    /// A choice with a description has another schema than one without.
    Alexnet,
    /// So both are here.
    Vgg16,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Precision {
    F32,
    F16,
}

fn twenty() -> u32 {
    20
}

toy!(Scan = "scan", [] -> "dataset", Keep::All, |_| Ok(()), { root: String });
toy!(Init = "init", [] -> "weights", Keep::All, |_| Ok(()),
    { arch: Arch, #[serde(default)] sobel: bool, seed_offset: Option<u8> });
toy!(Extract = "extract", [Port::required("dataset", "dataset"), Port::required("weights", "weights")] -> "features",
    Keep::UntilUsed, |_| Ok(()), { #[schemars(range(min = 1, max = 65536))] batch: u32, precision: Option<Precision> });
toy!(Cluster = "cluster", [Port::required("features", "features")] -> "clusters", Keep::All,
    |s| if s.k == 1 { anyhow::bail!("k is 1; one cluster teaches nothing") } else { Ok(()) },
    { #[schemars(range(min = 1))] k: u32, #[serde(default = "twenty")] iterations: u32 });
toy!(Train = "train", [Port::required("clusters", "clusters"), Port::required("weights", "weights")] -> "weights",
    Keep::Every(10), |_| Ok(()), { lr: f64, seed_offset: Option<u8> });
toy!(Compare = "compare", [Port::required("clusters", "clusters"), Port::optional("before", "clusters")] -> "metrics",
    Keep::All, |_| Ok(()), {});

const TOY: Registry = &[Cluster::LINE, Compare::LINE, Extract::LINE, Init::LINE, Scan::LINE, Train::LINE];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{folder} has no pipelines");
    files
}

fn accept() -> bool {
    std::env::var_os("DCPIPE_ACCEPT").is_some()
}

/// The environment of these tests.
fn environment(name: &str) -> Option<String> {
    match name {
        "ROOT" | "IMAGENET" | "CIFAR10" => Some("/data".to_owned()),
        "EMPTY" => Some(String::new()),
        "HOME" => Some("/home/me".to_owned()),
        "FIFTY" => Some("50".to_owned()),
        "HASH" => Some("a #1".to_owned()),
        _ => None,
    }
}

/// The overrides that a test file asks for.
fn sets_of(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("# set: ")).map(str::to_owned).collect()
}

pub fn toy_with(text: &str, sets: &[&str]) -> Result<Loaded, PipelineError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load_text("toy.yaml", text, &sets, TOY, &environment)
}

fn message(result: Result<Loaded, PipelineError>) -> String {
    result.err().expect("it is refused").to_string()
}

pub fn toy_text() -> String {
    std::fs::read_to_string(root().join("tests/data/pipelines/good/toy.yaml")).expect("it is there")
}

/// A plan as text: everything that decides what runs.
pub fn described(plan: &Plan) -> String {
    let mut text = format!("{} {} {}\n", plan.name, plan.seed, plan.epochs);
    for id in (0..plan.len() as u32).map(NodeId) {
        let node = plan.node(id);
        let inputs: Vec<String> =
            node.inputs.iter().map(|(port, from)| format!("{port}={}", plan.node(*from).name())).collect();
        text += &format!(
            "{} {} {} [{}] {:?} {}\n",
            node.name(),
            node.stage.def().verb,
            node.stage.params(),
            inputs.join(" "),
            node.keep,
            node.asked_for
        );
    }
    text
}

fn one(plan: &Plan, name: &str) -> NodeId {
    let found = plan.find(name).expect("it is there");
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

#[test]
fn every_shipped_pipeline_plans_and_says_how_to_run_it() {
    for path in yaml_files("pipelines") {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let loaded = load(&path, &[], dcpipe::stages::registry(), &environment).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{}.yaml", loaded.plan.name), name);
        let text = std::fs::read_to_string(&path).expect("it can be read");
        assert!(text.starts_with("# yaml-language-server: $schema=../schemas/pipeline.schema.json\n"), "{name}");
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.contains(&format!("dcpipe run pipelines/{name}")), "{name} opens with its command");
        assert!(head.contains("# reached:"), "{name} says what it reached");
    }
}

#[test]
fn the_published_schedule_of_200_epochs_begins_that_of_500() {
    let plan = |name: &str| {
        let path = root().join("pipelines").join(name);
        load(&path, &[], dcpipe::stages::registry(), &environment).unwrap_or_else(|e| panic!("{e}")).plan
    };
    let (short, long) = (plan("imagenet.yaml"), plan("imagenet-paper.yaml"));
    assert_eq!((short.epochs, long.epochs), (200, 500));
    for id in (0..short.len() as u32).map(NodeId) {
        let (a, b) = (short.node(id), long.node(id));
        assert_eq!((a.name(), a.stage.params(), &a.inputs), (b.name(), b.stage.params(), &b.inputs));
    }
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let path = root().join("schemas/pipeline.schema.json");
    let generated = schema(dcpipe::stages::registry());
    if accept() {
        let text = serde_json::to_string_pretty(&generated).expect("it is JSON") + "\n";
        std::fs::create_dir_all(root().join("schemas")).expect("the folder can be made");
        std::fs::write(&path, text).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the schema is committed; DCPIPE_ACCEPT=1 writes it");
    let committed: serde_json::Value = serde_json::from_str(&committed).expect("it is JSON");
    assert!(
        committed == generated,
        "schemas/pipeline.schema.json is not what the stages say; DCPIPE_ACCEPT=1 rewrites it"
    );
}

#[test]
fn the_schema_names_every_stage_port_and_parameter() {
    let schema = schema(TOY);
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let node = &schema["definitions"]["node"];
    let verbs: Vec<_> = TOY.iter().map(|def| def.verb).collect();
    assert_eq!(node["properties"]["stage"]["enum"], serde_json::json!(verbs));
    let cluster = &node["allOf"][0];
    assert_eq!(cluster["if"]["properties"]["stage"]["const"], "cluster");
    let properties = &cluster["then"]["properties"];
    assert_eq!(properties["from"]["required"], serde_json::json!(["features"]));
    assert_eq!(properties["with"]["required"], serde_json::json!(["k"]));
    assert_eq!(properties["with"]["additionalProperties"], false);
    assert_eq!(properties["with"]["properties"]["iterations"]["default"], 20);
    let text = schema.to_string();
    for reference in text.split("\"#/definitions/").skip(1) {
        let name = reference.split('"').next().expect("it ends");
        assert!(!schema["definitions"][name].is_null(), "{name} is defined");
    }
}

#[test]
fn every_bad_pipeline_is_refused_with_its_message() {
    let mut wrong = Vec::new();
    for path in yaml_files("tests/data/pipelines/bad") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let message = match load_text(&name, &text, &sets_of(&text), TOY, &environment) {
            Ok(_) => "this was accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        let beside = path.with_extension("txt");
        if accept() {
            std::fs::write(&beside, format!("{message}\n")).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if message == "this was accepted" || expected != format!("{message}\n") {
            wrong.push(format!("{name}: expected\n{expected}got\n{message}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_misfits_are_reported_before_anything_runs() {
    let demo = std::fs::read_to_string(root().join("pipelines/demo.yaml")).unwrap();
    let load = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        load_text("demo.yaml", &demo, &sets, dcpipe::stages::described(), &|_| None).map(drop)
    };
    load(&["crops.crop=70", "once.weights.with.input=70", "vectors.dims=1000", "clusters.k=1000"]).unwrap();
    let told = load(&["crops.crop=60", "vectors.dims=1001", "clusters.k=1001"]).unwrap_err().to_string();
    let lines: Vec<&str> = told.lines().collect();
    let due = [
        "random@0: the crops are 60 pixels wide and the network takes 64",
        "features@1: the crops are 60 pixels wide and the network takes 64",
        "vectors@1: 1000 images cannot be whitened to dims = 1001",
        "clusters@1: 1000 images cannot make k = 1001 clusters",
        "evaluation@3: the crops are 60 pixels wide and the network takes 64",
        "in demo.yaml",
    ];
    assert_eq!(lines.len(), due.len(), "{told}");
    assert!(lines.iter().zip(due).all(|(line, due)| line.contains(due)), "{told}");
}

#[test]
fn every_good_pipeline_is_what_it_resolves_to() {
    for path in yaml_files("tests/data/pipelines/good") {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.to_string_lossy();
        let loaded = load_text(&name, &text, &sets_of(&text), TOY, &environment).unwrap_or_else(|e| panic!("{e}"));
        let again = load_text("again.yaml", &loaded.resolved, &[], TOY, &|_| None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(described(&loaded.plan), described(&again.plan), "{name}");
        assert_eq!(loaded.resolved, again.resolved, "{name}");
    }
}

#[test]
fn the_style_of_the_yaml_does_not_matter() {
    let plan = |name: &str| {
        let path = root().join("tests/data/pipelines/good").join(name);
        let text = std::fs::read_to_string(&path).expect("it can be read");
        described(&load(&path, &sets_of(&text), TOY, &environment).unwrap_or_else(|e| panic!("{e}")).plan)
    };
    let toy = plan("toy.yaml");
    for other in ["block-style.yaml", "byte-order-mark-and-crlf.yaml", "overridden-mistakes.yaml"] {
        assert_eq!(toy, plan(other), "{other}");
    }
}

#[test]
fn prev_reads_the_last_epoch_and_at_epoch_1_what_was_made_once() {
    let plan = toy_with(&toy_text(), &[]).expect("it loads").plan;
    let inputs = |name: &str| -> Vec<String> {
        plan.node(one(&plan, name)).inputs.iter().map(|(_, from)| plan.node(*from).name()).collect()
    };
    assert_eq!(inputs("features@1"), ["dataset@0", "weights@0"]);
    assert_eq!(inputs("features@2"), ["dataset@0", "weights@1"]);
    assert_eq!(inputs("weights@1"), ["clusters@1", "weights@0"]);
    // An optional port without an epoch before stays open.
    assert_eq!(inputs("metrics@1"), ["clusters@1"]);
    assert_eq!(inputs("metrics@3"), ["clusters@3", "clusters@2"]);
}

#[test]
fn a_node_of_every_tenth_epoch_is_there_at_those_and_at_the_last_one() {
    let text = std::fs::read_to_string(root().join("tests/data/pipelines/good/every.yaml")).expect("it is there");
    let loaded = toy_with(&text, &[]).unwrap_or_else(|e| panic!("{e}"));
    let plan = &loaded.plan;
    let epochs = |noun: &str| -> Vec<u32> { (0..=25).filter(|epoch| plan.at(noun, Epoch(*epoch)).is_some()).collect() };
    assert_eq!(epochs("groups"), [10, 20, 25]);
    assert_eq!(epochs("rare"), [20, 25], "a reader may be there at every second of them");
    assert_eq!(epochs("metrics").len(), 25);
    assert_eq!(plan.len(), 2 + 25 * 5 + 3 + 3 + 2);
    let inputs = |name: &str| -> Vec<String> {
        plan.node(one(plan, name)).inputs.iter().map(|(_, from)| plan.node(*from).name()).collect()
    };
    assert_eq!(inputs("sparse@25"), ["dataset@0", "weights@25"]);
    // The newest of an earlier epoch; an optional port stays open where there is none.
    for (epoch, before) in [(10, None), (11, Some(10)), (20, Some(10)), (21, Some(20)), (25, Some(20))] {
        let before = before.map(|epoch| format!("groups@{epoch}"));
        let both: Vec<String> = std::iter::once(format!("clusters@{epoch}")).chain(before).collect();
        assert_eq!(inputs(&format!("metrics@{epoch}")), both);
    }
    assert_eq!(inputs("rare@25"), ["groups@25", "groups@20"]);
    assert_eq!((inputs("beside@9").len(), inputs("beside@10").len()), (1, 2), "absent at other epochs");
    assert!(loaded.resolved.contains("epochs: { every: 10 }"));
    let set =
        toy_with(&text, &["epochs=8", "each_epoch.rare.epochs={ every: 30 }", "each_epoch.beside.epochs.every=3"]);
    let plan = set.unwrap_or_else(|e| panic!("{e}")).plan;
    assert_eq!((plan.find("rare").expect("once").len(), plan.find("beside").expect("3, 6, 8").len()), (1, 3));
}

#[test]
fn a_required_port_reads_the_newest_of_every_tenth_epoch_or_what_was_made_once() {
    let text = toy_text().replace("with: { lr: 0.05 } }", "with: { lr: 0.05 }, epochs: { every: 2 } }");
    let plan = toy_with(&text, &["epochs=5"]).unwrap_or_else(|e| panic!("{e}")).plan;
    let weights = |name: &str| plan.node(plan.node(one(&plan, name)).inputs[1].1).name();
    let read: Vec<String> = (1..=5).map(|epoch| weights(&format!("features@{epoch}"))).collect();
    assert_eq!(read, ["weights@0", "weights@0", "weights@2", "weights@2", "weights@4"]);
    assert_eq!(weights("weights@5"), "weights@4");
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Layer {
    size: u32,
    kind: Option<Precision>,
}

toy!(Stack = "stack", [] -> "weights", Keep::All, |_| Ok(()), { layers: Vec<Layer>, pads: Option<Vec<[u8; 2]>> });

#[test]
fn a_misfit_within_a_list_is_reported_at_its_item() {
    let told = |with: &str| {
        let text = format!("name: stack\nonce:\n  weights: {{ stage: stack, with: {with} }}\n");
        let message = message(load_text("s.yaml", &text, &[], &[Stack::LINE], &environment));
        let (place, what) = message.split_once(": ").expect("a place and a sentence");
        let column = place.rsplit(':').next().and_then(|c| c.parse::<usize>().ok()).expect("a column");
        let line: String = text.lines().nth(2).expect("the node").chars().skip(column - 1).collect();
        (line, what.lines().next().unwrap_or_default().to_owned(), message)
    };
    let (at, what, _) = told("{ layers: [{ size: 3 }, { size: -4 }] }");
    assert!(at.starts_with("-4"), "{at}");
    assert_eq!(what, "`layers[1].size` of the stage stack takes a whole number from 0 up, but this is -4");
    let (at, what, whole) = told("{ layers: [{ size: 3, kind: f23 }] }");
    assert!(at.starts_with("f23"), "{at}");
    assert_eq!(what, "`layers[0].kind` of the stage stack takes one of f32, f16, but this is the text \"f23\"");
    assert!(whole.contains("did you mean `f32`?"), "{whole}");
    let (at, what, _) = told("{ layers: [], pads: [[1, 2], [3, 400]] }");
    assert!(at.starts_with("400"), "{at}");
    assert_eq!(what, "`pads[1][1]` of the stage stack takes a whole number from 0 to 255, but this is 400");
    let (at, what, _) = told("{ layers: [{ size: 1 }, { kind: f32 }] }");
    assert!(at.starts_with("{ kind"), "{at}");
    assert_eq!(what, "`layers[1]` of the stage stack needs `size`");
    let (at, what, _) = told("{ layers: [{ size: 1, sizes: 2 }] }");
    assert!(at.starts_with("sizes"), "{at}");
    assert_eq!(what, "`layers[0]` of the stage stack has no `sizes`");
    let (at, what, _) = told("{ layers: [7] }");
    assert!(at.starts_with("7"), "{at}");
    assert_eq!(what, "`layers[0]` of the stage stack takes a map, but this is 7");
}

#[test]
fn an_override_goes_to_the_node_that_has_the_parameter() {
    let params = |sets: &[&str], name: &str| {
        let plan = toy_with(&toy_text(), sets).unwrap_or_else(|e| panic!("{e}")).plan;
        plan.node(one(&plan, name)).stage.params()
    };
    assert_eq!(params(&["clusters.k=3"], "clusters@2")["k"], 3);
    assert_eq!(params(&["weights.sobel=true"], "weights@0")["sobel"], true);
    assert_eq!(params(&["weights.lr=1"], "weights@2")["lr"], 1.0);
    assert_eq!(params(&["once.weights.with.seed_offset=4"], "weights@0")["seed_offset"], 4);
    assert_eq!(
        params(&["once.weights.with.seed_offset=4"], "weights@1").get("seed_offset"),
        Some(&serde_json::json!(null))
    );
    assert_eq!(params(&["vars.images=a b"], "dataset@0")["root"], "a b");
    assert_eq!(params(&["clusters.k=3", "clusters.k=4"], "clusters@1")["k"], 4, "the last one counts");
    assert_eq!(params(&["weights.lr={ from_epoch: { 1: 2, 3: 4 } }"], "weights@3")["lr"], 4.0);
    let twice = ["weights.lr={ from_epoch: { 1: 2, 3: 4 } }", "each_epoch.weights.with.lr.from_epoch.3=5"];
    assert_eq!(params(&twice, "weights@3")["lr"], 5.0);
    let plan = toy_with(&toy_text(), &["epochs=5", "seed=9", "name=other", "keep=[clusters]"]).expect("it loads").plan;
    assert_eq!((plan.epochs, plan.seed, plan.name.as_str()), (5, 9, "other"));
}

#[test]
fn an_empty_variable_of_the_environment_is_none() {
    let text = toy_text().replace("images: photos", "images: \"${EMPTY}/train\"");
    assert!(message(toy_with(&text, &[])).contains("the variable EMPTY is not defined"));
    assert!(toy_with(&text, &["vars.images=photos"]).is_ok(), "a variable that nothing uses is never asked for");
}

#[test]
fn a_stage_is_given_the_value_of_its_epoch_and_never_the_schedule() {
    let text = toy_text().replace("lr: 0.05", "lr: { from_epoch: { 1: 0.5, 3: 0.25, 150: 0.125 } }");
    let plan = toy_with(&text, &["epochs=200"]).expect("it loads").plan;
    for (epoch, lr) in [(1, 0.5), (2, 0.5), (3, 0.25), (149, 0.25), (150, 0.125), (200, 0.125)] {
        let node = plan.node(one(&plan, &format!("weights@{epoch}")));
        assert_eq!(node.stage.params(), serde_json::json!({ "lr": lr, "seed_offset": null }), "epoch {epoch}");
    }
    let stage = |name: &str| plan.node(one(&plan, name)).stage.clone();
    assert!(Arc::ptr_eq(&stage("weights@3"), &stage("weights@149")), "epochs with equal parameters share a stage");
}

#[test]
fn bytes_are_kept_as_the_stage_says_unless_keep_asks() {
    let plan = toy_with(&toy_text(), &["epochs=25", "keep=[features]"]).expect("it loads").plan;
    let keep = |name: &str| {
        let node = plan.node(one(&plan, name));
        (node.keep, node.asked_for)
    };
    assert_eq!(keep("features@7"), (Keep::All, true));
    assert_eq!(keep("clusters@7"), (Keep::All, false));
    for (epoch, stays) in
        [(1, true), (2, false), (9, false), (10, true), (20, true), (23, false), (24, true), (25, true)]
    {
        // Those of the last epoch are what the run is for, and are made again if they are gone.
        assert_eq!(keep(&format!("weights@{epoch}")), (Keep::Every(10), epoch == 25), "epoch {epoch}");
        assert_eq!(Keep::Every(10).stays(Epoch(epoch), 25), stays, "epoch {epoch}");
    }
}

#[test]
fn keep_rules_decide_how_long_each_nodes_bytes_are_kept() {
    let set = "keep={ features: { last: 2 }, weights: { every: 7 }, clusters: until_used }";
    let loaded = toy_with(&toy_text(), &["epochs=25", set]).expect("it loads");
    let again = toy_with(&loaded.resolved, &[]).expect("what is written out loads");
    for plan in [&loaded.plan, &again.plan] {
        let keep = |name: &str| {
            let node = plan.node(one(plan, name));
            (node.keep, node.asked_for)
        };
        assert_eq!([23, 24, 25].map(|e| keep(&format!("features@{e}")).1), [false, true, true]);
        assert_eq!(keep("features@1").0, Keep::Last(2));
        assert_eq!([1, 7, 8, 25].map(|e| keep(&format!("weights@{e}")).1), [true, true, false, true]);
        assert_eq!(keep("clusters@3"), (Keep::UntilUsed, false));
    }
    for wrong in
        ["{ features: { last: 0 } }", "{ features: often }", "{ nothing: all }", "{ features: { last: 1, every: 2 } }"]
    {
        assert!(toy_with(&toy_text(), &[&format!("keep={wrong}")]).is_err(), "{wrong}");
    }
}

#[test]
fn whole_numbers_stay_whole_to_the_last_digit() {
    let text = toy_text().replace("seed: 7", "seed: 18446744073709551615");
    assert_eq!(toy_with(&text, &[]).expect("it loads").plan.seed, u64::MAX);
}

#[test]
fn long_runs_load_without_recursion() {
    let plan = toy_with(&toy_text(), &["epochs=100000"]).expect("it loads").plan;
    assert_eq!(plan.len(), 400_002);
    assert_eq!(plan.node(one(&plan, "weights@100000")).inputs.len(), 2);
}

/// A circle and a chain as long as a file may be: neither recurses.
#[test]
fn long_chains_and_circles_in_a_file_are_walked_without_recursion() {
    let chain = |first: &str| {
        let mut text = String::from("name: chain\nepochs: 1\nonce:\n  d: { stage: scan, with: { root: x } }\n");
        text += "  w: { stage: init, with: { arch: vgg16 } }\n  f: { stage: extract, from: { dataset: d, weights: w }, with: { batch: 1 } }\n";
        text += "  c: { stage: cluster, from: { features: f }, with: { k: 2 } }\n";
        for i in 0..2_000 {
            let before = if i == 0 { first.to_owned() } else { format!("n{}", i - 1) };
            text +=
                &format!("  n{i}: {{ stage: train, from: {{ clusters: c, weights: {before} }}, with: {{ lr: 1 }} }}\n");
        }
        text + "each_epoch: {}\n"
    };
    assert!(toy_with(&chain("w"), &[]).is_ok());
    let circle = message(toy_with(&chain("n1999"), &[]));
    assert!(circle.contains("these nodes wait for each other"), "{circle}");
    assert!(circle.len() < 3_000, "a circle of 2,000 nodes is told in a few lines, not {}", circle.len());
}

#[test]
fn oversized_pipelines_are_refused_before_they_take_memory() {
    let huge = format!("name: {}\n", "x".repeat(200_000));
    assert!(message(toy_with(&huge, &[])).contains("too long"));
    let deep = format!("vars: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(message(toy_with(&deep, &[])).len() < 1_000);
    let block: String = (0..5_000).map(|i| " ".repeat(i) + "a:\n").collect();
    assert!(message(toy_with(&block, &[])).len() < 1_000);
    let a = "x".repeat(60_000);
    let (b, root) = (["\"${a}\""; 1000].join(", "), ["\"${b}\""; 190].join(", "));
    let vars = format!("vars: {{ a: {a}, b: [{b}], c: [{root}] }}\n");
    let many = format!("{vars}name: many\nonce:\n  dataset: {{ stage: scan, with: {{ root: \"${{c}}\" }} }}\n");
    let refused = load_text("many.yaml", &many, &[], dcpipe::stages::described(), &environment);
    assert!(message(refused).contains("far too many values"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("big.yaml");
    std::fs::write(&path, "# \n".repeat(1 << 20)).expect("it can be written");
    assert!(message(load(&path, &[], TOY, &environment)).contains("1 MiB"));
    std::fs::write(&path, b"name: \xff\n").expect("it can be written");
    assert!(message(load(&path, &[], TOY, &environment)).contains("byte 6 is not UTF-8"));
    assert!(message(load(folder.path(), &[], TOY, &environment)).contains("could not read the pipeline"));
    assert!(message(load(Path::new("/nowhere/x.yaml"), &[], TOY, &environment)).contains("/nowhere/x.yaml"));
}

/// What a slip of the hand, or worse, does to a file.
#[derive(Clone, Debug)]
pub enum Slip {
    Delete(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Repeat(prop::sample::Index, usize),
    Swap(prop::sample::Index, prop::sample::Index),
}

pub fn slips() -> impl Strategy<Value = Vec<Slip>> {
    let text = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            "- ",
            "\n",
            "  ",
            "\t",
            "&a ",
            "*a",
            "<<: ",
            "${",
            "${images}",
            "@prev",
            "@",
            "0",
            "-",
            "1e400",
            ".nan",
            "null",
            "\"",
            "'",
            "|",
            ">",
            "!!",
            "%",
            "\u{feff}",
            "\0",
            "ä",
            "from_epoch: ",
            "? ",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    let slip = prop_oneof![
        (any::<prop::sample::Index>(), 1..30_usize).prop_map(|(at, n)| Slip::Delete(at, n)),
        (any::<prop::sample::Index>(), text).prop_map(|(at, text)| Slip::Insert(at, text)),
        (any::<prop::sample::Index>(), 1..60_usize).prop_map(|(at, n)| Slip::Repeat(at, n)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(a, b)| Slip::Swap(a, b)),
    ];
    prop::collection::vec(slip, 1..4)
}

pub fn slipped(text: &str, slips: &[Slip]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for slip in slips {
        if text.is_empty() {
            break;
        }
        match slip {
            Slip::Delete(at, n) => {
                let at = at.index(text.len());
                text.drain(at..(at + n).min(text.len()));
            }
            Slip::Insert(at, new) => {
                let at = at.index(text.len());
                text.splice(at..at, new.chars());
            }
            Slip::Repeat(at, n) => {
                let at = at.index(text.len());
                let again = text[at..(at + n).min(text.len())].to_vec();
                text.splice(at..at, again);
            }
            Slip::Swap(a, b) => {
                let (a, b) = (a.index(text.len()), b.index(text.len()));
                text.swap(a, b);
            }
        }
    }
    text.into_iter().collect()
}

/// A message names its place, and what it shows of the file is fit for a terminal.
pub fn is_fit_to_read(message: &str) -> bool {
    message.contains(':') && message.len() < 20_000 && !message.chars().any(|c| c.is_control() && c != '\n')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_planned_and_never_panics(slips in slips(), block in any::<bool>()) {
        let name = if block { "block-style.yaml" } else { "variables.yaml" };
        let text = std::fs::read_to_string(root().join("tests/data/pipelines/good").join(name)).expect("it is there");
        match toy_with(&slipped(&text, &slips), &[]) {
            Ok(loaded) => {
                let again = toy_with(&loaded.resolved, &[]).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(described(&loaded.plan), described(&again.plan));
            }
            Err(error) => prop_assert!(is_fit_to_read(&error.to_string()), "{}", error),
        }
    }

    #[test]
    fn any_choice_of_epochs_is_refused_or_planned_so_that_all_that_is_read_is_there(
        steps in prop::array::uniform4(1..7_u32), epochs in 1..30_u32,
    ) {
        let nouns = ["features", "clusters", "weights", "metrics"];
        let sets = nouns.iter().zip(steps).map(|(noun, step)| format!("each_epoch.{noun}.epochs.every={step}"));
        let sets: Vec<String> = sets.chain([format!("epochs={epochs}")]).collect();
        let loaded = toy_with(&toy_text(), &sets.iter().map(String::as_str).collect::<Vec<_>>());
        let [features, clusters, weights, metrics] = steps;
        let fits = clusters.is_multiple_of(features) && weights.is_multiple_of(clusters) && metrics.is_multiple_of(clusters);
        prop_assert_eq!(loaded.is_ok(), fits);
        let Ok(Loaded { plan, resolved }) = loaded else { return Ok(()) };
        let again = toy_with(&resolved, &[]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(described(&plan), described(&again.plan));
        let is_there = |step: u32, epoch: u32| epoch.is_multiple_of(step) || epoch == epochs;
        for (noun, step) in nouns.iter().zip(steps) {
            for epoch in 1..=epochs {
                prop_assert_eq!(plan.at(noun, Epoch(epoch)).is_some(), is_there(step, epoch), "{}@{}", noun, epoch);
            }
        }
        for node in (0..plan.len() as u32).map(|id| plan.node(NodeId(id))).filter(|node| node.epoch.0 > 0) {
            for (port, from) in &node.inputs {
                let (from, own) = (plan.node(*from), node.epoch.0);
                let due = match *port {
                    "dataset" => 0,
                    "weights" => (1..own).rev().find(|epoch| is_there(weights, *epoch)).unwrap_or(0),
                    "before" => (1..own).rev().find(|epoch| is_there(clusters, *epoch)).expect("else it is open"),
                    _ => own,
                };
                prop_assert_eq!(from.epoch.0, due, "{} of {}", port, node.name());
            }
        }
    }

    #[test]
    fn an_override_of_any_text_is_refused_or_applied_and_never_panics(
        path in "(once|each_epoch|vars|clusters|weights|keep|epochs)?(\\.(with|from|k|lr|images|weights))*", value in "\\PC{0,12}",
    ) {
        if let Err(error) = toy_with(&toy_text(), &[&format!("{path}={value}")]) {
            prop_assert!(is_fit_to_read(&error.to_string()), "{}", error);
        }
    }
}
