//! atlas: one table of a clustering with pictures, as Embedding Atlas, Spotlight and Hugging Face read it.

use super::error::Result;
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table_writer::{Column, PICTURE_GROUP_ROWS, TableWriter, write_groups};
use crate::base::{ClusterId, ImageId};
use serde_json::json;
use std::io::Write;

/// Rows of a good push.
pub const CHUNK: usize = PICTURE_GROUP_ROWS;
/// The key under which Hugging Face says what columns mean.
const FEATURES_KEY: &str = "huggingface";
/// Columns of the map.
const AXES: usize = 2;
/// Columns of [`ATLAS`] that every file has; those of the map and of the neighbours follow.
const ALWAYS: usize = 9;

/// The table of images.
pub static ATLAS: Kind = Kind {
    name: "atlas",
    version: 1,
    file: "atlas.parquet",
    container: Container::Pictures,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset, and the number of the row"),
        field("image", Holds::Picture, "thumbnail, a JPEG file; null: the image could not be read"),
        field("path", Holds::Text, "file below the dataset's root, with /; or member of its archive"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
        field("label_id", Holds::Maybe(Scalar::I64), "rank of the label, a ClassLabel to Hugging Face; null: none"),
        field("cluster_id", Holds::One(Scalar::I32), "the nearest centroid, 0..k"),
        field("cluster", Holds::Text, "the same as a name, to colour by"),
        field("distance", Holds::One(Scalar::F32), "squared Euclidean distance to the centroid"),
        field("margin", Holds::One(Scalar::F32), "squared distance to the second nearest, minus distance"),
        field("projection_x", Holds::One(Scalar::F32), "place on the map, 0 to 1; the column may be missing"),
        field("projection_y", Holds::One(Scalar::F32), "the same across, by the same scale; the column may be missing"),
        field("neighbors", Holds::Neighbors, "nearest rows and squared distances; the column may be missing"),
    ],
    metadata: &[(FEATURES_KEY, "which columns are Image and ClassLabel, for the library datasets")],
    rows: "by image_id, from 0 without a gap",
};

/// The table of names on the map.
pub static LABELS: Kind = Kind {
    name: "atlas-labels",
    version: 1,
    file: "labels.parquet",
    container: Container::Parquet,
    fields: &[
        field("x", Holds::One(Scalar::F32), "mean projection_x of the cluster's images"),
        field("y", Holds::One(Scalar::F32), "mean projection_y of the cluster's images"),
        field("text", Holds::Text, "the cluster's number, and its commonest label with its share"),
        field("level", Holds::One(Scalar::I32), "0: from the widest view on"),
        field("priority", Holds::One(Scalar::I64), "images in the cluster; where names overlap, the larger one shows"),
        field("cluster_id", Holds::One(Scalar::I32), "the cluster"),
    ],
    metadata: &[],
    rows: "by cluster_id, without empty clusters",
};

/// An image.
pub struct Row<'a> {
    /// Its rank.
    pub image: ImageId,
    /// A JPEG file; none if it could not be read.
    pub picture: Option<Vec<u8>>,
    /// Its path.
    pub path: &'a str,
    /// Its label; empty: none.
    pub label: &'a str,
    /// The label's rank; none without a label.
    pub label_id: Option<i64>,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What people call the cluster.
    pub name: String,
    /// Squared distance to the centroid.
    pub distance: f32,
    /// How much farther the second nearest is.
    pub margin: f32,
    /// Where it is on the map; read only if the table has a map.
    pub at: [f32; AXES],
    /// The nearest rows, and squared distances; read only if the table has neighbours.
    pub near: (&'a [i32], &'a [f32]),
}

/// Writes `atlas.parquet` in pieces.
pub struct AtlasWriter<W: Write + Send> {
    table: TableWriter<W>,
    has: Has,
}

/// Which columns a table has besides those that every file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Has {
    /// `projection_x` and `projection_y`.
    pub map: bool,
    /// `neighbors`.
    pub neighbors: bool,
}

impl<W: Write + Send> AtlasWriter<W> {
    /// Begins a table of images with these labels.
    pub fn create(out: W, labels: &[String], has: Has) -> Self {
        let mut features = json!({ "image": { "_type": "Image" } });
        if !labels.is_empty() {
            features["label_id"] = json!({ "names": labels, "_type": "ClassLabel" });
        }
        let features = json!({ "info": { "features": features } });
        let metadata: Metadata = [(FEATURES_KEY.to_owned(), features.to_string())].into();
        let is_there = |at: &usize| *at < ALWAYS || if *at < ALWAYS + AXES { has.map } else { has.neighbors };
        let names: Vec<_> = (0..ATLAS.fields.len()).filter(is_there).map(|at| ATLAS.fields[at].name).collect();
        Self { table: TableWriter::create(out, &ATLAS.tag(), &names, &metadata), has }
    }

    /// Writes rows; [`CHUNK`] of them are a good number.
    pub fn push(&mut self, rows: &[Row<'_>]) -> Result<()> {
        let all = || rows.iter();
        let mut columns = vec![
            Column::i64(all().map(|row| row.image.0.into())),
            Column::pictures(all().map(|row| (row.picture.as_deref(), row.path))),
            Column::text(all().map(|row| row.path)),
            Column::text(all().map(|row| row.label)),
            Column::maybe_i64(all().map(|row| row.label_id)),
            Column::i32(all().map(|row| row.cluster.0 as i32)),
            Column::text(all().map(|row| &row.name)),
            Column::f32(all().map(|row| row.distance)),
            Column::f32(all().map(|row| row.margin)),
        ];
        if self.has.map {
            columns.extend((0..AXES).map(|axis| Column::f32(all().map(|row| row.at[axis]))));
        }
        if self.has.neighbors {
            columns.push(Column::neighbors(all().map(|row| row.near)));
        }
        self.table.push(columns)
    }

    /// Writes the foot of the file and returns the output.
    pub fn finish(self) -> Result<W> {
        self.table.finish()
    }
}

/// The name of a cluster on the map.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Where it stands.
    pub at: [f32; AXES],
    /// What it says.
    pub text: String,
    /// Images in the cluster.
    pub size: u64,
    /// The cluster.
    pub cluster: ClusterId,
}

/// Writes `labels.parquet`.
pub fn write_labels<W: Write + Send>(out: W, labels: &[Label]) -> Result<W> {
    write_groups(out, &LABELS, &Metadata::new(), labels.len(), |rows| {
        let all = || labels[rows.clone()].iter();
        vec![
            Column::f32(all().map(|label| label.at[0])),
            Column::f32(all().map(|label| label.at[1])),
            Column::text(all().map(|label| &label.text)),
            Column::i32(all().map(|_| 0)),
            Column::i64(all().map(|label| label.size as i64)),
            Column::i32(all().map(|label| label.cluster.0 as i32)),
        ]
    })
}
