//! kmeans: how long Lloyd's iterations take, against faiss and scikit-learn from the same first centroids.
//!
//! Target (row 8): 100,000 x 256, k = 4,000, 10 iterations and the last assignment in at most 1/1.5 of faiss-cpu's time,
//! and 1/2 of scikit-learn's. The objective agrees within 1e-6, and 99.99 % of the labels do.
//!
//!   cargo bench --locked --bench bench -- kmeans [ROWS DIMS K]
//!
//! Alone, by default, 20,000 vectors of 256 numbers and 1,000 clusters, on all cores. It prints milliseconds per iteration,
//! the best of four after a first, for dcpipe's search, faiss and torch: general position, and collapsed features.

use crate::side::{Settings, floats, report, timed, write_bytes, write_floats};
use dcpipe::base::clock::Stopwatch;
use dcpipe::base::{Seed, draw};
use dcpipe::learn::assign::Assigner;
use dcpipe::learn::kmeans::Lloyd;
use dcpipe::learn::nearest::{FaissAssigner, TorchAssigner, assigner_on};
use tch::Device;

/// Rows of length 1 around `clumps` random directions, each coordinate off by at most `off` before.
fn unit_rows(rows: usize, dims: usize, clumps: usize, off: f64) -> Vec<f32> {
    let seed = Seed::of_node(31, "bench");
    let mut stream = seed.stream("rows", 0);
    let directions: Vec<f64> = (0..clumps * dims).map(|_| draw::between(&mut stream, -1.0, 1.0)).collect();
    let mut values = Vec::with_capacity(rows * dims);
    for row in 0..rows {
        let direction = &directions[row % clumps * dims..][..dims];
        let row: Vec<f64> = direction.iter().map(|at| at + draw::between(&mut stream, -off, off)).collect();
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        values.extend(row.iter().map(|value| (value / length) as f32));
    }
    values
}

fn measure(name: &str, vectors: &[f32], dims: usize, k: usize, iterations: usize) {
    let searches: [(&str, Box<dyn Assigner>); 3] = [
        ("dcpipe", assigner_on("cpu").expect("there is a CPU")),
        ("faiss", Box::new(FaissAssigner::default())),
        ("torch", Box::new(TorchAssigner::new(Device::Cpu))),
    ];
    for (library, mut by) in searches {
        let mut lloyd = Lloyd::from_permutation(&[vectors], dims, k, &Seed::of_node(31, "clusters@1")).expect("starts");
        lloyd.step(&[vectors], &mut *by).expect("a first step");
        let times = (0..iterations).map(|_| {
            let watch = Stopwatch::new();
            lloyd.step(&[vectors], &mut *by).expect("a step");
            watch.seconds() * 1000.0
        });
        let best = times.fold(f64::INFINITY, f64::min);
        println!("{name:12} {library:6} {best:9.1} ms");
    }
}

/// Measures alone.
pub fn alone(numbers: &[&str]) {
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [rows, dims, k] = *numbers.as_slice() else { return all(20_000, 256, 1000) };
    all(rows, dims, k);
}

fn all(rows: usize, dims: usize, k: usize) {
    measure("general", &unit_rows(rows, dims, rows, 0.0), dims, k, 4);
    measure("all equal", &unit_rows(rows, dims, 1, 0.0), dims, k, 2);
    measure("ten clumps", &unit_rows(rows, dims, 10, 1e-5), dims, k, 2);
}

/// One repetition: so many iterations from the given centroids, and the last assignment.
pub fn one(settings: &Settings) {
    let (vectors, centroids) = (floats(&settings.path("vectors")), floats(&settings.path("centroids")));
    let (dims, iterations) = (settings.number("dims"), settings.number("iterations"));
    let mut assigner = assigner_on("cpu").unwrap();
    let some = &vectors[..vectors.len().min(4096 * dims)];
    let few = centroids[..centroids.len().min(256 * dims)].to_vec();
    Lloyd::from_centroids(few, dims).unwrap().step(&[some], &mut *assigner).unwrap();
    let mut lloyd = Lloyd::from_centroids(centroids, dims).unwrap();
    let (assignment, spent) = timed(|| {
        for _ in 0..iterations {
            lloyd.step(&[&vectors], &mut *assigner).unwrap();
        }
        lloyd.assign(&[&vectors], &mut *assigner).unwrap()
    });
    if let Some(out) = settings.out() {
        let labels: Vec<u8> = assignment.clusters.iter().flat_map(|cluster| cluster.0.to_le_bytes()).collect();
        write_bytes(&out, "labels.u32", &labels);
        write_floats(&out, "centroids.f32", &lloyd.centroids);
    }
    report(&spent, &serde_json::json!({ "settled": assignment.settled }));
}
