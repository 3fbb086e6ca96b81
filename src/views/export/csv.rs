//! csv: a row for each image, as spreadsheets, pandas and FiftyOne read it.

use super::Job;
use super::source::{Source, cluster_name};
use crate::base::ImageId;
use std::borrow::Cow;
use std::io::Write;

/// Writes path, label, cluster, distance and margin of every image, in the order of the ids.
pub fn write(source: &Source<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    row(out, &["path", "label", "cluster_id", "distance", "margin"].map(Cow::from))?;
    for id in source.ids() {
        let image = source.originals.dataset.image(id);
        let [cluster, distance, margin] = numbers(source, id);
        row(out, &[image.path.into(), image.label.into(), cluster, distance, margin])?;
    }
    Ok(())
}

/// The same rows for FiftyOne: `filepath` names the file itself.
pub fn fiftyone(job: &Job<'_>, paths: &[String], projection: Option<&[[f32; 2]]>) -> anyhow::Result<()> {
    job.write("labels.csv", |out| {
        let head = ["filepath", "image_id", "label", "cluster", "cluster_id", "distance", "margin", "x", "y"];
        row(out, &head.map(Cow::from))?;
        for (id, path) in job.source.ids().zip(paths) {
            let label = job.source.originals.dataset.image(id).label;
            let name = cluster_name(job.source.clusters.cluster_id[id.index()]);
            let [cluster, distance, margin] = numbers(job.source, id);
            let at = projection.map(|points| points[id.index()].map(|axis| axis.to_string()));
            let [x, y] = at.unwrap_or_default();
            let number = id.to_string();
            let cells = [path.into(), number.into(), label.into(), name.into(), cluster, distance, margin];
            row(out, &cells.into_iter().chain([x.into(), y.into()]).collect::<Vec<_>>())?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Cluster, distance and margin of an image.
fn numbers(source: &Source<'_>, id: ImageId) -> [Cow<'static, str>; 3] {
    let (clusters, at) = (&source.clusters, id.index());
    [clusters.cluster_id[at].to_string(), clusters.distance[at].to_string(), clusters.margin[at].to_string()]
        .map(Cow::from)
}

/// A line, by RFC 4180 but for its end, which is a line feed.
fn row(out: &mut dyn Write, cells: &[Cow<'_, str>]) -> anyhow::Result<()> {
    for (at, cell) in cells.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        if cell.contains([',', '"', '\n', '\r']) || cell.trim() != cell {
            write!(out, "{comma}\"{}\"", cell.replace('"', "\"\""))?;
        } else {
            write!(out, "{comma}{cell}")?;
        }
    }
    Ok(out.write_all(b"\n")?)
}
