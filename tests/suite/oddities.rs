//! oddities: what a report shows besides clusters is what the tables say: copies, near images, changes, filters.

use crate::space::{Space, image};
use bytes::Bytes;
use dcpipe::base::ClusterId;
use dcpipe::format::flows::{CONFUSION, FLOWS, open_confusion, open_flows};
use dcpipe::format::neighbors::{NEIGHBORS, Neighbors};
use dcpipe::format::oddities::{NEAREST, ODDITIES, Oddities, PICTURES, Why, open_nearest};
use dcpipe::format::weights::{Tensors, WEIGHTS};
use dcpipe::format::{Clusters, Dataset};
use dcpipe::image::{Limits, decode};
use dcpipe::store::Record;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

const NODES: &str = "  gallery: { stage: gallery, epochs: { every: 100 }, with: { per_cluster: 5 }, from: { dataset: dataset, crops: \
                     crops, clusters: clusters, before: clusters@prev, vectors: vectors } }\n  neighbors: { stage: neighbors, \
                     epochs: { every: 100 }, with: { n: 5 }, from: { vectors: vectors } }\n  odd: { stage: oddities, epochs: { \
                     every: 100 }, with: { groups: 4 }, from: { dataset: dataset, clusters: clusters, neighbors: neighbors, \
                     crops: crops } }\n";
const HOSTILE: &str = "images/dots/<script>alert(1)<!--/\u{202e}\"'% \n.jpg";

/// A space with copies of three images, one of them under a hostile name in another folder.
fn space() -> Space {
    let space = Space::filled();
    let pipeline = fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("tiny.yaml", pipeline + NODES);
    for (number, path) in [(3, HOSTILE), (25, "images/vertical_stripes/a copy.jpg"), (50, "images/z/copy.jpg")] {
        space.write(path, image(number).1);
    }
    space
}

fn part(space: &Space, node: &str, name: &str) -> Bytes {
    let record = space.record(node);
    space.store().map(record.artifact.part(name).unwrap()).unwrap()
}

fn data(space: &Space) -> Value {
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn copies_are_named_near_images_are_those_of_the_neighbours_and_each_has_its_picture() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let found = Oddities::open(&part(&space, "odd@2", ODDITIES.file)).unwrap();
    let dataset = Dataset::open(&part(&space, "dataset@0", "images.parquet")).unwrap();
    let paths = |why: Why, group: u32| -> BTreeSet<String> {
        let rows = found.rows.iter().filter(|row| row.why == why && row.group == group);
        rows.map(|row| format!("images/{}", row.path)).collect()
    };
    let copies: Vec<_> = (0..3).map(|group| paths(Why::Copies, group)).collect();
    for (number, path) in [(3, HOSTILE), (25, "images/vertical_stripes/a copy.jpg"), (50, "images/z/copy.jpg")] {
        assert!(copies.contains(&[image(number).0, path.to_owned()].into()), "{path}: {copies:?}");
    }
    assert_eq!((found.found[0], found.rows.iter().filter(|row| row.why == Why::Copies).count()), (3, 6));

    let neighbors = Neighbors::open(&part(&space, "neighbors@2", NEIGHBORS.file)).unwrap();
    let nearest = open_nearest(&part(&space, "odd@2", NEAREST.file)).unwrap();
    assert!(nearest.iter().enumerate().all(|(row, (id, far))| neighbors.of(row).next() == Some((id.index(), *far))));
    let (limit, median) = found.near.unwrap();
    let mut distances: Vec<f32> = nearest.iter().map(|(_, far)| *far).collect();
    distances.sort_by(f32::total_cmp);
    assert_eq!((median, limit), (distances[distances.len() / 2], (0.1 * f64::from(median)) as f32));
    for row in found.rows.iter().filter(|row| matches!(row.why, Why::NearWithin | Why::NearAcross)) {
        assert!(row.distance <= limit && row.images > 1);
    }
    let lone: Vec<f32> = found.rows.iter().filter(|row| row.why == Why::Lone).map(|row| row.distance).collect();
    assert_eq!(lone, distances.iter().rev().take(4).copied().collect::<Vec<_>>());
    let far: Vec<_> = found.rows.iter().filter(|row| row.why == Why::Far).collect();
    assert_eq!(far.len(), 4);
    let clusters = Clusters::open(&part(&space, "clusters@2", "clusters.parquet")).unwrap();
    assert!(found.rows.iter().all(|row| row.cluster == clusters.cluster_id[row.image.index()]));
    assert!(found.rows.iter().all(|row| row.path == dataset.image(row.image).path));

    let sheet = decode(&part(&space, "odd@2", PICTURES), &Limits::default()).unwrap();
    let rows = found.rows.len().div_ceil(40) as u32;
    assert_eq!((sheet.width, sheet.height), (40 * 64, rows * 64));
    let shown = &data(&space)["gallery"]["oddities"];
    assert_eq!((&shown["folder"], shown["lists"]["copies"].as_array().unwrap().len()), (&"odd".into(), 3));
    assert!(shown["pictures"].is_string() && shown["lists"]["copies"].to_string().contains("alert(1)"));
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    assert!(!page.contains("<script>alert(1)") && !page.contains("<!--"));
    for file in ["odd/epoch=0002/oddities.parquet", "gallery/epoch=0002/cluster_flows.parquet"] {
        assert!(space.path("runs/tiny").join(file).exists(), "{file}");
    }
}

#[test]
fn flows_and_labels_of_the_report_count_the_images_of_the_tables() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let [now, before] =
        ["clusters@2", "clusters@1"].map(|node| Clusters::open(&part(&space, node, "clusters.parquet")).unwrap());
    let images = now.cluster_id.len();
    let flows = open_flows(&part(&space, "gallery@2", FLOWS.file), 7).unwrap();
    assert!(!flows.is_empty());
    for flow in &flows {
        let is_in = |all: &Clusters, id: ClusterId, at: usize| all.cluster_id[at] == id;
        let both = (0..images).filter(|at| is_in(&now, flow.cluster, *at) && is_in(&before, flow.before, *at)).count();
        let olds = (0..images).filter(|at| is_in(&before, flow.before, *at)).count();
        assert_eq!((flow.images, flow.before_images), (both as u64, olds as u64));
    }
    let dataset = Dataset::open(&part(&space, "dataset@0", "images.parquet")).unwrap();
    let cells = open_confusion(&part(&space, "gallery@2", CONFUSION.file)).unwrap();
    for (id, label) in (0..).zip(dataset.labels()) {
        let due = dataset.label_ids().iter().filter(|of| **of == id).count() as u64;
        let of: u64 = cells.iter().filter(|cell| cell.label == *label).map(|cell| cell.images).sum();
        assert_eq!(of, due, "{label}");
    }
    let data = data(&space);
    assert!(data["gallery"]["flows"]["before_images"].is_string());
    assert_eq!(data["gallery"]["confusion"].as_array().unwrap().len(), cells.len());

    let weights = part(&space, "weights@2", WEIGHTS.file);
    let tensors = Tensors::open(&WEIGHTS, &weights).unwrap();
    let shape: Vec<Value> =
        tensors.get("features.0.weight").unwrap().shape().iter().map(|size| (*size).into()).collect();
    assert_eq!((&data["filters"]["node"], data["filters"]["shape"].as_array().unwrap()), (&"weights@2".into(), &shape));
}

#[test]
fn a_gallery_of_version_1_is_a_hit_and_is_shown_without_what_it_lacks() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let record = space.record("gallery@2");
    let mut artifact = record.artifact.clone();
    artifact.parts.retain(|part| ![FLOWS.file, CONFUSION.file].contains(&part.name.as_str()));
    let text = record.key_text.replace("stage gallery 2\n", "stage gallery 1\n");
    let old = Record::new(&record.node, &text, artifact, record.facts.clone(), 1);
    space.store().remove_record(record.key());
    space.store().commit(&old).unwrap();
    space.store().evict(space.record("weights@2").artifact.part(WEIGHTS.file).unwrap().object).unwrap();
    space.store().evict(space.record("weights@1").artifact.part(WEIGHTS.file).unwrap().object).unwrap();
    let ran = space.run(&["run", "tiny.yaml", "--json", "--to", "gallery@2"]).ok().ran();
    assert!(!ran.iter().any(|node| node.starts_with("gallery")), "{ran:?}");
    space.run(&["report"]).ok();
    let data = data(&space);
    assert!(data["gallery"]["columns"]["size"].is_string() && data["gallery"]["oddities"].is_object());
    assert!(data["gallery"]["flows"].is_null() && data["gallery"]["confusion"].is_null());
    assert!(data["filters"]["said"].as_str().unwrap().contains("evicted"), "{}", data["filters"]);
}
