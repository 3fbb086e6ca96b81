//! report: one file shows a run, says what the tables say, and is never the reason for a run to fail.

use crate::space::Space;
use bytes::Bytes;
use dcpipe::base::ClusterId;
use dcpipe::format::Clusters;
use dcpipe::format::gallery::{MEMBERS, MONTAGES, STATS, Stats, open_members};
use dcpipe::format::neighbors::{NEIGHBORS, Neighbors};
use dcpipe::format::projection::{PROJECTION, open_projection};
use dcpipe::format::vectors;
use dcpipe::image::{Limits, decode};
use dcpipe::pipeline::load;
use dcpipe::views::graph::graph;
use serde_json::Value;
use std::fs;

const GALLERY: &str = "  gallery: { stage: gallery, epochs: { every: 100 }, with: { per_cluster: 5, clusters: 4 }, from: { dataset: \
                       dataset, crops: crops, clusters: clusters, before: clusters@prev, vectors: vectors } }\n";

const MAP: &str = "  neighbors: { stage: neighbors, epochs: { every: 100 }, with: { n: 5 }, from: { vectors: vectors } }\n  \
                   map: { stage: map, epochs: { every: 100 }, from: { vectors: vectors, neighbors: neighbors } }\n";

/// A space whose pipeline has a gallery, with a class of a hostile name.
fn space() -> Space {
    let space = Space::filled();
    let pipeline = fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("tiny.yaml", pipeline + GALLERY);
    let (_, bytes) = crate::space::image(3);
    space.write("images/<script>alert(1)<!--/\u{202e}\"'%.jpg", bytes);
    space
}

fn data(page: &str) -> Value {
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(data).unwrap()
}

fn part(space: &Space, node: &str, name: &str) -> Bytes {
    let record = space.record(node);
    space.store().map(record.artifact.part(name).unwrap()).unwrap()
}

#[test]
fn the_report_shows_the_clusters_that_the_tables_hold() {
    let space = space();
    let told = space.run(&["run", "tiny.yaml"]).ok();
    assert!(told.stderr.contains("report: runs/tiny/report.html"), "{}", told.stderr);
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    let data = data(&page);
    assert_eq!(data["epochs"].as_array().unwrap().len(), 2);
    assert!(
        data["epochs"][1]["metrics"]["nmi_previous"].is_number() && data["epochs"][0]["metrics"]["loss"].is_number()
    );

    let clusters = Clusters::open(&part(&space, "clusters@2", "clusters.parquet")).unwrap();
    let before = Clusters::open(&part(&space, "clusters@1", "clusters.parquet")).unwrap();
    let pack = part(&space, "gallery@2", MONTAGES);
    let stats = Stats::open(&part(&space, "gallery@2", STATS.file), pack.len() as u64).unwrap();
    let sizes: Vec<u64> = stats.clusters.iter().map(|cluster| cluster.size).collect();
    assert_eq!(sizes, clusters.sizes());
    let members = open_members(&part(&space, "gallery@2", MEMBERS.file), 7).unwrap();
    assert_eq!(stats.clusters.iter().filter(|cluster| cluster.montage.is_some()).count(), 4);
    for (id, cluster) in (0..).map(ClusterId).zip(&stats.clusters) {
        let is_in = |all: &Clusters, other: ClusterId, at: usize| all.cluster_id[at] == other;
        if let Some((other, iou)) = cluster.previous {
            let both = (0..61).filter(|at| is_in(&clusters, id, *at) && is_in(&before, other, *at)).count();
            let either = (0..61).filter(|at| is_in(&clusters, id, *at) || is_in(&before, other, *at)).count();
            assert!((f64::from(iou) - both as f64 / either as f64).abs() < 1e-6);
        }
        let shown: Vec<_> = members.iter().filter(|member| member.cluster == id).collect();
        let Some((from, bytes)) = cluster.montage else {
            assert!(shown.is_empty());
            continue;
        };
        assert_eq!(shown.len(), 5.min(cluster.size as usize));
        assert!(shown.iter().all(|member| clusters.cluster_id[member.image.index()] == id));
        assert!(shown.windows(2).all(|pair| pair[0].distance <= pair[1].distance));
        let sheet = decode(&pack[from as usize..(from + bytes) as usize], &Limits::default()).unwrap();
        assert_eq!((sheet.width, sheet.height), (5 * 72, 72));
        assert!(data["gallery"]["montages"][id.to_string()].is_string());
    }
}

#[test]
fn a_report_fetches_nothing_escapes_every_name_and_is_the_same_bytes_again() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    // The namespace of SVG is no address that is fetched.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http:") && !addresses.contains("https:") && !addresses.contains("@import"));
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("<script>alert(1)") && !page.contains("<!--"));
    space.run(&["report", "tiny", "--epoch", "9"]).ended(1).complains_of(&["epoch 9 has no gallery", "gallery@2"]);
    space.run(&["report", "tiny", "-o", "folder/again.html"]).ok();
    assert!(fs::read(space.path("folder/again.html")).unwrap() == page.as_bytes());
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert!(fs::read(space.path("runs/tiny/report.html")).unwrap() == page.as_bytes());
}

#[test]
fn a_report_shows_the_last_run_also_where_that_had_nothing_to_do() {
    let space = space();
    let report = || fs::read(space.path("runs/tiny/report.html")).unwrap();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let two = report();
    space.run(&["run", "tiny.yaml", "-q", "--set", "epochs=1"]).ok();
    assert_eq!(data(&String::from_utf8(report()).unwrap())["epochs"].as_array().unwrap().len(), 1);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
    assert!(report() == two);
}

#[test]
fn a_report_of_a_run_that_did_not_reach_a_node_shows_none_of_an_earlier_run() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=6", "--to", "metrics@1"]).ok();
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    let epochs = data["epochs"].as_array().unwrap();
    assert_eq!((epochs.len(), &epochs[0]["metrics"]["clusters"]), (1, &6.0.into()));
    assert!(epochs[0]["metrics"]["loss"].is_null() && data["gallery"].is_null(), "{data}");
}

#[test]
fn a_report_is_no_reason_for_a_run_to_fail() {
    let space = space();
    fs::create_dir_all(space.path("runs/tiny/report.html/in the way")).unwrap();
    let told = space.run(&["run", "tiny.yaml"]).ok();
    assert!(told.stderr.contains("no report was written"), "{}", told.stderr);
    space.run(&["report"]).ended(1).complains_of(&["report.html"]);
}

#[test]
fn a_run_without_a_gallery_has_a_report_on_request_that_says_how_to_get_one() {
    let space = Space::after_a_run();
    assert!(!space.path("runs/tiny/report.html").exists());
    let told = space.run(&["report"]).ok();
    assert!(told.stdout.contains("runs/tiny/report.html ("), "{}", told.stdout);
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    assert!(data["gallery"].is_null() && data["run"]["no_gallery"].as_str().unwrap().contains("stage: gallery"));
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + GALLERY);
    space.run(&["run", "tiny.yaml", "-q", "--to", "clusters@1"]).ok();
    space.run(&["report"]).ok();
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    assert!(page.contains("appear when gallery@2 has run"));
    space.run(&["report", "other"]).ended(2).complains_of(&["there is no run other"]);
}

#[test]
fn the_map_lies_beside_the_gallery_and_its_neighbours_are_the_nearest() {
    let space = space();
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + MAP);
    space.run(&["run", "tiny.yaml", "--set", "keep=[vectors]"]).ok();
    let record = space.record("vectors@2");
    let vectors =
        vectors::open(&[space.store().map(record.artifact.part("part-00000.arrow").unwrap()).unwrap()]).unwrap();
    let far = |a: usize, b: usize| -> f64 {
        let pairs = vectors.row(a).unwrap().iter().zip(vectors.row(b).unwrap());
        pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let neighbors = Neighbors::open(&part(&space, "neighbors@2", NEIGHBORS.file)).unwrap();
    assert_eq!((neighbors.rows(), neighbors.n), (vectors.rows(), 5));
    for row in 0..neighbors.rows() {
        let mut others: Vec<_> = (0..vectors.rows()).filter(|id| *id != row).map(|id| (far(row, id), id)).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let due: Vec<usize> = others.iter().take(5).map(|(_, id)| *id).collect();
        assert_eq!(neighbors.of(row).map(|(id, _)| id).collect::<Vec<_>>(), due, "image {row}");
    }
    let places = open_projection(&part(&space, "map@2", PROJECTION.file)).unwrap();
    assert_eq!(places.len(), vectors.rows());
    assert!(places.iter().flatten().all(|axis| (0.0..=1.0).contains(axis)));
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    assert!(data["gallery"]["map"]["u"].is_string() && data["gallery"]["map"]["v"].is_string());
}

#[test]
fn in_the_graph_of_an_epoch_no_box_covers_another_and_no_edge_crosses_one() {
    let pipelines = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for file in fs::read_dir(pipelines).unwrap().map(|entry| entry.unwrap().path()) {
        let plan = load(&file, &[], dcpipe::stages::described(), &|_| Some("images".to_owned())).unwrap().plan;
        let graph = graph(&plan);
        // A box is 104 by 38 pixels around its middle.
        let inside = |(x, y): (f64, f64), at: (f64, f64)| (x - at.0).abs() < 51.0 && (y - at.1).abs() < 18.0;
        for (nth, spot) in graph.spots.iter().enumerate() {
            let (x, y) = spot.at;
            assert!(x > 52.0 && x + 52.0 < graph.size.0 && y > 19.0 && y + 19.0 < graph.size.1, "{}", spot.name);
            for other in &graph.spots[nth + 1..] {
                let is_apart = (x - other.at.0).abs() >= 104.0 || (y - other.at.1).abs() >= 38.0;
                assert!(is_apart, "{} covers {}", spot.name, other.name);
            }
            for line in graph.lines.iter().filter(|line| ![line.ends.0, line.ends.1].contains(&nth)) {
                let hit = !line.is_to_next_epoch && line.points.iter().any(|point| inside(*point, spot.at));
                assert!(!hit, "{}: {:?} crosses {}", file.display(), line.ends, spot.name);
            }
        }
        let name = |at: usize| (graph.spots[at].name.as_str(), graph.spots[at].is_of_epoch);
        let next = graph.lines.iter().filter(|line| line.is_to_next_epoch);
        let next: Vec<_> = next.map(|line| (name(line.ends.0), name(line.ends.1))).collect();
        for to in ["features", "weights"] {
            assert!(next.contains(&(("weights", true), (to, true))), "{}: {next:?}", file.display());
        }
        assert_eq!(graph.svg().matches("<rect").count(), graph.spots.len());
        assert_eq!(graph.dot().matches(" -> ").count(), graph.lines.len());
    }
}
