//! results: the folder that people read: nothing in it is wrong, and nothing that cannot be made again goes.

use crate::space::{Space, image};
use dcpipe::engine::{Cancel, Event, Observer};
use dcpipe::pipeline::load_text;
use dcpipe::stages::described;
use dcpipe::views::{End, Results};
use std::collections::BTreeMap;
use std::path::PathBuf;

const CLUSTERS: &str = "runs/tiny/clusters/epoch=0001/part-0.parquet";

/// What is below a folder of results, by path; without what tells of the runs themselves.
fn laid_out(space: &Space, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = space.path(folder);
    let files =
        walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let files =
        files.filter(|entry| !["events.jsonl", ".index.json", ".lock"].iter().any(|own| entry.file_name() == *own));
    files
        .map(|entry| (entry.path().strip_prefix(&root).unwrap().to_owned(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

fn delete_bytes(space: &Space, node: &str) {
    for part in space.record(node).artifact.parts {
        std::fs::remove_file(space.store().path_of(&part)).unwrap();
    }
}

#[test]
fn a_changed_result_file_is_exported_again() {
    let space = Space::after_a_run();
    let before = laid_out(&space, "runs/tiny");
    let path = space.path(CLUSTERS);
    let long = std::fs::read(&path).unwrap().len();
    let others = [Vec::new(), b"cut".to_vec(), vec![b'x'; long]]; // As after a power cut, or by somebody's hand.
    for other in others {
        space.write(CLUSTERS, &other);
        space.run(&["run", "tiny.yaml"]).ok();
        assert!(laid_out(&space, "runs/tiny") == before, "{} bytes", other.len());
    }
    space.write("runs/tiny/.index.json.17.tmp", "as a killed run leaves it");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    space.run(&["run", "tiny.yaml"]).ok();
    assert!(laid_out(&space, "runs/tiny") == before);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    space.run(&["run", "tiny.yaml"]).ended(1).complains_of(&["results of clusters@1", "clusters/epoch=0001"]);
}

#[test]
fn a_failed_export_is_reported_and_the_same_command_exports_it() {
    let space = Space::filled();
    space.write("runs/tiny/clusters", "in the way");
    let run = ["run", "tiny.yaml", "--set", "keep={clusters: until_used}", "--set", "epochs=1"];
    space.run(&run).ended(1).complains_of(&["results of clusters@1", "making runs/tiny/clusters/epoch=0001"]);
    assert!(space.path("runs/tiny/metrics/epoch=0001/part-0.parquet").exists(), "the others are there");
    std::fs::remove_file(space.path("runs/tiny/clusters")).unwrap();
    space.run(&run).ok();
    assert!(space.path(CLUSTERS).exists());
}

#[test]
fn a_run_exports_once_the_run_before_it_has_ended() {
    let space = Space::after_a_run();
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    let plan = load_text("tiny.yaml", &text, &[], described(), &|_| None).unwrap().plan;
    let store = space.store();
    let folder = space.path("others/tiny");
    let file = folder.join("clusters/epoch=0001/part-0.parquet");
    std::thread::scope(|scope| {
        let open = || Results::open(scope, &folder, &plan, &store, Cancel::default()).unwrap();
        let (first, [second, third]) = (open(), [open(), open()]);
        let hear = |results: &Results<'_>| {
            let record = space.record("clusters.tables@1");
            let (key, artifact) = (record.key(), record.artifact.digest());
            results.observe(&Event::NodeHit { node: "clusters.tables@1".to_owned(), key, artifact });
        };
        hear(&second);
        assert!(second.finish(End::Complete, &mut || false).unwrap().is_none(), "it does not want to wait");
        assert!(!file.exists(), "it is the first one's turn");
        hear(&third);
        let mut first = Some(first);
        let mut looks = 0;
        let waits = &mut || {
            looks += 1;
            drop(first.take().map(|first| first.finish(End::Broken, &mut || false)));
            true
        };
        assert!(third.finish(End::Complete, waits).unwrap().unwrap().complaints.is_empty());
        assert_eq!((looks, file.exists()), (1, true));
    });
}

#[test]
fn a_stop_during_export_deletes_no_result_and_is_reported() {
    let space = Space::after_a_run();
    let before = laid_out(&space, "runs/tiny");
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    let plan = load_text("tiny.yaml", &text, &[], described(), &|_| None).unwrap().plan;
    let (store, folder, cancel) = (space.store(), space.path("runs/tiny"), Cancel::default());
    let record = space.record("metrics.tables@1");
    for end in [End::Complete, End::Partial] {
        let lacks = std::thread::scope(|scope| {
            let results = Results::open(scope, &folder, &plan, &store, cancel.clone()).unwrap();
            cancel.request(); // The run itself was done.
            let (key, artifact) = (record.key(), record.artifact.digest());
            results.observe(&Event::NodeHit { node: "metrics.tables@1".to_owned(), key, artifact });
            results.finish(end, &mut || false).unwrap().unwrap()
        });
        assert!(lacks.complaints.concat().contains("stopped before all results"), "{:?}", lacks.complaints);
        assert!(laid_out(&space, "runs/tiny") == before);
    }
}

#[test]
fn results_of_evicted_bytes_survive_a_lost_list() {
    const CENTROIDS: &str = "runs/tiny/centroids/epoch=0001/centroids.arrow";
    let space = Space::after_a_run();
    let before = laid_out(&space, "runs/tiny");
    let right = std::fs::read(space.path(CENTROIDS)).unwrap();
    delete_bytes(&space, "clusters@1");
    let index = space.path("runs/tiny/.index.json");
    let lose = |text: Option<&str>| match text {
        None => std::fs::remove_file(&index).unwrap(),
        Some(text) => std::fs::write(&index, text).unwrap(),
    };
    for text in [None, Some(""), Some("{"), Some(r#"{"version": 1, "nodes": {}}"#)] {
        lose(text);
        let told = space.run(&["run", "tiny.yaml"]).ok().stderr;
        assert!(!told.contains("clusters@1") && laid_out(&space, "runs/tiny") == before, "{text:?}: {told}");
    }
    // What is another file is neither taken for right nor deleted.
    lose(None);
    space.write(CENTROIDS, "something else");
    for _ in 0..2 {
        let told = space.run(&["run", "tiny.yaml"]).ok().stderr;
        assert!(
            told.contains("the results of clusters@1 are incomplete") && told.contains("keep: [clusters]"),
            "{told}"
        );
        assert_eq!(std::fs::read(space.path(CENTROIDS)).unwrap(), b"something else");
    }
    // A copy of the right one is as good as the link that it was.
    space.write(CENTROIDS, &right);
    let told = space.run(&["run", "tiny.yaml"]).ok().stderr;
    assert!(!told.contains("clusters@1") && laid_out(&space, "runs/tiny") == before, "{told}");
    // Rebuilt bytes are laid out.
    std::fs::remove_file(space.path(CENTROIDS)).unwrap();
    space.run(&["run", "tiny.yaml", "--set", "keep=[features, vectors, crops, clusters]"]).ok();
    assert!(laid_out(&space, "runs/tiny") == before);
    // What an earlier run left is not taken for what this one makes.
    lose(None);
    space.run(&["run", "tiny.yaml", "--set", "clusters.iterations=7"]).ok();
    assert!(laid_out(&space, "runs/tiny") != before);
}

/// The list of the third version said `holds` where this one says `artifact`, and had tables under the nodes they are of.
#[test]
fn results_of_an_earlier_program_are_updated_silently() {
    let space = Space::after_a_run();
    let before = laid_out(&space, "runs/tiny");
    let index = space.path("runs/tiny/.index.json");
    let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let mut nodes = serde_json::Map::new();
    for (node, entry) in list["nodes"].as_object().unwrap() {
        let node = node.replace(".tables", "");
        let files = nodes.entry(node).or_insert(serde_json::json!({ "holds": "0".repeat(64), "files": [] }));
        files["files"].as_array_mut().unwrap().extend(entry["files"].as_array().unwrap().iter().cloned());
    }
    nodes.insert("clusters@7".to_owned(), serde_json::json!({ "holds": null, "files": [["clusters/mine.csv", 4, 0]] }));
    (list["version"], list["nodes"]) = (3.into(), nodes.into());
    std::fs::write(&index, list.to_string()).unwrap();
    space.write("runs/tiny/clusters/mine.csv", "mine");
    // Its tables were copies.
    space.write(CLUSTERS, &before[&PathBuf::from("clusters/epoch=0001/part-0.parquet")]);
    let told = space.run(&["run", "tiny.yaml"]).ok().stderr;
    assert!(!told.contains("note"), "{told}");
    let mut now = laid_out(&space, "runs/tiny");
    assert!(now.remove(&PathBuf::from("clusters/mine.csv")).is_some(), "somebody changed it");
    assert!(now == before);
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    assert_eq!(list["version"], 4);
}

#[test]
fn tables_of_an_epoch_outlive_its_weights() {
    let space = Space::filled();
    let run = |more: &[&str]| space.run(&[&["run", "tiny.yaml", "--set", "epochs=4"], more].concat()).ok().stderr;
    run(&[]);
    let before = laid_out(&space, "runs/tiny");
    assert!(before.contains_key(&PathBuf::from("steps/epoch=0002/part-0.parquet")));
    assert!(!space.store().contains(space.record("weights@2").artifact.part("weights.safetensors").unwrap()));
    std::fs::remove_dir_all(space.path("runs")).unwrap();
    run(&[]);
    assert!(laid_out(&space, "runs/tiny") == before, "deleted and laid out again");
    run(&["--name", "other"]);
    assert!(laid_out(&space, "runs/other") == before, "under another name");
    std::fs::remove_file(space.path("runs/tiny/.index.json")).unwrap();
    run(&[]);
    assert!(laid_out(&space, "runs/tiny") == before, "without the list");
    // A pipeline without a node takes its files away, and no others.
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    let lines = text.lines().filter(|line| !line.contains("metrics:")).map(|line| format!("{line}\n"));
    space.write("tiny.yaml", lines.collect::<String>());
    run(&[]);
    let rest: BTreeMap<_, _> = before.into_iter().filter(|(path, _)| !path.starts_with("metrics")).collect();
    assert!(laid_out(&space, "runs/tiny") == rest);
    // Tables are rebuilt from what they are of; where that is gone as well, it is said, and nothing is computed for them.
    delete_bytes(&space, "manifest.tables@2");
    std::fs::remove_dir_all(space.path("runs/tiny/manifest")).unwrap();
    run(&[]);
    assert!(laid_out(&space, "runs/tiny") == rest);
    delete_bytes(&space, "manifest.tables@2");
    delete_bytes(&space, "manifest@2");
    std::fs::remove_dir_all(space.path("runs/tiny/manifest")).unwrap();
    let told = run(&[]);
    assert!(told.contains("no tables of manifest@2: their bytes were evicted. Add keep: [manifest]"), "{told}");
    run(&["--set", "keep=[features, vectors, crops, manifest]"]);
    assert!(laid_out(&space, "runs/tiny") == rest);
}

#[test]
fn two_nodes_share_no_file_and_a_table_holds_the_paths_of_its_own_data_set() {
    let space = Space::after_a_run();
    space.own_images();
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    let before = laid_out(&space, "runs/tiny");
    // The data set under another name has the same files.
    let renamed = text.replace("dataset:  {", "data:  {").replace("dataset: dataset", "dataset: data");
    space.write("tiny.yaml", &renamed);
    space.run(&["run", "tiny.yaml"]).ok();
    assert!(laid_out(&space, "runs/tiny") == before);
    // A second one has a folder.
    let (first, _) = image(0);
    let kind = PathBuf::from(first).parent().unwrap().to_owned();
    let extra = format!("once:\n  extra: {{ stage: scan, with: {{ root: {} }} }}", kind.display());
    space.write("tiny.yaml", text.replace("once:", &extra));
    for _ in 0..2 {
        space.run(&["run", "tiny.yaml"]).ok();
        let now = laid_out(&space, "runs/tiny");
        assert!(before.iter().all(|(path, bytes)| now.get(path) == Some(bytes)));
        assert_eq!(now.len(), before.len() + 2);
    }
    space.write("tiny.yaml", text.replace("metrics:", "steps:"));
    space.run(&["run", "tiny.yaml"]).ended(1).complains_of(&["steps", "weights", "rename one"]);
    // The same images elsewhere: nothing is clustered again, and the table says where they are now.
    space.write("tiny.yaml", &text);
    std::fs::rename(space.path("").join(&kind), space.path("images/zebra")).unwrap();
    space.run(&["run", "tiny.yaml"]).ok();
    space.run(&["run", "tiny.yaml", "--name", "other"]).ok();
    assert!(laid_out(&space, "runs/tiny") == laid_out(&space, "runs/other"));
}

#[test]
fn only_exported_files_are_deleted_with_evicted_bytes_or_old_epochs() {
    let space = Space::after_a_run();
    let mine = [
        "runs/tiny/features/epoch=0001/mine.npy",
        "runs/tiny/vectors/epoch=0002/deeper/mine.csv",
        "runs/tiny/clusters/epoch=0002/mine.csv",
        "runs/tiny/clusters/epoch=0009/mine/part-0.parquet",
        "runs/tiny/clusters/clusters.parquet",
        "runs/tiny/clusters/part-notes.txt",
        "runs/tiny/metrics/epoch=0002/metrics.parquet",
        "runs/tiny/weights/weights.safetensors",
        "runs/tiny/weights/epoch=0009.onnx",
        "runs/tiny/weights/epoch=0002.safetensors.bak",
        "runs/tiny/weights/epoch=best.safetensors",
        "elsewhere/raw/mine.txt",
    ];
    mine.iter().for_each(|path| space.write(path, "mine"));
    let crops = space.path("runs/tiny/crops");
    std::fs::remove_dir_all(&crops).unwrap();
    std::os::unix::fs::symlink(space.path("elsewhere"), &crops).unwrap();
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("tiny.yaml", text.replace("[features, vectors, crops]", "{ crops: until_used }"));
    space.run(&["run", "tiny.yaml", "--set", "epochs=1"]).ok();
    for path in mine {
        assert!(space.path(path).exists(), "{path} is gone");
    }
    for path in [
        "features/epoch=0001/part-00000.arrow",
        "vectors/epoch=0002/part-00000.arrow",
        "clusters/epoch=0002/part-0.parquet",
    ] {
        assert!(!space.path("runs/tiny").join(path).exists(), "{path} is still there");
    }
}

#[test]
fn export_deletes_nothing_outside_the_results_and_refuses_a_folder_in_the_store() {
    let space = Space::after_a_run();
    space.own_images();
    space.write("mine/epoch=0009/x", "mine");
    std::fs::remove_dir_all(space.path("runs/tiny/features")).unwrap();
    std::os::unix::fs::symlink(space.path("mine"), space.path("runs/tiny/features")).unwrap();
    space.run(&["run", "tiny.yaml"]).ok();
    assert!(space.path("mine/epoch=0009/x").exists());
    for out in [".dcpipe", ".dcpipe/runs", "images/../.dcpipe/new", "nowhere/../.dcpipe/new"] {
        space.run(&["run", "tiny.yaml", "--out", out]).ended(2).complains_of(&["is in the store", "outside"]);
    }
    space.run(&["run", "/dev/stdin"]).ended(2).complains_of(&["/dev/stdin is not a regular file"]);
}
