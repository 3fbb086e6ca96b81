//! groups: images that belong together, because they are equal or near, and images that are alone.

use crate::base::{Digest, ImageId};
use crate::format::Clusters;
use crate::format::neighbors::Neighbors;
use std::collections::BTreeMap;

/// Images that belong together, with distances: the nearest to another first, then by id.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) images: Vec<(ImageId, f32)>,
}

/// Files of the same bytes: the largest groups first, then by the first image.
pub(super) fn copies(digests: &[Digest]) -> Vec<Group> {
    let mut order: Vec<u32> = (0..digests.len() as u32).collect();
    let digest = |image: &u32| digests[*image as usize].as_bytes();
    order.sort_by(|a, b| digest(a).cmp(digest(b)).then(a.cmp(b)));
    let equal = order.chunk_by(|a, b| digest(a) == digest(b)).filter(|images| images.len() > 1);
    let group = |images: &[u32]| Group { images: images.iter().map(|image| (ImageId(*image), 0.0)).collect() };
    let mut groups: Vec<Group> = equal.map(group).collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.images.len()), group.images[0].0));
    groups
}

/// Images that a chain of neighbours joins, of at most this squared distance. The nearest come first, then by image.
/// Each image has its distance to the nearest of its group.
pub(super) fn near(neighbors: &Neighbors, limit: f32) -> Vec<Group> {
    let mut parent: Vec<u32> = (0..neighbors.rows() as u32).collect();
    let mut nearest: Vec<f32> = vec![f32::INFINITY; neighbors.rows()];
    for row in 0..neighbors.rows() {
        for (other, distance) in neighbors.of(row).take_while(|(_, distance)| *distance <= limit) {
            let (a, b) = (root(&mut parent, row as u32), root(&mut parent, other as u32));
            parent[a.max(b) as usize] = a.min(b);
            nearest[row] = nearest[row].min(distance);
            nearest[other] = nearest[other].min(distance);
        }
    }
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for row in (0..parent.len()).filter(|row| nearest[*row].is_finite()) {
        let group = groups.entry(root(&mut parent, row as u32)).or_insert_with(|| Group { images: Vec::new() });
        group.images.push((ImageId(row as u32), nearest[row]));
    }
    let mut groups: Vec<Group> = groups.into_values().filter(|group| group.images.len() > 1).collect();
    for group in &mut groups {
        group.images.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    }
    groups.sort_by(|a, b| a.images[0].1.total_cmp(&b.images[0].1).then(a.images[0].0.cmp(&b.images[0].0)));
    groups
}

/// The lowest image of a group; each image on the way then knows one nearer to it.
fn root(parent: &mut [u32], mut at: u32) -> u32 {
    while parent[at as usize] != at {
        let up = parent[parent[at as usize] as usize];
        (parent[at as usize], at) = (up, up);
    }
    at
}

/// The images that are farthest from their nearest, the farthest first.
pub(super) fn loneliest(nearest: &[(ImageId, f32)], most: usize) -> Vec<Group> {
    let images = (0..).map(ImageId).zip(nearest).map(|(image, (_, distance))| (*distance, image, *distance));
    first(images.collect(), most)
}

/// The images that are farthest from their centroid, as a multiple of their cluster's mean, the farthest first.
pub(super) fn farthest(clusters: &Clusters, most: usize) -> Vec<Group> {
    let mut sums = vec![0.0_f64; clusters.k as usize];
    for (cluster, distance) in clusters.cluster_id.iter().zip(&clusters.distance) {
        sums[cluster.index()] += f64::from(*distance);
    }
    let sizes = clusters.sizes();
    let images = (0..).map(ImageId).zip(clusters.cluster_id.iter().zip(&clusters.distance));
    let images = images.filter(|(_, (_, distance))| **distance > 0.0).map(|(image, (cluster, distance))| {
        let mean = sums[cluster.index()] / sizes[cluster.index()] as f64;
        ((f64::from(*distance) / mean) as f32, image, *distance)
    });
    first(images.collect(), most)
}

/// Those of the largest measure, each as a group, with its distance.
fn first(mut images: Vec<(f32, ImageId, f32)>, most: usize) -> Vec<Group> {
    images.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    images.into_iter().take(most).map(|(_, image, distance)| Group { images: vec![(image, distance)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ClusterId;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ids(group: &Group) -> Vec<u32> {
        group.images.iter().map(|(image, _)| image.0).collect()
    }

    #[test]
    fn equal_files_are_grouped_and_the_largest_group_comes_first() {
        let digests = [b"a", b"b", b"c", b"b", b"a", b"b"].map(|bytes| Digest::of(bytes));
        let found: Vec<_> = copies(&digests).iter().map(ids).collect();
        assert_eq!(found, [vec![1, 3, 5], vec![0, 4]]);
    }

    #[test]
    fn outliers_are_measured_by_their_own_cluster() {
        let cluster_id = [0, 0, 0, 1, 1].map(ClusterId).to_vec();
        let clusters = Clusters { k: 3, cluster_id, distance: vec![0.1, 0.1, 0.4, 3.0, 5.0], margin: vec![0.0; 5] };
        assert_eq!(farthest(&clusters, 2).iter().map(ids).collect::<Vec<_>>(), [[2], [4]]);
        let nearest = [(ImageId(1), 0.5), (ImageId(0), 0.5), (ImageId(0), 0.75)];
        assert_eq!(loneliest(&nearest, 2).iter().map(ids).collect::<Vec<_>>(), [[2], [0]]);
    }

    proptest! {
        #[test]
        fn near_images_are_those_that_a_chain_of_short_steps_joins(
            at in proptest::collection::vec(0_u16..400, 4..40),
            limit in 0_u16..100,
        ) {
            // Points on a line, with three neighbours each.
            let far = |a: usize, b: usize| f32::from(at[a].abs_diff(at[b])).powi(2);
            let (mut ids_, mut distances) = (Vec::new(), Vec::new());
            for row in 0..at.len() {
                let mut others: Vec<usize> = (0..at.len()).filter(|other| *other != row).collect();
                others.sort_by(|a, b| far(row, *a).total_cmp(&far(row, *b)).then(a.cmp(b)));
                ids_.extend(others[..3].iter().map(|other| *other as i32));
                distances.extend(others[..3].iter().map(|other| far(row, *other)));
            }
            let table = Neighbors { n: 3, ids: ids_, distances };
            let found = near(&table, f32::from(limit).powi(2));
            let mut sorted: Vec<usize> = (0..at.len()).collect();
            sorted.sort_by_key(|row| (at[*row], *row));
            let due: BTreeSet<BTreeSet<u32>> = sorted
                .chunk_by(|a, b| at[*a].abs_diff(at[*b]) <= limit)
                .filter(|chunk| chunk.len() > 1)
                .map(|chunk| chunk.iter().map(|row| *row as u32).collect())
                .collect();
            // Of many equal points, three neighbours each need not lead from one to the next group; so large ones are left out.
            if due.iter().all(|group| group.len() <= 4) {
                let all: BTreeSet<BTreeSet<u32>> = found.iter().map(|group| ids(group).into_iter().collect()).collect();
                prop_assert_eq!(all, due);
            }
            for group in &found {
                prop_assert!(group.images.windows(2).all(|pair| pair[0].1 <= pair[1].1));
                for (image, distance) in &group.images {
                    let least = (0..at.len()).filter(|other| *other != image.index()).map(|other| far(image.index(), other));
                    prop_assert_eq!(*distance, least.fold(f32::INFINITY, f32::min));
                }
            }
        }
    }
}
