//! index: the members of every cluster by their distance, in eight bytes an image.

use crate::base::draw::below_u64;
use crate::base::{ClusterId, Epoch, ImageId, Seed};
use crate::format::Clusters;
use crate::format::gallery::{ClusterStat, Stats};
use serde::Deserialize;

/// An image of a cluster, and its squared distance to the centroid.
pub(super) type Member = (ImageId, f32);

/// In which order a cluster's members come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// The nearest to the centroid first.
    #[default]
    Near,
    /// The farthest first.
    Far,
    /// Shuffled; a seed gives one order.
    Random,
}

/// Every image, cluster by cluster, and in each by distance and then by id.
pub(super) struct Index {
    /// Where each cluster starts; one more than clusters.
    starts: Vec<u32>,
    images: Vec<u32>,
    /// Squared distances, in the same order.
    distances: Vec<f32>,
}

impl Index {
    /// Of a clustering; it takes the place of the distances.
    pub(super) fn of(clusters: &Clusters) -> Self {
        let mut starts = vec![0_u32; clusters.k as usize + 1];
        for id in &clusters.cluster_id {
            starts[id.index() + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut images = vec![0; clusters.cluster_id.len()];
        for (image, id) in (0..).zip(&clusters.cluster_id) {
            images[next[id.index()] as usize] = image;
            next[id.index()] += 1;
        }
        let distance = |image: &u32| clusters.distance[ImageId(*image).index()];
        for ends in starts.windows(2) {
            let members = &mut images[ends[0] as usize..ends[1] as usize];
            members.sort_unstable_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
        }
        let distances = images.iter().map(distance).collect();
        Self { starts, images, distances }
    }

    /// How many clusters there are, those without members included.
    pub(super) fn k(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// Members of a cluster; 0 where there is no such cluster.
    pub(super) fn size(&self, cluster: ClusterId) -> usize {
        self.places(cluster).len()
    }

    fn places(&self, cluster: ClusterId) -> std::ops::Range<usize> {
        match self.starts.get(cluster.index()..).and_then(|rest| rest.get(..2)) {
            Some(ends) => ends[0] as usize..ends[1] as usize,
            None => 0..0,
        }
    }

    /// At most `count` members from the `from`-th on. Pages of one order and seed have each member once.
    pub(super) fn page(&self, cluster: ClusterId, order: Order, seed: u64, from: usize, count: usize) -> Vec<Member> {
        let places = self.places(cluster);
        let page = from.min(places.len())..from.saturating_add(count).min(places.len());
        let member = |at: usize| (ImageId(self.images[at]), self.distances[at]);
        match order {
            Order::Near => page.map(|nth| member(places.start + nth)).collect(),
            Order::Far => page.map(|nth| member(places.end - 1 - nth)).collect(),
            Order::Random => {
                let mut stream = Seed::of_node(seed, "serve").stream("shuffle", cluster.0.into());
                let mut all: Vec<u32> = (places.start as u32..places.end as u32).collect();
                // Only the beginning up to the page's end need be shuffled.
                for nth in 0..page.end {
                    let left = (all.len() - nth) as u64;
                    all.swap(nth, nth + below_u64(&mut stream, left) as usize);
                }
                all[page].iter().map(|at| member(*at as usize)).collect()
            }
        }
    }

    /// The cluster and the squared distance of each of some images; none of an image that is in no cluster.
    pub(super) fn clusters_of(&self, images: &[ImageId]) -> Vec<Option<(ClusterId, f32)>> {
        let mut ranks: Vec<usize> = (0..images.len()).collect();
        ranks.sort_unstable_by_key(|rank| images[*rank]);
        let mut found = vec![None; images.len()];
        for (at, image) in self.images.iter().enumerate() {
            let from = ranks.partition_point(|rank| images[*rank].0 < *image);
            for rank in ranks[from..].iter().take_while(|rank| images[**rank].0 == *image) {
                // The last cluster that starts here or before holds the place; empty ones before it start here, too.
                let cluster = self.starts.partition_point(|start| *start as usize <= at) - 1;
                found[*rank] = Some((ClusterId(cluster as u32), self.distances[at]));
            }
        }
        found
    }

    /// What can be said of the clusters without a gallery: sizes and mean distances.
    pub(super) fn stats(&self, epoch: Epoch, tile: u32, columns: u32) -> Stats {
        let of = |id: u32| {
            let places = self.places(ClusterId(id));
            let (size, sum) = (places.len(), self.distances[places].iter().map(|d| f64::from(*d)).sum::<f64>());
            ClusterStat {
                size: size as u64,
                mean_distance: (size > 0).then(|| (sum / size as f64) as f32),
                main_label: None,
                previous: None,
                neighbor: None,
                montage: None,
            }
        };
        Stats { epoch, tile, columns, clusters: (0..self.k()).map(of).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_of_every_order_have_each_member_once(
            images in proptest::collection::vec((0_u32..5, 0_u8..4), 0..80),
            count in 1_usize..9,
            seed: u64,
        ) {
            let cluster_id = images.iter().map(|(id, _)| ClusterId(*id)).collect();
            let distance: Vec<f32> = images.iter().map(|(_, far)| f32::from(*far)).collect();
            let index = Index::of(&Clusters { k: 6, cluster_id, margin: distance.clone(), distance });
            for id in 0..7 {
                let mut due: Vec<Member> = (0..).zip(&images)
                    .filter(|(_, (cluster, _))| *cluster == id)
                    .map(|(image, (_, far))| (ImageId(image), f32::from(*far)))
                    .collect();
                due.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
                let all = |order| -> Vec<Member> {
                    let pages = (0..=due.len()).step_by(count);
                    pages.flat_map(|from| index.page(ClusterId(id), order, seed, from, count)).collect()
                };
                prop_assert_eq!(&all(Order::Near), &due);
                prop_assert_eq!(all(Order::Far), due.iter().rev().copied().collect::<Vec<_>>());
                let mut random = all(Order::Random);
                random.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
                prop_assert_eq!(random, due);
            }
            let asked: Vec<ImageId> = (0..=images.len() as u32).rev().chain(0..2).map(ImageId).collect();
            let due: Vec<_> = asked.iter().map(|image| images.get(image.index()))
                .map(|known| known.map(|(cluster, far)| (ClusterId(*cluster), f32::from(*far))))
                .collect();
            prop_assert_eq!(index.clusters_of(&asked), due);
        }
    }
}
