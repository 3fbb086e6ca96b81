//! walk: the real program on tiny images, from the first run through every kind of second one.

use crate::space::{IMAGES, NODES, Output, Space, finished, image};
use bytes::Bytes;
use dcpipe::base::ImageId;
use dcpipe::engine::Event;
use dcpipe::format::table::Table;
use dcpipe::format::whitening::open_mean;
use dcpipe::format::{Centroids, Features, Whitening, crops, vectors};
use dcpipe::image::{CentreView, Limits, decode};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

const EPOCH_2: [&str; 10] = [
    "clusters.tables@2",
    "clusters@2",
    "features@2",
    "manifest.tables@2",
    "manifest@2",
    "metrics.tables@2",
    "metrics@2",
    "vectors@2",
    "weights.tables@2",
    "weights@2",
];

/// All nodes but these.
fn others(nodes: &[&str]) -> Vec<String> {
    NODES.iter().filter(|node| !nodes.contains(node)).map(|node| (*node).to_owned()).collect()
}

#[test]
fn a_first_run_runs_every_node_and_ends_with_the_count() {
    let events = Space::after_a_run().first_events();
    assert_eq!(finished(&events), NODES);
    assert!(matches!(events.first(), Some(Event::RunStarted { nodes: 23, .. })));
    let last = events.last().unwrap();
    assert!(
        matches!(last, Event::RunFinished { ran: 23, hit: 0, failed: 0, skipped: 0, interrupted: false, .. }),
        "{last:?}"
    );
}

#[test]
fn the_same_command_again_runs_nothing() {
    let space = Space::after_a_run();
    let again = space.run(&["run", "tiny.yaml", "--json"]).ok();
    assert_eq!(again.hits(), NODES);
    assert_eq!(again.ran(), [""; 0]);
    assert!(matches!(again.events().last(), Some(Event::RunFinished { ran: 0, hit: 23, .. })));
}

#[test]
fn another_k_keeps_the_first_epochs_features_and_vectors() {
    let space = Space::after_a_run();
    let before = space.digests();
    let other = as_planned(&space, "clusters.k=5");
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
    let more = as_planned(&space, "epochs=3");
    assert_eq!(more.ran(), EPOCH_2.map(|node| node.replace("@2", "@3")));
    assert_eq!(more.hits(), NODES);
    assert!(space.path("runs/tiny/clusters/epoch=0003/part-0.parquet").exists());
    let fewer = space.run(&["run", "tiny.yaml", "--json", "--set", "epochs=1"]).ok();
    assert_eq!(fewer.ran(), [""; 0]);
}

#[test]
fn results_show_the_last_run_only() {
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
fn a_run_that_fails_or_begins_anew_leaves_the_results_that_are_there() {
    let space = Space::after_a_run();
    let before = tree(&space.path("runs/tiny"));
    fs::rename(space.path("images"), space.path("away")).unwrap();
    space.run(&["run", "tiny.yaml", "-q"]).ended(1);
    assert_eq!(tree(&space.path("runs/tiny")), before, "the images were away, the results were not");
    fs::rename(space.path("away"), space.path("images")).unwrap();
    fs::rename(space.path(".dcpipe"), space.path("elsewhere")).unwrap();
    space.run(&["run", "tiny.yaml", "-q", "--to", "dataset@0"]).ok();
    assert_eq!(tree(&space.path("runs/tiny")), before, "nothing was made anew but the list of images");
    fs::remove_file(space.path("runs/tiny/metrics/epoch=0002/part-0.parquet")).unwrap();
    fs::remove_dir_all(space.path(".dcpipe")).unwrap();
    fs::rename(space.path("elsewhere"), space.path(".dcpipe")).unwrap();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert_eq!(tree(&space.path("runs/tiny")), before, "what was deleted is laid out again");
}

#[test]
fn another_learning_rate_keeps_the_first_epoch_up_to_its_clusters() {
    let space = Space::after_a_run();
    let late = as_planned(&space, "weights.lr={from_epoch: {1: 0.05, 2: 0.01}}");
    assert_eq!(late.ran(), ["weights.tables@2", "weights@2"]);
    let early = as_planned(&space, "weights.lr=0.01");
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
    assert_eq!(clusters.ran(), ["clusters.tables@1", "clusters@1", "metrics.tables@1", "metrics@1"]);
    let every = space.run(&["run", "tiny.yaml", "--json", "--to", "features"]).ok();
    assert_eq!(every.ran(), ["features@2", "manifest.tables@1", "manifest@1", "weights.tables@1", "weights@1"]);
    let none = space.run(&["run", "tiny.yaml", "--to", "feature"]).ended(2).complains_of(&["feature", "features"]);
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

/// Runs with another value, and insists that what ran is what the plan had said.
fn as_planned(space: &Space, set: &str) -> Output {
    let plan = space.run(&["plan", "tiny.yaml", "--json", "--set", set]).ok().stdout;
    let plan: Vec<serde_json::Value> = plan.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let run = space.run(&["run", "tiny.yaml", "--json", "--set", set]).ok();
    let ran = run.ran();
    for line in plan {
        let (node, what) = (line["node"].as_str().unwrap(), line["what"].as_str().unwrap());
        let did = ran.contains(&node.to_owned());
        assert!(
            what == "pending" || (what == "run") == did,
            "{set}: {node} was planned as {what}; what ran is {ran:?}"
        );
    }
    run
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
    assert_eq!(rows, 18);
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
    space.own_images();
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
    space.own_images();
    fs::remove_dir_all(space.path("images")).unwrap();
    // 7 and 60 have no common factor: every image once, in another order.
    for number in (0..IMAGES).map(|at| at * 7 % IMAGES) {
        let (path, bytes) = image(number);
        space.write(&path, bytes);
    }
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), ["dataset@0"]);
}

#[test]
fn a_changed_image_reruns_all_that_reads_images() {
    let space = Space::after_a_run();
    space.own_images();
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
        space.run(&["run", "tiny.yaml", "-q", "--threads", threads, "--to", "manifest@1"]).ok();
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
fn unkept_bytes_are_evicted_after_their_last_reader() {
    let space = Space::filled();
    let run = space.run(&["run", "tiny.yaml", "--json", "--set", "keep=[]", "--set", "epochs=4"]).ok();
    let evicted: Vec<_> = run
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Evicted { node, .. } = event { Some(node) } else { None })
        .collect();
    for node in ["features@1", "vectors@2", "weights@0", "weights@2"] {
        assert!(evicted.contains(&node.to_owned()), "{node} is still there; gone are {evicted:?}");
    }
    assert!(!space.path("runs/tiny/features").exists());
    // The last weights are what the run was for: their own tables do not use them up.
    let until_used = "keep={weights: until_used, metrics: until_used}";
    let once = Space::filled();
    once.run(&["run", "tiny.yaml", "-q", "--set", until_used]).ok();
    for node in ["weights@2", "metrics@2"] {
        assert!(once.store().contains_all(&once.record(node).artifact), "{node}");
    }
    assert!(space.path("runs/tiny/weights/epoch=0003.safetensors").exists());
    // Gone is no reason to run.
    assert_eq!(space.run(&["run", "tiny.yaml", "--json", "--set", "keep=[]", "--set", "epochs=4"]).ok().ran(), [""; 0]);
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
    space.run(&["run", "tiny.yaml", "-q", "--to", "features@1"]).ok();
}

/// Oracle 13: what an epoch's files say of each other, worked out anew in double precision from the files alone.
#[test]
fn every_artifact_of_an_epoch_follows_from_the_one_before() {
    epochs_follow(&Space::after_a_run(), IMAGES);
}

/// Insists on that for both epochs of `tiny.yaml`, of which `length` positions are trained on.
pub fn epochs_follow(space: &Space, length: usize) {
    for epoch in [1, 2] {
        let read = |path: &str| {
            let path = path.replace("EPOCH", &format!("epoch={epoch:04}"));
            Bytes::from(fs::read(space.path("runs/tiny").join(path)).unwrap())
        };
        let folder = space.path(&format!("runs/tiny/features/epoch={epoch:04}"));
        let mut parts: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        parts.sort();
        let parts: Vec<_> = parts.into_iter().map(|part| Bytes::from(fs::read(part).unwrap())).collect();
        let features = Features::open(&parts).unwrap();
        let vectors = vectors::open(&[read("vectors/EPOCH/part-00000.arrow")]).unwrap();
        let whitening = Whitening::open(&read("whitening/EPOCH/whitening.arrow")).unwrap();
        let mean = open_mean(&read("whitening/EPOCH/mean.arrow")).unwrap();
        let centroids = Centroids::open(&read("centroids/EPOCH/centroids.arrow")).unwrap().centroids;
        let table = |path: &str| Table::open_any(path, &read(path), usize::MAX).unwrap();
        let clusters = table("clusters/EPOCH/part-0.parquet");
        let (cluster_id, distance) = (clusters.i32("cluster_id").unwrap(), clusters.f32("distance").unwrap());

        let batches: Vec<_> = (0..features.batches()).map(|batch| features.batch(batch).1).collect();
        let rows: Vec<&[f32]> = batches.iter().flat_map(|numbers| numbers.chunks_exact(4096)).collect();
        assert_eq!(rows.len(), cluster_id.len());
        for (at, mean) in mean.iter().enumerate() {
            let sum: f64 = rows.iter().map(|row| f64::from(row[at])).sum();
            assert!((sum / rows.len() as f64 - mean).abs() < 1e-6 * mean.abs().max(1.0), "mean of feature {at}");
        }
        for (image, row) in rows.iter().enumerate() {
            let centred: Vec<f64> = row.iter().zip(&mean).map(|(value, mean)| f64::from(*value) - mean).collect();
            let project = |axis: &[f32]| axis.iter().zip(&centred).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
            let projected: Vec<f64> = whitening.components.chunks_exact(4096).map(project).collect();
            let length = projected.iter().map(|value| value * value).sum::<f64>().sqrt();
            let vector = vectors.image(ImageId(image as u32)).unwrap();
            for (found, wanted) in vector.iter().zip(&projected) {
                assert!((f64::from(*found) - wanted / length).abs() < 1e-4, "vector of image {image}, epoch {epoch}");
            }
            let far = |centroid: &[f32]| {
                centroid.iter().zip(vector).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
            };
            let far: Vec<f64> = centroids.chunks_exact(8).map(far).collect();
            let nearest = far.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((far[cluster_id[image] as usize] - nearest).abs() < 1e-5, "cluster of image {image}");
            assert!((f64::from(distance[image]) - nearest).abs() < 1e-5, "distance of image {image}");
        }

        let filled: BTreeSet<i32> = cluster_id.iter().copied().collect();
        let labels: BTreeMap<i32, i32> = filled.into_iter().zip(0..).collect();
        let manifest = table("manifest/EPOCH/part-0.parquet");
        let drawn = manifest.i64("image_id").unwrap();
        let mut each = vec![0; labels.len()];
        for (at, label) in manifest.i32("pseudo_label").unwrap().into_iter().enumerate() {
            let cluster = cluster_id[drawn[at] as usize];
            assert_eq!((manifest.i32("cluster_id").unwrap()[at], label), (cluster, labels[&cluster]), "position {at}");
            each[label as usize] += 1;
        }
        // int(length / 7) + 1 of each cluster, cut to the length in all.
        assert!(each.iter().all(|count| (1..=length / labels.len() + 1).contains(count)), "{each:?}");

        // The head is new, so the first loss is about that of knowing nothing.
        let steps = table("steps/EPOCH/part-0.parquet");
        let first = steps.f64("loss").unwrap()[0];
        assert!((first - 7f64.ln()).abs() < 0.7, "the first loss of epoch {epoch} is {first}");
        assert_eq!(steps.i64("images").unwrap().iter().sum::<i64>(), length as i64);
    }
}
