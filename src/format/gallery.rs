//! gallery: what a report shows of a clustering: a row a cluster, its chosen members, their montages, a map.

use super::error::{Result, bad_value, damaged};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use crate::base::{ClusterId, Epoch, ImageId};
use bytes::Bytes;
use std::io::Write;

/// The part that holds the montages: JPEG files, one after the other.
pub const MONTAGES: &str = "montages.pack";
const TILE_KEY: &str = "dcpipe.tile";
const COLUMNS_KEY: &str = "dcpipe.columns";

/// The table of clusters.
pub static STATS: Kind = Kind {
    name: "cluster-stats",
    version: 1,
    file: "cluster_stats.parquet",
    container: Container::Parquet,
    fields: &[
        field("epoch_idx", Holds::One(Scalar::I32), "the epoch"),
        field("cluster_id", Holds::One(Scalar::I32), "from 0 without a gap"),
        field("size", Holds::One(Scalar::I64), "images in the cluster; 0: empty"),
        field("mean_distance", Holds::One(Scalar::F32), "mean squared distance to the centroid; -1: empty"),
        field("purity", Holds::One(Scalar::F32), "share of its labelled images that have the main label; -1: none"),
        field("main_label", Holds::Text, "its commonest label; empty: none"),
        field("previous_id", Holds::One(Scalar::I32), "the cluster of the epoch before that overlaps most; -1: none"),
        field("iou", Holds::One(Scalar::F32), "intersection over union with that one; -1: none"),
        field("neighbor_id", Holds::One(Scalar::I32), "the non-empty cluster with the nearest centroid; -1: none"),
        field("montage_offset", Holds::One(Scalar::I64), "where its montage starts in montages.pack; -1: none"),
        field("montage_bytes", Holds::One(Scalar::I64), "length of its montage; 0: none"),
    ],
    metadata: &[(TILE_KEY, "side of a montage's tile, in pixels"), (COLUMNS_KEY, "tiles in a row of a montage")],
    rows: "by cluster_id",
};

/// The table of the members that a montage shows.
pub static MEMBERS: Kind = Kind {
    name: "cluster-members",
    version: 1,
    file: "cluster_members.parquet",
    container: Container::Parquet,
    fields: &[
        field("cluster_id", Holds::One(Scalar::I32), "the cluster"),
        field("tile", Holds::One(Scalar::I32), "place in the montage, from 0, row by row"),
        field("role", Holds::Text, "nearest, between or farthest: where it lies in the order of distance"),
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset"),
        field("path", Holds::Text, "file below the dataset's root, with /; or member of its archive"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
        field("distance", Holds::One(Scalar::F32), "squared distance to the centroid"),
    ],
    metadata: &[],
    rows: "by cluster_id, tile",
};

/// The table of points of the map.
pub static MAP: Kind = Kind {
    name: "map-points",
    version: 1,
    file: "map.parquet",
    container: Container::Parquet,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset"),
        field("x", Holds::One(Scalar::F32), "first axis of the vectors"),
        field("y", Holds::One(Scalar::F32), "second axis of the vectors"),
        field("cluster_id", Holds::One(Scalar::I32), "the cluster"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
    ],
    metadata: &[],
    rows: "by image_id",
};

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStat {
    /// Images in it.
    pub size: u64,
    /// Mean squared distance to the centroid; none of an empty one.
    pub mean_distance: Option<f32>,
    /// Share of its labelled images that have the main label, and that label; none without labels.
    pub main_label: Option<(f32, String)>,
    /// The cluster of the epoch before that overlaps most, with intersection over union.
    pub previous: Option<(ClusterId, f32)>,
    /// The non-empty cluster with the nearest centroid.
    pub neighbor: Option<ClusterId>,
    /// Where its montage starts in `montages.pack`, and its length in bytes.
    pub montage: Option<(u64, u64)>,
}

/// The clusters of an epoch, and the form of their montages.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// The epoch.
    pub epoch: Epoch,
    /// Side of a tile, in pixels.
    pub tile: u32,
    /// Tiles in a row.
    pub columns: u32,
    /// By `ClusterId`.
    pub clusters: Vec<ClusterStat>,
}

/// A member that a montage shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its place in the montage, row by row.
    pub tile: u32,
    /// Where it lies in the order of distance: `nearest`, `between` or `farthest`.
    pub role: String,
    /// The image.
    pub image: ImageId,
    /// Its path.
    pub path: String,
    /// Its label; empty: none.
    pub label: String,
    /// Squared distance to the centroid.
    pub distance: f32,
}

/// A point of the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The image.
    pub image: ImageId,
    /// First and second axis.
    pub at: [f32; 2],
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its label; empty: none.
    pub label: String,
}

impl Stats {
    /// Writes `cluster_stats.parquet`.
    pub fn write<W: Write + Send>(&self, out: W) -> Result<W> {
        let metadata: Metadata =
            [(TILE_KEY.to_owned(), self.tile.to_string()), (COLUMNS_KEY.to_owned(), self.columns.to_string())].into();
        write_groups(out, &STATS, &metadata, self.clusters.len(), |rows| {
            let all = || self.clusters[rows.clone()].iter();
            let id = |id: Option<ClusterId>| id.map_or(-1, |id| id.0 as i32);
            vec![
                Column::i32(all().map(|_| self.epoch.0 as i32)),
                Column::i32(rows.start as i32..rows.end as i32),
                Column::i64(all().map(|cluster| cluster.size as i64)),
                Column::f32(all().map(|cluster| cluster.mean_distance.unwrap_or(-1.0))),
                Column::f32(all().map(|cluster| cluster.main_label.as_ref().map_or(-1.0, |(purity, _)| *purity))),
                Column::text(all().map(|cluster| cluster.main_label.as_ref().map_or("", |(_, label)| label))),
                Column::i32(all().map(|cluster| id(cluster.previous.map(|(id, _)| id)))),
                Column::f32(all().map(|cluster| cluster.previous.map_or(-1.0, |(_, iou)| iou))),
                Column::i32(all().map(|cluster| id(cluster.neighbor))),
                Column::i64(all().map(|cluster| cluster.montage.map_or(-1, |(offset, _)| offset as i64))),
                Column::i64(all().map(|cluster| cluster.montage.map_or(0, |(_, bytes)| bytes as i64))),
            ]
        })
    }

    /// Reads `cluster_stats.parquet`; `pack` is the length of `montages.pack`.
    pub fn open(bytes: &Bytes, pack: u64) -> Result<Self> {
        let table = Table::open(&STATS, bytes)?;
        let k = table.rows as i32;
        let ids = table.i32("cluster_id")?;
        if let Some(row) = ids.iter().zip(0..).position(|(found, due)| *found != due) {
            return Err(bad_value(STATS.tag(), "cluster_id", row, "not the number of its row"));
        }
        let epochs = table.i32("epoch_idx")?;
        let epoch = epochs.first().map_or(0, |epoch| (*epoch).max(0) as u32);
        let id = |column: &'static str| -> Result<Vec<Option<ClusterId>>> {
            let found = table.i32(column)?;
            Ok(found.into_iter().map(|id| u32::try_from(id).ok().map(ClusterId)).collect())
        };
        let (sizes, distances) = (table.counts("size", u32::MAX.into())?, table.f32("mean_distance")?);
        let (purity, labels) = (table.f32("purity")?, table.text("main_label")?);
        let (previous, iou, neighbor) = (id("previous_id")?, table.f32("iou")?, id("neighbor_id")?);
        let (offsets, lengths) = (table.i64("montage_offset")?, table.counts("montage_bytes", pack)?);
        if let Some(row) = neighbor.iter().position(|id| id.is_some_and(|id| id.0 as i32 >= k)) {
            return Err(bad_value(STATS.tag(), "neighbor_id", row, "no cluster of this table"));
        }
        let cluster = |row: usize| {
            let montage = u64::try_from(offsets[row]).ok().map(|offset| (offset, lengths[row]));
            if montage.is_some_and(|(offset, bytes)| offset.saturating_add(bytes) > pack) {
                return Err(bad_value(STATS.tag(), "montage_offset", row, "beyond the end of montages.pack"));
            }
            Ok(ClusterStat {
                size: sizes[row],
                mean_distance: Some(distances[row]).filter(|mean| *mean >= 0.0),
                main_label: (purity[row] >= 0.0).then(|| (purity[row], labels.get(row).to_owned())),
                previous: previous[row].map(|id| (id, iou[row])),
                neighbor: neighbor[row],
                montage,
            })
        };
        let clusters = (0..table.rows).map(cluster).collect::<Result<_>>()?;
        let (tile, columns) = (STATS.read(&table.metadata, TILE_KEY)?, STATS.read(&table.metadata, COLUMNS_KEY)?);
        if tile == 0 || columns == 0 {
            return Err(damaged(STATS.tag(), "montages of no tiles"));
        }
        Ok(Self { epoch: Epoch(epoch), tile, columns, clusters })
    }
}

/// Writes `cluster_members.parquet`.
pub fn write_members<W: Write + Send>(out: W, members: &[Member]) -> Result<W> {
    write_groups(out, &MEMBERS, &Metadata::new(), members.len(), |rows| {
        let all = || members[rows.clone()].iter();
        vec![
            Column::i32(all().map(|member| member.cluster.0 as i32)),
            Column::i32(all().map(|member| member.tile as i32)),
            Column::text(all().map(|member| &member.role)),
            Column::i64(all().map(|member| member.image.0.into())),
            Column::text(all().map(|member| &member.path)),
            Column::text(all().map(|member| &member.label)),
            Column::f32(all().map(|member| member.distance)),
        ]
    })
}

/// Reads `cluster_members.parquet` of `k` clusters.
pub fn open_members(bytes: &Bytes, k: u64) -> Result<Vec<Member>> {
    let table = Table::open(&MEMBERS, bytes)?;
    let (clusters, tiles) = (table.ids("cluster_id", k, ClusterId)?, table.counts("tile", i32::MAX as u64)?);
    let (roles, images) = (table.text("role")?, table.ids("image_id", u64::from(u32::MAX), ImageId)?);
    let (paths, labels, distances) = (table.text("path")?, table.text("label")?, table.f32("distance")?);
    let member = |row: usize| Member {
        cluster: clusters[row],
        tile: tiles[row] as u32,
        role: roles.get(row).to_owned(),
        image: images[row],
        path: paths.get(row).to_owned(),
        label: labels.get(row).to_owned(),
        distance: distances[row],
    };
    Ok((0..table.rows).map(member).collect())
}

/// Writes `map.parquet`.
pub fn write_map<W: Write + Send>(out: W, points: &[Point]) -> Result<W> {
    write_groups(out, &MAP, &Metadata::new(), points.len(), |rows| {
        let all = || points[rows.clone()].iter();
        vec![
            Column::i64(all().map(|point| point.image.0.into())),
            Column::f32(all().map(|point| point.at[0])),
            Column::f32(all().map(|point| point.at[1])),
            Column::i32(all().map(|point| point.cluster.0 as i32)),
            Column::text(all().map(|point| &point.label)),
        ]
    })
}

/// Reads `map.parquet` of `k` clusters.
pub fn open_map(bytes: &Bytes, k: u64) -> Result<Vec<Point>> {
    let table = Table::open(&MAP, bytes)?;
    let (images, clusters) =
        (table.ids("image_id", u64::from(u32::MAX), ImageId)?, table.ids("cluster_id", k, ClusterId)?);
    let (x, y, labels) = (table.f32("x")?, table.f32("y")?, table.text("label")?);
    let point = |row: usize| Point {
        image: images[row],
        at: [x[row], y[row]],
        cluster: clusters[row],
        label: labels.get(row).to_owned(),
    };
    Ok((0..table.rows).map(point).collect())
}
