//! oddities: images to look at: equal files, likely near-duplicates, likely outliers.

use super::error::{Result, bad_value, damaged};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use crate::base::{ClusterId, ImageId};
use bytes::Bytes;
use std::io::Write;

/// The part that holds the pictures of all rows: one JPEG file, tile by tile; empty: none.
pub const PICTURES: &str = "oddities.pack";
const TILE_KEY: &str = "dcpipe.tile";
const COLUMNS_KEY: &str = "dcpipe.columns";
const LIMIT_KEY: &str = "dcpipe.limit";
const MEDIAN_KEY: &str = "dcpipe.median";
const FOUND_KEY: &str = "dcpipe.found";

/// Why images are in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Files of the same bytes.
    Copies,
    /// Vectors nearly equal, in one cluster.
    NearWithin,
    /// Vectors nearly equal, in several clusters.
    NearAcross,
    /// Farthest from the nearest other image.
    Lone,
    /// Farthest from the centroid, as a multiple of its cluster's mean distance.
    Far,
}

impl Why {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Copies, Self::NearWithin, Self::NearAcross, Self::Lone, Self::Far];

    /// As the table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copies => "copies",
            Self::NearWithin => "near_within",
            Self::NearAcross => "near_across",
            Self::Lone => "lone",
            Self::Far => "far",
        }
    }
}

/// The table of images to look at.
pub static ODDITIES: Kind = Kind {
    name: "oddities",
    version: 1,
    file: "oddities.parquet",
    container: Container::Parquet,
    fields: &[
        field("why", Holds::Text, "copies, near_within or near_across a cluster, lone, far"),
        field("group_id", Holds::One(Scalar::I32), "from 0 for each why; an outlier is alone in its group"),
        field("group_images", Holds::One(Scalar::I64), "images of the group, those without a row included"),
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset"),
        field("path", Holds::Text, "file below the dataset's root, with /; or member of its archive"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
        field("cluster_id", Holds::One(Scalar::I32), "the cluster"),
        field(
            "distance",
            Holds::One(Scalar::F32),
            "copies: 0; near: squared L2 to the nearest of its group; lone: to the nearest image; far: to the centroid",
        ),
    ],
    metadata: &[
        (TILE_KEY, "side of a tile of oddities.pack, in pixels; row n is tile n"),
        (COLUMNS_KEY, "tiles in a row of oddities.pack"),
        (LIMIT_KEY, "squared L2 up to which images are near; nan: no neighbours were known"),
        (MEDIAN_KEY, "median of the squared L2 of images to their nearest; nan: no neighbours were known"),
        (FOUND_KEY, "groups of copies, near_within and near_across that there are, listed or not"),
    ],
    rows: "by why (copies, near_within, near_across, lone, far), group_id, distance, image_id",
};

/// The table of nearest images.
pub static NEAREST: Kind = Kind {
    name: "nearest",
    version: 1,
    file: "nearest.parquet",
    container: Container::Parquet,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset"),
        field("nearest_id", Holds::One(Scalar::I64), "the other image whose vector is nearest"),
        field("distance", Holds::One(Scalar::F32), "squared L2 between the two"),
    ],
    metadata: &[],
    rows: "by image_id; no image is left out",
};

/// An image to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Oddity {
    /// Why.
    pub why: Why,
    /// Its group; an outlier is alone.
    pub group: u32,
    /// Images of the group, listed or not.
    pub images: u64,
    /// The image.
    pub image: ImageId,
    /// Its path.
    pub path: String,
    /// Its label; empty: none.
    pub label: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// See the column.
    pub distance: f32,
}

/// Images to look at, and what was looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Oddities {
    /// Side of a tile of `oddities.pack`, in pixels.
    pub tile: u32,
    /// Tiles in a row of it.
    pub columns: u32,
    /// Squared L2 up to which images are near, and the median of that to the nearest; none without neighbours.
    pub near: Option<(f32, f32)>,
    /// Groups of copies, near within and near across clusters.
    pub found: [u64; 3],
    /// In their order; the n-th has the n-th tile.
    pub rows: Vec<Oddity>,
}

impl Oddities {
    /// Writes `oddities.parquet`.
    pub fn write<W: Write + Send>(&self, out: W) -> Result<W> {
        let (limit, median) = self.near.unwrap_or((f32::NAN, f32::NAN));
        let found = self.found.map(|count| count.to_string()).join(" ");
        let pairs = [
            (TILE_KEY, self.tile.to_string()),
            (COLUMNS_KEY, self.columns.to_string()),
            (LIMIT_KEY, number(limit)),
            (MEDIAN_KEY, number(median)),
            (FOUND_KEY, found),
        ];
        let metadata: Metadata = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        write_groups(out, &ODDITIES, &metadata, self.rows.len(), |rows| {
            let all = || self.rows[rows.clone()].iter();
            vec![
                Column::text(all().map(|row| row.why.name())),
                Column::i32(all().map(|row| row.group as i32)),
                Column::i64(all().map(|row| row.images as i64)),
                Column::i64(all().map(|row| row.image.0.into())),
                Column::text(all().map(|row| &row.path)),
                Column::text(all().map(|row| &row.label)),
                Column::i32(all().map(|row| row.cluster.0 as i32)),
                Column::f32(all().map(|row| row.distance)),
            ]
        })
    }

    /// Reads `oddities.parquet`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&ODDITIES, bytes)?;
        let (whys, groups) = (table.text("why")?, table.counts("group_id", i32::MAX as u64)?);
        let (images, of) =
            (table.ids("image_id", u32::MAX.into(), ImageId)?, table.counts("group_images", u32::MAX.into())?);
        let (paths, labels) = (table.text("path")?, table.text("label")?);
        let (clusters, distances) = (table.ids("cluster_id", i32::MAX as u64, ClusterId)?, table.f32("distance")?);
        let row = |row: usize| {
            let why = Why::ALL.into_iter().find(|why| why.name() == whys.get(row));
            Ok(Oddity {
                why: why.ok_or_else(|| bad_value(ODDITIES.tag(), "why", row, "none of those that there are"))?,
                group: groups[row] as u32,
                images: of[row],
                image: images[row],
                path: paths.get(row).to_owned(),
                label: labels.get(row).to_owned(),
                cluster: clusters[row],
                distance: distances[row],
            })
        };
        let rows: Vec<Oddity> = (0..table.rows).map(row).collect::<Result<_>>()?;
        let key = |row: &Oddity| (row.why, row.group);
        if let Some(at) = rows.windows(2).position(|pair| key(&pair[0]) > key(&pair[1])) {
            return Err(bad_value(ODDITIES.tag(), "group_id", at + 1, "before the group above it"));
        }
        let read = |key| ODDITIES.read::<f32>(&table.metadata, key);
        let (limit, median) = (read(LIMIT_KEY)?, read(MEDIAN_KEY)?);
        let found = table.metadata.get(FOUND_KEY).map(|text| text.split(' ').map(str::parse).collect());
        let Some(Ok(found)) = found.map(|found: Result<Vec<u64>, _>| found.map(<[u64; 3]>::try_from)) else {
            return Err(damaged(ODDITIES.tag(), "no numbers of groups that were found"));
        };
        let found = found.map_err(|_| damaged(ODDITIES.tag(), "not three numbers of groups that were found"))?;
        let (tile, columns) = (ODDITIES.read(&table.metadata, TILE_KEY)?, ODDITIES.read(&table.metadata, COLUMNS_KEY)?);
        if tile == 0 || columns == 0 {
            return Err(damaged(ODDITIES.tag(), "pictures of no tiles"));
        }
        Ok(Self { tile, columns, near: (!limit.is_nan()).then_some((limit, median)), found, rows })
    }
}

/// In lower case, as other programs write it.
fn number(value: f32) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

/// Writes `nearest.parquet`: the nearest other image of each, and how far it is.
pub fn write_nearest<W: Write + Send>(out: W, nearest: &[(ImageId, f32)]) -> Result<W> {
    write_groups(out, &NEAREST, &Metadata::new(), nearest.len(), |rows| {
        vec![
            Column::i64(rows.start as i64..rows.end as i64),
            Column::i64(nearest[rows.clone()].iter().map(|(image, _)| i64::from(image.0))),
            Column::f32(nearest[rows].iter().map(|(_, distance)| *distance)),
        ]
    })
}

/// Reads `nearest.parquet`.
pub fn open_nearest(bytes: &Bytes) -> Result<Vec<(ImageId, f32)>> {
    let table = Table::open(&NEAREST, bytes)?;
    table.counts_rows("image_id")?;
    let (nearest, distance) = (table.ids("nearest_id", table.rows as u64, ImageId)?, table.f32("distance")?);
    Ok(nearest.into_iter().zip(distance).collect())
}
