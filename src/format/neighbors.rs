//! neighbors: for each image those whose vectors are nearest to its own.

use super::element::bytes_of;
use super::error::{Result, bad_value, damaged, wrong_rows};
use super::ipc_reader::IpcFile;
use super::ipc_writer::IpcWriter;
use super::kind::{ColumnType, Container, Holds, Kind, Metadata, Scalar, field};
use super::whitening::width;
use bytes::Bytes;
use std::io::Write;

/// The table of neighbours.
pub static NEIGHBORS: Kind = Kind {
    name: "neighbors",
    version: 1,
    file: "neighbors.arrow",
    container: Container::Arrow,
    fields: &[
        field("neighbor", Holds::Row(&[Scalar::I32], "n"), "image_id of the nearest other images, the nearest first"),
        field("distance", Holds::Row(&[Scalar::F32], "n"), "squared L2 between the two vectors, never falling"),
    ],
    metadata: &[],
    rows: "by image_id, in batches of 65536 rows; no image is left out",
};

const BATCH_ROWS: usize = 65_536;

/// Neighbours of images that are counted from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbors {
    /// Neighbours of each image.
    pub n: usize,
    /// rows x n: image ids, the nearest first.
    pub ids: Vec<i32>,
    /// rows x n: squared L2.
    pub distances: Vec<f32>,
}

impl Neighbors {
    /// How many images.
    pub fn rows(&self) -> usize {
        self.ids.len() / self.n
    }

    /// The neighbours of a row, with their distances.
    pub fn of(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = row * self.n..(row + 1) * self.n;
        self.ids[range.clone()].iter().map(|id| *id as usize).zip(self.distances[range].iter().copied())
    }

    /// Writes `neighbors.arrow`.
    pub fn write<W: Write>(&self, out: W) -> Result<W> {
        if self.n == 0 || !self.ids.len().is_multiple_of(self.n) || self.ids.len() != self.distances.len() {
            return Err(wrong_rows(NEIGHBORS.tag(), "neighbours that are not rows x n"));
        }
        let columns = [ColumnType::Row(Scalar::I32, self.n), ColumnType::Row(Scalar::F32, self.n)];
        let mut writer = IpcWriter::create(out, &NEIGHBORS, &columns, &Metadata::new())?;
        let pieces = self.ids.chunks(BATCH_ROWS * self.n).zip(self.distances.chunks(BATCH_ROWS * self.n));
        for (ids, distances) in pieces {
            writer.begin(ids.len() / self.n)?;
            writer.column(bytes_of(ids))?;
            writer.column(bytes_of(distances))?;
        }
        writer.finish()
    }

    /// Reads `neighbors.arrow`; refuses a neighbour that is no row.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let file = IpcFile::open(&NEIGHBORS, bytes)?;
        let (n, rows) = (width(&file, 0), file.rows());
        if n != width(&file, 1) {
            return Err(damaged(NEIGHBORS.tag(), "another number of distances than of neighbours"));
        }
        let (mut ids, mut distances) = (Vec::with_capacity(rows * n), Vec::with_capacity(rows * n));
        for batch in &file.batches {
            ids.extend_from_slice(batch.column::<i32>(0));
            distances.extend_from_slice(batch.column::<f32>(1));
        }
        if let Some(at) = ids.iter().position(|id| usize::try_from(*id).map_or(true, |id| id >= rows)) {
            return Err(bad_value(NEIGHBORS.tag(), "neighbor", at / n, "no row of this table"));
        }
        Ok(Self { n, ids, distances })
    }
}
