//! montage: one JPEG of some members of a cluster, tile by tile, from the nearest to the farthest.

use crate::base::{ClusterId, ImageId};
use crate::format::gallery::{ClusterStat, Member};
use crate::format::{Clusters, Dataset, Rows};
use crate::image::{CentreView, Picture, Sheet, encode_jpeg};
use anyhow::{Context, ensure};

/// Of libjpeg, for pictures that are looked at in passing.
const QUALITY: u8 = 75;
/// Tiles in a row, where there are as many.
const COLUMNS: usize = 6;

/// Which clusters get a montage, by id: all, or else half of `most` the tightest and half the loosest.
pub(super) fn choose(clusters: &[ClusterStat], most: usize) -> Vec<ClusterId> {
    let with_members = (0..).zip(clusters).filter_map(|(id, cluster)| Some((cluster.mean_distance?, ClusterId(id))));
    let mut by_distance: Vec<(f32, ClusterId)> = with_members.collect();
    by_distance.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let tight = most.div_ceil(2);
    let loose = most - tight;
    let middle =
        tight.min(by_distance.len())..by_distance.len().saturating_sub(loose).max(tight.min(by_distance.len()));
    by_distance.drain(middle);
    let mut chosen: Vec<ClusterId> = by_distance.into_iter().map(|(_, id)| id).collect();
    chosen.sort();
    chosen
}

/// Makes montages.
pub(super) struct Montages<'a> {
    pub(super) pixels: &'a Rows<u8>,
    /// Side of a crop, in pixels.
    pub(super) crop: u32,
    /// Side of a tile, in pixels.
    pub(super) tile: u32,
    pub(super) per_cluster: usize,
}

impl Montages<'_> {
    /// Tiles in a row.
    pub(super) fn columns(&self) -> u32 {
        self.per_cluster.min(COLUMNS) as u32
    }

    /// The montage of a cluster and what it shows; `members` are in the order of distance.
    pub(super) fn of(
        &self,
        cluster: ClusterId,
        members: &[ImageId],
        clusters: &Clusters,
        dataset: &Dataset,
    ) -> anyhow::Result<(Vec<u8>, Vec<Member>)> {
        let picks = picks(members.len(), self.per_cluster);
        let mut sheet = Sheet::new(picks.len(), self.tile, self.columns());
        let view = CentreView { short_side: self.tile, crop: self.tile };
        let mut square = vec![0; view.bytes()];
        let mut shown = Vec::with_capacity(picks.len());
        for (at, (nth, role)) in picks.into_iter().enumerate() {
            let image = members[nth];
            let pixels = self.pixels.image(image).with_context(|| format!("image {image} has no crop"))?;
            let picture = Picture { width: self.crop, height: self.crop, rgb: pixels.to_vec() };
            view.render(&picture, &mut square);
            sheet.place(at, &square);
            let known = dataset.image(image);
            shown.push(Member {
                cluster,
                tile: at as u32,
                role: role.to_owned(),
                image,
                path: known.path.to_owned(),
                label: known.label.to_owned(),
                distance: clusters.distance[image.index()],
            });
        }
        let jpeg = encode_jpeg(&sheet.picture(), QUALITY);
        ensure!(!jpeg.is_empty(), "the montage of cluster {cluster} is larger than a JPEG can be: take fewer tiles");
        Ok((jpeg, shown))
    }
}

/// Which of so many members a montage shows, from the nearest to the farthest.
fn picks(members: usize, most: usize) -> Vec<(usize, &'static str)> {
    if members <= most {
        return (0..members).map(|at| (at, "nearest")).collect();
    }
    let (far, between) = (most / 4, most / 4);
    let near = most - far - between;
    let (from, until) = (near, members - far);
    let step = |nth: usize| from + (2 * nth + 1) * (until - from) / (2 * between);
    let near = (0..near).map(|at| (at, "nearest"));
    let far = (until..members).map(|at| (at, "farthest"));
    near.chain((0..between).map(|nth| (step(nth), "between"))).chain(far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn picks_are_distinct_and_in_order(members in 0_usize..2000, most in 1_usize..60) {
            let found = picks(members, most);
            prop_assert_eq!(found.len(), members.min(most));
            prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(found.iter().all(|(at, _)| *at < members));
        }

        #[test]
        fn at_most_so_many_clusters_are_chosen_and_the_extremes_are_among_them(
            means in proptest::collection::vec(proptest::option::of(0.0_f32..2.0), 0..60),
            most in 1_usize..20,
        ) {
            let stat = |mean_distance: &Option<f32>| ClusterStat {
                size: u64::from(mean_distance.is_some()), mean_distance: *mean_distance,
                main_label: None, previous: None, neighbor: None, montage: None,
            };
            let stats: Vec<_> = means.iter().map(stat).collect();
            let chosen = choose(&stats, most);
            let full: Vec<f32> = means.iter().copied().flatten().collect();
            prop_assert_eq!(chosen.len(), full.len().min(most));
            let of = |id: &ClusterId| means[id.index()].unwrap();
            if let Some(tightest) = full.iter().copied().reduce(f32::min) {
                prop_assert!(chosen.iter().any(|id| of(id) <= tightest));
            }
            prop_assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
