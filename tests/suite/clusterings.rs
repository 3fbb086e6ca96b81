//! clusterings: k-means by cosine, from centroids that lie far apart, and from given ones; clusters by a flow.

use crate::space::Space;
use bytes::Bytes;
use dcpipe::engine::Event;
use dcpipe::format::centroids::CENTROIDS;
use dcpipe::format::clusters::{CLUSTERS, ITERATIONS, open_iterations};
use dcpipe::format::{Centroids, Clusters};

const MORE: &str = "  again: { stage: cluster, from: { vectors: vectors, initial: clusters }, with: { k: 7, iterations: 1, init: given } }\n";

fn space() -> Space {
    let space = Space::filled();
    space.write("tiny.yaml", std::fs::read_to_string(space.path("tiny.yaml")).unwrap() + MORE);
    space
}

fn part(space: &Space, node: &str, name: &str) -> Bytes {
    space.store().map(space.record(node).artifact.part(name).unwrap()).unwrap()
}

#[test]
fn a_clustering_from_given_centroids_begins_where_those_ended() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q", "--to", "again@1"]).ok();
    let before = Clusters::open(&part(&space, "clusters@1", CLUSTERS.file)).unwrap();
    let due: f64 = before.distance.iter().map(|distance| f64::from(*distance)).sum();
    let first = open_iterations(&part(&space, "again@1", ITERATIONS.file)).unwrap()[0].objective;
    assert!((first - due).abs() < 1e-4 * due, "{first} {due}");
}

#[test]
fn by_cosine_every_centroid_has_length_one_and_other_inits_are_other_keys() {
    let space = space();
    let mut keys = vec![];
    for sets in [&["clusters.metric=cosine"][..], &["clusters.init=kmeans++"], &[]] {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<&str> = ["run", "tiny.yaml", "-q", "--to", "clusters@1"].into_iter().chain(sets).collect();
        space.run(&args).ok();
        keys.push(space.store().node_keys("tiny")["clusters@1"]);
        let centroids = Centroids::open(&part(&space, "clusters@1", CENTROIDS.file)).unwrap();
        let lengths = centroids.centroids.chunks(centroids.dims).map(|c| c.iter().map(|n| n * n).sum::<f32>().sqrt());
        let are_one = lengths.clone().all(|length| (length - 1.0).abs() < 1e-5);
        assert_eq!(are_one, keys.len() == 1, "{:?}", lengths.collect::<Vec<_>>());
    }
    keys.dedup();
    assert_eq!(keys.len(), 3, "{keys:?}");
}

#[test]
fn given_centroids_that_do_not_fit_are_refused_before_anything_runs() {
    let space = space();
    for (set, told) in [
        ("again.init=random", "init does not read them; set init: given"),
        (
            "clusters.init=given",
            "nothing is at the port initial; add initial: NODE to from. clusters@prev is not there",
        ),
        ("again.k=8", "the clusters at the port initial are 7, and k is 8; set k: 7"),
    ] {
        space.run(&["plan", "tiny.yaml", "--set", set]).complains_of(&[told]);
        let run = space.run(&["run", "tiny.yaml", "--json", "--set", set]).complains_of(&[told]);
        assert!(run.ran().is_empty(), "{:?}", run.ran());
    }
}

#[test]
fn of_several_attempts_the_smallest_objective_is_kept() {
    let space = space();
    let mut objectives = vec![];
    for redo in 1..=4 {
        let set = format!("clusters.redo={redo}");
        let to = ["--to", "clusters@1", "--set", &set, "--set", "clusters.iterations=3"];
        let ran = space.run(&[&["run", "tiny.yaml", "--json"], &to[..]].concat()).ok();
        let iterations = open_iterations(&part(&space, "clusters@1", ITERATIONS.file)).unwrap();
        assert_eq!(iterations.len(), 3);
        objectives.push(iterations[2].objective);
        let mut told = ran.events().into_iter().filter_map(|event| match event {
            Event::Metric { name, value, .. } if name == "objective" => Some(value),
            _ => None,
        });
        assert_eq!(told.next_back(), Some(iterations[2].objective), "what is told last is what is kept");
    }
    assert!(objectives.is_sorted_by(|before, after| before >= after), "{objectives:?}");
    assert!(objectives[3] < objectives[0], "four starts that all end at the same clustering: {objectives:?}");
    space.run(&["plan", "tiny.yaml", "--set", "again.redo=2"]).complains_of(&["redo is 2, and init is given"]);
}

/// The tiny pipeline with power-iteration clustering in the place of k-means.
fn by_flow() -> Space {
    let space = Space::filled();
    let tiny = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    let line = tiny.lines().find(|line| line.trim_start().starts_with("clusters:")).unwrap();
    let flow = "  near: { stage: neighbors, from: { vectors: vectors }, with: { n: 5 } }\n  \
                clusters: { stage: pic, from: { vectors: vectors, neighbors: near } }";
    space.write("tiny.yaml", tiny.replace(line, flow));
    space
}

#[test]
fn a_run_trains_on_the_clusters_of_the_flow_and_any_threads_find_the_same() {
    let mut digests = vec![];
    for threads in ["1", "3"] {
        let space = by_flow();
        space.run(&["run", "tiny.yaml", "-q", "--threads", threads]).ok();
        digests.push(space.record("clusters@1").artifact.digest());
        let clusters = Clusters::open(&part(&space, "clusters@2", CLUSTERS.file)).unwrap();
        let centroids = Centroids::open(&part(&space, "clusters@2", CENTROIDS.file)).unwrap();
        let sizes = clusters.sizes();
        assert!(sizes.len() > 1 && sizes.iter().all(|size| *size > 0), "{sizes:?}");
        assert_eq!(centroids.sizes, sizes);
        assert!(clusters.margin.iter().chain(&clusters.distance).all(|number| *number >= 0.0));
        space.run(&["export", "onnx", "tiny"]).ended(1).complains_of(&["the clusters of pic follow a flow"]);
        space.run(&["assign", "tiny", "--images", "images"]).ended(2).complains_of(&["follow a flow (pic)"]);
    }
    assert_eq!(digests[0], digests[1]);
    let space = by_flow();
    let alone = ["run", "tiny.yaml", "--to", "clusters@1", "--set", "clusters.sigma=0.01"];
    space.run(&alone).ok().complains_of(&["warning (mostly_alone): clusters@1: 60 of 60 images are alone"]);
    let dry = ["run", "tiny.yaml", "--to", "clusters@1", "--set", "clusters.sigma=0.001", "--set", "clusters.alpha=1"];
    space.run(&dry).ended(1).complains_of(&["the flow runs dry: sigma = 0.001"]);
}
