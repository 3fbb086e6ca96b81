//! whiten: how long whitening takes, against faiss, and how much anonymous memory.
//!
//! Target (row 7): fit and apply, 20,000 x 4096 to 256, in at most 1/15 of the time of faiss-cpu's `PCAMatrix`. The subspace
//! is within an angle of 1e-3 of the one in double precision.
//!
//! `cargo bench --locked --bench bench -- whiten [rows] [dims] [dims_out] [random|decaying]` (200000 4096 256 random). Alone,
//! it draws the features into a scratch file first, and streams them from there, mapped. `--keep FILE` keeps that file.

use crate::side::{Settings, map, report as say, timed, write_floats};
use dcpipe::base::Seed;
use dcpipe::base::clock::Stopwatch;
use dcpipe::learn::pca::{Scatter, Whitening};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rows at a time.
const ROWS: usize = 4096;

/// One repetition: fits the whitening to all features in memory, and applies it to them.
pub fn one(settings: &Settings) {
    let (dims, dims_out) = (settings.number("dims"), settings.number("dims_out"));
    let features = floats(&map(&settings.path("features")));
    fit(&features[..dims * (2 * dims_out).min(features.len() / dims)], dims, dims_out.min(16));
    let ((whitening, vectors), spent) = timed(|| {
        let whitening = fit(&features, dims, dims_out);
        let mut vectors = vec![0.0; features.len() / dims * dims_out];
        for (rows, out) in features.chunks(ROWS * dims).zip(vectors.chunks_mut(ROWS * dims_out)) {
            whitening.apply(rows, out).unwrap();
        }
        (whitening, vectors)
    });
    if let Some(out) = settings.out() {
        write_floats(&out, "components.f32", &whitening.components);
        write_floats(&out, "vectors.f32", &vectors);
    }
    say(&spent, &serde_json::json!({ "last_eigenvalue": whitening.eigenvalues.last() }));
}

fn fit(features: &[f32], dims: usize, dims_out: usize) -> Whitening {
    let mut scatter = Scatter::new(dims).unwrap();
    features.chunks(ROWS * dims).for_each(|rows| scatter.add(rows).unwrap());
    scatter.finish(dims_out, -0.5).unwrap()
}

/// Measures alone.
pub fn alone(arguments: &[&str]) {
    let mut arguments = arguments.to_vec();
    let keep = arguments.iter().position(|argument| *argument == "--keep").map(|at| {
        arguments.remove(at);
        arguments.remove(at).to_owned()
    });
    let number = |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let (rows, dims, dims_out) = (number(0, 200_000), number(1, 4096), number(2, 256));
    let spectrum = arguments.get(3).copied().unwrap_or("random");
    let path = keep.clone().unwrap_or_else(|| format!("target/whiten-{}.f32", std::process::id()));
    write_features(Path::new(&path), rows, dims, spectrum);
    println!("{rows} x {dims} to {dims_out}, {spectrum} features, {} threads", tch::get_num_threads());
    measure(Path::new(&path), dims, dims_out);
    if keep.is_none() {
        std::fs::remove_file(&path).unwrap();
    }
}

/// Fits and applies, a few thousand rows at a time, and reports.
fn measure(path: &Path, dims: usize, dims_out: usize) {
    let features = map(path);
    let (watch, memory) = (Stopwatch::new(), Watcher::start());
    let mut scatter = Scatter::new(dims).unwrap();
    for rows in features.chunks(dims * ROWS * 4) {
        scatter.add(&floats(rows)).unwrap();
    }
    let summed = watch.seconds();
    let whitening = scatter.finish(dims_out, -0.5).unwrap();
    let fitted = watch.seconds();
    let mut check = 0.0_f64;
    let mut out = Vec::new();
    for rows in features.chunks(dims * ROWS * 4) {
        let rows = floats(rows);
        out.resize(rows.len() / dims * dims_out, 0.0);
        whitening.apply(&rows, &mut out).unwrap();
        check += out.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>();
    }
    let done = watch.seconds();
    println!("scatter {summed:.2} s, eigenvectors {:.2} s, project {:.2} s", fitted - summed, done - fitted);
    println!("total {done:.2} s; largest RssAnon {} MiB", memory.mebibytes());
    report(&whitening, check);
}

fn report(whitening: &Whitening, check: f64) {
    let values = &whitening.eigenvalues;
    println!(
        "eigenvalues {:.6e} .. {:.6e}; sum of squares of the vectors {check:.3}",
        values[0],
        values[values.len() - 1]
    );
}

/// Rows of independent normals, or with a spread that falls as the 0.75th power of the dimension's rank.
fn write_features(path: &Path, rows: usize, dims: usize, spectrum: &str) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let seed = Seed::of_node(31, "bench");
    let spread = |dim: usize| if spectrum == "decaying" { (1.0 + dim as f32).powf(-0.75) } else { 1.0 };
    for start in (0..rows).step_by(1024) {
        let chunk: Vec<u8> = (start..rows.min(start + 1024))
            .into_par_iter()
            .flat_map_iter(|row| {
                let mut stream = seed.stream("row", row as u64);
                let values: Vec<f32> = (0..dims)
                    .map(|dim| {
                        let value: f32 = StandardNormal.sample(&mut stream);
                        value * spread(dim) + 0.5
                    })
                    .collect();
                values.into_iter().flat_map(f32::to_le_bytes)
            })
            .collect();
        file.write_all(&chunk).unwrap();
    }
    file.flush().unwrap();
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Looks at this process's anonymous memory every few milliseconds and keeps the largest, in KiB.
struct Watcher {
    largest: Arc<AtomicU64>,
}

impl Watcher {
    fn start() -> Self {
        let largest = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&largest);
        std::thread::spawn(move || {
            loop {
                seen.fetch_max(rss_anon(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Self { largest }
    }

    fn mebibytes(&self) -> u64 {
        self.largest.load(Ordering::Relaxed) / 1024
    }
}

fn rss_anon() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
