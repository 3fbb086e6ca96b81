//! schema: every kind of file, and each as a page that a person reads.

use super::kind::{Container, Kind, SCHEMA_KEY};
use super::{
    assignments, atlas, centroids, clusters, crops, dataset, evaluation, features, flows, gallery, manifest, marks,
    metrics, neighbors, oddities, projection, scatter, search, tables, vectors, weights, whitening,
};
use std::fmt::Write;

/// Every kind of file.
pub static KINDS: &[&Kind] = &[
    &dataset::IMAGES,
    &dataset::BAD,
    &crops::CROPS,
    &crops::CROPS_1,
    &features::FEATURES,
    &features::FEATURES_1,
    &whitening::WHITENING,
    &whitening::MEAN,
    &vectors::VECTORS,
    &centroids::CENTROIDS,
    &clusters::CLUSTERS,
    &clusters::ITERATIONS,
    &scatter::SCATTER,
    &search::SEARCH,
    &manifest::MANIFEST,
    &weights::WEIGHTS,
    &weights::MOMENTUM,
    &metrics::STEPS,
    &metrics::METRICS,
    &tables::CLUSTERS,
    &tables::ITERATIONS,
    &tables::MANIFEST,
    &tables::METRICS,
    &tables::STEPS,
    &gallery::STATS,
    &gallery::MEMBERS,
    &gallery::MAP,
    &flows::FLOWS,
    &flows::CONFUSION,
    &neighbors::NEIGHBORS,
    &projection::PROJECTION,
    &oddities::ODDITIES,
    &oddities::NEAREST,
    &evaluation::EVALUATION,
    &marks::MARKS,
    &assignments::ASSIGNMENTS,
    &atlas::ATLAS,
    &atlas::LABELS,
];

/// The path of a kind's page under `schemas/`.
pub fn page_name(kind: &Kind) -> String {
    format!("{}.v{}.txt", kind.name, kind.version)
}

/// The page of a kind; a review of a format reads its diff.
pub fn page(kind: &Kind) -> String {
    let container = match kind.container {
        Container::Arrow => "Arrow IPC file: not compressed, every buffer at a multiple of 64 bytes",
        Container::Parquet => "Parquet: zstd level 3, row groups of 131072 rows, no embedded Arrow schema",
        Container::Pictures => "Parquet: zstd level 3, row groups of 1000 rows, no embedded Arrow schema",
        Container::Safetensors => "safetensors",
    };
    let mut page = format!("{}\n\nfile  {}\n      {container}\nrows  {}\n\n", kind.tag(), kind.file, kind.rows);
    let mut lines = vec![["column".to_owned(), "type".to_owned(), "null".to_owned(), "meaning".to_owned()]];
    lines.extend(kind.fields.iter().map(|field| {
        let null = if field.holds.may_be_null() { "yes" } else { "no" };
        [field.name.to_owned(), field.holds.to_string(), null.to_owned(), field.means.to_owned()]
    }));
    let width = |at: usize| lines.iter().map(|line| line[at].len()).max().unwrap_or(0);
    let (names, types) = (width(0), width(1));
    for [name, holds, null, means] in &lines {
        let _ = writeln!(page, "{name:names$}  {holds:types$}  {null:4}  {means}");
    }
    let tag = kind.tag();
    let metadata = [(SCHEMA_KEY, tag.as_str())].into_iter().chain(kind.metadata.iter().copied());
    let metadata: Vec<_> = metadata.collect();
    let keys = metadata.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    page += "\nmetadata\n";
    for (key, means) in metadata {
        let _ = writeln!(page, "{key:keys$}  {means}");
    }
    page
}
