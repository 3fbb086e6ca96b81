//! sums: what an iteration knows of each cluster, in whole numbers, so that no order of adding can change it.

use super::assign::Assignment;
use super::table::Table;
use crate::base::ClusterId;
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// One is 2^30: sums of unit vectors err by 1.5e-8 at most and hold 2^33 rows.
const ONE: f64 = (1_u64 << 30) as f64;
/// Adding and taking away 1.5 * 2^52 rounds a double below 2^51 to a whole number, ties to even.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Largest coordinate: leaves room for 2^31 - 1 rows of it, and far below what `ROUNDER` can take.
const LARGEST: f32 = 4.0;
/// Most rows that may be summed in all.
const MOST_ROWS: u64 = (1 << 31) - 1;

/// Rows that are put in the order of their clusters at a time. A mapped file has them near to each other.
const TOGETHER: usize = 65_536;

/// Totals per cluster over some of the rows; those of several machines can be merged in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// k x dims: sums of round(x * 2^30).
    pub totals: Vec<i64>,
    /// k: how many rows.
    pub counts: Vec<u64>,
    /// Sum of round(squared distance * 2^30).
    pub distances: i128,
}

impl Sums {
    /// Sums the vectors (n x `dims`, in one slice or several) by their assignment to one of `k`. Refuses a coordinate
    /// beyond +-4.
    pub fn of(vectors: &[&[f32]], dims: usize, assignment: &Assignment, k: usize) -> Result<Self> {
        let table = Table::new(vectors, dims)?;
        let rows = assignment.clusters.len();
        ensure!(rows == table.rows(), "BUG: {rows} assigned rows of {}", table.rows());
        ensure!(rows as u64 <= MOST_ROWS, "{rows} vectors: {MOST_ROWS} at most can be summed");
        let (mut totals, mut counts) = (vec![0_i64; k * dims], vec![0_u64; k]);
        for (first, vectors) in table.runs(TOGETHER) {
            let wild = vectors.par_chunks(dims).position_first(|row| !row.iter().all(|value| value.abs() <= LARGEST));
            if let Some(row) = wild {
                anyhow::bail!(
                    "vector {} has a coordinate beyond +-{LARGEST}; k-means takes vectors of about unit length",
                    first + row
                );
            }
            let (order, starts) = by_cluster(&assignment.clusters[first..first + vectors.len() / dims], k);
            totals.par_chunks_mut(dims).zip(&mut counts).enumerate().for_each(|(cluster, (total, count))| {
                let members = &order[starts[cluster]..starts[cluster + 1]];
                *count += members.len() as u64;
                for &row in members {
                    add(total, &vectors[row as usize * dims..][..dims]);
                }
            });
        }
        let distances = assignment.distances.par_iter().map(|&distance| (f64::from(distance) * ONE).round_ties_even());
        Ok(Self { totals, counts, distances: distances.map(|distance| distance as i128).sum() })
    }

    /// Adds what was summed over other rows; refuses another shape and more than 2^31 rows.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        ensure!(
            self.totals.len() == other.totals.len() && self.counts.len() == other.counts.len(),
            "sums of {} x {} and of {} x {} numbers cannot be merged",
            self.counts.len(),
            self.totals.len() / self.counts.len().max(1),
            other.counts.len(),
            other.totals.len() / other.counts.len().max(1)
        );
        let rows: u64 = self.counts.iter().chain(&other.counts).sum();
        ensure!(rows <= MOST_ROWS, "{rows} vectors: {MOST_ROWS} at most can be summed");
        self.totals.iter_mut().zip(&other.totals).for_each(|(total, more)| *total += more);
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.distances += other.distances;
        Ok(())
    }

    /// Sum of the squared distances.
    pub fn objective(&self) -> f64 {
        self.distances as f64 / ONE
    }

    /// Writes the mean of every non-empty cluster over its centroid (k x dims); the others stay as they are.
    pub fn mean(&self, centroids: &mut [f32]) {
        let dims = centroids.len() / self.counts.len();
        let rows = centroids.chunks_mut(dims).zip(self.totals.chunks(dims)).zip(&self.counts);
        for ((centroid, total), &count) in rows.filter(|(_, count)| **count > 0) {
            let divisor = count as f64 * ONE;
            centroid.iter_mut().zip(total).for_each(|(value, &sum)| *value = (sum as f64 / divisor) as f32);
        }
    }
}

/// Rows in the order of their clusters, and where each cluster starts.
fn by_cluster(clusters: &[ClusterId], k: usize) -> (Vec<u32>, Vec<usize>) {
    let mut starts = vec![0_usize; k + 1];
    for cluster in clusters {
        starts[cluster.index() + 1] += 1;
    }
    for c in 0..k {
        starts[c + 1] += starts[c];
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; clusters.len()];
    for (row, cluster) in clusters.iter().enumerate() {
        order[next[cluster.index()]] = row as u32;
        next[cluster.index()] += 1;
    }
    (order, starts)
}

fn add(total: &mut [i64], vector: &[f32]) {
    for (sum, &value) in total.iter_mut().zip(vector) {
        let shifted = f64::from(value) * ONE + ROUNDER;
        *sum += shifted.to_bits() as i64 - ROUNDER.to_bits() as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fast_rounding_is_rounding(value in -4.0_f32..4.0) {
            let mut total = [0];
            add(&mut total, &[value]);
            prop_assert_eq!(total[0], (f64::from(value) * ONE).round_ties_even() as i64);
        }
    }
}
