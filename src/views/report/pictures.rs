//! pictures: which clusters a page shows with images, how many images of each, and what it leaves out.

use super::page::escaped;
use crate::base::ClusterId;
use crate::format::gallery::{Member, Stats};
use crate::image::{Limits, Sheet, decode, encode_jpeg};
use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of libjpeg, as the gallery's.
const QUALITY: u8 = 75;

/// The images of a cluster.
pub(super) struct Picture {
    /// A montage, a JPEG file.
    pub(super) sheet: Bytes,
    /// What its tiles are, in their order.
    pub(super) members: Vec<Value>,
}

/// The pictures of a page, in the order of their clusters' worth: the tightest, the loosest, the second tightest, ...
pub(in crate::views) struct Pictures {
    pub(super) of: Vec<(ClusterId, Picture)>,
    /// Tiles in a row of each montage.
    pub(super) columns: u32,
    /// Clusters that have images at all.
    all: usize,
    /// Clusters of which the gallery has images, and the most that it has of one.
    gallery: (usize, usize),
    asked: Asked,
}

/// How much a person asks for; what is not given is as much as fits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Clusters shown with images.
    pub clusters: Option<usize>,
    /// Images of each.
    pub per_cluster: Option<usize>,
}

impl Asked {
    /// Whether a person named a number. Then all of that is shown, in one file or not.
    pub(super) fn is_given(&self) -> bool {
        self.clusters.is_some() || self.per_cluster.is_some()
    }
}

impl Pictures {
    /// The pictures that a gallery has, as far as they are asked for.
    pub(super) fn of(
        stats: &Stats,
        members: &[Member],
        montage: &dyn Fn(ClusterId) -> Option<Bytes>,
        asked: Asked,
    ) -> anyhow::Result<Self> {
        let mut by_cluster: BTreeMap<ClusterId, Vec<&Member>> = BTreeMap::new();
        members.iter().for_each(|member| by_cluster.entry(member.cluster).or_default().push(member));
        let order = extremes(stats.clusters.iter().map(|cluster| cluster.montage.and(cluster.mean_distance)));
        let most = by_cluster.values().map(Vec::len).max().unwrap_or(0);
        let per_cluster = asked.per_cluster.filter(|wanted| *wanted < most);
        let columns = per_cluster.map_or(stats.columns, |wanted| stats.columns.min(wanted as u32).max(1));
        let mut of = Vec::new();
        for id in order.iter().take(asked.clusters.unwrap_or(usize::MAX)) {
            let (Some(sheet), Some(members)) = (montage(*id), by_cluster.get(id)) else { continue };
            let picture = match per_cluster {
                None => Picture { sheet, members: members.iter().map(|member| row(member)).collect() },
                Some(wanted) => fewer(&sheet, members, wanted, (stats.tile, stats.columns, columns))
                    .with_context(|| format!("the montage of cluster {id}"))?,
            };
            of.push((*id, picture));
        }
        let all = stats.clusters.iter().filter(|cluster| cluster.size > 0).count();
        Ok(Self { of, columns, all, gallery: (order.len(), most), asked })
    }

    /// The same page without any.
    pub(super) fn none(&self) -> Self {
        Self { of: Vec::new(), ..*self }
    }

    /// Leaves out the last ones, until those that stay have at most so many bytes within the page.
    pub(super) fn fit(&mut self, bytes: usize) {
        let (mut room, mut fit) = (bytes, 0);
        for (id, picture) in &self.of {
            let text = json!({ id.to_string(): picture.members });
            // Base64 takes four bytes for three, and the montage's key takes less than 32.
            let cost = picture.sheet.len().div_ceil(3) * 4 + 32 + escaped(&text).len();
            let Some(rest) = room.checked_sub(cost) else { break };
            (room, fit) = (rest, fit + 1);
        }
        self.of.truncate(fit);
    }

    /// Whether less was asked for than the gallery has.
    pub(super) fn is_part(&self) -> bool {
        let (clusters, most) = self.gallery;
        self.asked.is_given()
            && (self.of.len() < clusters || self.asked.per_cluster.is_some_and(|wanted| wanted < most))
    }

    /// What the page leaves out, for a person; nothing where it leaves out nothing. `node` is the gallery's name in the
    /// pipeline, `run` the run's, `bytes` what a page has at most.
    pub(super) fn left_out(&self, node: &str, run: &str, bytes: usize) -> Option<String> {
        let (shown, (clusters, most)) = (self.of.len(), self.gallery);
        let mut told = Vec::new();
        if shown < self.all {
            told.push(format!("images of {shown} of {} clusters, the tightest and the loosest", self.all));
        }
        if shown < clusters && !self.asked.is_given() {
            told.push(format!(
                "more do not fit into {} MB: dcpipe report {run} --clusters {clusters} puts them into a folder beside the \
                 file",
                bytes / 1_000_000
            ));
        }
        if shown < self.asked.clusters.unwrap_or(0).min(self.all) {
            told.push(format!("the gallery has no more: --set {node}.clusters=N of dcpipe run makes N"));
        }
        match self.asked.per_cluster {
            Some(wanted) if wanted < most => told.push(format!("{wanted} of up to {most} images of each")),
            Some(wanted) if wanted > most && most > 0 => told.push(format!(
                "at most {most} images of each, as the gallery has no more: --set {node}.per_cluster=N of dcpipe run makes N"
            )),
            _ => {}
        }
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Clusters by their worth for a person: the tightest, the loosest, the second tightest, and so on. Those without a
/// distance are left out.
fn extremes(distances: impl Iterator<Item = Option<f32>>) -> Vec<ClusterId> {
    let there = (0..).zip(distances).filter_map(|(id, distance)| Some((distance?, ClusterId(id))));
    let mut sorted: Vec<(f32, ClusterId)> = there.collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let last = sorted.len();
    let nth = |at: usize| if at.is_multiple_of(2) { at / 2 } else { last - 1 - at / 2 };
    (0..last).map(|at| sorted[nth(at)].1).collect()
}

/// A member, as the page reads it.
pub(super) fn row(member: &Member) -> Value {
    json!([member.image.0, member.path, member.label, member.role, member.distance])
}

/// A montage of so many of the members: half of them the nearest, a quarter the farthest. `form` is the side of a tile,
/// and the tiles in a row before and after.
fn fewer(sheet: &[u8], members: &[&Member], wanted: usize, form: (u32, u32, u32)) -> anyhow::Result<Picture> {
    let (tile, before, after) = form;
    let whole = decode(sheet, &Limits::default())?;
    let lines = (members.len() as u32).div_ceil(before);
    ensure!(
        whole.width == before * tile && whole.height >= lines * tile,
        "it is {} x {} pixels, which is no place for {} tiles of {tile}",
        whole.width,
        whole.height,
        members.len()
    );
    let kept = kept(members.len(), wanted);
    let mut small = Sheet::new(kept.len(), tile, after);
    let (side, stride) = (tile as usize * 3, whole.width as usize * 3);
    for (to, from) in kept.iter().enumerate() {
        let (line, column) = (from / before as usize * tile as usize, from % before as usize * side);
        let rows = (line..line + tile as usize).map(|y| &whole.rgb[y * stride + column..y * stride + column + side]);
        small.place(to, &rows.flatten().copied().collect::<Vec<u8>>());
    }
    let sheet = encode_jpeg(&small.picture(), QUALITY);
    ensure!(!sheet.is_empty(), "its tiles could not be written as JPEG");
    Ok(Picture { sheet: sheet.into(), members: kept.into_iter().map(|at| row(members[at])).collect() })
}

/// Which tiles stay: from both ends, and some between.
fn kept(tiles: usize, wanted: usize) -> Vec<usize> {
    if tiles <= wanted {
        return (0..tiles).collect();
    }
    let far = wanted / 4;
    let near = wanted - 2 * far;
    let (from, until) = (near, tiles - far);
    let between = (0..far).map(|nth| from + (2 * nth + 1) * (until - from) / (2 * far));
    (0..near).chain(between).chain(until..tiles).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_kept_tiles_are_distinct_and_in_order(tiles in 0_usize..500, wanted in 1_usize..100) {
            let kept = kept(tiles, wanted);
            prop_assert_eq!(kept.len(), tiles.min(wanted));
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]) && kept.iter().all(|at| *at < tiles));
        }

        #[test]
        fn any_beginning_of_the_order_holds_the_tightest_and_the_loosest(
            distances in proptest::collection::vec(proptest::option::of(0.0_f32..2.0), 0..60), first in 0_usize..60,
        ) {
            let order = extremes(distances.iter().copied());
            let of = |id: &ClusterId| distances[id.index()].unwrap();
            let (shown, rest) = order.split_at(first.min(order.len()));
            let tight = shown.iter().step_by(2).map(of).fold(0.0, f32::max);
            let loose = shown.iter().skip(1).step_by(2).map(of).fold(9.0, f32::min);
            prop_assert!(rest.iter().all(|id| tight <= of(id) && of(id) <= loose));
            let mut all: Vec<u32> = order.iter().map(|id| id.0).collect();
            all.sort_unstable();
            let due: Vec<u32> = (0..).zip(&distances).filter(|(_, d)| d.is_some()).map(|(id, _)| id).collect();
            prop_assert_eq!(all, due);
        }
    }
}
