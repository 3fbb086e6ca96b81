//! spread: first centroids that lie far apart, drawn as k-means++ draws them (Arthur and Vassilvitskii, 2007).

use super::distance::distance;
use super::table::Table;
use crate::base::draw::{below_u64, unit};
use crate::base::{Seed, Stream};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// Rows whose distances are summed together; the sums then do not depend on threads.
const BLOCK: usize = 4096;

/// `k` different rows of the vectors (n x `dims`, in one slice or several). The first is any. The chance of a
/// further one is in proportion to its squared distance from the nearest drawn one. `step` hears how many are drawn, and
/// may end it. Costs k passes over the vectors, as much arithmetic as one iteration.
///
/// # Errors
/// Refuses more rows than there are, and numbers that are not finite.
pub fn spread(
    vectors: &[&[f32]],
    dims: usize,
    k: usize,
    seed: &Seed,
    step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<usize>> {
    let table = Table::new(vectors, dims)?;
    let rows = table.rows();
    ensure!(k >= 1 && k <= rows, "k = {k} clusters from {rows} vectors: k may be {rows} at most");
    let stream = &mut seed.stream("spread", 0);
    let mut far = vec![f64::INFINITY; rows];
    let mut chosen = vec![below_u64(stream, rows as u64) as usize];
    while chosen.len() < k {
        step(chosen.len())?;
        let newest = chosen[chosen.len() - 1];
        let sums = draw_near(&table, newest, &mut far);
        if let Some(block) = sums.iter().position(|sum| !sum.is_finite()) {
            anyhow::bail!("the vectors from {} on have numbers that are not finite", block * BLOCK);
        }
        chosen.push(drawn(&far, &sums, stream).unwrap_or_else(|| {
            // All rows equal chosen ones: the first that is not chosen will do.
            let taken: std::collections::HashSet<usize> = chosen.iter().copied().collect();
            (0..rows).find(|row| !taken.contains(row)).unwrap_or(newest)
        }));
    }
    Ok(chosen)
}

/// Lowers each row's squared distance to that from row `newest`, and sums them by block.
fn draw_near(table: &Table<'_>, newest: usize, far: &mut [f64]) -> Vec<f64> {
    let centroid = table.row(newest);
    let blocks = far.par_chunks_mut(BLOCK).enumerate();
    let near = |(block, far): (usize, &mut [f64])| {
        for (at, far) in far.iter_mut().enumerate() {
            let to_newest = distance(table.row(block * BLOCK + at), centroid);
            // What is not a number reaches the sum, which is refused.
            *far = if to_newest >= *far { *far } else { to_newest };
        }
        far.iter().sum()
    };
    blocks.map(near).collect()
}

/// A row, with a chance in proportion to `far`; none where all are 0.
fn drawn(far: &[f64], sums: &[f64], stream: &mut Stream) -> Option<usize> {
    let mut point = unit(stream) * sums.iter().sum::<f64>();
    let mut last = None;
    for (block, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
        let rows = block * BLOCK..far.len().min((block + 1) * BLOCK);
        last = rows.clone().rfind(|row| far[*row] > 0.0);
        if point < *sum {
            for row in rows.filter(|row| far[*row] > 0.0) {
                if point < far[row] {
                    return Some(row);
                }
                point -= far[row];
            }
            return last;
        }
        point -= sum;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all(vectors: &[&[f32]], dims: usize, k: usize, seed: u64) -> Vec<usize> {
        spread(vectors, dims, k, &Seed::of_node(seed, "test"), &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn groups_that_lie_apart_get_one_centroid_each() {
        // Ten tight groups far from each other: k-means++ misses one about once in a thousand draws, uniform draws nearly
        // always.
        let rows: Vec<f32> =
            (0..1000_u16).map(|row| f32::from(row % 10) * 1000.0 + f32::from(row / 10) * 1e-3).collect();
        for seed in 0..20 {
            let groups: BTreeSet<usize> = all(&[&rows], 1, 10, seed).iter().map(|row| row % 10).collect();
            assert_eq!(groups.len(), 10, "seed {seed}");
        }
    }

    #[test]
    fn rows_are_drawn_in_proportion_to_their_squared_distance() {
        // From row 0 the others lie at 1 and 2: one in five and four in five.
        let rows = [0.0, 1.0, 2.0];
        let draws: Vec<_> = (0..4000).map(|seed| all(&[&rows], 1, 2, seed)).filter(|rows| rows[0] == 0).collect();
        let share = draws.iter().filter(|rows| rows[1] == 2).count() as f64 / draws.len() as f64;
        assert!(draws.len() > 1000 && (share - 0.8).abs() < 0.05, "{share}");
    }

    #[test]
    fn no_row_is_drawn_twice_and_no_split_or_thread_changes_a_draw() {
        let rows: Vec<f32> = (0..30_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
        let whole = all(&[&rows], 3, 50, 1);
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 50);
        assert_eq!(whole, all(&[&rows[..3], &rows[3..12_345], &rows[12_345..]], 3, 50, 1));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(whole, one.install(|| all(&[&rows], 3, 50, 1)));
        let equal = [1.0; 8];
        assert_eq!(all(&[&equal], 2, 4, 3).iter().collect::<BTreeSet<_>>().len(), 4);
        assert!(spread(&[&equal], 2, 5, &Seed::of_node(1, "test"), &mut |_| Ok(())).is_err());
        assert!(spread(&[&[f32::NAN, 1.0, 2.0]], 1, 2, &Seed::of_node(1, "test"), &mut |_| Ok(())).is_err());
    }
}
