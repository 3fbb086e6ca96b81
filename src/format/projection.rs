//! projection: where each image lies on a map of two dimensions.

use super::error::Result;
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use bytes::Bytes;
use std::io::Write;

/// The table of places.
pub static PROJECTION: Kind = Kind {
    name: "projection",
    version: 1,
    file: "projection.parquet",
    container: Container::Parquet,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset"),
        field("x", Holds::One(Scalar::F32), "from 0 to 1; both axes have one scale"),
        field("y", Holds::One(Scalar::F32), "from 0 to 1"),
    ],
    metadata: &[],
    rows: "by image_id; no image is left out",
};

/// Writes `projection.parquet`: a place for each image, in their order.
pub fn write_projection<W: Write + Send>(out: W, places: &[[f32; 2]]) -> Result<W> {
    write_groups(out, &PROJECTION, &Metadata::new(), places.len(), |rows| {
        vec![
            Column::i64(rows.start as i64..rows.end as i64),
            Column::f32(places[rows.clone()].iter().map(|place| place[0])),
            Column::f32(places[rows].iter().map(|place| place[1])),
        ]
    })
}

/// Reads `projection.parquet`: a place for each image, in their order.
pub fn open_projection(bytes: &Bytes) -> Result<Vec<[f32; 2]>> {
    let table = Table::open(&PROJECTION, bytes)?;
    table.counts_rows("image_id")?;
    let (x, y) = (table.f32("x")?, table.f32("y")?);
    Ok(x.into_iter().zip(y).map(|(x, y)| [x, y]).collect())
}
