//! atlas: one Parquet with thumbnails and a map, for Embedding Atlas, Spotlight, Hugging Face datasets and pandas.

use super::Job;
use super::originals::Lost;
use super::source::{NO_VECTORS, Source, cluster_name};
use super::thumbnails::Thumbnails;
use crate::base::shell::shell;
use crate::base::{ClusterId, ImageId};
use crate::format::atlas::{ATLAS, AtlasWriter, CHUNK, Has, LABELS, Label, Row, write_labels};
use rayon::prelude::*;

/// Writes `atlas.parquet`, a row group at a time, and `labels.parquet`.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let source = job.source;
    let thumbnails = Thumbnails::open(source, job.options.side)?;
    let (map, neighbors) = (source.projection()?, source.neighbors()?);
    let has = Has { map: map.is_some(), neighbors: neighbors.is_some() };
    let (dataset, clusters, lost) = (&source.originals.dataset, &source.clusters, Lost::default());
    let row = |image: ImageId| {
        let (known, at) = (dataset.image(image), image.index());
        Row {
            image,
            picture: lost.count(image, thumbnails.jpeg(image)),
            path: known.path,
            label: known.label,
            label_id: Some(dataset.label_ids()[at].into()).filter(|id| *id >= 0),
            cluster: clusters.cluster_id[at],
            name: cluster_name(clusters.cluster_id[at]),
            distance: clusters.distance[at],
            margin: clusters.margin[at],
            at: map.as_ref().map_or([0.0; 2], |map| map[at]),
            near: neighbors.as_ref().map_or((&[], &[]), |near| {
                let of = at * near.n..(at + 1) * near.n;
                (&near.ids[of.clone()], &near.distances[of])
            }),
        }
    };
    let ids: Vec<ImageId> = source.ids().collect();
    job.write(ATLAS.file, |out| {
        let mut table = AtlasWriter::create(out, dataset.labels(), has);
        let mut done = 0;
        loop {
            let chunk = &ids[done..ids.len().min(done + CHUNK)];
            table.push(&chunk.par_iter().map(|id| row(*id)).collect::<Vec<_>>())?;
            done += chunk.len();
            (job.heard)(done as u64, ids.len() as u64, "thumbnails");
            if done == ids.len() {
                table.finish()?;
                return Ok(());
            }
        }
    })?;
    lost.told("have no thumbnail", ids.len())?.into_iter().for_each(|text| job.note(text));
    let file = |name: &str| shell(&job.to.join(name).display().to_string());
    let mut atlas = format!("embedding-atlas {} --image image", file(ATLAS.file));
    match &map {
        Some(map) => {
            job.write(LABELS.file, |out| Ok(write_labels(out, &labels(source, map)).map(drop)?))?;
            atlas += &format!(" --x projection_x --y projection_y --labels {}", file(LABELS.file));
        }
        None => job.note(format!("the table has no projection_x and projection_y: {NO_VECTORS}")),
    }
    if has.neighbors {
        atlas += " --neighbors neighbors";
    }
    Ok(vec![atlas, format!("spotlight {}", file(ATLAS.file))])
}

/// The name of each cluster that has images, at the mean of their places.
fn labels(source: &Source<'_>, map: &[[f32; 2]]) -> Vec<Label> {
    let mut sums = vec![[0.0_f64; 2]; source.clusters.k as usize];
    for (cluster, at) in source.clusters.cluster_id.iter().zip(map) {
        let sum = &mut sums[cluster.index()];
        *sum = [sum[0] + f64::from(at[0]), sum[1] + f64::from(at[1])];
    }
    let sizes = source.clusters.sizes();
    let named = source.titles().into_iter().zip(sums).zip(sizes).zip((0..).map(ClusterId));
    let full = named.filter(|((_, size), _)| *size > 0);
    let label = |(((text, sum), size), cluster): (((String, [f64; 2]), u64), ClusterId)| {
        let at = sum.map(|sum| (sum / size as f64) as f32);
        Label { at, text, size, cluster }
    };
    full.map(label).collect()
}
