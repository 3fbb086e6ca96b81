//! clusters: which cluster every image is in, and how k-means found it.

use super::error::{FormatError, Result, damaged, wrong_rows};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use crate::base::{ClusterId, ImageId};
use bytes::Bytes;
use rayon::prelude::*;
use std::io::Write;
use std::ops::Range;

const K_KEY: &str = "dcpipe.k";
/// A file may claim this many centroids with any number of rows. Beyond that, k-means makes at most one per row.
const CLAIMED_K: usize = 1 << 16;

/// The table of assignments.
pub static CLUSTERS: Kind = Kind {
    name: "clusters",
    version: 1,
    file: "clusters.parquet",
    container: Container::Parquet,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset, from 0 without a gap"),
        field("cluster_id", Holds::One(Scalar::I32), "the cluster, 0..k; of k-means the nearest centroid"),
        field("distance", Holds::One(Scalar::F32), "squared Euclidean distance to its centroid"),
        field(
            "margin",
            Holds::One(Scalar::F32),
            "squared distance to the nearest other centroid, minus distance; 0 if that is nearer",
        ),
    ],
    metadata: &[(K_KEY, "number of centroids, those of empty clusters included")],
    rows: "by image_id",
};

/// The cluster of every image; each column is indexed by `ImageId`.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Number of centroids.
    pub k: u32,
    /// The nearest centroid.
    pub cluster_id: Vec<ClusterId>,
    /// Squared distance to it.
    pub distance: Vec<f32>,
    /// How much farther the second nearest is, squared.
    pub margin: Vec<f32>,
}

impl Clusters {
    /// Writes `clusters.parquet`.
    pub fn write<W: Write + Send>(&self, out: W) -> Result<W> {
        let rows = self.cluster_id.len();
        if self.distance.len() != rows || self.margin.len() != rows {
            return Err(wrong_rows(CLUSTERS.tag(), "columns of different lengths"));
        }
        let metadata: Metadata = [(K_KEY.to_owned(), self.k.to_string())].into();
        write_groups(out, &CLUSTERS, &metadata, rows, |rows| {
            vec![
                Column::i64(rows.start as i64..rows.end as i64),
                Column::i32(self.cluster_id[rows.clone()].iter().map(|id| id.0 as i32)),
                Column::f32(self.distance[rows.clone()].iter().copied()),
                Column::f32(self.margin[rows].iter().copied()),
            ]
        })
    }

    /// Reads `clusters.parquet`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&CLUSTERS, bytes)?;
        table.counts_rows("image_id")?;
        let k: u32 = CLUSTERS.read(&table.metadata, K_KEY)?;
        if k as usize > table.rows.max(CLAIMED_K) {
            return Err(damaged(CLUSTERS.tag(), format!("{k} centroids for {} images", table.rows)));
        }
        let cluster_id = table.ids("cluster_id", u64::from(k), ClusterId)?;
        Ok(Self { k, cluster_id, distance: table.f32("distance")?, margin: table.f32("margin")? })
    }

    /// Images in each cluster, by `ClusterId`.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0; self.k as usize];
        for id in &self.cluster_id {
            sizes[id.index()] += 1;
        }
        sizes
    }

    /// The images of each cluster, by distance to its centroid and then by id.
    pub fn members(&self) -> Vec<Vec<ImageId>> {
        let sizes = self.sizes().into_iter();
        let mut members: Vec<Vec<ImageId>> = sizes.map(|size| Vec::with_capacity(size as usize)).collect();
        for (image, cluster) in (0..).zip(&self.cluster_id) {
            members[cluster.index()].push(ImageId(image));
        }
        let distance = |image: &ImageId| self.distance[image.index()];
        members.par_iter_mut().for_each(|images| {
            images.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
        });
        members
    }
}

/// The table of k-means iterations.
pub static ITERATIONS: Kind = Kind {
    name: "iterations",
    version: 1,
    file: "iterations.parquet",
    container: Container::Parquet,
    fields: &[
        field("iteration", Holds::One(Scalar::I32), "from 0"),
        field("objective", Holds::One(Scalar::F64), "sum of squared distances to the centroids it began with"),
        field("splits", Holds::One(Scalar::I32), "clusters split to fill empty ones"),
        field("empty", Holds::One(Scalar::I32), "clusters that no image was nearest to"),
        field("moved", Holds::One(Scalar::I64), "images in another cluster than the iteration before"),
    ],
    metadata: &[],
    rows: "by iteration",
};

/// One iteration of k-means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iteration {
    /// Sum of squared distances.
    pub objective: f64,
    /// Clusters split to fill empty ones.
    pub splits: u32,
    /// Clusters that no image was nearest to.
    pub empty: u32,
    /// Images whose cluster changed.
    pub moved: u64,
}

/// Writes `iterations.parquet`.
pub fn write_iterations<W: Write + Send>(out: W, iterations: &[Iteration]) -> Result<W> {
    write_groups(out, &ITERATIONS, &Metadata::new(), iterations.len(), |rows| columns(iterations, rows))
}

/// The columns of some rows of `iterations.parquet`.
pub(super) fn columns(iterations: &[Iteration], rows: Range<usize>) -> Vec<Column> {
    let all = || iterations[rows.clone()].iter();
    vec![
        Column::i32(rows.start as i32..rows.end as i32),
        Column::f64(all().map(|one| one.objective)),
        Column::i32(all().map(|one| one.splits as i32)),
        Column::i32(all().map(|one| one.empty as i32)),
        Column::i64(all().map(|one| one.moved as i64)),
    ]
}

/// Reads `iterations.parquet`.
pub fn open_iterations(bytes: &Bytes) -> Result<Vec<Iteration>> {
    let table = Table::open(&ITERATIONS, bytes)?;
    let numbers = table.i32("iteration")?;
    if let Some(row) = numbers.iter().zip(0..).position(|(found, due)| *found != due) {
        let reason = "not the number of its row".to_owned();
        return Err(FormatError::BadValue { kind: ITERATIONS.tag(), column: "iteration".into(), row, reason });
    }
    let (splits, empty) = (table.counts("splits", i32::MAX as u64)?, table.counts("empty", i32::MAX as u64)?);
    let (objective, moved) = (table.f64("objective")?, table.counts("moved", i64::MAX as u64)?);
    let rows = (0..table.rows).map(|row| Iteration {
        objective: objective[row],
        splits: splits[row] as u32,
        empty: empty[row] as u32,
        moved: moved[row],
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_by_distance_and_then_by_id() {
        let cluster_id = [1, 0, 1, 1, 1].map(ClusterId).to_vec();
        let clusters = Clusters { k: 3, cluster_id, distance: vec![0.4, 0.1, 0.3, 0.2, 0.3], margin: vec![0.0; 5] };
        let ids = |ids: &[u32]| ids.iter().copied().map(ImageId).collect::<Vec<_>>();
        assert_eq!(clusters.members(), [ids(&[1]), ids(&[3, 2, 4, 0]), vec![]]);
    }
}
