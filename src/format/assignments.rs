//! assignments: which cluster of a finished run is nearest to each new image.

use super::error::Result;
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::{Table, Texts};
use super::table_writer::{Column, TableWriter};
use crate::base::ClusterId;
use bytes::Bytes;
use std::io::{self, Write};

/// The table of new images.
pub static ASSIGNMENTS: Kind = Kind {
    name: "assignments",
    version: 1,
    file: "assignments.parquet",
    container: Container::Parquet,
    fields: &[
        field("path", Holds::Text, "file below the folder of the new images, with /"),
        field("cluster_id", Holds::One(Scalar::I32), "the nearest centroid of the run, 0..k"),
        field("distance", Holds::One(Scalar::F32), "squared Euclidean distance to it"),
        field("margin", Holds::One(Scalar::F32), "squared distance to the second nearest, minus distance"),
        field("second_cluster_id", Holds::One(Scalar::I32), "the second nearest centroid; of only one, that one again"),
    ],
    metadata: &[],
    rows: "in the order of the new images",
};

/// The clusters of new images; every column has a value for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// The nearest centroid.
    pub cluster_id: Vec<ClusterId>,
    /// Squared distance to it.
    pub distance: Vec<f32>,
    /// How much farther the second nearest is, squared.
    pub margin: Vec<f32>,
    /// The second nearest centroid.
    pub second_cluster_id: Vec<ClusterId>,
}

/// Writes `assignments.parquet` in pieces, so that the table is never whole in memory.
pub struct AssignmentsWriter<W: Write + Send>(TableWriter<W>);

impl<W: Write + Send> AssignmentsWriter<W> {
    /// Begins the table.
    pub fn create(out: W) -> Self {
        Self(TableWriter::of(out, &ASSIGNMENTS, &Metadata::new()))
    }

    /// Writes the next images.
    ///
    /// # Errors
    /// If the columns differ in length, or if the output fails.
    pub fn push<'p>(&mut self, paths: impl Iterator<Item = &'p str>, images: &Assigned) -> Result<()> {
        let ids = |ids: &[ClusterId]| Column::i32(ids.iter().map(|id| id.0 as i32));
        self.0.push(vec![
            Column::text(paths),
            ids(&images.cluster_id),
            Column::f32(images.distance.iter().copied()),
            Column::f32(images.margin.iter().copied()),
            ids(&images.second_cluster_id),
        ])
    }

    /// Writes the foot of the file and returns the output.
    ///
    /// # Errors
    /// If nothing was pushed, or if the output fails.
    pub fn finish(self) -> Result<W> {
        self.0.finish()
    }
}

/// The whole table.
#[derive(Debug)]
pub struct Assignments {
    /// The file of each image.
    pub paths: Texts,
    /// Its clusters.
    pub images: Assigned,
}

impl Assignments {
    /// Reads `assignments.parquet`.
    ///
    /// # Errors
    /// If the file is damaged, or of another kind.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&ASSIGNMENTS, bytes)?;
        let ids = |column| table.ids(column, i32::MAX as u64, ClusterId);
        let images = Assigned {
            cluster_id: ids("cluster_id")?,
            distance: table.f32("distance")?,
            margin: table.f32("margin")?,
            second_cluster_id: ids("second_cluster_id")?,
        };
        Ok(Self { paths: table.text("path")?, images })
    }

    /// Writes the same as CSV by RFC 4180: a head, then a line for each image. Each number has as many digits as its
    /// value needs.
    ///
    /// # Errors
    /// If the output fails.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let names: Vec<_> = ASSIGNMENTS.fields.iter().map(|field| field.name).collect();
        write!(out, "{}\r\n", names.join(","))?;
        let Assigned { cluster_id, distance, margin, second_cluster_id } = &self.images;
        for (row, path) in self.paths.iter().enumerate() {
            let (first, second) = (cluster_id[row].0, second_cluster_id[row].0);
            write!(out, "{},{first},{},{},{second}\r\n", quoted(path), distance[row], margin[row])?;
        }
        Ok(())
    }
}

/// A text as one field of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
