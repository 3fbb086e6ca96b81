//! samples: what stands in the files under `tests/data/formats/`, one of every kind.

use bytes::Bytes;
use dcpipe::base::{ClusterId, Digest, Epoch, ImageId, PseudoLabel};
use dcpipe::format::dataset::{open_bad, write_bad, write_images};
use dcpipe::format::element::{Element, bytes_of};
use dcpipe::format::evaluation::Subject;
use dcpipe::format::flows::{Confused, Flow, open_confusion, open_flows, write_confusion, write_flows};
use dcpipe::format::gallery::{ClusterStat, Member, Point, Stats, open_map, open_members, write_map, write_members};
use dcpipe::format::marks::{Mark, open_marks, write_marks};
use dcpipe::format::metrics::{open_metrics, open_steps, write_metrics, write_steps};
use dcpipe::format::neighbors::Neighbors;
use dcpipe::format::oddities::{Oddities, Oddity, Why, open_nearest, write_nearest};
use dcpipe::format::projection::{open_projection, write_projection};
use dcpipe::format::scatter::SavedScatter;
use dcpipe::format::search::Search;
use dcpipe::format::table::Table;
use dcpipe::format::tables::{self, Of};
use dcpipe::format::weights::{MOMENTUM, WEIGHTS, write_tensors};
use dcpipe::format::{clusters, crops, features, vectors, whitening, *};
use half::f16;

pub fn part<T: Element>(plan: RowsPlan, numbers: &[T]) -> Bytes {
    let mut writer = RowsWriter::create(Vec::new(), plan).unwrap();
    writer.push(numbers).unwrap();
    writer.finish().unwrap().into()
}

pub fn sample_pixels(rows: usize) -> Vec<u8> {
    (0..rows * 12).map(|at| (at * 7) as u8).collect()
}

pub fn sample_numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| at as f32 * 0.25 - 3.0).collect()
}

pub fn sample_halves(count: usize) -> Vec<f16> {
    sample_numbers(count).into_iter().map(f16::from_f32).collect()
}

pub fn sample_images() -> [Image<'static>; 3] {
    let image = |path: &'static str, label, offset| Image {
        path,
        digest: Digest::of(path.as_bytes()),
        bytes: 1000 + path.len() as u64,
        width: 500,
        height: 375,
        split: "train",
        label,
        offset,
    };
    [
        image("train/dog/a b.jpg", "dog", None),
        image("train/ähre/1.png", "ähre", Some(64)),
        image("train/x.webp", "", None),
    ]
}

pub fn sample_bad() -> Vec<BadImage> {
    let bad = |path: &str, reason: &str, detail: &str| BadImage {
        path: path.into(),
        reason: reason.into(),
        detail: detail.into(),
    };
    vec![bad("train/cut.jpg", "truncated", "ends after 312 of 9000 bytes"), bad("train/none.jpg", "empty", "")]
}

pub fn sample_clusters() -> Clusters {
    let cluster_id = [2, 0, 2, 3].map(ClusterId).to_vec();
    Clusters { k: 5, cluster_id, distance: vec![0.5, 0.0, 1.25, 2.0], margin: vec![0.25, 0.125, 0.0, 1.0] }
}

pub fn sample_iterations() -> Vec<Iteration> {
    let one = |objective, splits, empty, moved| Iteration { objective, splits, empty, moved };
    vec![one(12.5, 1, 2, 4), one(3.75, 0, 1, 1)]
}

pub fn sample_search() -> Search<'static> {
    let previous = [2, 0, 2, 3].map(ClusterId).to_vec().into();
    Search { k: 5, dims: 3, centroids: sample_numbers(15).into(), previous, iterations: sample_iterations().into() }
}

pub fn sample_scatter() -> SavedScatter {
    let pending = sample_numbers(6);
    SavedScatter { rows: 2, shift: vec![0.5, -1.0, 2.0], sum: vec![1.0, 0.25, 0.0], bands: vec![0.125; 9], pending }
}

pub fn sample_centroids() -> Centroids {
    Centroids { dims: 3, sizes: vec![1, 0, 2, 1, 0], centroids: sample_numbers(15) }
}

pub fn sample_assigned() -> Assigned {
    Assigned {
        cluster_id: [2, 0, 3].map(ClusterId).to_vec(),
        distance: vec![0.5, 0.0, 1.25],
        margin: vec![0.25, 0.125, 0.0],
        second_cluster_id: [0, 1, 2].map(ClusterId).to_vec(),
    }
}

fn sample_assignments() -> Vec<u8> {
    let mut writer = AssignmentsWriter::create(Vec::new());
    writer.push(["dog/a b.jpg", "ähre/1.png", "x.webp"].into_iter(), &sample_assigned()).unwrap();
    writer.finish().unwrap()
}

pub fn sample_manifest() -> Manifest {
    Manifest {
        k: 5,
        classes: 3,
        image_id: [3, 0, 0, 1].map(ImageId).to_vec(),
        cluster_id: [3, 2, 2, 0].map(ClusterId).to_vec(),
        pseudo_label: [2, 1, 1, 0].map(PseudoLabel).to_vec(),
    }
}

pub fn sample_whitening() -> Whitening {
    Whitening { dims: 5, eigenvalues: vec![4.0, 1.5], components: sample_numbers(10) }
}

pub fn sample_metrics() -> Vec<Metric> {
    let metric = |name: &str, value| Metric { name: name.into(), value };
    vec![metric("nmi_previous", 0.5), metric("empty_clusters", 2.0)]
}

pub fn sample_marks() -> Vec<Mark> {
    let mark =
        |label: &str, held_out, image: &str, mark| Mark { label: label.into(), held_out, image: image.into(), mark };
    vec![
        mark("aeroplane", false, "000012", -1),
        mark("aeroplane", false, "000032", 1),
        mark("aeroplane", true, "000001", 0),
        mark("bicycle", false, "000012", 1),
    ]
}

pub fn sample_evaluation() -> Evaluation {
    let measure = |measure: &str, layer: &str, protocol: &str, k, value, random| Measure {
        measure: measure.into(),
        layer: layer.into(),
        protocol: protocol.into(),
        k,
        value,
        random,
        learned_from: 7200,
        images: 800,
        classes: 10,
        seed: 0,
    };
    let measures = vec![
        measure("knn", "conv5", "cosine", 20, 0.375, Some(0.4125)),
        measure("linear", "conv5", "cached", 0, 0.5, Some(0.46875)),
        measure("effective_dims", "fc2", "covariance", 0, 31.5, None),
    ];
    let subject = Subject { net: r#"{"arch":"alexnet"}"#.into(), draw: "5e1f".into(), decay: 0.0001 };
    Evaluation { calibrated: false, subject, measures }
}

pub fn sample_steps() -> Vec<Step> {
    vec![Step { step: 0, images: 256, loss: 6.5, lr: 0.05 }, Step { step: 1, images: 31, loss: 6.25, lr: 0.05 }]
}

pub fn sample_tensors(kind: &'static Kind) -> Vec<u8> {
    let (numbers, count) = (sample_numbers(6), [7_i64]);
    let tensor = |name, scalar, shape, bytes| TensorRef { name, scalar, shape, bytes };
    let tensors = [
        tensor("top_layer.weight", Scalar::F32, &[2, 3][..], bytes_of(&numbers)),
        tensor("features.1.num_batches_tracked", Scalar::I64, &[], bytes_of(&count)),
        tensor("features.0.weight", Scalar::F32, &[1, 2, 1, 1], bytes_of(&numbers[..2])),
    ];
    let metadata = [("arch".to_owned(), "alexnet".to_owned())].into();
    write_tensors(Vec::new(), kind, &tensors, &metadata).unwrap()
}

fn of() -> Of {
    Of { epoch: Epoch(3), artifact: Digest::of(b"what it shows") }
}

fn sample_dataset() -> Dataset {
    Dataset::open(&write_images(Vec::new(), sample_images().into_iter()).unwrap().into()).unwrap()
}

/// Clusters of the images of [`sample_images`].
fn sample_seen() -> Clusters {
    Clusters { k: 5, cluster_id: [2, 0, 2].map(ClusterId).to_vec(), distance: vec![0.5; 3], margin: vec![0.25; 3] }
}

/// A part of features as the first version wrote it, with ids.
pub fn features_1(dims: usize, first: ImageId, rows: usize) -> RowsPlan {
    RowsPlan { kind: &features::FEATURES_1, first, ..features::plan(dims, rows) }
}

pub fn sample_stats() -> Stats {
    let cluster = |size, mean: Option<f32>, label: Option<(f32, &str)>, montage| ClusterStat {
        size,
        mean_distance: mean,
        main_label: label.map(|(purity, label)| (purity, label.to_owned())),
        previous: mean.map(|_| (ClusterId(4), 0.5)),
        neighbor: mean.map(|_| ClusterId(0)),
        montage,
    };
    let clusters = vec![
        cluster(3, Some(0.25), Some((0.75, "ähre")), Some((0, 11))),
        cluster(0, None, None, None),
        cluster(1, Some(1.5), None, Some((11, 9))),
    ];
    Stats { epoch: Epoch(3), tile: 72, columns: 6, clusters }
}

pub fn sample_members() -> Vec<Member> {
    let member = |cluster, tile, role: &str, image, path: &str, label: &str| Member {
        cluster: ClusterId(cluster),
        tile,
        role: role.to_owned(),
        image: ImageId(image),
        path: path.to_owned(),
        label: label.to_owned(),
        distance: 0.5,
    };
    vec![member(0, 0, "nearest", 2, "a b.jpg", ""), member(2, 0, "farthest", 0, "ähre/1.png", "ähre")]
}

pub fn sample_points() -> Vec<Point> {
    let point = |image, x, label: &str| Point {
        image: ImageId(image),
        at: [x, -x],
        cluster: ClusterId(image % 3),
        label: label.to_owned(),
    };
    vec![point(0, 0.5, "ähre"), point(2, -0.25, "")]
}

pub fn sample_neighbors() -> Neighbors {
    Neighbors { n: 2, ids: vec![1, 2, 0, 2, 1, 0], distances: vec![0.25, 0.5, 0.25, 0.75, 0.75, 1.0] }
}

pub fn sample_places() -> Vec<[f32; 2]> {
    vec![[0.0, 0.25], [1.0, 0.75], [0.5, 0.5]]
}

pub fn sample_flows() -> Vec<Flow> {
    let flow = |cluster, before, images, before_images| Flow {
        cluster: ClusterId(cluster),
        before: ClusterId(before),
        images,
        before_images,
    };
    vec![flow(0, 4, 2, 3), flow(0, 7, 1, 1), flow(2, 4, 1, 3)]
}

pub fn sample_confusion() -> Vec<Confused> {
    let cell = |label: &str, main: &str, images| Confused { label: label.to_owned(), main: main.to_owned(), images };
    vec![cell("", "ähre", 3), cell("dog", "ähre", 1), cell("ähre", "ähre", 2)]
}

pub fn sample_oddities() -> Oddities {
    let row = |why, group, image, path: &str, distance| Oddity {
        why,
        group,
        images: 3,
        image: ImageId(image),
        path: path.to_owned(),
        label: if image == 0 { String::new() } else { "ähre".to_owned() },
        cluster: ClusterId(image % 2),
        distance,
    };
    let rows = vec![
        row(Why::Copies, 0, 0, "a b.jpg", 0.0),
        row(Why::Copies, 0, 2, "ähre/1.png", 0.0),
        row(Why::NearAcross, 0, 1, "<b>.jpg", 0.03125),
        row(Why::Far, 0, 2, "ähre/1.png", 1.5),
    ];
    Oddities { tile: 64, columns: 40, near: Some((0.0625, 0.625)), found: [1, 0, 7], rows }
}

pub fn sample_nearest() -> Vec<(ImageId, f32)> {
    vec![(ImageId(1), 0.25), (ImageId(0), 0.25), (ImageId(1), 0.75)]
}

/// Every sample: its path under `tests/data/formats/`, and its bytes.
pub fn samples() -> Vec<(&'static str, Bytes)> {
    let mean: Vec<f64> = sample_numbers(5).into_iter().map(f64::from).collect();
    vec![
        ("dataset-v1/images.parquet", write_images(Vec::new(), sample_images().into_iter()).unwrap().into()),
        ("dataset-v1/bad.parquet", write_bad(Vec::new(), &sample_bad()).unwrap().into()),
        ("crops-v1/part-00000.arrow", part(RowsPlan { kind: &crops::CROPS_1, ..crops::plan(2, 3) }, &sample_pixels(3))),
        ("crops-v2/part-00000.arrow", part(crops::plan(2, 3), &sample_pixels(3))),
        ("features-v1/part-00000.arrow", part(features_1(5, ImageId(0), 4), &sample_numbers(20))),
        ("features-v1/half.arrow", part(features_1(5, ImageId(4), 2), &sample_halves(10))),
        ("features-v2/part-00000.arrow", part(features::plan(5, 4), &sample_numbers(20))),
        ("features-v2/half.arrow", part(features::plan(5, 2), &sample_halves(10))),
        ("vectors-v1/part-00000.arrow", part(vectors::plan(2, ImageId(0), 4), &sample_numbers(8))),
        ("vectors-v1/whitening.arrow", sample_whitening().write(Vec::new()).unwrap().into()),
        ("vectors-v1/mean.arrow", whitening::write_mean(Vec::new(), &mean).unwrap().into()),
        ("clusters-v1/clusters.parquet", sample_clusters().write(Vec::new()).unwrap().into()),
        ("clusters-v1/centroids.arrow", sample_centroids().write(Vec::new()).unwrap().into()),
        (
            "clusters-v1/iterations.parquet",
            clusters::write_iterations(Vec::new(), &sample_iterations()).unwrap().into(),
        ),
        ("vectors-v1/scatter.safetensors", sample_scatter().write(Vec::new(), &Metadata::new()).unwrap().into()),
        ("clusters-v1/search.safetensors", sample_search().write(Vec::new(), "a key").unwrap().into()),
        ("assignments-v1/assignments.parquet", sample_assignments().into()),
        ("manifest-v1/manifest.parquet", sample_manifest().write(Vec::new()).unwrap().into()),
        ("weights-v1/weights.safetensors", sample_tensors(&WEIGHTS).into()),
        ("weights-v1/momentum.safetensors", sample_tensors(&MOMENTUM).into()),
        ("weights-v1/steps.parquet", write_steps(Vec::new(), &sample_steps(), &Metadata::new()).unwrap().into()),
        ("tables-v1/clusters.parquet", of().clusters(Vec::new(), &sample_seen(), &sample_dataset()).unwrap().into()),
        ("tables-v1/iterations.parquet", of().iterations(Vec::new(), &sample_iterations()).unwrap().into()),
        ("tables-v1/manifest.parquet", of().manifest(Vec::new(), &sample_manifest()).unwrap().into()),
        ("tables-v1/metrics.parquet", of().metrics(Vec::new(), &sample_metrics()).unwrap().into()),
        ("tables-v1/steps.parquet", of().steps(Vec::new(), &sample_steps()).unwrap().into()),
        ("metrics-v1/metrics.parquet", write_metrics(Vec::new(), &sample_metrics()).unwrap().into()),
        ("gallery-v1/cluster_stats.parquet", sample_stats().write(Vec::new()).unwrap().into()),
        ("gallery-v1/cluster_members.parquet", write_members(Vec::new(), &sample_members()).unwrap().into()),
        ("gallery-v1/map.parquet", write_map(Vec::new(), &sample_points()).unwrap().into()),
        ("gallery-v1/cluster_flows.parquet", write_flows(Vec::new(), &sample_flows()).unwrap().into()),
        ("gallery-v1/label_confusion.parquet", write_confusion(Vec::new(), &sample_confusion()).unwrap().into()),
        ("oddities-v1/oddities.parquet", sample_oddities().write(Vec::new()).unwrap().into()),
        ("oddities-v1/nearest.parquet", write_nearest(Vec::new(), &sample_nearest()).unwrap().into()),
        ("neighbors-v1/neighbors.arrow", sample_neighbors().write(Vec::new()).unwrap().into()),
        ("evaluation-v1/evaluation.parquet", sample_evaluation().write(Vec::new()).unwrap().into()),
        ("marks-v1/marks.parquet", write_marks(Vec::new(), &sample_marks()).unwrap().into()),
        ("map-v1/projection.parquet", write_projection(Vec::new(), &sample_places()).unwrap().into()),
    ]
}

/// Opens a file by its sample's name, whatever it holds.
pub fn open(name: &str, bytes: &Bytes) -> Result<(), FormatError> {
    let parts = std::slice::from_ref(bytes);
    let file = name.rsplit('/').next().unwrap();
    let _ = describe(file, bytes, 10);
    let table = |kind| Table::open(kind, bytes).map(drop);
    match (name, file) {
        ("tables-v1/clusters.parquet", _) => table(&tables::CLUSTERS),
        ("tables-v1/iterations.parquet", _) => table(&tables::ITERATIONS),
        ("tables-v1/manifest.parquet", _) => table(&tables::MANIFEST),
        ("tables-v1/metrics.parquet", _) => table(&tables::METRICS),
        ("tables-v1/steps.parquet", _) => table(&tables::STEPS),
        (_, "images.parquet") => Dataset::open(bytes).map(|dataset| assert!(dataset.iter().count() == dataset.len())),
        (_, "bad.parquet") => open_bad(bytes).map(drop),
        ("crops-v1/part-00000.arrow" | "crops-v2/part-00000.arrow", _) => crops::open(parts).map(drop),
        (name, _) if name.starts_with("features-v") => Features::open(parts).map(drop),
        ("vectors-v1/part-00000.arrow", _) => vectors::open(parts).map(drop),
        (_, "whitening.arrow") => Whitening::open(bytes).map(drop),
        (_, "mean.arrow") => whitening::open_mean(bytes).map(drop),
        (_, "clusters.parquet") => Clusters::open(bytes).map(|clusters| drop(clusters.sizes())),
        (_, "centroids.arrow") => Centroids::open(bytes).map(drop),
        (_, "iterations.parquet") => clusters::open_iterations(bytes).map(drop),
        (_, "search.safetensors") => Search::open(bytes).map(drop),
        (_, "scatter.safetensors") => SavedScatter::open(bytes).map(drop),
        (_, "assignments.parquet") => Assignments::open(bytes).map(drop),
        (_, "manifest.parquet") => Manifest::open(bytes).map(drop),
        (_, "weights.safetensors") => Tensors::open(&WEIGHTS, bytes).map(drop),
        (_, "momentum.safetensors") => Tensors::open(&MOMENTUM, bytes).map(drop),
        (_, "steps.parquet") => open_steps(bytes).map(drop),
        (_, "metrics.parquet") => open_metrics(bytes).map(drop),
        (_, "cluster_stats.parquet") => Stats::open(bytes, 20).map(drop),
        (_, "cluster_members.parquet") => open_members(bytes, 3).map(drop),
        (_, "map.parquet") => open_map(bytes, 3).map(drop),
        (_, "cluster_flows.parquet") => open_flows(bytes, 3).map(drop),
        (_, "label_confusion.parquet") => open_confusion(bytes).map(drop),
        (_, "oddities.parquet") => Oddities::open(bytes).map(drop),
        (_, "nearest.parquet") => open_nearest(bytes).map(drop),
        (_, "neighbors.arrow") => Neighbors::open(bytes).map(drop),
        (_, "projection.parquet") => open_projection(bytes).map(drop),
        (_, "marks.parquet") => open_marks(bytes).map(drop),
        (_, "evaluation.parquet") => Evaluation::open(bytes).map(drop),
        _ => panic!("no reader for {name}"),
    }
}
