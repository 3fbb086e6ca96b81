//! manifest: the epoch's reading order, position -> image, cluster, pseudo-label.

use super::error::{Result, damaged, wrong_rows};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use crate::base::{ClusterId, ImageId, PseudoLabel};
use bytes::Bytes;
use std::io::Write;
use std::ops::Range;

const K_KEY: &str = "dcpipe.k";
const CLASSES_KEY: &str = "dcpipe.classes";

/// The table of positions.
pub static MANIFEST: Kind = Kind {
    name: "manifest",
    version: 1,
    file: "manifest.parquet",
    container: Container::Parquet,
    fields: &[
        field("position", Holds::One(Scalar::I64), "place in the reading order, from 0 without a gap"),
        field("image_id", Holds::One(Scalar::I64), "the image read there; one may stand at several positions"),
        field("cluster_id", Holds::One(Scalar::I32), "its cluster, 0..k"),
        field("pseudo_label", Holds::One(Scalar::I32), "its training target, 0..classes"),
    ],
    metadata: &[
        (K_KEY, "number of centroids, those of empty clusters included"),
        (CLASSES_KEY, "number of pseudo-labels: clusters that are not empty"),
    ],
    rows: "by position",
};

/// The reading order; each column is indexed by `Position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Number of centroids.
    pub k: u32,
    /// Number of pseudo-labels.
    pub classes: u32,
    /// The image read there.
    pub image_id: Vec<ImageId>,
    /// Its cluster.
    pub cluster_id: Vec<ClusterId>,
    /// Its training target.
    pub pseudo_label: Vec<PseudoLabel>,
}

impl Manifest {
    /// Writes `manifest.parquet`.
    pub fn write<W: Write + Send>(&self, out: W) -> Result<W> {
        let rows = self.image_id.len();
        if self.cluster_id.len() != rows || self.pseudo_label.len() != rows {
            return Err(wrong_rows(MANIFEST.tag(), "columns of different lengths"));
        }
        let metadata: Metadata =
            [(K_KEY.to_owned(), self.k.to_string()), (CLASSES_KEY.to_owned(), self.classes.to_string())].into();
        write_groups(out, &MANIFEST, &metadata, rows, |rows| self.columns(rows))
    }

    /// The columns of some rows.
    pub(super) fn columns(&self, rows: Range<usize>) -> Vec<Column> {
        vec![
            Column::i64(rows.start as i64..rows.end as i64),
            Column::i64(self.image_id[rows.clone()].iter().map(|id| i64::from(id.0))),
            Column::i32(self.cluster_id[rows.clone()].iter().map(|id| id.0 as i32)),
            Column::i32(self.pseudo_label[rows].iter().map(|label| label.0 as i32)),
        ]
    }

    /// Reads `manifest.parquet`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&MANIFEST, bytes)?;
        table.counts_rows("position")?;
        let k: u32 = MANIFEST.read(&table.metadata, K_KEY)?;
        let classes: u32 = MANIFEST.read(&table.metadata, CLASSES_KEY)?;
        // The head has k outputs: a target beyond them is an error from which a GPU does not recover.
        if classes > k {
            return Err(damaged(MANIFEST.tag(), format!("{classes} pseudo-labels for {k} clusters")));
        }
        Ok(Self {
            k,
            classes,
            image_id: table.ids("image_id", u64::from(u32::MAX), ImageId)?,
            cluster_id: table.ids("cluster_id", u64::from(k), ClusterId)?,
            pseudo_label: table.ids("pseudo_label", u64::from(classes), PseudoLabel)?,
        })
    }
}
