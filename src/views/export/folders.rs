//! folders: the image files in a folder for each cluster, the nearest to its centroid first.

use super::Job;
use super::names::{of_cluster, safe};
use super::originals::{Lost, place};
use crate::base::ClusterId;
use crate::base::shell::shell;
use rayon::prelude::*;

/// Writes `cluster-0007/12-NAME.jpg` for every image: its rank in the cluster, and its own name.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let (originals, options) = (&job.source.originals, job.options);
    let members = job.source.clusters.members();
    let most = options.per_cluster.unwrap_or(usize::MAX);
    let largest = members.iter().map(|images| images.len().min(most)).max().unwrap_or(0);
    let digits = largest.saturating_sub(1).to_string().len();
    let total: usize = members.iter().map(|images| images.len().min(most)).sum();
    let (lost, mut done) = (Lost::default(), 0);
    for (cluster, images) in (0..).map(ClusterId).zip(&members) {
        let images = &images[..images.len().min(most)];
        if images.is_empty() {
            continue;
        }
        let folder = job.folder.join(of_cluster(cluster));
        std::fs::create_dir(&folder)?;
        images.par_iter().enumerate().try_for_each(|(rank, image)| {
            let name = format!("{rank:0digits$}-{}", safe(originals.dataset.image(*image).path));
            lost.count(*image, place(originals, *image, options.copy, &folder.join(name))?);
            anyhow::Ok(())
        })?;
        done += images.len();
        (job.heard)(done as u64, total as u64, "images");
    }
    let how = if options.copy || originals.root().is_none() { "were left out" } else { "have links that lead nowhere" };
    lost.told(how, total)?.into_iter().for_each(|text| job.note(text));
    Ok(vec![format!("ls {}", shell(&job.to.display().to_string()))])
}
