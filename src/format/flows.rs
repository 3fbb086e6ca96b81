//! flows: which images two clusterings in a row have in common, and which labels the clusters mix.

use super::error::{Result, bad_value};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use crate::base::ClusterId;
use bytes::Bytes;
use std::io::Write;

/// Flows of a cluster that the table has at least, the largest. So it has all that are a quarter of the images.
pub const MOST: usize = 4;
/// Labels that the table of confusion tells apart.
pub const LABELS: usize = 20;

/// The table of flows.
pub static FLOWS: Kind = Kind {
    name: "cluster-flows",
    version: 1,
    file: "cluster_flows.parquet",
    container: Container::Parquet,
    fields: &[
        field("cluster_id", Holds::One(Scalar::I32), "a cluster of this epoch"),
        field("before_id", Holds::One(Scalar::I32), "a cluster of the epoch before"),
        field("images", Holds::One(Scalar::I64), "images that are in both"),
        field("before_images", Holds::One(Scalar::I64), "images of the cluster of the epoch before"),
    ],
    metadata: &[],
    rows: "by cluster_id, before_id; the 4 largest flows into each cluster, and the 4 largest out of each before",
};

/// The table of confusion.
pub static CONFUSION: Kind = Kind {
    name: "label-confusion",
    version: 1,
    file: "label_confusion.parquet",
    container: Container::Parquet,
    fields: &[
        field("label", Holds::Text, "label of the images; empty: any other label"),
        field("main_label", Holds::Text, "commonest label of the cluster that they are in; empty: any other label"),
        field("images", Holds::One(Scalar::I64), "images of that label in such clusters"),
    ],
    metadata: &[],
    rows: "by label, main_label; the 20 commonest labels have rows of their own, and no count is 0",
};

/// What a cluster has in common with one of the epoch before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// A cluster of this epoch.
    pub cluster: ClusterId,
    /// A cluster of the epoch before.
    pub before: ClusterId,
    /// Images in both.
    pub images: u64,
    /// Images of the cluster of the epoch before.
    pub before_images: u64,
}

/// Images of a label in clusters of a main label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confused {
    /// Their label; empty: any that has no row of its own.
    pub label: String,
    /// The commonest label of their clusters; empty: any that has no row of its own.
    pub main: String,
    /// How many.
    pub images: u64,
}

/// Writes `cluster_flows.parquet`.
pub fn write_flows<W: Write + Send>(out: W, flows: &[Flow]) -> Result<W> {
    write_groups(out, &FLOWS, &Metadata::new(), flows.len(), |rows| {
        let all = || flows[rows.clone()].iter();
        vec![
            Column::i32(all().map(|flow| flow.cluster.0 as i32)),
            Column::i32(all().map(|flow| flow.before.0 as i32)),
            Column::i64(all().map(|flow| flow.images as i64)),
            Column::i64(all().map(|flow| flow.before_images as i64)),
        ]
    })
}

/// Reads `cluster_flows.parquet` of `k` clusters.
pub fn open_flows(bytes: &Bytes, k: u64) -> Result<Vec<Flow>> {
    let table = Table::open(&FLOWS, bytes)?;
    let (clusters, before) =
        (table.ids("cluster_id", k, ClusterId)?, table.ids("before_id", i32::MAX as u64, ClusterId)?);
    let (images, sizes) = (table.counts("images", u32::MAX.into())?, table.counts("before_images", u32::MAX.into())?);
    if let Some(row) = images.iter().zip(&sizes).position(|(images, size)| images > size) {
        return Err(bad_value(FLOWS.tag(), "images", row, "more than the cluster of the epoch before had"));
    }
    let flow = |row: usize| Flow {
        cluster: clusters[row],
        before: before[row],
        images: images[row],
        before_images: sizes[row],
    };
    Ok((0..table.rows).map(flow).collect())
}

/// Writes `label_confusion.parquet`.
pub fn write_confusion<W: Write + Send>(out: W, cells: &[Confused]) -> Result<W> {
    write_groups(out, &CONFUSION, &Metadata::new(), cells.len(), |rows| {
        let all = || cells[rows.clone()].iter();
        vec![
            Column::text(all().map(|cell| &cell.label)),
            Column::text(all().map(|cell| &cell.main)),
            Column::i64(all().map(|cell| cell.images as i64)),
        ]
    })
}

/// Reads `label_confusion.parquet`.
pub fn open_confusion(bytes: &Bytes) -> Result<Vec<Confused>> {
    let table = Table::open(&CONFUSION, bytes)?;
    let (labels, mains, images) =
        (table.text("label")?, table.text("main_label")?, table.counts("images", u32::MAX.into())?);
    let cell = |row: usize| Confused {
        label: labels.get(row).to_owned(),
        main: mains.get(row).to_owned(),
        images: images[row],
    };
    Ok((0..table.rows).map(cell).collect())
}
