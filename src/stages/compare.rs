//! compare: clusters, those of an earlier epoch, labels -> metrics: how good and how stable a clustering is.

use crate::engine::{Before, Context, Device, Keep, Noun, Pool, Port, Stage};
use crate::format::clusters;
use crate::format::dataset::IMAGES;
use crate::format::metrics::{self, write_metrics};
use crate::format::{Clusters, Dataset, Metric};
use crate::learn::agreement::{Contingency, Spread};
use crate::learn::health::{self, Signs};
use crate::stages::{CLUSTERS, DATASET, METRICS};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Compares a clustering with an earlier epoch's and with the folder labels, where there are any.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {}

impl Stage for Compare {
    const VERB: &'static str = "compare";
    const VERSION: u32 = 3;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("clusters", CLUSTERS.name).reading(clusters::CLUSTERS.files()),
        Port::optional("before", CLUSTERS.name).reading(clusters::CLUSTERS.files()),
    ];
    const OUTPUT: Noun = METRICS;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn before(&self, _: &Device) -> Before {
        Before { version: 2, format: Self::OUTPUT.format, numerics: None, by_parts: false }
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let dataset = Dataset::open(&cx.input("dataset")?.part(IMAGES.file)?)?;
        let clusters = Clusters::open(&cx.input("clusters")?.part(clusters::CLUSTERS.file)?)?;
        let ids = ids(&clusters);
        ensure!(ids.len() == dataset.len(), "{} images were clustered, the dataset has {}", ids.len(), dataset.len());
        let spread = Spread::of(&ids, clusters.k)?;
        let mut found = vec![
            ("images", ids.len() as f64),
            ("clusters", f64::from(clusters.k)),
            ("empty_clusters", spread.empty as f64),
            ("largest_cluster", spread.largest as f64),
            ("smallest_cluster", spread.smallest as f64),
            ("entropy", spread.entropy),
            ("perplexity", spread.perplexity),
            ("mean_distance", mean(&clusters.distance)),
        ];
        let mut signs = Signs {
            k: clusters.k.into(),
            empty: spread.empty,
            perplexity: spread.perplexity,
            distinct: dataset.iter().map(|image| image.digest).collect::<HashSet<_>>().len() as u64,
            labels: dataset.labels().len() as u64,
            nmi_previous: None,
        };
        if let Some(before) = cx.input_if_any("before") {
            let before = Clusters::open(&before.part(clusters::CLUSTERS.file)?)?;
            let table = Contingency::of(&ids, &self::ids(&before))?;
            signs.nmi_previous = Some(table.nmi_arithmetic());
            found.extend([
                ("nmi_previous", table.nmi_arithmetic()),
                ("nmi_previous_geometric", table.nmi_geometric()),
                ("ami_previous", table.ami()),
                ("ari_previous", table.ari()),
                ("moved_share", table.moved()),
            ]);
        }
        found.extend(against_labels(&ids, &dataset)?);
        for (name, value) in found.iter().filter(|(name, _)| name.starts_with("nmi") && !name.ends_with("geometric")) {
            cx.metric(name, *value);
        }
        let mut metrics: Vec<_> =
            found.into_iter().map(|(name, value)| Metric { name: name.to_owned(), value }).collect();
        for (code, value) in health::warnings(&signs) {
            cx.warn(code, &health::text(code, value));
            metrics.push(Metric { name: format!("{}{code}", health::PREFIX), value });
        }
        cx.write_part(metrics::METRICS.file, |out| write_metrics(out, &metrics).map(drop))
    }
}

/// Agreement with the labels of the images that have one; nothing where fewer than two labels occur.
fn against_labels(ids: &[u32], dataset: &Dataset) -> anyhow::Result<Vec<(&'static str, f64)>> {
    if dataset.labels().len() < 2 {
        return Ok(Vec::new());
    }
    let labelled = ids.iter().zip(dataset.label_ids()).filter(|(_, label)| **label >= 0);
    let (ids, labels): (Vec<u32>, Vec<u32>) = labelled.map(|(id, label)| (*id, *label as u32)).unzip();
    let table = Contingency::of(&ids, &labels)?;
    Ok(vec![
        ("nmi_label", table.nmi_arithmetic()),
        ("nmi_label_geometric", table.nmi_geometric()),
        ("ami_label", table.ami()),
        ("ari_label", table.ari()),
        ("purity_label", table.purity()),
    ])
}

fn ids(clusters: &Clusters) -> Vec<u32> {
    clusters.cluster_id.iter().map(|id| id.0).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}
