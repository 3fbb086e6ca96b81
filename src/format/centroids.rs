//! centroids: the k centres that k-means found, and how many images each has.

use super::element::bytes_of;
use super::error::{Result, bad_value, damaged, wrong_rows};
use super::ipc_reader::IpcFile;
use super::ipc_writer::IpcWriter;
use super::kind::{ColumnType, Container, Holds, Kind, Metadata, Scalar, field};
use super::whitening::{only_batch, width};
use bytes::Bytes;
use std::io::Write;

/// The table of centroids.
pub static CENTROIDS: Kind = Kind {
    name: "centroids",
    version: 1,
    file: "centroids.arrow",
    container: Container::Arrow,
    fields: &[
        field("cluster_id", Holds::One(Scalar::I32), "from 0 without a gap"),
        field("size", Holds::One(Scalar::I64), "images in the cluster; 0: empty"),
        field("centroid", Holds::Row(&[Scalar::F32], "d"), "the centre, in the space of the vectors"),
    ],
    metadata: &[],
    rows: "by cluster_id, in exactly one batch",
};

/// k centres in d dimensions; rows are indexed by `ClusterId`.
#[derive(Clone, Debug, PartialEq)]
pub struct Centroids {
    /// d.
    pub dims: usize,
    /// Images in each cluster, k of them.
    pub sizes: Vec<u64>,
    /// k x d.
    pub centroids: Vec<f32>,
}

impl Centroids {
    /// Writes `centroids.arrow`.
    pub fn write<W: Write>(&self, out: W) -> Result<W> {
        let k = self.sizes.len();
        if self.dims == 0 || k.checked_mul(self.dims) != Some(self.centroids.len()) {
            return Err(wrong_rows(CENTROIDS.tag(), "centroids that are not k x d"));
        }
        let columns =
            [ColumnType::One(Scalar::I32), ColumnType::One(Scalar::I64), ColumnType::Row(Scalar::F32, self.dims)];
        let mut writer = IpcWriter::create(out, &CENTROIDS, &columns, &Metadata::new())?;
        let ids: Vec<i32> = (0..k as i32).collect();
        let sizes: Vec<i64> = self.sizes.iter().map(|size| *size as i64).collect();
        writer.begin(k)?;
        writer.column(bytes_of(&ids))?;
        writer.column(bytes_of(&sizes))?;
        writer.column(bytes_of(&self.centroids))?;
        writer.finish()
    }

    /// Reads `centroids.arrow`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let file = IpcFile::open(&CENTROIDS, bytes)?;
        let batch = only_batch(&CENTROIDS, &file)?;
        if !batch.column::<i32>(0).iter().copied().eq(0..batch.rows as i32) {
            return Err(damaged(CENTROIDS.tag(), "clusters that are not counted from 0"));
        }
        let sizes =
            batch.column::<i64>(1).iter().enumerate().map(|(row, size)| {
                u64::try_from(*size).map_err(|_| bad_value(CENTROIDS.tag(), "size", row, "negative"))
            });
        Ok(Self { dims: width(&file, 2), sizes: sizes.collect::<Result<_>>()?, centroids: batch.column(2).to_vec() })
    }
}
