//! assign: which centroid is nearest to each vector, settled in double precision wherever single could err.

use super::distance::{distance, distance_within, length};
use super::distinct::{Distinct, equal_rows};
use super::table::Table;
use crate::base::ClusterId;
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Centroids that a search in single precision tells of each vector: those among which double precision decides.
///
/// Three nearly equal distances are rare, so four candidates leave next to nothing open. A search for eight takes faiss a
/// third longer at 1,000 centroids (`cargo bench --locked --bench bench -- kmeans`). A search for four takes no longer
/// than one for two.
pub const NEAR: usize = 4;

/// The centroids that a search in single precision found nearest to each vector, nearest first.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// How many there are of each vector: [`NEAR`], or all centroids if these are fewer.
    pub near: usize,
    /// rows x near: which they are.
    pub ids: Vec<u32>,
    /// rows x near: squared L2 less the same number for all of a row; never falling within a row. Infinite where no more
    /// are listed, and not finite where nothing was found.
    pub scores: Vec<f32>,
    /// A number for each row: no centroid that is not listed has a lower score. Infinite where all are listed.
    pub beyond: Vec<f32>,
}

impl Candidates {
    /// Makes room for as many rows, with nothing found for any.
    pub fn reset(&mut self, rows: usize, k: usize) {
        self.near = k.min(NEAR);
        self.ids.clear();
        self.ids.resize(rows * self.near, 0);
        self.scores.clear();
        self.scores.resize(rows * self.near, f32::NAN);
        self.beyond.clear();
        self.beyond.resize(rows, f32::NAN);
    }

    /// States of each row that no centroid, of `k`, is nearer than the last in its list and missing there.
    pub fn end_with_the_last(&mut self, k: usize) {
        for (beyond, scores) in self.beyond.iter_mut().zip(self.scores.chunks(self.near)) {
            *beyond = if self.near < k { scores[self.near - 1] } else { f32::INFINITY };
        }
    }
}

/// Takes a centroid into a list of the nearest if its score is below the list's last. Equal scores stay in the order in
/// which they came. What is not a number is never taken.
pub(super) fn keep_least(ids: &mut [u32], scores: &mut [f32], id: u32, score: f32) {
    let last = scores.len() - 1;
    if score < scores[last] {
        let place = scores.partition_point(|other| *other <= score);
        scores.copy_within(place..last, place + 1);
        ids.copy_within(place..last, place + 1);
        (scores[place], ids[place]) = (score, id);
    }
}

/// Searches the nearest centroids, in single precision, by any library on any device.
pub trait Assigner {
    /// Takes the centroids (k x `dims`) that the searches from now on are among.
    fn take(&mut self, centroids: &[f32], dims: usize) -> Result<()>;

    /// Finds the nearest of the centroids for each of `vectors` (n x dims).
    ///
    /// A score is |c|^2 - 2xc or |x - c|^2, each product and sum rounded to single precision once, in any order of adding.
    /// What is closer than that rounding may come in any order: `assign` settles it.
    fn nearest(&mut self, vectors: &[f32], out: &mut Candidates) -> Result<()>;
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
    /// Vectors whose two nearest centroids single precision left open.
    pub settled: u64,
    /// Distances in double precision that settled them.
    pub terms: u64,
}

impl Assignment {
    /// How much further the second centroid is than the nearest, as a difference of squared L2, never negative. The vectors
    /// and centroids (k x dims) are those of this assignment.
    pub fn margins(&self, vectors: &[&[f32]], centroids: &[f32], dims: usize) -> Result<Vec<f32>> {
        let table = Table::new(vectors, dims)?;
        ensure!(table.rows() == self.clusters.len(), "BUG: margins of {} other vectors", table.rows());
        let mut margins = vec![0.0; table.rows()];
        for (start, rows) in table.runs(usize::MAX / dims) {
            let ids = self.clusters[start..].par_iter().zip(&self.seconds[start..]);
            let out = &mut margins[start..start + rows.len() / dims];
            rows.par_chunks(dims).zip(ids).zip(out).for_each(|((vector, (first, second)), margin)| {
                let to = |cluster: &ClusterId| distance(vector, &centroids[cluster.index() * dims..][..dims]);
                *margin = (to(second) - to(first)).max(0.0) as f32;
            });
        }
        Ok(margins)
    }
}

impl Assignment {
    /// Squared L2 of each vector to its cluster's centroid (of k x dims). That may not be the nearest.
    pub fn distances_to(&self, vectors: &[&[f32]], centroids: &[f32], dims: usize) -> Result<Vec<f32>> {
        let table = Table::new(vectors, dims)?;
        ensure!(table.rows() == self.clusters.len(), "BUG: distances of {} other vectors", table.rows());
        let to = |row: usize| distance(table.row(row), &centroids[self.clusters[row].index() * dims..][..dims]) as f32;
        Ok((0..table.rows()).into_par_iter().map(to).collect())
    }
}

/// Rows searched at a time: their candidates stay in a processor's cache.
const TOGETHER: usize = 65_536;
/// Rows that are compared with all centroids in one pass over these.
const ABREAST: usize = 16;

/// Assigns vectors (n x dims) to `centroids` (k x dims); refuses vectors that are not finite, naming the row.
///
/// Both centroids of each vector are those of distances in double precision: no library, device, thread count or split
/// of the rows changes one. A search in single precision errs by no more than `Bound` says, so only those centroids are
/// compared again that it leaves open. Equal centroids are searched as one, and equal vectors are settled as one.
pub fn assign(vectors: &[&[f32]], centroids: &[f32], dims: usize, assigner: &mut dyn Assigner) -> Result<Assignment> {
    let table = Table::new(vectors, dims)?;
    ensure!(!centroids.is_empty(), "there are no centroids to assign to");
    let centroids = Distinct::of(centroids, dims);
    let bound = Bound::of(&centroids.numbers, dims);
    assigner.take(&centroids.numbers, dims)?;
    let mut found = Candidates::default();
    let mut nearest = Vec::with_capacity(table.rows());
    let (mut open, mut settled, mut terms) = (Vec::new(), 0, 0);
    for (start, vectors) in table.runs(TOGETHER) {
        assigner.nearest(vectors, &mut found)?;
        let count = vectors.len() / dims;
        let due = count * NEAR.min(centroids.ids.len());
        ensure!(found.ids.len() == due && found.scores.len() == due, "BUG: {} candidates of {due}", found.ids.len());
        ensure!(found.beyond.len() == count, "BUG: {} rows searched of {count}", found.beyond.len());
        let candidates = found.ids.par_chunks(found.near).zip(found.scores.par_chunks(found.near)).zip(&found.beyond);
        let decided: Vec<_> = vectors
            .par_chunks(dims)
            .zip(candidates)
            .map(|(vector, ((ids, scores), beyond))| bound.decide(vector, ids, scores, *beyond, &centroids))
            .collect();
        for (row, decided) in decided.into_iter().enumerate() {
            open.extend(decided.is_none().then_some(start + row));
            let (two, count) = decided.unwrap_or((Two::NONE, 0));
            settled += u64::from(count > 0);
            terms += u64::from(count);
            nearest.push(two);
        }
    }
    settled += open.len() as u64;
    terms += settle(&table, &centroids, open, &mut nearest);
    let distances: Vec<f32> = nearest.iter().map(|two| two.distance as f32).collect();
    if let Some(row) = distances.iter().position(|distance| !distance.is_finite()) {
        anyhow::bail!("vector {row} is not finite: k-means takes neither NaN nor infinity");
    }
    let clusters = nearest.iter().map(|two| ClusterId(two.first)).collect();
    let seconds = nearest.iter().map(|two| ClusterId(two.second)).collect();
    Ok(Assignment { clusters, distances, seconds, settled, terms })
}

/// The two nearest centroids of a vector, and the distance to the nearer.
#[derive(Clone, Copy)]
struct Two {
    distance: f64,
    first: u32,
    second: u32,
}

impl Two {
    const NONE: Self = Self { distance: f64::INFINITY, first: 0, second: 0 };
}

/// The two least of some distances, each with its centroid's id; the lower id first among equals.
#[derive(Clone, Copy)]
struct Least {
    near: (f64, u32),
    next: (f64, u32),
}

impl Least {
    const NONE: Self = Self { near: (f64::INFINITY, 0), next: (f64::INFINITY, 0) };

    fn add(&mut self, distance: f64, (id, twin): (u32, Option<u32>)) {
        for found in [Some(id), twin].into_iter().flatten().map(|id| (distance, id)) {
            if found < self.near {
                (self.near, self.next) = (found, self.near);
            } else if found < self.next {
                self.next = found;
            }
        }
    }

    fn two(self) -> Two {
        // Of a single centroid, the second is that one again.
        let second = if self.next.0.is_finite() { self.next.1 } else { self.near.1 };
        Two { distance: self.near.0, first: self.near.1, second }
    }
}

/// How far a score in single precision can be from its exact value.
struct Bound {
    dims: usize,
    /// Length of each centroid.
    lengths: Vec<f64>,
    longest: f64,
}

impl Bound {
    fn of(centroids: &[f32], dims: usize) -> Self {
        let lengths: Vec<f64> = centroids.par_chunks(dims).map(length).collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        Self { dims, lengths, longest }
    }

    /// The rounding of |x|^2 + |c|^2 - 2xc: each of the three sums of `dims` products errs by at most dims * 2^-24 of its
    /// size in any order of adding, four more operations follow, and one is left for double precision's own rounding.
    /// Below the smallest number a product is lost whole.
    fn error(&self, vector: f64, centroid: f64) -> f64 {
        let operations = (self.dims + 5) as f64;
        let lost = f64::from(f32::MIN_POSITIVE);
        operations * (f64::from(f32::EPSILON / 2.0) * (vector + centroid).powi(2) + 4.0 * lost)
    }

    /// The two nearest by what was found, and how many distances had to settle it; `None` where one that was not found
    /// might be among the two.
    fn decide(
        &self,
        vector: &[f32],
        ids: &[u32],
        scores: &[f32],
        beyond: f32,
        centroids: &Distinct,
    ) -> Option<(Two, u32)> {
        let last = ids.len() - 1;
        if beyond.is_nan() || !scores[..=last.min(1)].iter().all(|score| score.is_finite()) {
            return None;
        }
        let own = length(vector);
        // No sum on the way to a score is larger than twice this square. Where one may overflow, a search is blind.
        if 4.0 * (own + self.longest).powi(2) >= f64::from(f32::MAX) {
            return None;
        }
        let score = |at: usize| f64::from(scores[at]);
        let error = |at: usize| self.error(own, self.lengths[ids[at] as usize]);
        let to = |at: usize| distance(vector, &centroids.numbers[ids[at] as usize * self.dims..][..self.dims]);
        let names = |at: usize| centroids.ids[ids[at] as usize];
        // Two centroids are no further than this, so what is certain to be further is neither of the two.
        let reach = (score(0) + error(0)).max(score(last.min(1)) + error(last.min(1)));
        // A centroid that is no further than a second one of length |c| is itself no longer than 2|x| + |c|.
        let seconds = self.lengths[ids[0] as usize].max(self.lengths[ids[last.min(1)] as usize]);
        let longest = self.longest.min(2.0 * own + seconds);
        if f64::from(beyond) - self.error(own, longest) <= reach {
            return None;
        }
        let within = (0..ids.len()).filter(|&at| score(at) - error(at) <= reach);
        let ordered = last == 0 || score(0) + error(0) < score(1) - error(1);
        if ordered && within.clone().count() <= 2 {
            let (first, twin) = names(0);
            let second = twin.unwrap_or_else(|| names(last.min(1)).0);
            return Some((Two { distance: to(0), first, second }, 0));
        }
        let mut least = Least::NONE;
        within.clone().for_each(|at| least.add(to(at), names(at)));
        Some((least.two(), within.count() as u32))
    }
}

/// Compares the `open` rows with all centroids, equal rows once, and returns how many distances that took.
fn settle(table: &Table, centroids: &Distinct, open: Vec<usize>, nearest: &mut [Two]) -> u64 {
    let dims = table.dims();
    let groups = equal_rows(open, |row| table.row(row));
    let found: Vec<Two> = groups
        .par_chunks(ABREAST)
        .flat_map_iter(|groups| {
            let rows: Vec<&[f32]> = groups.iter().map(|group| table.row(group[0])).collect();
            let mut least = vec![Least::NONE; rows.len()];
            for (centroid, ids) in centroids.numbers.chunks_exact(dims).zip(&centroids.ids) {
                for (row, least) in rows.iter().zip(&mut least) {
                    if let Some(distance) = distance_within(row, centroid, least.next.0) {
                        least.add(distance, *ids);
                    }
                }
            }
            least.into_iter().map(Least::two)
        })
        .collect();
    for (group, two) in groups.iter().zip(found) {
        group.iter().for_each(|&row| nearest[row] = two);
    }
    (groups.len() * centroids.ids.len()) as u64
}
