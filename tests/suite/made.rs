//! made: a store as after a long run, with tiny artifacts in it, so that what a run costs in itself can be seen.

use dcpipe::base::{Artifact, ClusterId, Digest, Epoch, ImageId, PseudoLabel};
use dcpipe::engine::keys::key_of;
use dcpipe::engine::{Device, Facts, Node, NodeId, Plan};
use dcpipe::format::clusters::write_iterations;
use dcpipe::format::dataset::{write_bad, write_images};
use dcpipe::format::evaluation::EVALUATION;
use dcpipe::format::gallery::{self, Stats, write_members};
use dcpipe::format::metrics::{write_metrics, write_steps};
use dcpipe::format::neighbors::{self, Neighbors};
use dcpipe::format::oddities::{self, Oddities, write_nearest};
use dcpipe::format::projection::{PROJECTION, write_projection};
use dcpipe::format::{
    BadImage, Centroids, Clusters, Evaluation, Image, Iteration, Manifest, Measure, Metadata, Metric, Step,
};
use dcpipe::learn::torch::numerics_of;
use dcpipe::pipeline::load_text;
use dcpipe::store::{Record, Store};
use std::path::Path;

/// Images of the data set, which stand in no file: enough for what `pipelines/demo.yaml` makes of them.
const IMAGES: u32 = 40;

/// Commits a record for every node of a pipeline, each under the key that a run would look up.
pub fn make(store: &Path, pipeline: &str, sets: &[String]) -> Plan {
    make_of(store, pipeline, sets, &parts)
}

/// A node's parts by name.
type Parts = Vec<(&'static str, Vec<u8>)>;

/// The same with other parts.
pub fn make_of(store: &Path, pipeline: &str, sets: &[String], parts: &dyn Fn(&Node) -> Parts) -> Plan {
    let plan = load_text("made.yaml", pipeline, sets, dcpipe::stages::described(), &|_| None).unwrap().plan;
    let store = Store::open(store).unwrap();
    let mut records: Vec<Option<Record>> = vec![None; plan.len()];
    let device = Device { name: "cpu".to_owned(), numerics: numerics_of("cpu") };
    let mut keys = store.key_history(&plan.name);
    for id in plan.order() {
        let node = plan.node(*id);
        let read = |(port, from): &(&'static str, NodeId)| (*port, records[from.index()].as_ref().unwrap());
        let key = key_of(&plan, *id, &node.inputs.iter().map(read).collect::<Vec<_>>(), &device).unwrap();
        let output = node.stage.def().output;
        let parts = parts(node).into_iter().map(|(name, bytes)| {
            let mut writer = store.create().unwrap();
            std::io::Write::write_all(&mut writer, &bytes).unwrap();
            writer.finish(name).unwrap()
        });
        let artifact = Artifact { kind: output.name.to_owned(), format: output.format, parts: parts.collect() };
        let facts = if node.noun == "dataset" { [("images".to_owned(), IMAGES.into())].into() } else { Facts::new() };
        keys.learn(&node.name(), key.key());
        let record = Record::new(&node.name(), key.as_str(), artifact, facts, 1);
        records[id.index()] = Some(store.commit(&record).unwrap());
    }
    store.write_key_history(&plan.name, &keys).unwrap();
    plan
}

/// A node's parts by name; those that tables are laid out from are well formed, the others a few bytes.
pub fn parts(node: &Node) -> Parts {
    let Epoch(epoch) = node.epoch;
    let some = || node.name().into_bytes();
    let each = || 0..IMAGES;
    match node.stage.def().output.name {
        "gallery" => {
            let stats = Stats { epoch: Epoch(epoch), tile: 72, columns: 6, clusters: Vec::new() };
            vec![
                (gallery::STATS.file, stats.write(Vec::new()).unwrap()),
                (gallery::MEMBERS.file, write_members(Vec::new(), &[]).unwrap()),
                (gallery::MONTAGES, Vec::new()),
            ]
        }
        "neighbors" => {
            let ids = (0..IMAGES as i32).map(|id| (id + 1) % IMAGES as i32).collect();
            let neighbors = Neighbors { n: 1, ids, distances: vec![epoch as f32; IMAGES as usize] };
            vec![(neighbors::NEIGHBORS.file, neighbors.write(Vec::new()).unwrap())]
        }
        "oddities" => {
            let near = Some((0.0, epoch as f32));
            let table = Oddities { tile: 64, columns: 40, near, found: [0; 3], rows: Vec::new() };
            let nearest = vec![(ImageId(0), epoch as f32); IMAGES as usize];
            vec![
                (oddities::ODDITIES.file, table.write(Vec::new()).unwrap()),
                (oddities::NEAREST.file, write_nearest(Vec::new(), &nearest).unwrap()),
                (oddities::PICTURES, Vec::new()),
            ]
        }
        "evaluation" => {
            let measure = Measure {
                measure: "knn".to_owned(),
                layer: "conv5".to_owned(),
                protocol: "cosine".to_owned(),
                k: 20,
                value: 1.0 / f64::from(epoch + 2),
                random: None,
                learned_from: 36,
                images: 4,
                classes: 10,
                seed: 0,
            };
            let evaluation =
                Evaluation { calibrated: epoch == 0, subject: Default::default(), measures: vec![measure] };
            vec![(EVALUATION.file, evaluation.write(Vec::new()).unwrap())]
        }
        "map" => {
            let places = vec![[epoch as f32, 0.0]; IMAGES as usize];
            vec![(PROJECTION.file, write_projection(Vec::new(), &places).unwrap())]
        }
        "dataset" => {
            let paths: Vec<String> = each().map(|id| format!("kind/{id}.jpg")).collect();
            let image = |path| {
                let digest = Digest::of(b"");
                Image { path, digest, bytes: 0, width: 1, height: 1, split: "", label: "kind", offset: None }
            };
            let images = paths.iter().map(|path| image(path.as_str()));
            vec![
                ("images.parquet", write_images(Vec::new(), images).unwrap()),
                ("bad.parquet", write_bad(Vec::new(), &[] as &[BadImage]).unwrap()),
            ]
        }
        "clusters" => {
            let cluster_id: Vec<ClusterId> = each().map(|id| ClusterId(id % 2)).collect();
            let distance = vec![epoch as f32; IMAGES as usize];
            let clusters = Clusters { k: 2, cluster_id, margin: distance.clone(), distance };
            let centroids = Centroids { dims: 1, sizes: clusters.sizes(), centroids: vec![0.0, epoch as f32] };
            let iteration = Iteration { objective: f64::from(epoch), splits: 0, empty: 0, moved: 0 };
            vec![
                ("clusters.parquet", clusters.write(Vec::new()).unwrap()),
                ("centroids.arrow", centroids.write(Vec::new()).unwrap()),
                ("iterations.parquet", write_iterations(Vec::new(), &[iteration]).unwrap()),
            ]
        }
        "manifest" => {
            // A reading order of its own for each epoch, as in life: equal ones would share their files.
            let image_id = each().map(|id| ImageId(epoch >> (3 * (id % 4)) & 7)).collect();
            let cluster_id = vec![ClusterId(0); IMAGES as usize];
            let pseudo_label = vec![PseudoLabel(0); IMAGES as usize];
            let manifest = Manifest { k: 2, classes: 1, image_id, cluster_id, pseudo_label };
            vec![("manifest.parquet", manifest.write(Vec::new()).unwrap())]
        }
        "metrics" => {
            let metric = Metric { name: "entropy".to_owned(), value: f64::from(epoch) };
            vec![("metrics.parquet", write_metrics(Vec::new(), &[metric]).unwrap())]
        }
        "weights" if epoch > 0 => {
            let step = Step { step: 0, images: IMAGES.into(), loss: f64::from(epoch), lr: 0.05 };
            vec![
                ("weights.safetensors", some()),
                ("momentum.safetensors", [some(), some()].concat()),
                ("steps.parquet", write_steps(Vec::new(), &[step], &Metadata::new()).unwrap()),
            ]
        }
        "weights" => vec![("weights.safetensors", some())],
        "vectors" => vec![("whitening.arrow", [some(), some()].concat()), ("part-00000.arrow", some())],
        "tables" => {
            let of = match node.inputs[0].0 {
                "clusters" => &["clusters.parquet", "iterations.parquet"][..],
                "manifest" => &["manifest.parquet"],
                "metrics" => &["metrics.parquet"],
                _ => &["steps.parquet"],
            };
            of.iter().map(|file| (*file, [file.as_bytes(), &some()].concat())).collect()
        }
        "features" | "crops" => vec![("part-00000.arrow", some())],
        other => panic!("tests/suite/made.rs has no parts of {other}"),
    }
}
