//! assign: new images go to the clusters of a finished run, and the run itself stays as it was.

use crate::space::{Output, Space, finished};
use dcpipe::base::{ImageId, Seed};
use dcpipe::engine::Event;
use dcpipe::format::table::Table;
use dcpipe::format::whitening::open_mean;
use dcpipe::format::{Assignments, Centroids, Features, Whitening, assignments, tables};
use dcpipe::image::demo::kinds;
use dcpipe::image::encode_jpeg;
use std::fs;
use std::path::Path;

/// Path, cluster, distance and margin of each image; the numbers as bits.
type Rows = Vec<(String, u32, u32, u32)>;

fn assigned(file: &Path) -> (Rows, Vec<u32>) {
    let Assignments { paths, images } = Assignments::open(&fs::read(file).unwrap().into()).unwrap();
    let row = |(at, path): (usize, &str)| {
        (path.to_owned(), images.cluster_id[at].0, images.distance[at].to_bits(), images.margin[at].to_bits())
    };
    let rows = paths.iter().enumerate().map(row).collect();
    (rows, images.second_cluster_id.iter().map(|id| id.0).collect())
}

/// The same of a run's own table.
fn clustered(space: &Space, epoch: &str) -> Rows {
    let file = space.path(&format!("runs/tiny/clusters/epoch={epoch}/part-0.parquet"));
    let table = Table::open(&tables::CLUSTERS, &fs::read(file).unwrap().into()).unwrap();
    let (paths, ids) = (table.text("path").unwrap(), table.i32("cluster_id").unwrap());
    let (distance, margin) = (table.f32("distance").unwrap(), table.f32("margin").unwrap());
    let row =
        |(at, path): (usize, &str)| (path.to_owned(), ids[at] as u32, distance[at].to_bits(), margin[at].to_bits());
    paths.iter().enumerate().map(row).collect()
}

/// Draws images that no run has seen.
fn draw_new(space: &Space, count: u32) {
    for number in 0..count {
        let mut stream = Seed::of_node(99, "tests").stream("new", u64::from(number));
        let picture = kinds::draw(number as usize % 10, 70 + number, &mut stream);
        space.write(&format!("new/{number:02}.jpg"), encode_jpeg(&picture, 90));
    }
}

/// All files of a store's run, and of its results, with their bytes.
fn of_run(space: &Space) -> Vec<(String, Vec<u8>)> {
    let names = ["nodes.json", "state.json", "pipeline.yaml"].map(|file| format!(".dcpipe/runs/tiny/{file}"));
    let names = names.into_iter().chain([".dcpipe/runs/last.json", "runs/tiny/.index.json"].map(str::to_owned));
    names.map(|name| (name.clone(), fs::read(space.path(&name)).unwrap())).collect()
}

fn evict(space: &Space, node: &str, part: &str) {
    let record = space.record(node);
    let store = space.store();
    store.evict(record.artifact.part(part).unwrap().object).unwrap();
}

#[test]
fn a_runs_own_images_get_its_own_clusters_also_after_its_bytes_were_evicted() {
    let space = Space::after_a_run();
    // No features, vectors or crops are retained; what new images need is.
    space.run(&["run", "tiny.yaml", "-q", "--set", "keep=[]"]).ok();
    assert!(!space.path("runs/tiny/vectors/epoch=0002").exists());
    let (before, digests) = (of_run(&space), space.digests());
    for (epoch, args) in [("0002", &[][..]), ("0001", &["--epoch", "1"])] {
        let assign = ["assign", "tiny", "--images", "images", "-o", "own.parquet", "--json"];
        let out = space.run(&[&assign, args].concat()).ok();
        assert!(!out.ran().iter().any(|node| ["dataset@0", "vectors@0"].contains(&&**node)), "{:?}", out.ran());
        let (rows, seconds) = assigned(&space.path("own.parquet"));
        assert_eq!(rows, clustered(&space, epoch), "epoch {epoch}");
        assert!(rows.iter().zip(&seconds).all(|(row, second)| row.1 != *second));
    }
    assert!(of_run(&space) == before && space.digests() == digests, "the run is as it was");
    let key = |run: &str, node: &str| space.store().node_keys(run)[node];
    let features = [key("tiny", "features@1"), key("tiny", "features@2")];
    assert!(!features.contains(&key("tiny-assign", "features@0")), "no rebuild of these replaces a record of the run");
    let results = space.path("runs/tiny-assign/assignments/assignments.parquet");
    assert_eq!(fs::read(results).unwrap(), fs::read(space.path("own.parquet")).unwrap());
    let gc = space.run(&["gc", "--dry-run"]).ok();
    assert!(!gc.stdout.contains("run tiny"), "{}", gc.stdout);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json", "--set", "keep=[]"]).ok().ran(), [""; 0]);
}

#[test]
fn new_images_go_where_the_exported_files_say() {
    let space = Space::after_a_run();
    draw_new(&space, 23);
    space.write("new/broken.jpg", "no image at all");
    fs::remove_file(space.path("images")).unwrap(); // The run's own images are not needed.
    let told = space.run(&["assign", "tiny", "--images", "new", "-o", "new.parquet"]).ok();
    let told = told.complains_of(&["clusters@2 of run tiny", "broken.jpg", "the clusters of 23 images; 1 left out"]);
    assert!(told.stderr.contains("runs/tiny-assign/bad.parquet"), "{}", told.stderr);
    // The same pipeline with its features retained shows what the network made of the images.
    let pipeline = ".dcpipe/runs/tiny-assign/pipeline.yaml";
    space.run(&["run", pipeline, "-q", "--name", "kept", "--set", "keep=[features]"]).ok();
    let read = |path: &str| fs::read(space.path(path)).unwrap().into();
    let features = Features::open(&[read("runs/kept/features/part-00000.arrow")]).unwrap();
    let whitening = Whitening::open(&read("runs/tiny/whitening/epoch=0002/whitening.arrow")).unwrap();
    let mean = open_mean(&read("runs/tiny/whitening/epoch=0002/mean.arrow")).unwrap();
    let centroids = Centroids::open(&read("runs/tiny/centroids/epoch=0002/centroids.arrow")).unwrap();
    let (rows, seconds) = assigned(&space.path("new.parquet"));
    assert_eq!((features.rows(), rows.len()), (23, 23));
    for (at, (path, cluster, distance, margin)) in rows.iter().enumerate() {
        assert_eq!(*path, format!("{at:02}.jpg"), "rows have the order of image {}", ImageId(at as u32));
        let (within, numbers) = features.batch(0);
        assert_eq!(within, 0..23);
        let feature = &numbers[at * features.dims()..][..features.dims()];
        let centred: Vec<f64> = feature.iter().zip(&mean).map(|(x, mean)| f64::from(*x) - mean).collect();
        let product = |row: &[f32]| row.iter().zip(&centred).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
        let vector: Vec<f64> = whitening.components.chunks_exact(whitening.dims).map(product).collect();
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let to = |centroid: &[f32]| -> f64 {
            centroid.iter().zip(&vector).map(|(c, x)| (x / length - f64::from(*c)).powi(2)).sum()
        };
        let mut all: Vec<(f64, u32)> = centroids.centroids.chunks_exact(centroids.dims).map(to).zip(0..).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!((*cluster, seconds[at]), (all[0].1, all[1].1), "{path}");
        assert!((f64::from(f32::from_bits(*distance)) - all[0].0).abs() < 1e-5, "{path}");
        assert!((f64::from(f32::from_bits(*margin)) - (all[1].0 - all[0].0)).abs() < 1e-5, "{path}");
    }
}

#[test]
fn csv_has_the_rows_of_parquet_and_the_second_call_computes_nothing() {
    let space = Space::after_a_run();
    draw_new(&space, 3);
    let odd = space.path("new/a, \"b\".jpg");
    fs::rename(space.path("new/01.jpg"), odd).unwrap();
    space.run(&["assign", "tiny", "--images", "new", "-o", "new.parquet", "-q"]).ok();
    let again = space.run(&["assign", "tiny", "--images", "new", "-o", "new.csv", "--json"]).ok();
    assert_eq!(again.ran(), [""; 0]);
    let text = fs::read_to_string(space.path("new.csv")).unwrap();
    let mut lines = text.split_terminator("\r\n");
    assert_eq!(lines.next(), Some("path,cluster_id,distance,margin,second_cluster_id"));
    let (rows, seconds) = assigned(&space.path("new.parquet"));
    let bits = |number: u32| f32::from_bits(number);
    let due = rows.iter().zip(seconds).map(|((path, cluster, distance, margin), second)| {
        let path = if path.contains(',') { "\"a, \"\"b\"\".jpg\"" } else { path };
        format!("{path},{cluster},{},{},{second}", bits(*distance), bits(*margin))
    });
    assert!(lines.eq(due), "{text}");
    assert_eq!(assignments::ASSIGNMENTS.fields.len(), 5);
}

#[test]
fn a_killed_assignment_resumes_and_ends_as_an_undisturbed_one() {
    let assign = ["assign", "tiny", "--images", "new", "-o", "new.parquet", "--json"];
    let undisturbed = Space::after_a_run();
    draw_new(&undisturbed, 12);
    undisturbed.run(&assign).ok();
    let space = Space::after_a_run();
    draw_new(&space, 12);
    let mut seen = Vec::new();
    for moment in ["crops@0", "features@0", "assignments@0"] {
        let mut run = space.start(&assign);
        let begun = |event: &Event| matches!(event, Event::NodeStarted { node, .. } if node == moment);
        assert!(run.until(|events| events.iter().any(begun)), "{:?}", run.wait());
        run.child.kill().unwrap();
        let killed: Output = run.wait();
        assert_eq!(killed.signal, Some(9));
        seen.extend(finished(&killed.events()));
        assert!(!space.path("new.parquet").exists());
    }
    let last = space.run(&assign).ok();
    assert!(last.ran().iter().all(|node| !seen.contains(node)), "{seen:?}, and again {:?}", last.ran());
    let read = |space: &Space| fs::read(space.path("new.parquet")).unwrap();
    assert!(read(&space) == read(&undisturbed));
}

#[test]
fn missing_bytes_are_named_before_anything_runs_and_nothing_is_trained() {
    let space = Space::after_a_run();
    draw_new(&space, 3);
    let assign = |args: &[&str]| {
        let all = [&["assign", "tiny", "--images", "new", "-o", "new.csv", "--json"], args].concat();
        space.run(&all)
    };
    evict(&space, "weights@1", "weights.safetensors");
    let refused = assign(&[]).ended(5);
    let refused = refused.complains_of(&["epoch 2", "weights@1 (evicted)", "have all: 1;", "keep: [weights]"]);
    assert_eq!(refused.stdout, "", "nothing ran");
    assert!(!space.path(".dcpipe/runs/tiny-assign").exists() && !space.path("runs/tiny-assign").exists());
    let first = assign(&["--epoch", "1"]).ok();
    assert!(first.ran().contains(&"weights@0".to_owned()), "the first weights are drawn again: {:?}", first.ran());
    evict(&space, "vectors@1", "mean.arrow");
    assign(&["--epoch", "1"]).ended(5).complains_of(&["vectors@1 (evicted)", "have all: none;"]);
}

#[test]
fn records_of_two_runs_of_one_name_are_never_mixed() {
    let space = Space::after_a_run();
    draw_new(&space, 3);
    // Epoch 1 is of k = 5 by now, and epoch 2 still of k = 7.
    space.run(&["run", "tiny.yaml", "-q", "--to", "weights@1", "--set", "clusters.k=5"]).ok();
    let assign = ["assign", "tiny", "--images", "new", "-q"];
    space.run(&assign).ended(5).complains_of(&["features@2 is not made of what the run has by now", "epoch: 1"]);
    space.run(&[&assign[..], &["--epoch", "1"]].concat()).ok();
}

#[test]
fn what_cannot_be_assigned_is_refused_before_the_work() {
    let space = Space::after_a_run();
    draw_new(&space, 3);
    fs::create_dir(space.path("empty")).unwrap();
    space.write("bad/good.jpg", fs::read(space.path("new/01.jpg")).unwrap());
    space.write("bad/broken.jpg", "no image at all");
    let mut killed = space.start(&["run", "tiny.yaml", "--name", "killed", "--json", "--set", "seed=8"]);
    assert!(killed.until(|events| !finished(events).is_empty()), "{:?}", killed.wait());
    killed.child.kill().unwrap();
    killed.wait();
    for (args, code, words) in [
        (&["assign", "tine", "--images", "new"][..], 2, "there is no run tine"),
        (&["assign", "killed", "--images", "new"], 2, "run killed has not finished"),
        (&["assign", "tiny", "--images", "new", "--epoch", "3"], 2, "no clusters at epoch 3; it has some at 1, 2"),
        (&["assign", "tiny", "--images", "none"], 2, "--images none"),
        (&["assign", "tiny", "--images", "tiny.yaml"], 2, "it is no folder"),
        (&["assign", "tiny", "--images", "empty"], 1, "no images under"),
        (&["assign", "tiny", "--images", "new", "-o", "new.txt"], 2, "neither .parquet nor .csv"),
        (&["assign", "tiny", "--images", "new", "-o", "none/new.csv"], 1, "could not write none/new.csv"),
        (&["assign", "tiny", "--images", "new", "-o", ".dcpipe/new.csv"], 2, "is in the store"),
        (&["assign", "tiny", "--images", "new", "--name", "killed"], 2, "there is a run killed that assigns nothing"),
        (&["assign", "tiny-assign", "--images", "new"], 2, "has no clusters that images"),
        (&["assign", "tiny", "--images", "bad"], 1, "the same command with --set dataset.max_bad_share=0.5"),
        (&["assign", "tiny", "--images", "new", "--set", "crops.crop=60"], 2, "--set crops.crop=60"),
        (&["assign", "tiny", "--images", "new", "--store", "none"], 2, "there is no store at none"),
    ] {
        space.run(args).ended(code).complains_of(&[words]);
    }
    let go_on = ["assign", "tiny", "--images", "bad", "-o", "good.csv", "--set", "dataset.max_bad_share=0.5"];
    space.run(&go_on).ok().complains_of(&["good.csv: the clusters of 1 image; 1 left out"]);
}
