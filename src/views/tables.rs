//! tables: Parquet tables as other tools want them: with the path, and with the epoch as a plain column.
//!
//! The files lie in Hive folders (`epoch=0007`). The folder's key is not repeated inside under its own name: some readers
//! refuse that, and others disagree about its type. `epoch_idx` is the column to select by.

use crate::base::{Digest, Epoch};
use crate::format::metrics::{open_metrics, open_steps};
use crate::format::table::Table;
use crate::format::{Clusters, Column, Dataset, Manifest, Metadata, clusters, write_table};
use crate::store::{Record, Store};
use crate::views::files;
use anyhow::{Context, ensure};
use bytes::Bytes;
use std::path::Path;

/// The file in each folder.
pub const FILE: &str = "part-0.parquet";
/// The artifact that a table shows.
const ARTIFACT_KEY: &str = "dcpipe.artifact";
/// Of what it was laid out, all together.
const HOLDS_KEY: &str = "dcpipe.holds";

/// Whether a table can be read to its end and says that it holds this.
pub fn holds(bytes: &Bytes, this: Digest) -> bool {
    let table = Table::open_any(FILE, bytes, usize::MAX);
    table.is_ok_and(|table| table.metadata.get(HOLDS_KEY) == Some(&this.to_string()))
}

/// Which node's tables are written.
pub struct Place<'a> {
    /// Where its parts are.
    pub store: &'a Store,
    /// What it made.
    pub record: &'a Record,
    /// Its epoch.
    pub epoch: Epoch,
    /// What the tables hold: the artifact, and what else stands in them.
    pub holds: Digest,
}

impl Place<'_> {
    fn part(&self, name: &str) -> anyhow::Result<Bytes> {
        let part = self.record.artifact.part(name).with_context(|| format!("there is no {name}"))?;
        Ok(self.store.map(part)?)
    }

    fn write(&self, folder: &Path, noun: &str, rows: usize, mut columns: Vec<(&str, Column)>) -> anyhow::Result<()> {
        let epoch = self.epoch.0 as i32;
        columns.insert(0, ("epoch_idx", Column::i32(std::iter::repeat_n(epoch, rows))));
        let artifact = self.record.artifact.digest();
        let said = [(ARTIFACT_KEY, artifact), (HOLDS_KEY, self.holds)];
        let metadata: Metadata = said.into_iter().map(|(key, digest)| (key.to_owned(), digest.to_string())).collect();
        let tmp = files::aside(&folder.join(FILE));
        let write = || -> anyhow::Result<()> {
            write_table(std::fs::File::create(&tmp)?, &format!("{noun}-view/v1"), columns, &metadata)?;
            Ok(std::fs::rename(&tmp, folder.join(FILE))?)
        };
        let done = write().inspect_err(|_| drop(std::fs::remove_file(&tmp)));
        done.with_context(|| format!("writing to {}", folder.display()))
    }

    /// Every image with its cluster, by image.
    pub fn clusters(&self, folder: &Path, images: &Dataset) -> anyhow::Result<()> {
        let table = Clusters::open(&self.part("clusters.parquet")?)?;
        let rows = table.cluster_id.len();
        ensure!(rows == images.len(), "{rows} images were clustered, the dataset has {}", images.len());
        let columns = vec![
            ("image_id", Column::i64(0..rows as i64)),
            ("path", Column::text(images.iter().map(|image| image.path))),
            ("label", Column::text(images.iter().map(|image| image.label))),
            ("cluster_id", Column::i32(table.cluster_id.iter().map(|id| id.0 as i32))),
            ("distance", Column::f32(table.distance.iter().copied())),
            ("margin", Column::f32(table.margin.iter().copied())),
        ];
        self.write(folder, "clusters", rows, columns)
    }

    /// How k-means went, by iteration.
    pub fn iterations(&self, folder: &Path) -> anyhow::Result<()> {
        let table = clusters::open_iterations(&self.part("iterations.parquet")?)?;
        let columns = vec![
            ("iteration", Column::i32(0..table.len() as i32)),
            ("objective", Column::f64(table.iter().map(|i| i.objective))),
            ("splits", Column::i32(table.iter().map(|i| i.splits as i32))),
            ("empty", Column::i32(table.iter().map(|i| i.empty as i32))),
            ("moved", Column::i64(table.iter().map(|i| i.moved as i64))),
        ];
        self.write(folder, "iterations", table.len(), columns)
    }

    /// The reading order, by position.
    pub fn manifest(&self, folder: &Path) -> anyhow::Result<()> {
        let table = Manifest::open(&self.part("manifest.parquet")?)?;
        let rows = table.image_id.len();
        let columns = vec![
            ("position", Column::i64(0..rows as i64)),
            ("image_id", Column::i64(table.image_id.iter().map(|id| i64::from(id.0)))),
            ("cluster_id", Column::i32(table.cluster_id.iter().map(|id| id.0 as i32))),
            ("pseudo_label", Column::i32(table.pseudo_label.iter().map(|label| label.0 as i32))),
        ];
        self.write(folder, "manifest", rows, columns)
    }

    /// The numbers about a clustering.
    pub fn metrics(&self, folder: &Path) -> anyhow::Result<()> {
        let table = open_metrics(&self.part("metrics.parquet")?)?;
        let columns = vec![
            ("name", Column::text(table.iter().map(|metric| &metric.name))),
            ("value", Column::f64(table.iter().map(|metric| metric.value))),
        ];
        self.write(folder, "metrics", table.len(), columns)
    }

    /// The loss of every training step.
    pub fn steps(&self, folder: &Path) -> anyhow::Result<()> {
        let table = open_steps(&self.part("steps.parquet")?)?;
        let columns = vec![
            ("step", Column::i64(table.iter().map(|step| step.step as i64))),
            ("images", Column::i64(table.iter().map(|step| step.images as i64))),
            ("loss", Column::f64(table.iter().map(|step| step.loss))),
            ("lr", Column::f64(table.iter().map(|step| step.lr))),
        ];
        self.write(folder, "steps", table.len(), columns)
    }
}
