//! whitening: the PCA behind the vectors: mean, components, eigenvalues.

use super::element::bytes_of;
use super::error::{Result, damaged, wrong_rows};
use super::ipc_reader::{IpcBatch, IpcFile};
use super::ipc_writer::IpcWriter;
use super::kind::{ColumnType, Container, Holds, Kind, Metadata, Scalar, field};
use bytes::Bytes;
use std::io::Write;

/// The table of components.
pub static WHITENING: Kind = Kind {
    name: "whitening",
    version: 1,
    file: "whitening.arrow",
    container: Container::Arrow,
    fields: &[
        field("component", Holds::One(Scalar::I32), "from 0, the largest eigenvalue first"),
        field("eigenvalue", Holds::One(Scalar::F64), "variance of the features along the component"),
        field("component_vector", Holds::Row(&[Scalar::F32], "D"), "the component's direction, of length 1"),
    ],
    metadata: &[],
    rows: "by component, in exactly one batch",
};

/// The feature mean.
pub static MEAN: Kind = Kind {
    name: "mean",
    version: 1,
    file: "mean.arrow",
    container: Container::Arrow,
    fields: &[field("mean", Holds::Row(&[Scalar::F64], "D"), "mean of the features")],
    metadata: &[],
    rows: "one row, in exactly one batch",
};

/// The components of a PCA, d of them in D dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// D.
    pub dims: usize,
    /// d variances.
    pub eigenvalues: Vec<f64>,
    /// d x D directions.
    pub components: Vec<f32>,
}

impl Whitening {
    /// Writes `whitening.arrow`.
    pub fn write<W: Write>(&self, out: W) -> Result<W> {
        let rows = self.eigenvalues.len();
        if self.dims == 0 || rows.checked_mul(self.dims) != Some(self.components.len()) {
            return Err(wrong_rows(WHITENING.tag(), "components that are not d x D"));
        }
        let columns =
            [ColumnType::One(Scalar::I32), ColumnType::One(Scalar::F64), ColumnType::Row(Scalar::F32, self.dims)];
        let mut writer = IpcWriter::create(out, &WHITENING, &columns, &Metadata::new())?;
        let numbers: Vec<i32> = (0..rows as i32).collect();
        writer.begin(rows)?;
        writer.column(bytes_of(&numbers))?;
        writer.column(bytes_of(&self.eigenvalues))?;
        writer.column(bytes_of(&self.components))?;
        writer.finish()
    }

    /// Reads `whitening.arrow`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let file = IpcFile::open(&WHITENING, bytes)?;
        let batch = only_batch(&WHITENING, &file)?;
        if !batch.column::<i32>(0).iter().copied().eq(0..batch.rows as i32) {
            return Err(damaged(WHITENING.tag(), "components that are not counted from 0"));
        }
        let dims = width(&file, 2);
        Ok(Self { dims, eigenvalues: batch.column(1).to_vec(), components: batch.column(2).to_vec() })
    }
}

/// Writes `mean.arrow`: D numbers.
pub fn write_mean<W: Write>(out: W, mean: &[f64]) -> Result<W> {
    if mean.is_empty() {
        return Err(wrong_rows(MEAN.tag(), "a mean of no dimension"));
    }
    let mut writer = IpcWriter::create(out, &MEAN, &[ColumnType::Row(Scalar::F64, mean.len())], &Metadata::new())?;
    writer.begin(1)?;
    writer.column(bytes_of(mean))?;
    writer.finish()
}

/// Reads `mean.arrow`: D numbers.
pub fn open_mean(bytes: &Bytes) -> Result<Vec<f64>> {
    let file = IpcFile::open(&MEAN, bytes)?;
    let batch = only_batch(&MEAN, &file)?;
    if batch.rows != 1 {
        return Err(damaged(MEAN.tag(), format!("{} rows, not one", batch.rows)));
    }
    Ok(batch.column(0).to_vec())
}

/// The only batch of a file that must have exactly one.
pub(super) fn only_batch<'a>(kind: &Kind, file: &'a IpcFile) -> Result<&'a IpcBatch> {
    match file.batches.as_slice() {
        [batch] => Ok(batch),
        batches => Err(damaged(kind.tag(), format!("{} batches, not one", batches.len()))),
    }
}

/// Numbers per row of a column.
pub(super) fn width(file: &IpcFile, column: usize) -> usize {
    match file.columns[column].1 {
        ColumnType::Row(_, width) => width,
        ColumnType::One(_) | ColumnType::Text => 1,
    }
}
