//! pic: power-iteration clustering: each vector follows the flow on the graph of neighbours to a vector where it ends.
//!
//! An edge weighs `exp(-d / sigma^2)`, where `d` is the squared L2 to a neighbour. Mutual neighbours have twice that. The
//! flow is `v <- normalize(alpha W v + (1 - alpha) / n)`, from `1 / n` on. Then each vector points to the neighbour with the
//! largest `w (v_there - v_here)`, if that is above 0. A vector that points nowhere is the end of a cluster.

use crate::base::ClusterId;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// How the flow is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Distance at which an edge weighs 1/e.
    pub sigma: f64,
    /// Share of what comes over the edges.
    pub alpha: f64,
    /// Steps of the flow.
    pub iterations: u32,
}

/// Clusters of the rows of a table of neighbours, and how many there are. `ids` and squared `distances` are rows x `n`, the
/// nearest first. Clusters are counted in the order of their first members.
///
/// A vector alone in its cluster joins that of its nearest neighbour that is not alone. Sums run over the edges in the
/// order of ids, so no number of threads changes a cluster.
///
/// # Errors
/// If the tables do not fit together, if the flow runs dry, or if `step` ends it. `step` is told how many iterations are
/// done.
pub fn cluster(
    ids: &[i32],
    distances: &[f32],
    n: usize,
    options: Options,
    step: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<(Vec<ClusterId>, u32)> {
    ensure!(n > 0 && ids.len() == distances.len() && ids.len().is_multiple_of(n), "BUG: neighbours are not rows x {n}");
    let graph = Graph::of(ids, distances, n, options.sigma);
    let mut flow = vec![1.0 / graph.rows() as f64; graph.rows()];
    for done in 0..options.iterations {
        step(done)?;
        flow = graph.step(&flow, options.alpha);
        ensure!(
            flow.iter().all(|value| value.is_finite()),
            "the flow runs dry: sigma = {} is too small for these distances, or alpha = {} too large",
            options.sigma,
            options.alpha
        );
    }
    let mut ends = graph.ends(&flow);
    let mut members = vec![0_u64; ends.len()];
    ends.iter().for_each(|end| members[*end] += 1);
    let alone = |row: usize| members[ends[row]] == 1;
    let joined: Vec<_> = (0..ends.len())
        .filter(|row| alone(*row))
        .filter_map(|row| {
            let near = ids[row * n..][..n].iter().map(|id| *id as usize).find(|near| !alone(*near));
            near.map(|near| (row, ends[near]))
        })
        .collect();
    joined.into_iter().for_each(|(row, end)| ends[row] = end);
    let mut numbers = BTreeMap::new();
    let clusters = ends.iter().map(|end| {
        let next = numbers.len() as u32;
        ClusterId(*numbers.entry(*end).or_insert(next))
    });
    let clusters = clusters.collect();
    Ok((clusters, numbers.len() as u32))
}

/// Undirected edges with weights.
struct Graph {
    /// rows + 1: where the edges of each row begin.
    starts: Vec<usize>,
    /// By row, then by id: where an edge leads, and its weight.
    edges: Vec<(u32, f64)>,
}

impl Graph {
    fn of(ids: &[i32], distances: &[f32], n: usize, sigma: f64) -> Self {
        let rows = ids.len() / n;
        let mut of_row: Vec<Vec<(u32, f64)>> = vec![Vec::new(); rows];
        for (at, (id, distance)) in ids.iter().zip(distances).enumerate() {
            let weight = (-f64::from(*distance) / (sigma * sigma)).exp();
            of_row[at / n].push((*id as u32, weight));
            of_row[*id as usize].push(((at / n) as u32, weight));
        }
        of_row.par_iter_mut().for_each(|edges| {
            edges.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            // Those of mutual neighbours add up.
            edges.dedup_by(|next, kept| {
                let is_same = next.0 == kept.0;
                kept.1 += if is_same { next.1 } else { 0.0 };
                is_same
            });
        });
        let mut starts = vec![0];
        starts.extend(of_row.iter().scan(0, |sum, edges| {
            *sum += edges.len();
            Some(*sum)
        }));
        Self { starts, edges: of_row.concat() }
    }

    fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    fn of_row(&self, row: usize) -> &[(u32, f64)] {
        &self.edges[self.starts[row]..self.starts[row + 1]]
    }

    fn step(&self, flow: &[f64], alpha: f64) -> Vec<f64> {
        let rest = (1.0 - alpha) / self.rows() as f64;
        let along = |row| self.of_row(row).iter().map(|(to, weight)| weight * flow[*to as usize]).sum::<f64>();
        let mut next: Vec<f64> = (0..self.rows()).into_par_iter().map(|row| alpha * along(row) + rest).collect();
        let sum: f64 = next.iter().sum();
        next.iter_mut().for_each(|value| *value /= sum);
        next
    }

    /// Where each row ends that follows the steepest edge up, again and again.
    fn ends(&self, flow: &[f64]) -> Vec<usize> {
        let steepest = |row: usize| {
            let mut best = (0.0, row);
            for (to, weight) in self.of_row(row) {
                let up = weight * (flow[*to as usize] - flow[row]);
                if up > best.0 {
                    best = (up, *to as usize);
                }
            }
            best.1
        };
        let mut ends: Vec<usize> = (0..self.rows()).into_par_iter().map(steepest).collect();
        // From the highest down, a row's next one has found its end already.
        let mut order: Vec<usize> = (0..self.rows()).collect();
        order.sort_by(|a, b| flow[*b].total_cmp(&flow[*a]));
        order.into_iter().for_each(|row| ends[row] = ends[ends[row]]);
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::draw::unit;
    use crate::base::{Seed, Stream};
    use crate::learn::neighbors::exact;
    use proptest::prelude::*;

    const OPTIONS: Options = Options { sigma: 0.2, alpha: 0.001, iterations: 200 };

    /// The same from its definition: dense, one edge at a time.
    fn by_definition(ids: &[i32], distances: &[f32], n: usize) -> Vec<usize> {
        let rows = ids.len() / n;
        let mut weights = vec![vec![0.0; rows]; rows];
        for (at, (id, distance)) in ids.iter().zip(distances).enumerate() {
            let (from, to) = (at / n, *id as usize);
            let weight = (-f64::from(*distance) / (OPTIONS.sigma * OPTIONS.sigma)).exp();
            weights[from][to] += weight;
            weights[to][from] += weight;
        }
        let mut flow = vec![1.0 / rows as f64; rows];
        for _ in 0..OPTIONS.iterations {
            let next: Vec<f64> = weights
                .iter()
                .map(|row| OPTIONS.alpha * row.iter().zip(&flow).map(|(w, v)| w * v).sum::<f64>())
                .map(|along| along + (1.0 - OPTIONS.alpha) / rows as f64)
                .collect();
            let sum: f64 = next.iter().sum();
            flow = next.iter().map(|value| value / sum).collect();
        }
        let end = |mut row: usize| loop {
            let ups = (0..rows).map(|to| weights[row][to] * (flow[to] - flow[row]));
            let (to, up) = ups.enumerate().fold((row, 0.0), |best, (to, up)| if up > best.1 { (to, up) } else { best });
            if up <= 0.0 {
                return row;
            }
            row = to;
        };
        (0..rows).map(end).collect()
    }

    fn blobs(stream: &mut Stream, centres: &[[f32; 3]], each: usize) -> Vec<f32> {
        let mut rows = Vec::new();
        for at in 0..each * centres.len() {
            rows.extend(centres[at % centres.len()].map(|value| value + 0.1 * (unit(stream) as f32 - 0.5)));
        }
        rows
    }

    #[test]
    fn three_heaps_never_share_a_cluster() {
        let mut stream = Seed::of_node(31, "pic").stream("rows", 0);
        let rows = blobs(&mut stream, &[[0., 0., 0.], [1., 0., 0.], [0., 1., 0.]], 40);
        let found = exact(&[&rows], 3, 5, &mut |_| Ok(())).unwrap();
        let (clusters, k) = cluster(&found.ids, &found.distances, 5, OPTIONS, &mut |_| Ok(())).unwrap();
        assert!((3..=20).contains(&k), "{k} clusters");
        for (row, of) in clusters.iter().enumerate() {
            let first = clusters.iter().position(|other| other == of).unwrap();
            assert_eq!(first % 3, row % 3, "rows {first} and {row}");
        }
        let mut seen: Vec<u32> = clusters.iter().map(|cluster| cluster.0).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..k).collect::<Vec<_>>());
    }

    #[test]
    fn copies_of_one_vector_end_it_without_an_edge_up() {
        let (ids, distances) = (vec![1, 2, 0, 2, 0, 1], vec![0.0; 6]);
        let (clusters, k) = cluster(&ids, &distances, 2, OPTIONS, &mut |_| Ok(())).unwrap();
        assert_eq!((clusters.len(), k), (3, 3), "all are alone, and nobody has a neighbour who is not");
    }

    proptest! {
        #[test]
        fn rows_end_where_the_definition_says(seed in 0_u64..1000, rows in 12_usize..60) {
            let mut stream = Seed::of_node(seed, "pic").stream("rows", 0);
            let vectors: Vec<f32> = (0..rows * 3).map(|_| unit(&mut stream) as f32).collect();
            let found = exact(&[&vectors], 3, 5, &mut |_| Ok(())).unwrap();
            let (clusters, _) = cluster(&found.ids, &found.distances, 5, OPTIONS, &mut |_| Ok(())).unwrap();
            let ends = by_definition(&found.ids, &found.distances, 5);
            let size = |row: usize| ends.iter().filter(|end| **end == ends[row]).count();
            for row in 0..rows {
                for other in 0..row {
                    if size(row) > 1 && size(other) > 1 {
                        prop_assert_eq!(ends[row] == ends[other], clusters[row] == clusters[other]);
                    }
                }
                if size(row) == 1 {
                    let near = found.ids[row * 5..][..5].iter().map(|id| *id as usize).find(|near| size(*near) > 1);
                    prop_assert!(near.is_none_or(|near| clusters[near] == clusters[row]));
                }
            }
        }
    }
}
