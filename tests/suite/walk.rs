//! walk: the real program on tiny images, from the first run through every kind of second one.

use crate::space::{IMAGES, NODES, Space, finished, image};
use dcpipe::base::ImageId;
use dcpipe::engine::Event;
use dcpipe::format::table::Table;
use dcpipe::format::{Features, crops};
use dcpipe::image::{CentreView, Limits, decode};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

const EPOCH_2: [&str; 6] = ["clusters@2", "features@2", "manifest@2", "metrics@2", "vectors@2", "weights@2"];

/// All nodes but these.
fn others(nodes: &[&str]) -> Vec<String> {
    NODES.iter().filter(|node| !nodes.contains(node)).map(|node| (*node).to_owned()).collect()
}

#[test]
fn a_first_run_runs_every_node_and_ends_with_the_count() {
    let events = Space::after_a_run().first_events();
    assert_eq!(finished(&events), NODES);
    assert!(matches!(events.first(), Some(Event::RunStarted { nodes: 15, .. })));
    let last = events.last().unwrap();
    assert!(
        matches!(last, Event::RunFinished { ran: 15, hit: 0, failed: 0, skipped: 0, interrupted: false, .. }),
        "{last:?}"
    );
}

#[test]
fn the_same_command_again_runs_nothing() {
    let space = Space::after_a_run();
    let again = space.run(&["run", "tiny.yaml", "--json"]).ok();
    assert_eq!(again.hits(), NODES);
    assert_eq!(again.ran(), [""; 0]);
    assert!(matches!(again.events().last(), Some(Event::RunFinished { ran: 0, hit: 15, .. })));
}

#[test]
fn another_k_keeps_the_first_epochs_features_and_vectors() {
    let space = Space::after_a_run();
    let before = space.digests();
    let other = space.run(&["run", "tiny.yaml", "--json", "--set", "clusters.k=5"]).ok();
    // Epoch 0's weights had been deleted, and training epoch 1 anew reads them.
    assert_eq!(other.ran(), others(&["crops@0", "dataset@0", "features@1", "vectors@1"]));
    let after = space.digests();
    for node in ["weights@0", "features@1", "vectors@1"] {
        assert_eq!(before[node], after[node], "{node}");
    }
    assert_ne!(before["weights@2"], after["weights@2"]);
    let back = space.run(&["run", "tiny.yaml", "--json"]).ok();
    assert!(back.ran().iter().all(|node| !node.starts_with("weights")), "{:?}", back.ran());
    assert_eq!(space.digests(), before);
}

#[test]
fn more_epochs_run_only_the_new_ones() {
    let space = Space::after_a_run();
    let more = space.run(&["run", "tiny.yaml", "--json", "--set", "epochs=3"]).ok();
    assert_eq!(more.ran(), ["clusters@3", "features@3", "manifest@3", "metrics@3", "vectors@3", "weights@3"]);
    assert_eq!(more.hits(), NODES);
    assert!(space.path("runs/tiny/clusters/epoch=0003/part-0.parquet").exists());
    let fewer = space.run(&["run", "tiny.yaml", "--json", "--set", "epochs=1"]).ok();
    assert_eq!(fewer.ran(), [""; 0]);
}

#[test]
fn the_results_are_of_the_last_run_and_of_no_other() {
    let space = Space::after_a_run();
    let before = tree(&space.path("runs/tiny"));
    let k = |k: &'static str| space.run(&["run", "tiny.yaml", "-q", "--to", "clusters@1", "--set", k]).ok();
    let clusters = |epoch: &str| space.path(&format!("runs/tiny/clusters/{epoch}/part-0.parquet"));
    let seven = fs::read(clusters("epoch=0001")).unwrap();
    k("clusters.k=5");
    assert_ne!(fs::read(clusters("epoch=0001")).unwrap(), seven);
    assert!(!clusters("epoch=0002").exists(), "epoch 2 is of k = 7, epoch 1 of k = 5");
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert_eq!(fs::read(clusters("epoch=0001")).unwrap(), seven);
    assert_eq!(tree(&space.path("runs/tiny")), before);
}

#[test]
fn another_learning_rate_keeps_the_first_epoch_up_to_its_clusters() {
    let space = Space::after_a_run();
    let set = "weights.lr={from_epoch: {1: 0.05, 2: 0.01}}";
    let late = space.run(&["run", "tiny.yaml", "--json", "--set", set]).ok();
    assert_eq!(late.ran(), ["weights@2"]);
    let early = space.run(&["run", "tiny.yaml", "--json", "--set", "weights.lr=0.01"]).ok();
    for node in ["features@1", "vectors@1", "clusters@1", "metrics@1"] {
        assert!(early.hits().contains(&node.to_owned()), "{node} ran: {:?}", early.ran());
    }
    for node in EPOCH_2 {
        assert!(early.ran().contains(&node.to_owned()), "{node} was a hit");
    }
}

#[test]
fn to_stops_once_the_node_is_done() {
    let space = Space::filled();
    let vectors = space.run(&["run", "tiny.yaml", "--json", "--to", "vectors@1"]).ok();
    assert_eq!(vectors.ran(), ["crops@0", "dataset@0", "features@1", "vectors@1", "weights@0"]);
    let clusters = space.run(&["run", "tiny.yaml", "--json", "--to", "clusters@1", "--to", "metrics@1"]).ok();
    assert_eq!(clusters.ran(), ["clusters@1", "metrics@1"]);
    let every = space.run(&["run", "tiny.yaml", "--json", "--to", "features"]).ok();
    assert_eq!(every.ran(), ["features@2", "manifest@1", "weights@1"]);
    let none = space.run(&["run", "tiny.yaml", "--to", "feature"]).ended(3).complains_of(&["feature", "features"]);
    assert_eq!(none.stdout, "");
}

#[test]
fn name_and_out_and_store_say_where_things_go() {
    let space = Space::after_a_run();
    fs::rename(space.path(".dcpipe"), space.path("elsewhere")).unwrap();
    let moved =
        ["run", "tiny.yaml", "--json", "--store", "elsewhere", "--out", "a/b", "--name", "other"].map(str::to_owned);
    let moved = space.run(&moved.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    assert_eq!(moved.ran(), [""; 0], "a name or a place is in a key");
    assert!(!space.path(".dcpipe").exists());
    assert_eq!(tree(&space.path("a/b/other")), tree(&space.path("runs/tiny")));
}

/// Every file below a folder, relative to it, but for what changes with every run.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.push(entry.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_results_are_the_files_that_are_promised() {
    let space = Space::after_a_run();
    let mut wanted = vec![
        ".index.json".to_owned(),
        "bad.parquet".to_owned(),
        "crops/part-00000.arrow".to_owned(),
        "events.jsonl".to_owned(),
        "images.parquet".to_owned(),
    ];
    for epoch in ["epoch=0001", "epoch=0002"] {
        for table in ["clusters", "iterations", "manifest", "metrics", "steps"] {
            wanted.push(format!("{table}/{epoch}/part-0.parquet"));
        }
        wanted.push(format!("centroids/{epoch}/centroids.arrow"));
        wanted.push(format!("weights/{epoch}.safetensors"));
        wanted.push(format!("features/{epoch}/part-00000.arrow"));
        wanted.push(format!("vectors/{epoch}/part-00000.arrow"));
        wanted.push(format!("whitening/{epoch}/mean.arrow"));
        wanted.push(format!("whitening/{epoch}/whitening.arrow"));
    }
    wanted.sort();
    assert_eq!(tree(&space.path("runs/tiny")), wanted);
}

/// Columns of a Parquet file as `name TYPE` (with the logical type where there is one), and its number of rows.
fn columns(path: &Path) -> (Vec<String>, i64) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata();
    let columns = metadata.schema_descr().columns().iter();
    let told = columns.map(|column| {
        let text = column.logical_type_ref().is_some_and(|logical| format!("{logical:?}") == "String");
        let plain = column.physical_type().to_string();
        format!("{} {}", column.name(), if text { "TEXT" } else { &plain })
    });
    (told.collect(), metadata.num_rows())
}

#[test]
fn the_tables_have_the_columns_that_are_promised() {
    let space = Space::after_a_run();
    let images = IMAGES as i64;
    let tables = [
        (
            "clusters/epoch=0002/part-0.parquet",
            images,
            "epoch_idx INT32, image_id INT64, path TEXT, label TEXT, cluster_id INT32, distance FLOAT, margin FLOAT",
        ),
        (
            "manifest/epoch=0002/part-0.parquet",
            images,
            "epoch_idx INT32, position INT64, image_id INT64, cluster_id INT32, pseudo_label INT32",
        ),
        (
            "iterations/epoch=0002/part-0.parquet",
            6,
            "epoch_idx INT32, iteration INT32, objective DOUBLE, splits INT32, empty INT32, moved INT64",
        ),
        ("steps/epoch=0002/part-0.parquet", 3, "epoch_idx INT32, step INT64, images INT64, loss DOUBLE, lr DOUBLE"),
    ];
    for (path, rows, wanted) in tables {
        let (found, have) = columns(&space.path("runs/tiny").join(path));
        assert_eq!((found.join(", ").as_str(), have), (wanted, rows), "{path}");
    }
    let (found, rows) = columns(&space.path("runs/tiny/images.parquet"));
    assert_eq!(rows, images);
    for column in ["path TEXT", "width INT32", "height INT32", "label TEXT"] {
        assert!(found.contains(&column.to_owned()), "{column} is not among {found:?}");
    }
    assert_eq!(columns(&space.path("runs/tiny/bad.parquet")).1, 0);
    let (found, rows) = columns(&space.path("runs/tiny/metrics/epoch=0002/part-0.parquet"));
    assert_eq!(found, ["epoch_idx INT32", "name TEXT", "value DOUBLE"]);
    assert_eq!(rows, 16);
}

#[test]
fn weights_have_the_names_and_shapes_that_torch_has() {
    let space = Space::after_a_run();
    let golden = include_str!("../golden/nets/keys.json");
    let golden: BTreeMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(golden).unwrap();
    let bytes = fs::read(space.path("runs/tiny/weights/epoch=0002.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let found: BTreeMap<String, Vec<usize>> =
        file.tensors().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    // The golden network has seven classes, as tiny.yaml has clusters.
    assert_eq!(found, golden["alexnet True 64"]);
}

#[test]
fn crops_are_what_the_image_room_renders() {
    let space = Space::after_a_run();
    let file = fs::read(space.path("runs/tiny/crops/part-00000.arrow")).unwrap();
    let (rows, side) = crops::open(&[file.into()]).unwrap();
    assert_eq!((rows.rows(), side), (IMAGES, 64));
    let mut numbers: Vec<_> = (0..IMAGES).collect();
    numbers.sort_by_key(|number| image(*number).0);
    let view = CentreView { short_side: 64, crop: 64 };
    for (id, number) in numbers.into_iter().enumerate() {
        let mut wanted = vec![0; view.bytes()];
        view.render(&decode(&image(number).1, &Limits::default()).unwrap(), &mut wanted);
        assert_eq!(rows.image(ImageId(id as u32)).unwrap(), wanted, "{}", image(number).0);
    }
}

#[test]
fn a_touched_file_is_scanned_again_and_nothing_else_runs() {
    let space = Space::after_a_run();
    let (path, bytes) = image(33);
    space.write(&path, bytes);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), ["dataset@0"]);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
}

#[test]
fn a_moved_data_set_is_scanned_again_and_nothing_else_runs() {
    let space = Space::filled();
    let same = Space::after_a_run();
    let moved = format!("vars.images={}", space.path("images").display());
    let run = same.run(&["run", "tiny.yaml", "--json", "--set", &moved]).ok();
    assert_eq!(run.ran(), ["dataset@0"]);
}

#[test]
fn the_order_in_which_files_were_made_changes_nothing() {
    let space = Space::after_a_run();
    fs::remove_dir_all(space.path("images")).unwrap();
    // 7 and 60 have no common factor: every image once, in another order.
    for number in (0..IMAGES).map(|at| at * 7 % IMAGES) {
        let (path, bytes) = image(number);
        space.write(&path, bytes);
    }
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), ["dataset@0"]);
}

#[test]
fn a_changed_image_changes_all_that_is_made_from_images() {
    let space = Space::after_a_run();
    space.write(&image(33).0, image(34).1);
    assert_eq!(
        space.run(&["run", "tiny.yaml", "--json", "--to", "features@1"]).ok().ran(),
        ["crops@0", "dataset@0", "features@1", "weights@0"]
    );
}

#[test]
fn equal_commands_on_two_stores_make_equal_bytes() {
    let first = Space::after_a_run().digests();
    let second = Space::filled();
    second.run(&["run", "tiny.yaml", "-q"]).ok();
    assert_eq!(second.digests(), first);
}

#[test]
fn the_number_of_threads_changes_at_most_the_last_bits_of_the_networks() {
    let [one, many] = ["1", "3"].map(|threads| {
        let space = Space::filled();
        space.run(&["run", "tiny.yaml", "-q", "--threads", threads]).ok();
        space
    });
    let (alone, together) = (one.digests(), many.digests());
    for node in ["dataset@0", "crops@0", "weights@0"] {
        assert_eq!(alone[node], together[node], "{node}");
    }
    // The products of libtorch and MKL are summed in another order; nothing that is drawn or decided is.
    let features = |space: &Space| {
        let bytes = fs::read(space.path("runs/tiny/features/epoch=0001/part-00000.arrow")).unwrap();
        Features::open(&[bytes.into()]).unwrap().batch(0).1.into_owned()
    };
    let (alone, together) = (features(&one), features(&many));
    assert!(alone.iter().zip(&together).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0)), "features differ");
    for table in ["clusters/epoch=0001/part-0.parquet", "manifest/epoch=0001/part-0.parquet"] {
        let ids = |space: &Space| {
            let bytes = fs::read(space.path("runs/tiny").join(table)).unwrap();
            Table::open_any(table, &bytes.into(), usize::MAX).unwrap().i32("cluster_id").unwrap()
        };
        assert_eq!(ids(&one), ids(&many), "{table}");
    }
}

#[test]
fn what_is_not_kept_is_gone_when_its_readers_are_done() {
    let space = Space::filled();
    let run = space.run(&["run", "tiny.yaml", "--json", "--set", "keep=[]", "--set", "epochs=3"]).ok();
    let evicted: Vec<_> = run
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Evicted { node, .. } = event { Some(node) } else { None })
        .collect();
    for node in ["features@1", "vectors@2", "weights@0", "weights@2"] {
        assert!(evicted.contains(&node.to_owned()), "{node} is still there; gone are {evicted:?}");
    }
    assert!(!space.path("runs/tiny/features").exists());
    assert!(space.path("runs/tiny/weights/epoch=0003.safetensors").exists());
    // Gone is no reason to run.
    assert_eq!(space.run(&["run", "tiny.yaml", "--json", "--set", "keep=[]", "--set", "epochs=3"]).ok().ran(), [""; 0]);
    let kept = space.run(&["run", "tiny.yaml", "--json", "--set", "epochs=1", "--set", "keep=[vectors]"]).ok();
    assert_eq!(kept.ran(), ["features@1", "vectors@1", "weights@0"]);
    assert!(space.path("runs/tiny/vectors/epoch=0001/part-00000.arrow").exists());
}

#[test]
fn an_image_that_changes_after_the_scan_is_refused_by_name() {
    let space = Space::filled();
    space.run(&["run", "tiny.yaml", "-q", "--to", "crops"]).ok();
    let mut run = space.start(&["run", "tiny.yaml", "--json"]);
    assert!(run.until(|events| {
        events.iter().any(|event| matches!(event, Event::NodeHit { node, .. } if node == "dataset@0"))
    }));
    space.write(&image(33).0, image(34).1);
    run.wait().ended(1).complains_of(&[&image(33).0[7..], "is not the file that was scanned"]);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
}
