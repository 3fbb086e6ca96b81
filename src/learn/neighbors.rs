//! neighbors: for each vector the nearest of the others, among all of them or among those of clusters near by.
//!
//! A search in single precision names more candidates than are wanted; double precision puts them in order. So neither
//! threads nor the split of the rows change a neighbour. The exception: more rows are equally far than the search names.

use super::distance::distance;
use super::table::Table;
use crate::base::ImageId;
use anyhow::{Context, Result, ensure};
use faiss::Index;
use faiss::index::flat::FlatIndex;
use rayon::prelude::*;

/// Candidates beyond those that are wanted.
const SPARE: usize = 8;
/// Rows that are searched between two looks at whether the run must stop.
const TOGETHER: usize = 4096;
/// Rows of which the recall is measured.
const SAMPLE: usize = 200;

/// Neighbours of each row: ids and squared L2, rows x n.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The nearest first; of equally near ones the lowest id.
    pub ids: Vec<i32>,
    /// Squared L2.
    pub distances: Vec<f32>,
}

/// Reports how many rows are done, and may end the search.
pub type Step<'s> = dyn FnMut(usize) -> Result<()> + 's;

/// The `n` nearest others of each of `vectors` (rows x `dims`, in pieces), by comparing all with all.
///
/// # Errors
/// If there are no more than `n` vectors, or if `step` ends it.
pub fn exact(vectors: &[&[f32]], dims: usize, n: usize, step: &mut Step<'_>) -> Result<Found> {
    let table = Table::new(vectors, dims)?;
    let rows = table.rows();
    ensure!(n >= 1 && n < rows, "{rows} vectors do not have {n} neighbours each");
    let mut index = FlatIndex::new_l2(u32::try_from(dims)?).context("faiss made no index")?;
    for piece in vectors {
        index.add(piece).context("faiss took no vectors")?;
    }
    let named = (n + 1 + SPARE).min(rows);
    let mut found = Found { ids: Vec::with_capacity(rows * n), distances: Vec::with_capacity(rows * n) };
    for (start, piece) in table.runs(TOGETHER) {
        step(start)?;
        let labels = index.search(piece, named).context("faiss's search failed")?.labels;
        let labels: Vec<Option<u64>> = labels.iter().map(|label| label.get()).collect();
        let ranked = piece.par_chunks(dims).zip(labels.par_chunks(named)).enumerate().map(|(at, (vector, labels))| {
            let candidates = labels.iter().flatten().map(|label| *label as usize);
            rank(&table, vector, candidates.filter(|id| *id != start + at), n)
        });
        found.take(ranked.collect::<Result<Vec<_>>>()?);
    }
    Ok(found)
}

/// The same among the members of a vector's own cluster and of `cells` others. Those are the clusters with the nearest
/// centroids. `members` are the rows of each cluster, in any order.
///
/// # Errors
/// As [`exact`].
pub fn among_cells(
    vectors: &[&[f32]],
    (centroids, dims): (&[f32], usize),
    members: &[Vec<ImageId>],
    (n, cells): (usize, usize),
    step: &mut Step<'_>,
) -> Result<Found> {
    let table = Table::new(vectors, dims)?;
    let rows = table.rows();
    ensure!(n >= 1 && n < rows, "{rows} vectors do not have {n} neighbours each");
    let full: Vec<usize> = (0..members.len()).filter(|cluster| !members[*cluster].is_empty()).collect();
    let of = |cluster: usize| &centroids[cluster * dims..][..dims];
    let mut ids = vec![0; rows * n];
    let mut distances = vec![0.0; rows * n];
    let mut done = 0;
    for cluster in &full {
        step(done)?;
        let mut near: Vec<(f64, usize)> =
            full.par_iter().map(|other| (distance(of(*cluster), of(*other)), *other)).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut candidates = Vec::new();
        for (nth, (_, other)) in near.iter().enumerate() {
            // Small clusters near by may hold fewer than are wanted.
            if nth > cells && candidates.len() > n {
                break;
            }
            candidates.extend(members[*other].iter().map(|row| row.index()));
        }
        let ranked = members[*cluster].par_iter().map(|row| {
            let row = row.index();
            let vector = table.row(row);
            let nearest = nearest(&table, vector, candidates.iter().copied().filter(|id| *id != row), n + SPARE);
            Ok((row, rank(&table, vector, nearest.into_iter(), n)?))
        });
        for (row, near) in ranked.collect::<Result<Vec<_>>>()? {
            for (at, (far, id)) in near.into_iter().enumerate() {
                (ids[row * n + at], distances[row * n + at]) = (id as i32, far as f32);
            }
        }
        done += members[*cluster].len();
    }
    Ok(Found { ids, distances })
}

/// The share of the true neighbours that were found, of some rows spread evenly.
///
/// # Errors
/// If `step` ends it.
pub fn recall(vectors: &[&[f32]], dims: usize, found: &Found, n: usize, step: &mut Step<'_>) -> Result<f64> {
    let table = Table::new(vectors, dims)?;
    let rows = table.rows();
    let sample: Vec<usize> = (0..rows).step_by(rows.div_ceil(SAMPLE).max(1)).collect();
    let mut hits = 0;
    for some in sample.chunks(16) {
        step(rows)?;
        let count = |row: &usize| {
            let vector = table.row(*row);
            let nearest = nearest(&table, vector, (0..rows).filter(|id| id != row), n + SPARE);
            let farthest = rank(&table, vector, nearest.into_iter(), n)?.last().map_or(0.0, |(far, _)| *far);
            // As near as the last true one is as good.
            let is_good = |far: &&f32| f64::from(**far) <= farthest + 1e-6 * farthest;
            Ok(found.distances[row * n..(row + 1) * n].iter().filter(is_good).count())
        };
        hits += some.par_iter().map(count).sum::<Result<usize>>()?;
    }
    Ok(hits as f64 / (sample.len() * n) as f64)
}

impl Found {
    fn take(&mut self, rows: Vec<Vec<(f64, usize)>>) {
        for (far, id) in rows.into_iter().flatten() {
            self.ids.push(id as i32);
            self.distances.push(far as f32);
        }
    }
}

/// The first `n` of some candidates by distance and id, in double precision.
fn rank(
    table: &Table<'_>,
    vector: &[f32],
    candidates: impl Iterator<Item = usize>,
    n: usize,
) -> Result<Vec<(f64, usize)>> {
    let mut ranked: Vec<_> = candidates.map(|id| (distance(vector, table.row(id)), id)).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranked.truncate(n);
    ensure!(ranked.len() == n, "a vector that is not finite has no neighbours");
    Ok(ranked)
}

/// The nearest of some candidates in single precision, in no order.
fn nearest(table: &Table<'_>, vector: &[f32], candidates: impl Iterator<Item = usize>, count: usize) -> Vec<usize> {
    let mut all: Vec<(f32, usize)> = candidates.map(|id| (squared(vector, table.row(id)), id)).collect();
    if all.len() > count {
        all.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(count);
    }
    all.into_iter().map(|(_, id)| id).collect()
}

/// Squared L2 in single precision, in lanes that become vector instructions.
fn squared(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += (a - b) * (a - b);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, draw};

    fn some(rows: usize, dims: usize) -> Vec<f32> {
        let mut stream = Seed::of_node(31, "test").stream("neighbors", 0);
        (0..rows * dims).map(|_| draw::between(&mut stream, -1.0, 1.0) as f32).collect()
    }

    fn by_hand(numbers: &[f32], dims: usize, n: usize) -> Found {
        let rows: Vec<&[f32]> = numbers.chunks(dims).collect();
        let mut found = Found { ids: Vec::new(), distances: Vec::new() };
        for (at, row) in rows.iter().enumerate() {
            let mut all: Vec<_> =
                (0..rows.len()).filter(|id| *id != at).map(|id| (distance(row, rows[id]), id)).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all.truncate(n);
            found.take(vec![all]);
        }
        found
    }

    #[test]
    fn neighbours_are_those_of_comparing_all_with_all() {
        let (dims, n) = (12, 7);
        let mut numbers = some(300, dims);
        // Copies of one vector, of which each has the others as its nearest.
        let first = numbers[..dims].to_vec();
        (100..105).for_each(|row| numbers[row * dims..][..dims].copy_from_slice(&first));
        let due = by_hand(&numbers, dims, n);
        let pieces = [&numbers[..100 * dims], &numbers[100 * dims..]];
        assert_eq!(exact(&pieces, dims, n, &mut |_| Ok(())).unwrap(), due);
        // One cell holds everything, and then nothing is missed.
        let members = [0, 1].map(|odd| (odd..300).step_by(2).map(ImageId).collect::<Vec<_>>());
        let cells = (&numbers[..2 * dims], dims);
        let found = among_cells(&pieces, cells, &members, (n, 1), &mut |_| Ok(())).unwrap();
        assert_eq!(found, due);
        assert_eq!(recall(&pieces, dims, &found, n, &mut |_| Ok(())).unwrap(), 1.0);
        let half = among_cells(&pieces, cells, &members, (n, 0), &mut |_| Ok(())).unwrap();
        let share = recall(&pieces, dims, &half, n, &mut |_| Ok(())).unwrap();
        assert!((0.3..0.7).contains(&share), "{share}");
        assert!(exact(&[&numbers[..n * dims]], dims, n, &mut |_| Ok(())).is_err());
    }
}
