//! knn: the labelled images that are most similar to each of some others, and which label they vote for.

use super::activations::Activations;
use super::distance::{dot, length};
use super::probe::{knn_votes, winner};
use anyhow::Result;
use rayon::prelude::*;
use std::ops::Range;
use tch::Device;

/// The published temperature of the votes.
pub const TEMPERATURE: f64 = 0.07;
/// Candidates beyond those that are wanted, among which double precision decides.
const SPARE: usize = 8;
/// Rows that are compared with each other in one product.
const QUERIES: usize = 512;
const KNOWN: usize = 4096;

/// Most similar rows of each query: cosine similarity and row, the most similar first; of equals the lowest row first.
pub type Similar = Vec<(f32, usize)>;

/// The `k` of the rows `known` that are most similar to each of the rows `queries`, itself left out. There are fewer where
/// fewer are known.
pub fn most_similar(
    x: &Activations,
    known: Range<usize>,
    queries: Range<usize>,
    k: usize,
    device: Device,
    step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Similar>> {
    let _guard = tch::no_grad_guard();
    let mut found = Vec::with_capacity(queries.len());
    let mut products = Vec::new();
    for start in queries.clone().step_by(QUERIES) {
        step(start - queries.start)?;
        let some = start..(start + QUERIES).min(queries.end);
        let across = x.unit(some.clone(), device)?;
        let mut best: Vec<Similar> = vec![Vec::new(); some.len()];
        for from in known.clone().step_by(KNOWN) {
            let block = from..(from + KNOWN).min(known.end);
            let similar = across.f_matmul(&x.unit(block.clone(), device)?.f_tr()?)?.f_to_device(Device::Cpu)?;
            products.resize(some.len() * block.len(), 0f32);
            similar.f_contiguous()?.f_copy_data(&mut products, some.len() * block.len())?;
            best.par_iter_mut().zip(products.par_chunks(block.len())).enumerate().for_each(|(at, (best, row))| {
                let others = row.iter().zip(block.clone()).map(|(similarity, id)| (*similarity, id));
                best.extend(others.filter(|(_, id)| *id != some.start + at));
                keep(best, k + SPARE);
            });
        }
        let settled = best.into_par_iter().zip(some.into_par_iter()).map(|(best, query)| settle(x, query, best, k));
        found.par_extend(settled);
    }
    Ok(found)
}

fn order(a: &(f32, usize), b: &(f32, usize)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Reduces to the `count` most similar, in no order.
fn keep(best: &mut Similar, count: usize) {
    if best.len() > count {
        best.select_nth_unstable_by(count - 1, order);
        best.truncate(count);
    }
}

/// The first `k` by similarities in double precision, which no library and no split of the rows changes.
fn settle(x: &Activations, query: usize, candidates: Similar, k: usize) -> Similar {
    let query = x.row(query);
    let own = length(&query);
    let similarity = |id: usize| {
        let row = x.row(id);
        dot(&query, &row) / (own * length(&row)).max(1e-24)
    };
    let mut settled: Vec<(f64, usize)> = candidates.into_iter().map(|(_, id)| (similarity(id), id)).collect();
    settled.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    settled.truncate(k);
    settled.into_iter().map(|(similarity, id)| (similarity as f32, id)).collect()
}

/// The label that the `k` most similar vote for, each with the weight exp(similarity / 0.07), of each query.
pub fn votes(similar: &[Similar], labels: &[u32], k: usize, classes: usize) -> Vec<Option<u32>> {
    let vote = |similar: &Similar| {
        let labelled: Vec<_> = similar.iter().map(|(similarity, id)| (*similarity, labels[*id] as usize)).collect();
        winner(&knn_votes(&labelled, k, TEMPERATURE, classes)).map(|class| class as u32)
    };
    similar.par_iter().map(vote).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, draw};
    use half::f16;

    fn some(rows: usize, dims: usize) -> Activations {
        let mut stream = Seed::of_node(31, "test").stream("knn", 0);
        let mut numbers: Vec<f16> =
            (0..rows * dims).map(|_| f16::from_f64(draw::between(&mut stream, -1.0, 1.0))).collect();
        // Copies of one row, which are equally similar to any other.
        let first = numbers[..dims].to_vec();
        (40..50).for_each(|row| numbers[row * dims..][..dims].copy_from_slice(&first));
        Activations::of("test", dims, numbers).unwrap()
    }

    #[test]
    fn the_most_similar_are_those_of_comparing_all_with_all_and_of_equals_the_lowest() {
        let x = some(700, 9);
        let by_hand = |query: usize, known: Range<usize>, k: usize| {
            let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            let mut all: Vec<_> =
                known.filter(|id| *id != query).map(|id| (cosine(&x.row(query), &x.row(id)), id)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.into_iter().take(k).map(|(_, id)| id).collect::<Vec<_>>()
        };
        for (known, queries) in [(0..600, 600..700), (0..700, 0..700)] {
            let found = most_similar(&x, known.clone(), queries.clone(), 20, Device::Cpu, &mut |_| Ok(())).unwrap();
            for (query, similar) in queries.zip(&found) {
                let ids: Vec<_> = similar.iter().map(|(_, id)| *id).collect();
                assert_eq!(ids, by_hand(query, known.clone(), 20), "{query}");
            }
        }
        let few = most_similar(&x, 0..5, 600..601, 20, Device::Cpu, &mut |_| Ok(())).unwrap();
        assert_eq!(few[0].len(), 5);
    }

    #[test]
    fn a_near_vote_outweighs_several_far_ones() {
        let similar = [vec![(0.9, 0), (0.5, 1), (0.5, 2), (0.5, 3)]];
        assert_eq!(votes(&similar, &[7, 1, 1, 1], 4, 8), [Some(7)]);
        assert_eq!(votes(&similar, &[7, 1, 1, 1], 2, 2), [Some(1)]);
    }
}
