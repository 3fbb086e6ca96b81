//! montage: the montages of the gallery, a JPEG file for each cluster.

use super::Job;
use super::names::of_cluster;
use super::source::Source;
use crate::base::ClusterId;
use crate::base::shell::shell;
use crate::format::gallery::{MONTAGES, STATS, Stats};
use crate::views::made::{Made, NO_GALLERY};
use anyhow::Context;
use bytes::Bytes;
use std::io::Write;

/// The montages of a gallery: the JPEG file of each cluster that has one, and the size of the cluster.
pub(super) fn montages(source: &Source<'_>, gallery: &Made<'_>) -> anyhow::Result<Vec<(ClusterId, u64, Bytes)>> {
    let part = |name| anyhow::Ok(gallery.part(source.store, name)?.with_context(|| format!("no part {name}"))?);
    let pack = part(MONTAGES)?;
    let stats = Stats::open(&part(STATS.file)?, pack.len() as u64)?;
    let montage = |(id, cluster): (u32, &crate::format::gallery::ClusterStat)| {
        let (from, bytes) = cluster.montage?;
        Some((ClusterId(id), cluster.size, pack.slice(from as usize..(from + bytes) as usize)))
    };
    Ok((0..).zip(&stats.clusters).filter_map(montage).collect())
}

/// Writes `cluster-0007.jpg` for each cluster that has a montage.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let montages = montages(job.source, job.source.gallery().context(NO_GALLERY)?)?;
    let full = job.source.clusters.sizes().iter().filter(|size| **size > 0).count();
    for (cluster, _, jpeg) in &montages {
        job.write(&format!("{}.jpg", of_cluster(*cluster)), |out| Ok(out.write_all(jpeg)?))?;
    }
    if montages.len() < full {
        let count = montages.len();
        job.note(format!("the gallery has montages of {count} of {full} clusters; gallery.clusters sets how many"));
    }
    Ok(vec![format!("xdg-open {}", shell(&job.to.display().to_string()))])
}
