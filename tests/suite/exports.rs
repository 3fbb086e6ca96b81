//! exports: what other programs read of a run is what its tables hold, whatever the names; no export replaces other files.

use crate::readers::script;
use crate::space::{DCPIPE, Output, Space, TINY, image, start};
use dcpipe::base::ImageId;
use dcpipe::format::dataset::IMAGES;
use dcpipe::format::{Clusters, Dataset};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const GALLERY: &str = "  gallery: { stage: gallery, epochs: { every: 100 }, with: { per_cluster: 5, clusters: 4 }, from: { dataset: \
                       dataset, crops: crops, clusters: clusters, before: clusters@prev, vectors: vectors } }\n";
const MAP: &str = "  neighbors: { stage: neighbors, epochs: { every: 100 }, from: { vectors: vectors } }\n  map: { stage: map, \
                   epochs: { every: 100 }, from: { vectors: vectors, neighbors: neighbors } }\n";
const ALL: [&str; 7] = ["csv", "folders", "atlas", "fiftyone", "labelstudio", "tensorboard", "montage"];
/// Names that end cells, lines, elements, options or formulas, turn the direction of writing, or are long.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)<!--/\u{202e}\"'%.jpg",
    "-rf, \"kind\"/-x.jpg",
    "-rf, \"kind\"/a\nb\tc,\"d\".jpg",
    "-rf, \"kind\"/=1+1.jpg",
    "-rf, \"kind\"/ %2e%2e&d=x#y?.jpg",
    "-rf, \"kind\"/\u{1b}[31m\u{200f}.jpg",
    "-rf, \"kind\"/ähre 日本.jpg",
    "-rf, \"kind\"/NaN.jpg",
];

/// A space with hostile names and a gallery, after its run.
fn after_a_run() -> Space {
    let space = Space::filled();
    space.write("tiny.yaml", TINY.to_owned() + GALLERY + MAP);
    for (number, name) in HOSTILE.iter().enumerate() {
        space.write(&format!("images/{name}"), image(number).1);
    }
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    space
}

fn clusters(space: &Space, node: &str) -> (Clusters, Dataset) {
    let store = space.store();
    let open = |node: &str, part: &str| store.map(space.record(node).artifact.part(part).unwrap()).unwrap();
    (Clusters::open(&open(node, "clusters.parquet")).unwrap(), Dataset::open(&open("dataset@0", IMAGES.file)).unwrap())
}

/// Deletes the bytes of a node.
fn evict(space: &Space, node: &str) {
    let store = space.store();
    space.record(node).artifact.parts.iter().for_each(|part| store.evict(part.object).unwrap());
}

/// What the readers found in the exports of a run; all must agree with its tables.
fn readers(space: &Space, run: &str) -> Option<Output> {
    let mut command = script(space, "read_exports.py")?;
    command.arg(run);
    Some(start(command).wait().ok())
}

fn files(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_export_says_what_the_tables_say_in_the_words_of_its_readers() {
    let space = after_a_run();
    for what in ALL {
        let told = space.run(&["export", what]).ok().stdout;
        assert!(told.starts_with(&format!("runs/tiny/export/{what}")) && told.contains("To open it:\n  "), "{told}");
        assert!(told.contains("(clusters@2: "), "{told}");
    }
    space.run(&["export", "csv", "tiny", "--epoch", "1"]).ok();
    space
        .run(&["export", "labelstudio", "--per-cluster", "2", "-o", "runs/tiny/export/labelstudio/two/epoch=0002"])
        .ok();
    let Some(read) = readers(&space, "runs/tiny") else { return };
    for line in [
        "csv: pandas",
        "csv: duckdb",
        "folders: pillow",
        "atlas: pyarrow",
        "atlas: pandas",
        "atlas: duckdb",
        "fiftyone: csv",
        "labelstudio: json",
        "tensorboard: struct",
        "montage: pillow",
    ] {
        assert!(read.stdout.lines().any(|told| told.starts_with(&format!("ok   {line}"))), "{line}\n{}", read.stdout);
    }
}

#[test]
fn folders_hold_every_image_once_under_a_plain_name_the_nearest_first() {
    let space = after_a_run();
    let (clusters, dataset) = clusters(&space, "clusters@2");
    space.run(&["export", "folders", "-o", "links"]).ok();
    space.run(&["export", "folders", "-o", "copies", "--copy"]).ok();
    let names = files(&space.path("links"));
    assert_eq!(names, files(&space.path("copies")));
    assert_eq!(names.len(), dataset.len() + 1, "the images, and the mark of the export");
    let odd = |c: char| c.is_control() || "<>:\"\\|?*\u{202e}\u{200f}".contains(c);
    assert!(!names.iter().any(|name| name.contains(odd)), "{names:?}");
    for (cluster, images) in clusters.members().iter().enumerate() {
        let ours = names.iter().filter(|name| name.starts_with(&format!("cluster-{cluster:04}/")));
        for (name, image) in ours.zip(images) {
            let original = fs::canonicalize(space.path("images").join(dataset.image(*image).path)).unwrap();
            assert_eq!(fs::canonicalize(space.path("links").join(name)).unwrap(), original);
            assert!(fs::symlink_metadata(space.path("copies").join(name)).unwrap().is_file());
            assert!(fs::read(space.path("copies").join(name)).unwrap() == fs::read(original).unwrap());
        }
    }
    fs::create_dir(space.path("elsewhere")).unwrap();
    let mut command = space.command(DCPIPE);
    command.current_dir(space.path("elsewhere")).args(["export", "folders", "--store", "../.dcpipe", "-o", "../far"]);
    assert_eq!(start(command).wait().ok().stderr, "", "the images are where the run found them");
    space.run(&["export", "folders", "-o", "few", "--per-cluster", "1"]).ok();
    let full = clusters.sizes().iter().filter(|size| **size > 0).count();
    assert_eq!(files(&space.path("few")).len(), full + 1);
}

#[test]
fn an_export_replaces_only_what_an_export_wrote() {
    let space = after_a_run();
    space.write("mine/cat.txt", "a cat");
    for what in ["folders", "atlas", "tensorboard", "montage"] {
        space
            .run(&["export", what, "-o", "mine"])
            .ended(1)
            .complains_of(&["mine has files that no export wrote", "-o"]);
    }
    space.run(&["export", "csv", "-o", "mine"]).ended(1).complains_of(&["mine is a folder"]);
    assert_eq!(files(&space.path("mine")), ["cat.txt"]);
    space.run(&["export", "montage", "-o", "images/x/out"]).ended(1).complains_of(&["is among the images"]);
    assert!(!space.path("images/x").exists());

    space.run(&["export", "folders"]).ok();
    space.run(&["export", "folders", "--copy"]).ok();
    let folders = space.path("runs/tiny/export/folders/epoch=0002");
    let one = files(&folders).into_iter().find(|name| name.starts_with("cluster-")).unwrap();
    fs::write(folders.join(&one), "drawn over").unwrap();
    space.run(&["export", "folders"]).ended(1).complains_of(&["has changed since dcpipe wrote it"]);
    assert_eq!(fs::read(folders.join(&one)).unwrap(), b"drawn over");

    space.write("mine.csv", "old");
    space.run(&["export", "csv", "-o", "mine.csv"]).ok();
    assert!(fs::read_to_string(space.path("mine.csv")).unwrap().starts_with("path,label,cluster_id,distance,margin\n"));
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=5"]).ok();
    assert!(folders.join(&one).exists(), "a run deletes no export");
}

#[test]
fn an_export_that_was_copied_is_an_export() {
    let space = after_a_run();
    space.run(&["export", "folders", "-o", "out"]).ok();
    space.run(&["export", "atlas", "-o", "atlas"]).ok();
    for (from, to) in [("out", "out copied"), ("atlas", "atlas copied")] {
        let mut copy = space.command("cp");
        copy.args(["-r", from, to]);
        start(copy).wait().ok();
        for entry in walkdir::WalkDir::new(space.path(to)).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                let file = fs::File::options().write(true).open(entry.path()).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }
    }
    space.run(&["export", "folders", "-o", "out copied", "--per-cluster", "1"]).ok();
    assert!(files(&space.path("out copied")).len() < files(&space.path("out")).len());
    space.run(&["export", "atlas", "-o", "atlas copied"]).ok();
    let atlas = space.path("atlas copied/atlas.parquet");
    let (mut bytes, time) = (fs::read(&atlas).unwrap(), fs::metadata(&atlas).unwrap().modified().unwrap());
    assert!(bytes == fs::read(space.path("atlas/atlas.parquet")).unwrap());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&atlas, &bytes).unwrap();
    fs::File::options().write(true).open(&atlas).unwrap().set_modified(time).unwrap();
    let refused = space.run(&["export", "atlas", "-o", "atlas copied"]).ended(1);
    refused.complains_of(&["has changed since dcpipe wrote it"]);
    assert!(fs::read(&atlas).unwrap() == bytes);
}

#[test]
fn the_same_run_exports_the_same_bytes_with_or_without_crops() {
    let space = after_a_run();
    let atlas = |to: &str| {
        let told = space.run(&["export", "atlas", "--side", "64", "-o", to]).ok();
        (fs::read(space.path(to).join("atlas.parquet")).unwrap(), told.stderr)
    };
    let (with, _) = atlas("with");
    assert!(with == atlas("again").0);
    evict(&space, "crops@0");
    assert!(with == atlas("without").0, "the images' files give the thumbnails that their crops give");
    let sheet = |to: &str| {
        space.run(&["export", "tensorboard", "-o", to]).ok();
        fs::read(space.path(to).join("events.out.tfevents.0.dcpipe")).unwrap()
    };
    assert!(sheet("one") == sheet("two"));

    let lost = HOSTILE[1];
    fs::remove_file(space.path("images").join(lost)).unwrap();
    let told = atlas("lost").1;
    assert!(told.contains("1 of 68 images have no thumbnail; the first: ") && told.contains("-x.jpg"), "{told}");
    let told = space.run(&["export", "folders", "-o", "dangling"]).ok().stderr;
    assert!(told.contains("1 of 68 images have links that lead nowhere"), "{told}");
    fs::rename(space.path("images"), space.path("away")).unwrap();
    space.run(&["export", "atlas", "-o", "none"]).ended(1).complains_of(&["not one image could be read"]);
    assert!(!space.path("none").exists());
}

#[test]
fn an_export_says_what_is_missing_and_how_to_get_it() {
    let space = Space::after_a_run();
    space
        .run(&["export", "csv", "--epoch", "9"])
        .ended(1)
        .complains_of(&["epoch 9 has no clusters", "clusters@1, clusters@2"]);
    space.run(&["export", "montage"]).ended(1).complains_of(&["has no gallery", "stage: gallery"]);
    space.run(&["export", "csv", "other"]).ended(2).complains_of(&["there is no run other"]);
    space.run(&["export", "csv", "--copy"]).ended(2).complains_of(&["csv has no --copy, which is of folders"]);
    space.run(&["export", "atlas", "--per-cluster", "3"]).ended(2).complains_of(&["labelstudio"]);
    evict(&space, "vectors@2");
    let told = space.run(&["export", "atlas"]).ok();
    assert!(told.stderr.contains("no projection_x and projection_y") && told.stderr.contains("vectors to keep:"));
    assert!(!told.stdout.contains("--x") && !space.path("runs/tiny/export/atlas/epoch=0002/labels.parquet").exists());
    let told = space.run(&["export", "tensorboard"]).ok().stderr;
    assert!(told.contains("there is no projector") && told.contains("no pictures of clusters"), "{told}");
    evict(&space, "clusters@2");
    let told = space.run(&["export", "csv"]).ok().stdout;
    assert!(told.contains("(clusters@1: "), "{told}");
    let told = space.run(&["export", "csv", "--epoch", "2"]).ended(1).stderr;
    assert!(told.contains("evicted the bytes of clusters@2") && told.contains("keep:"), "{told}");
}

#[test]
fn an_export_of_a_run_that_did_not_reach_a_node_shows_none_of_an_earlier_run() {
    let space = Space::after_a_run();
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=6", "--to", "clusters@1"]).ok();
    let told = space.run(&["export", "csv", "-o", "six.csv"]).ok().stdout;
    assert!(told.contains("(clusters@1: "), "{told}");
    let text = fs::read_to_string(space.path("six.csv")).unwrap();
    let found: BTreeSet<&str> = text.lines().skip(1).map(|line| line.split(',').nth(2).unwrap()).collect();
    assert!(found.len() <= 6 && !found.contains("6"), "{found:?}");
}

#[test]
fn images_that_a_data_set_carries_become_files() {
    let space = Space::empty();
    let demo = include_str!("../../pipelines/demo.yaml");
    space.write("demo.yaml", demo);
    let sets = ["dataset.images=40", "vectors.dims=8", "clusters.k=4"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    space.run(&[&["run", "demo.yaml", "-q", "--to", "clusters@1"], &sets[..]].concat()).ok();
    for (what, folder) in [("folders", "cluster-"), ("fiftyone", "images/"), ("labelstudio", "images/")] {
        space.run(&["export", what]).ok();
        let to = space.path(&format!("runs/demo/export/{what}/epoch=0001"));
        let found = files(&to).into_iter().filter(|name| name.starts_with(folder));
        let pictures =
            found.map(|name| fs::read(to.join(name)).unwrap()).filter(|bytes| bytes.starts_with(&[0xff, 0xd8]));
        assert_eq!(pictures.count(), 40, "{what}");
    }
    readers(&space, "runs/demo");
}

#[test]
fn an_atlas_of_many_parts_is_whole_and_in_small_groups() {
    let space = crate::parts::filled();
    space.run(&["run", "tiny.yaml", "-q", "--to", "clusters.tables@1"]).ok();
    assert!(space.record("crops@0").artifact.parts.len() >= 3);
    space.run(&["export", "atlas", "--side", "16"]).ok();
    let (clusters, dataset) = clusters(&space, "clusters@1");
    assert_eq!((dataset.len(), dataset.image(ImageId(1499)).label), (1500, "all"));
    assert_eq!(clusters.members().iter().map(Vec::len).sum::<usize>(), 1500);
    let Some(read) = readers(&space, "runs/tiny") else { return };
    assert!(read.stdout.contains("1500 rows in 2 groups"), "{}", read.stdout);
}
