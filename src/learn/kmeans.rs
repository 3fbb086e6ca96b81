//! kmeans: Lloyd's loop with faiss's semantics, one iteration at a time, with the same bits on any number of threads.

use super::assign::{Assigner, Assignment, assign};
use super::distance::length;
use super::empty_clusters::split_empty;
use super::order::draw_front;
use super::spread::spread;
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
    /// Whether centroids are brought to length 1, as in faiss's spherical k-means. The nearest centroid of a vector of
    /// length 1 then has the largest cosine.
    pub spherical: bool,
    /// Whether an empty cluster keeps its centroid, as in DeepCluster-v2; otherwise a fuller one is split.
    pub keeps_empty: bool,
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
        Self::from_rows(&table, &order[..k])
    }

    /// Starts from `k` of the vectors that lie far apart, drawn by k-means++.
    ///
    /// # Errors
    /// Refuses what [`Lloyd::from_permutation`] refuses; `step` may end it.
    pub fn from_spread(
        vectors: &[&[f32]],
        dims: usize,
        k: usize,
        seed: &Seed,
        step: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let rows = spread(vectors, dims, k, seed, step)?;
        Self::from_rows(&Table::new(vectors, dims)?, &rows)
    }

    fn from_rows(table: &Table<'_>, rows: &[usize]) -> Result<Self> {
        let centroids = rows.iter().flat_map(|row| table.row(*row)).copied().collect();
        Self::from_centroids(centroids, table.dims())
    }

    /// Starts from given centroids (k x `dims`), which must be finite.
    pub fn from_centroids(centroids: Vec<f32>, dims: usize) -> Result<Self> {
        let k = Table::new(&[&centroids], dims)?.rows();
        ensure!(k > 0, "no centroids were given: at least one is needed");
        if let Some(at) = centroids.iter().position(|value| !value.is_finite()) {
            anyhow::bail!("centroid {} has the value {} in dimension {}", at / dims, centroids[at], at % dims);
        }
        Ok(Self { centroids, k, dims, iteration: 0, spherical: false, keeps_empty: false, previous: Vec::new() })
    }

    /// The same clustering by cosine. The vectors must have length 1.
    #[must_use]
    pub fn by_cosine(mut self) -> Self {
        self.spherical = true;
        to_length_one(&mut self.centroids, self.dims);
        self
    }

    /// The same clustering, in which an empty cluster keeps its centroid.
    #[must_use]
    pub fn keeping_empty(mut self) -> Self {
        self.keeps_empty = true;
        self
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
        let splits = if self.keeps_empty { 0 } else { split_empty(&mut self.centroids, self.dims, &sums.counts) };
        if self.spherical {
            to_length_one(&mut self.centroids, self.dims);
        }
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

/// Brings each row to length 1; a row of zeros stays.
fn to_length_one(rows: &mut [f32], dims: usize) {
    for row in rows.chunks_mut(dims) {
        let length = length(row);
        if length > 0.0 {
            row.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::draw::between;
    use crate::learn::nearest::FaissAssigner;

    #[test]
    fn by_cosine_each_vector_goes_to_the_centroid_of_the_largest_cosine() {
        const DIMS: usize = 5;
        let mut stream = Seed::of_node(4, "test").stream("cosine", 0);
        let mut vectors: Vec<f32> = (0..300 * DIMS).map(|_| between(&mut stream, -1.0, 1.0) as f32).collect();
        to_length_one(&mut vectors, DIMS);
        let mut lloyd = Lloyd::from_permutation(&[&vectors], DIMS, 9, &Seed::of_node(4, "test")).unwrap().by_cosine();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        for _ in 0..4 {
            let before = lloyd.centroids.clone();
            lloyd.step(&[&vectors], &mut FaissAssigner::default()).unwrap();
            let mut sums = vec![0.0; 9 * DIMS];
            for (vector, cluster) in vectors.chunks(DIMS).zip(&lloyd.previous) {
                let cosine = |centroid: &[f32]| dot(vector, centroid);
                let best = before.chunks(DIMS).map(cosine).fold(f64::MIN, f64::max);
                assert!(best - cosine(&before[cluster.index() * DIMS..][..DIMS]) < 1e-6);
                let sum: &mut [f32] = &mut sums[cluster.index() * DIMS..][..DIMS];
                sum.iter_mut().zip(vector).for_each(|(sum, number)| *sum += number);
            }
            to_length_one(&mut sums, DIMS);
            for (centroid, due) in lloyd.centroids.chunks(DIMS).zip(sums.chunks(DIMS)) {
                assert!((length(centroid) - 1.0).abs() < 1e-6);
                assert!(centroid.iter().zip(due).all(|(is, due)| (is - due).abs() < 1e-5), "{centroid:?} {due:?}");
            }
        }
    }

    #[test]
    fn an_empty_cluster_keeps_its_centroid_and_may_win_vectors_later() {
        let unit = |angle: f32| [angle.cos(), angle.sin()];
        let vectors: Vec<f32> = [0.0, 0.2, 0.4, 2.0].into_iter().flat_map(unit).collect();
        // The second centroid is nearest to nothing, until the first has moved away from the last vector.
        let centroids: Vec<f32> = [1.0, 3.3].into_iter().flat_map(unit).collect();
        let start = Lloyd::from_centroids(centroids.clone(), 2).unwrap().by_cosine();
        let step = |lloyd: &mut Lloyd| lloyd.step(&[&vectors], &mut FaissAssigner::default()).unwrap();
        let (mut kept, mut split) = (start.clone().keeping_empty(), start);
        let (first, other) = (step(&mut kept), step(&mut split));
        assert_eq!((first.empty, first.splits, other.empty, other.splits), (1, 0, 1, 1));
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&kept.centroids[2..], &centroids[2..]) && !near(&split.centroids[2..], &centroids[2..]));
        assert_eq!((step(&mut kept).empty, kept.previous[3]), (0, ClusterId(1)));
    }
}
