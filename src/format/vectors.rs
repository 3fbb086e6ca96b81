//! vectors: whitened, normalised features; one batch, so that k-means is lent them as one slice.

use super::error::{Result, damaged};
use super::kind::{Container, Holds, Kind, Scalar, field};
use super::rows::Rows;
use super::rows_writer::RowsPlan;
use crate::base::ImageId;
use bytes::Bytes;

/// One part of the vectors.
pub static VECTORS: Kind = Kind {
    noun: "vectors",
    version: 1,
    file: "part-00000.arrow",
    container: Container::Arrow,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset; a part's ids have no gap"),
        field("vector", Holds::Row(&[Scalar::F32], "d"), "PCA-whitened feature of length 1"),
    ],
    metadata: &[],
    rows: "by image_id, in exactly one batch",
};

/// Plans a part of `rows` vectors of `dims` numbers, in one batch.
pub fn plan(dims: usize, first: ImageId, rows: usize) -> RowsPlan {
    let batch_rows = rows.max(1);
    RowsPlan { kind: &VECTORS, width: dims, first, rows, batch_rows, metadata: Default::default() }
}

/// Opens the parts of the vectors; each part is one batch.
pub fn open(parts: &[Bytes]) -> Result<Rows<f32>> {
    let rows = Rows::open(&VECTORS, parts)?;
    if rows.batches() > parts.len() {
        return Err(damaged(VECTORS.tag(), "a part of more than one batch"));
    }
    Ok(rows)
}
