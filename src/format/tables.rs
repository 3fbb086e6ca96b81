//! tables: what people read of an epoch: the same rows with the epoch, and with every image's path and label.
//!
//! The files are in Hive folders (`epoch=0007`). No column repeats the folder's key under its own name. Some readers
//! refuse such a column, and others disagree about its type. `epoch_idx` is the column to select by.

use super::error::{Result, wrong_rows};
use super::kind::{Container, Field, Holds, Kind, Metadata, Scalar, field};
use super::table_writer::{Column, write_groups};
use super::{Clusters, Dataset, Iteration, Manifest, Metric, Step, clusters, manifest, metrics};
use crate::base::{Digest, Epoch, ImageId};
use std::io::Write;
use std::ops::Range;

const ARTIFACT_KEY: &str = "dcpipe.artifact";
const METADATA: &[(&str, &str)] = &[(ARTIFACT_KEY, "digest of the parts that the table was made of")];
const EPOCH: Field = field("epoch_idx", Holds::One(Scalar::I32), "the epoch; 0 for what is made once");

/// The fields of a kind, after the epoch's.
const fn with_epoch<const N: usize>(fields: &[Field]) -> [Field; N] {
    let mut all = [EPOCH; N];
    let mut at = 1;
    while at < N {
        all[at] = fields[at - 1];
        at += 1;
    }
    all
}

/// Every image with its cluster.
pub static CLUSTERS: Kind = Kind {
    name: "clusters-view",
    version: 1,
    file: clusters::CLUSTERS.file,
    container: Container::Parquet,
    fields: &[
        EPOCH,
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset, from 0 without a gap"),
        field("path", Holds::Text, "file below the dataset's root, with /; or member of its archive"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
        field("cluster_id", Holds::One(Scalar::I32), "the nearest centroid, 0..k"),
        field("distance", Holds::One(Scalar::F32), "squared Euclidean distance to it"),
        field("margin", Holds::One(Scalar::F32), "squared distance to the second nearest, minus distance"),
    ],
    metadata: METADATA,
    rows: "by image_id",
};

/// How k-means went.
pub static ITERATIONS: Kind = Kind {
    name: "iterations-view",
    version: 1,
    file: clusters::ITERATIONS.file,
    container: Container::Parquet,
    fields: &with_epoch::<6>(clusters::ITERATIONS.fields),
    metadata: METADATA,
    rows: "by iteration",
};

/// The reading order.
pub static MANIFEST: Kind = Kind {
    name: "manifest-view",
    version: 1,
    file: manifest::MANIFEST.file,
    container: Container::Parquet,
    fields: &with_epoch::<5>(manifest::MANIFEST.fields),
    metadata: METADATA,
    rows: "by position",
};

/// The numbers about a clustering.
pub static METRICS: Kind = Kind {
    name: "metrics-view",
    version: 1,
    file: metrics::METRICS.file,
    container: Container::Parquet,
    fields: &with_epoch::<3>(metrics::METRICS.fields),
    metadata: METADATA,
    rows: "in the order they are shown in",
};

/// The loss of every training step.
pub static STEPS: Kind = Kind {
    name: "steps-view",
    version: 1,
    file: metrics::STEPS.file,
    container: Container::Parquet,
    fields: &with_epoch::<5>(metrics::STEPS.fields),
    metadata: METADATA,
    rows: "by step",
};

/// The source of a table's rows.
#[derive(Clone, Copy, Debug)]
pub struct Of {
    /// The epoch.
    pub epoch: Epoch,
    /// The digest of the parts that it is made from.
    pub artifact: Digest,
}

impl Of {
    fn write<W: Write + Send>(
        &self,
        out: W,
        kind: &Kind,
        rows: usize,
        columns: impl Fn(Range<usize>) -> Vec<Column>,
    ) -> Result<W> {
        let metadata: Metadata = [(ARTIFACT_KEY.to_owned(), self.artifact.to_string())].into();
        write_groups(out, kind, &metadata, rows, |rows| {
            let mut columns = columns(rows.clone());
            columns.insert(0, Column::i32(std::iter::repeat_n(self.epoch.0 as i32, rows.len())));
            columns
        })
    }

    /// Writes every image with its cluster.
    ///
    /// # Errors
    /// If the numbers of images and of clustered images differ.
    pub fn clusters<W: Write + Send>(&self, out: W, clusters: &Clusters, images: &Dataset) -> Result<W> {
        let rows = clusters.cluster_id.len();
        if rows != images.len() {
            let images = images.len();
            return Err(wrong_rows(CLUSTERS.tag(), format!("{rows} images were clustered, the dataset has {images}")));
        }
        let image = |row: usize| images.image(ImageId(row as u32));
        self.write(out, &CLUSTERS, rows, |rows| {
            vec![
                Column::i64(rows.start as i64..rows.end as i64),
                Column::text(rows.clone().map(|row| image(row).path)),
                Column::text(rows.clone().map(|row| image(row).label)),
                Column::i32(clusters.cluster_id[rows.clone()].iter().map(|id| id.0 as i32)),
                Column::f32(clusters.distance[rows.clone()].iter().copied()),
                Column::f32(clusters.margin[rows].iter().copied()),
            ]
        })
    }

    /// Writes how k-means went, by iteration.
    pub fn iterations<W: Write + Send>(&self, out: W, iterations: &[Iteration]) -> Result<W> {
        self.write(out, &ITERATIONS, iterations.len(), |rows| clusters::columns(iterations, rows))
    }

    /// Writes the reading order, by position.
    pub fn manifest<W: Write + Send>(&self, out: W, manifest: &Manifest) -> Result<W> {
        self.write(out, &MANIFEST, manifest.image_id.len(), |rows| manifest.columns(rows))
    }

    /// Writes the numbers about a clustering.
    pub fn metrics<W: Write + Send>(&self, out: W, metrics: &[Metric]) -> Result<W> {
        self.write(out, &METRICS, metrics.len(), |rows| metrics::metric_columns(&metrics[rows]))
    }

    /// Writes the loss of every training step.
    pub fn steps<W: Write + Send>(&self, out: W, steps: &[Step]) -> Result<W> {
        self.write(out, &STEPS, steps.len(), |rows| metrics::step_columns(&steps[rows]))
    }
}
