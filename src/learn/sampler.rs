//! sampler: the epoch's reading order, every cluster equally often.

use super::order::{draw_front, shuffle};
use crate::base::draw::below_u64;
use crate::base::{ClusterId, ImageId, PseudoLabel, Seed, Stream};
use anyhow::{Context, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How images are drawn for an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Every non-empty cluster is drawn from equally often.
    #[default]
    Uniform,
    /// As the published code: what was drawn is looked up in the list ordered by cluster, which undoes the balance.
    OfficialCompat,
}

/// Position -> image, cluster and pseudo-label; the three columns are of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The image to read at each position.
    pub image: Vec<ImageId>,
    /// The cluster that image is in.
    pub cluster: Vec<ClusterId>,
    /// That cluster's rank among the non-empty ones.
    pub label: Vec<PseudoLabel>,
    /// How many clusters hold images: labels are 0..classes.
    pub classes: u32,
}

/// Images by cluster, and what the cluster ids are closed up to.
struct Members {
    /// All images, cluster by cluster, ascending within each.
    images: Vec<ImageId>,
    /// Where each cluster of 0..k starts in `images`; one more entry ends the last.
    starts: Vec<usize>,
    /// Label of each cluster of 0..k; an empty one has none.
    labels: Vec<Option<PseudoLabel>>,
}

impl Members {
    fn of(clusters: &[ClusterId], k: u32) -> Result<Self> {
        let k = k as usize;
        let mut starts = vec![0_usize; k + 1];
        for (image, cluster) in clusters.iter().enumerate() {
            ensure!(cluster.index() < k, "image {image} is in cluster {cluster}, but there are only {k} clusters");
            starts[cluster.index() + 1] += 1;
        }
        let mut classes = 0;
        let close_up = |&size: &usize| {
            (size > 0).then(|| {
                classes += 1;
                PseudoLabel(classes - 1)
            })
        };
        let labels = starts[1..].iter().map(close_up).collect();
        for c in 0..k {
            starts[c + 1] += starts[c];
        }
        let mut images = vec![ImageId(0); clusters.len()];
        let mut next = starts.clone();
        for (image, cluster) in clusters.iter().enumerate() {
            images[next[cluster.index()]] = ImageId(u32::try_from(image).context("more than 2^32 images")?);
            next[cluster.index()] += 1;
        }
        Ok(Self { images, starts, labels })
    }

    fn of_cluster(&self, cluster: usize) -> &[ImageId] {
        &self.images[self.starts[cluster]..self.starts[cluster + 1]]
    }
}

/// Draws an epoch of `length` positions from `clusters` (the cluster of each image, ids 0..`k`).
///
/// Each of the C non-empty clusters gives `length / C + 1` images, with replacement only where it holds no more than
/// that; all are shuffled together and cut off at `length`. Refuses an id outside 0..k, and no images at all.
pub fn draw(clusters: &[ClusterId], k: u32, length: usize, how: Draw, seed: &Seed) -> Result<Manifest> {
    ensure!(!clusters.is_empty(), "there are no images to draw from");
    let members = Members::of(clusters, k)?;
    let classes = members.labels.iter().flatten().count();
    let share = length / classes + 1;
    let mut image = Vec::with_capacity(share * classes);
    for cluster in (0..k as usize).filter(|&cluster| members.labels[cluster].is_some()) {
        draw_share(members.of_cluster(cluster), share, &mut seed.stream("draw", cluster as u64), &mut image);
    }
    shuffle(&mut image, &mut seed.stream("shuffle", 0));
    image.truncate(length);
    if how == Draw::OfficialCompat {
        // The published sampler draws an index into the dataset; its dataset is ordered by cluster and reads that place.
        for drawn in &mut image {
            *drawn = members.images[drawn.index()];
        }
    }
    let cluster: Vec<ClusterId> = image.iter().map(|image| clusters[image.index()]).collect();
    // DIVERGES: labels follow the cluster ids; the published code takes the order of a Python set, which is the same
    // as long as the ids are smaller than the set's table.
    let label = cluster
        .iter()
        .map(|cluster| members.labels[cluster.index()].context("BUG: an image of an empty cluster"))
        .collect::<Result<_>>()?;
    Ok(Manifest { image, cluster, label, classes: classes as u32 })
}

fn draw_share(members: &[ImageId], share: usize, stream: &mut Stream, out: &mut Vec<ImageId>) {
    if members.len() <= share {
        out.extend((0..share).map(|_| members[below_u64(stream, members.len() as u64) as usize]));
    } else {
        let mut members = members.to_vec();
        draw_front(&mut members, share, stream);
        out.extend_from_slice(&members[..share]);
    }
}
