//! stats: what is to be said of each cluster: how tight it is, which label it has, what it was an epoch ago.

use crate::base::ClusterId;
use crate::format::gallery::ClusterStat;
use crate::format::{Centroids, Clusters, Dataset};
use anyhow::ensure;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// A row for each cluster, without montages.
pub(super) fn of(
    clusters: &Clusters,
    centroids: &Centroids,
    before: Option<&Clusters>,
    dataset: &Dataset,
    checkpoint: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<ClusterStat>> {
    let sizes = clusters.sizes();
    ensure!(centroids.sizes == sizes, "the centroids have other sizes than the clusters");
    let mut sums = vec![0.0_f64; sizes.len()];
    for (cluster, distance) in clusters.cluster_id.iter().zip(&clusters.distance) {
        sums[cluster.index()] += f64::from(*distance);
    }
    let labels = commonest(&clusters.cluster_id, dataset.label_ids().iter().map(|label| u32::try_from(*label).ok()));
    let previous = match before {
        Some(before) => overlaps(clusters, before, &sizes)?,
        None => vec![None; sizes.len()],
    };
    let neighbors = neighbors(centroids, checkpoint)?;
    let row = |at: usize| ClusterStat {
        size: sizes[at],
        mean_distance: (sizes[at] > 0).then(|| (sums[at] / sizes[at] as f64) as f32),
        main_label: labels.get(&(at as u32)).map(|found| {
            let label = dataset.labels()[found.label as usize].clone();
            ((found.count as f64 / found.all as f64) as f32, label)
        }),
        previous: previous[at],
        neighbor: neighbors[at],
        montage: None,
    };
    Ok((0..sizes.len()).map(row).collect())
}

/// The commonest of some values in a cluster, how often it occurs, and how many values there are.
struct Commonest {
    label: u32,
    count: u64,
    all: u64,
}

/// Of two that are equally common, the lower.
fn commonest(clusters: &[ClusterId], values: impl Iterator<Item = Option<u32>>) -> BTreeMap<u32, Commonest> {
    let pairs = clusters.iter().zip(values).filter_map(|(cluster, value)| Some((cluster.0, value?)));
    let mut found: BTreeMap<u32, Commonest> = BTreeMap::new();
    for ((cluster, label), count) in counts(pairs) {
        let known = found.entry(cluster).or_insert(Commonest { label, count: 0, all: 0 });
        known.all += count;
        if count > known.count {
            (known.label, known.count) = (label, count);
        }
    }
    found
}

/// How often each pair occurs, in the order of pairs.
pub(super) fn counts(pairs: impl Iterator<Item = (u32, u32)>) -> Vec<((u32, u32), u64)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.par_sort_unstable();
    pairs.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect()
}

/// For each cluster the one of the epoch before with the largest intersection over union; of equals the lowest.
fn overlaps(now: &Clusters, before: &Clusters, sizes: &[u64]) -> anyhow::Result<Vec<Option<(ClusterId, f32)>>> {
    let (images, earlier) = (now.cluster_id.len(), before.cluster_id.len());
    ensure!(images == earlier, "{images} images were clustered, {earlier} in the epoch before");
    let sizes_before = before.sizes();
    let mut best: Vec<Option<(ClusterId, f32)>> = vec![None; sizes.len()];
    let pairs = now.cluster_id.iter().zip(&before.cluster_id).map(|(now, then)| (now.0, then.0));
    for ((cluster, then), both) in counts(pairs) {
        let union = sizes[cluster as usize] + sizes_before[then as usize] - both;
        let iou = (both as f64 / union as f64) as f32;
        let known = &mut best[cluster as usize];
        if known.is_none_or(|(_, most)| iou > most) {
            *known = Some((ClusterId(then), iou));
        }
    }
    Ok(best)
}

/// Centroids between two looks at whether the run must stop.
const BLOCK: usize = 256;

/// For each non-empty cluster the other one whose centroid is nearest; of equally near ones the lowest.
fn neighbors(
    centroids: &Centroids,
    checkpoint: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Option<ClusterId>>> {
    let row = |at: usize| &centroids.centroids[at * centroids.dims..(at + 1) * centroids.dims];
    let squared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
    let full: Vec<usize> = (0..centroids.sizes.len()).filter(|at| centroids.sizes[*at] > 0).collect();
    let nearest = |at: usize| {
        let others = full.iter().filter(|other| **other != at).map(|other| (squared(row(at), row(*other)), *other));
        others.reduce(|best, next| if next.0 < best.0 { next } else { best })
    };
    let mut found = vec![None; centroids.sizes.len()];
    for block in full.chunks(BLOCK) {
        checkpoint()?;
        let near: Vec<_> = block.par_iter().map(|at| (*at, nearest(*at))).collect();
        near.into_iter().for_each(|(at, near)| found[at] = near.map(|(_, other)| ClusterId(other as u32)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(ids: &[u32], k: u32) -> Clusters {
        let count = ids.len();
        Clusters {
            k,
            cluster_id: ids.iter().copied().map(ClusterId).collect(),
            distance: (0..count).map(|at| at as f32).rev().collect(),
            margin: vec![0.0; count],
        }
    }

    #[test]
    fn the_previous_cluster_has_the_largest_intersection_over_union() {
        let (now, before) = (clusters(&[0, 0, 0, 1, 1], 3), clusters(&[2, 2, 1, 1, 1], 3));
        let found = overlaps(&now, &before, &now.sizes()).unwrap();
        let third = (2.0_f64 / 3.0) as f32;
        assert_eq!(found, [Some((ClusterId(2), third)), Some((ClusterId(1), third)), None]);
        assert!(overlaps(&now, &clusters(&[0], 1), &now.sizes()).is_err());
    }

    #[test]
    fn the_main_label_is_the_commonest_and_images_without_a_label_do_not_count() {
        let ids = [0, 0, 0, 0, 1, 2].map(ClusterId);
        let labels = [Some(4), Some(4), Some(2), None, None, Some(1)];
        let found = commonest(&ids, labels.into_iter());
        let told: Vec<_> = found.iter().map(|(id, found)| (*id, found.label, found.count, found.all)).collect();
        assert_eq!(told, [(0, 4, 2, 3), (2, 1, 1, 1)]);
    }

    #[test]
    fn neighbors_are_the_nearest_non_empty_centroids() {
        let centroids = Centroids { dims: 1, sizes: vec![1, 0, 2, 3], centroids: vec![0.0, 0.1, 5.0, 4.0] };
        assert_eq!(
            neighbors(&centroids, &|| Ok(())).unwrap(),
            [Some(ClusterId(3)), None, Some(ClusterId(3)), Some(ClusterId(2))]
        );
    }
}
