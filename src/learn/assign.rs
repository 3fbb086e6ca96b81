//! assign: which centroid is nearest to each vector, settled in double precision wherever single could err.

use crate::base::ClusterId;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use std::cmp::Ordering;

/// The two centroids that a search in single precision found nearest to each vector.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// The nearest.
    pub first: Vec<u32>,
    /// The next; of a single centroid, that one again.
    pub second: Vec<u32>,
    /// How much further the second is, as a difference of squared L2; infinite for a single centroid.
    pub gap: Vec<f32>,
}

impl Candidates {
    /// Makes room for as many rows, every one undecided.
    pub fn reset(&mut self, rows: usize) {
        self.first.clear();
        self.first.resize(rows, 0);
        self.second.clear();
        self.second.resize(rows, 0);
        self.gap.clear();
        self.gap.resize(rows, 0.0);
    }
}

/// Searches the nearest centroids, in single precision, by any library on any device.
pub trait Assigner {
    /// Finds the two nearest of `centroids` (k x `dims`) for each of `vectors` (n x `dims`).
    ///
    /// A row whose gap is not certain may be wrong, whatever it says: `assign` settles it.
    fn nearest_two(&mut self, vectors: &[f32], centroids: &[f32], dims: usize, out: &mut Candidates) -> Result<()>;
}

/// The nearest centroid of each vector, the lowest id where two are equally near.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// The nearest centroid.
    pub clusters: Vec<ClusterId>,
    /// Squared L2 to it.
    pub distances: Vec<f32>,
    /// The second nearest; of a single centroid, that one again.
    pub seconds: Vec<ClusterId>,
}

impl Assignment {
    /// How much further the second centroid is than the nearest, as a difference of squared L2, never negative.
    pub fn margins(&self, vectors: &[f32], centroids: &[f32], dims: usize) -> Vec<f32> {
        let rows = vectors.par_chunks(dims).zip(&self.clusters).zip(&self.seconds);
        rows.map(|((vector, first), second)| {
            let to = |cluster: &ClusterId| distance(vector, &centroids[cluster.index() * dims..][..dims]);
            (to(second) - to(first)).max(0.0) as f32
        })
        .collect()
    }
}

/// Rows that are compared with all centroids in one pass over these.
const TOGETHER: usize = 16;

/// Assigns `vectors` (n x `dims`) to `centroids` (k x `dims`); refuses vectors that are not finite, naming the row.
///
/// The clusters are those of distances in double precision: no library, device, thread count or split of the rows
/// changes one. A search in single precision errs by no more than `certain_gap`, so only what is closer than that
/// is computed again.
pub fn assign(vectors: &[f32], centroids: &[f32], dims: usize, assigner: &mut dyn Assigner) -> Result<Assignment> {
    ensure!(!centroids.is_empty(), "there are no centroids to assign to");
    let mut found = Candidates::default();
    assigner.nearest_two(vectors, centroids, dims, &mut found)?;
    let rows = vectors.len() / dims;
    ensure!(found.first.len() == rows && found.gap.len() == rows, "BUG: {} candidates for {rows}", found.first.len());

    let longest = centroids.par_chunks(dims).map(norm).reduce(|| 0.0, f64::max);
    let unsure: Vec<usize> = (0..rows)
        .into_par_iter()
        .filter(|&row| {
            let bound = certain_gap(norm(&vectors[row * dims..][..dims]), longest, dims);
            // Where anything is not a number, the row is unsure too.
            f64::from(found.gap[row]).partial_cmp(&bound) != Some(Ordering::Greater)
        })
        .collect();
    let settled: Vec<(usize, u32, u32)> =
        unsure.par_chunks(TOGETHER).flat_map_iter(|rows| settle(vectors, centroids, dims, rows)).collect();
    for (row, first, second) in settled {
        (found.first[row], found.second[row]) = (first, second);
    }
    let nearest =
        |(vector, &first): (&[f32], &u32)| distance(vector, &centroids[first as usize * dims..][..dims]) as f32;
    let distances: Vec<f32> = vectors.par_chunks(dims).zip(&found.first).map(nearest).collect();
    if let Some(row) = distances.iter().position(|distance| !distance.is_finite()) {
        anyhow::bail!("vector {row} is not finite: k-means takes neither NaN nor infinity");
    }
    let ids = |ids: Vec<u32>| ids.into_iter().map(ClusterId).collect();
    Ok(Assignment { clusters: ids(found.first), distances, seconds: ids(found.second) })
}

/// The gap of two distances above which their order is certain: the rounding of |x|^2 + |c|^2 - 2xc in single precision.
///
/// Each of the three sums of `dims` products errs by at most dims * 2^-24 of its size in any order of adding, and four
/// more operations follow; two distances may err in opposite directions.
fn certain_gap(vector: f64, longest: f64, dims: usize) -> f64 {
    2.0 * (dims + 4) as f64 * f64::from(f32::EPSILON / 2.0) * (vector + longest).powi(2)
}

/// The two nearest centroids of some rows, by distances in double precision, lowest id first among equals.
fn settle(vectors: &[f32], centroids: &[f32], dims: usize, rows: &[usize]) -> Vec<(usize, u32, u32)> {
    let mut best = vec![(f64::INFINITY, f64::INFINITY, 0_u32, 0_u32); rows.len()];
    for (id, centroid) in centroids.chunks_exact(dims).enumerate() {
        for (&row, (near, next, first, second)) in rows.iter().zip(&mut best) {
            let distance = distance(&vectors[row * dims..][..dims], centroid);
            if distance < *near {
                (*next, *second) = (*near, *first);
                (*near, *first) = (distance, id as u32);
            } else if distance < *next {
                (*next, *second) = (distance, id as u32);
            }
        }
    }
    rows.iter().zip(best).map(|(&row, (_, _, first, second))| (row, first, second)).collect()
}

/// Squared L2, the additions in a fixed order of eight lanes.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (heads, tails) = (a.chunks_exact(8).zip(b.chunks_exact(8)), a.len() / 8 * 8);
    for (a, b) in heads {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            let difference = f64::from(*a) - f64::from(*b);
            *lane += difference * difference;
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a[tails..].iter().zip(&b[tails..])) {
        let difference = f64::from(*a) - f64::from(*b);
        *lane += difference * difference;
    }
    lanes.iter().sum()
}

fn norm(vector: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    for chunk in vector.chunks(8) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane += f64::from(value) * f64::from(value));
    }
    lanes.iter().sum::<f64>().sqrt()
}
