//! labelstudio: tasks for Label Studio whose predictions are the clusters, and what lets it read local files.

use super::Job;
use super::names::percent;
use super::originals::paths;
use super::source::cluster_name;
use crate::base::shell::shell;
use crate::base::{ClusterId, ImageId};
use anyhow::ensure;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Tasks that a project of Label Studio takes without trouble.
const MANY: usize = 100_000;

/// Writes `tasks.json` and `labeling.xml`.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let clusters = &job.source.clusters;
    let files = paths(job)?;
    // Label Studio serves what is below a folder, and takes a storage only where it is not that folder itself.
    let storage = super::names::absolute(job.source.originals.root().unwrap_or(job.to));
    let served = storage.parent().unwrap_or(&storage);
    let tasks: Vec<ImageId> = match job.options.per_cluster {
        None => job.source.ids().collect(),
        Some(most) => clusters.members().into_iter().flat_map(|images| images.into_iter().take(most)).collect(),
    };
    if tasks.len() > MANY {
        job.note(format!(
            "Label Studio is slow beyond {MANY} tasks, and these are {}: add --per-cluster 5",
            tasks.len()
        ));
    }
    let task = |image: ImageId| {
        let (known, at) = (job.source.originals.dataset.image(image), image.index());
        let file = Path::new(&files[at]).strip_prefix(served)?.to_string_lossy().into_owned();
        let cluster = cluster_name(clusters.cluster_id[at]);
        // 0 on the border to the second nearest cluster, 1 on the centroid.
        let second = clusters.distance[at] + clusters.margin[at];
        let score = if second > 0.0 { (clusters.margin[at] / second).clamp(0.0, 1.0) } else { 0.0 };
        let choice = json!({ "from_name": "cluster", "to_name": "image", "type": "choices",
                             "value": { "choices": [cluster] } });
        let name = format!("dcpipe {} {}", job.source.plan.name, job.source.name);
        anyhow::Ok(json!({
            "data": { "image": format!("/data/local-files/?d={}", percent(&file)), "path": known.path,
                      "label": known.label, "image_id": image.0 },
            "predictions": [{ "model_version": name, "score": score, "result": [choice] }],
        }))
    };
    job.write("tasks.json", |out| {
        for (at, image) in tasks.iter().enumerate() {
            let before = if at == 0 { "[\n" } else { ",\n" };
            write!(out, "{before}{}", task(*image)?)?;
        }
        Ok(out.write_all(if tasks.is_empty() { b"[]\n" } else { b"\n]\n" })?)
    })?;
    job.write("labeling.xml", |out| {
        writeln!(
            out,
            "<View>\n  <Image name=\"image\" value=\"$image\"/>\n  <Choices name=\"cluster\" toName=\"image\">"
        )?;
        for cluster in (0..clusters.k).map(ClusterId) {
            writeln!(out, "    <Choice value=\"{}\"/>", cluster_name(cluster))?;
        }
        Ok(out.write_all(b"  </Choices>\n</View>\n")?)
    })?;
    ensure!(served.to_str().is_some(), "{} is not UTF-8, which Label Studio does not take", served.display());
    let word = |path: &Path| shell(&path.display().to_string());
    Ok(vec![
        "export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true".to_owned(),
        format!("export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={}", word(served)),
        format!(
            "label-studio start  # then: code of labeling.xml, add Local files {} without a sync, import tasks.json",
            word(&storage)
        ),
    ])
}
