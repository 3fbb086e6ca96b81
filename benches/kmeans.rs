//! kmeans: how long an iteration takes, on vectors in general position and where features have collapsed.
//!
//!   cargo bench --locked --bench kmeans [-- ROWS DIMS K]
//!
//! By default 20,000 vectors of 256 numbers and 1,000 clusters, on all cores. Prints milliseconds per iteration, the best
//! of four after a first, for faiss and for torch on the CPU.

use dcpipe::base::clock::Stopwatch;
use dcpipe::base::{Seed, draw};
use dcpipe::learn::assign::Assigner;
use dcpipe::learn::kmeans::Lloyd;
use dcpipe::learn::nearest::{FaissAssigner, TorchAssigner};
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
    for (library, by) in
        [("faiss", &mut FaissAssigner::default() as &mut dyn Assigner), ("torch", &mut TorchAssigner::new(Device::Cpu))]
    {
        let mut lloyd = Lloyd::from_permutation(&[vectors], dims, k, &Seed::of_node(31, "clusters@1")).expect("starts");
        lloyd.step(&[vectors], by).expect("a first step");
        let times = (0..iterations).map(|_| {
            let watch = Stopwatch::new();
            lloyd.step(&[vectors], by).expect("a step");
            watch.seconds() * 1000.0
        });
        let best = times.fold(f64::INFINITY, f64::min);
        say(&format!("{name:12} {library:6} {best:9.1} ms"));
    }
}

#[expect(clippy::print_stdout, reason = "a bench speaks")]
fn say(line: &str) {
    println!("{line}");
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let [rows, dims, k] = *numbers.as_slice() else { return main_of(20_000, 256, 1000) };
    main_of(rows, dims, k);
}

fn main_of(rows: usize, dims: usize, k: usize) {
    measure("general", &unit_rows(rows, dims, rows, 0.0), dims, k, 4);
    measure("all equal", &unit_rows(rows, dims, 1, 0.0), dims, k, 2);
    measure("ten clumps", &unit_rows(rows, dims, 10, 1e-5), dims, k, 2);
}
