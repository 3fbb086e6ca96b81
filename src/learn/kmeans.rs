//! kmeans: Lloyd's loop with faiss's semantics, one iteration at a time, with the same bits on any number of threads.

use super::assign::{Assigner, Assignment, assign};
use super::empty_clusters::split_empty;
use super::order::draw_front;
use super::sums::Sums;
use super::table::Table;
use crate::base::{ClusterId, Seed};
use anyhow::{Result, ensure};

/// What one iteration did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IterationReport {
    /// Counts from 0.
    pub iteration: u32,
    /// Sum of the squared L2 distances to the centroids the iteration began with.
    pub objective: f64,
    /// How many empty clusters were given half of another.
    pub splits: u32,
    /// How many clusters no vector was assigned to.
    pub empty: u32,
    /// How many vectors changed their cluster; in the first iteration, all.
    pub moved: u64,
}

/// The state of a clustering between two iterations; nothing else decides the rest of it.
#[derive(Clone, Debug)]
pub struct Lloyd {
    /// k x dims.
    pub centroids: Vec<f32>,
    /// How many clusters.
    pub k: usize,
    /// Length of a vector.
    pub dims: usize,
    /// How many iterations are done.
    pub iteration: u32,
    /// The last iteration's assignment; empty before the first. Only the report's `moved` depends on it.
    pub previous: Vec<ClusterId>,
}

impl Lloyd {
    /// Starts from `k` of the vectors (n x `dims`, in one slice or several), drawn by the seed without replacement.
    ///
    /// Refuses k = 0, more clusters than vectors, and vectors that are not finite.
    pub fn from_permutation(vectors: &[&[f32]], dims: usize, k: usize, seed: &Seed) -> Result<Self> {
        let table = Table::new(vectors, dims)?;
        let rows = table.rows();
        ensure!(k > 0, "k is 0: at least one cluster is needed");
        ensure!(k <= rows, "k = {k} clusters from {rows} vectors: k may be {rows} at most");
        // DIVERGES: faiss permutes by a Mersenne twister whose range reduction changed between its versions.
        let mut order: Vec<usize> = (0..rows).collect();
        draw_front(&mut order, k, &mut seed.stream("centroids", 0));
        let mut centroids = Vec::with_capacity(k * dims);
        for row in &order[..k] {
            centroids.extend_from_slice(table.row(*row));
        }
        Self::from_centroids(centroids, dims)
    }

    /// Starts from given centroids (k x `dims`), which must be finite.
    pub fn from_centroids(centroids: Vec<f32>, dims: usize) -> Result<Self> {
        let k = Table::new(&[&centroids], dims)?.rows();
        ensure!(k > 0, "no centroids were given: at least one is needed");
        if let Some(at) = centroids.iter().position(|value| !value.is_finite()) {
            anyhow::bail!("centroid {} has the value {} in dimension {}", at / dims, centroids[at], at % dims);
        }
        Ok(Self { centroids, k, dims, iteration: 0, previous: Vec::new() })
    }

    /// Assigns, means, splits: one iteration over the vectors (n x dims, in one slice or several).
    pub fn step(&mut self, vectors: &[&[f32]], assigner: &mut dyn Assigner) -> Result<IterationReport> {
        let rows = Table::new(vectors, self.dims)?.rows();
        ensure!(self.k <= rows, "k = {} clusters from {rows} vectors: k may be {rows} at most", self.k);
        let assignment = assign(vectors, &self.centroids, self.dims, assigner)?;
        let sums = Sums::of(vectors, self.dims, &assignment, self.k)?;
        let moved = self.moved(&assignment.clusters);
        self.previous = assignment.clusters;
        Ok(self.advance(&sums, moved))
    }

    /// Ends an iteration whose sums were gathered elsewhere, perhaps on several machines; `moved` is passed through.
    pub fn advance(&mut self, sums: &Sums, moved: u64) -> IterationReport {
        sums.mean(&mut self.centroids);
        let splits = split_empty(&mut self.centroids, self.dims, &sums.counts);
        let report = IterationReport {
            iteration: self.iteration,
            objective: sums.objective(),
            splits: splits as u32,
            empty: sums.counts.iter().filter(|&&count| count == 0).count() as u32,
            moved,
        };
        self.iteration += 1;
        report
    }

    /// The assignment to the centroids as they stand: faiss's last search, which may leave clusters empty.
    pub fn assign(&self, vectors: &[&[f32]], assigner: &mut dyn Assigner) -> Result<Assignment> {
        assign(vectors, &self.centroids, self.dims, assigner)
    }

    fn moved(&self, clusters: &[ClusterId]) -> u64 {
        if self.previous.len() != clusters.len() {
            return clusters.len() as u64;
        }
        self.previous.iter().zip(clusters).filter(|(before, after)| before != after).count() as u64
    }
}
