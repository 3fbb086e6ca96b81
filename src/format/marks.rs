//! marks: which images show which of several things: labels of images that may have more than one.

use super::error::{Result, bad_value};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use bytes::Bytes;
use std::io::Write;

/// The table of marks.
pub static MARKS: Kind = Kind {
    name: "marks",
    version: 1,
    file: "marks.parquet",
    container: Container::Parquet,
    fields: &[
        field("label", Holds::Text, "what an image may show, such as aeroplane"),
        field("image", Holds::Text, "name of the image's file without its ending, such as 000012"),
        field("held_out", Holds::One(Scalar::I32), "1: the image is measured; 0: it is learned from"),
        field("mark", Holds::One(Scalar::I32), "1: the image shows it; -1: it does not; 0: too difficult to count"),
    ],
    metadata: &[],
    rows: "by label, held_out, image",
};

/// What one image is to one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// What the image may show.
    pub label: String,
    /// Whether the image is measured, and not learned from.
    pub held_out: bool,
    /// Name of its file without the ending.
    pub image: String,
    /// 1, -1, or 0 for an image that does not count.
    pub mark: i32,
}

/// Writes `marks.parquet`.
pub fn write_marks<W: Write + Send>(out: W, marks: &[Mark]) -> Result<W> {
    write_groups(out, &MARKS, &Metadata::new(), marks.len(), |rows| {
        let all = || marks[rows.clone()].iter();
        vec![
            Column::text(all().map(|mark| &mark.label)),
            Column::text(all().map(|mark| &mark.image)),
            Column::i32(all().map(|mark| mark.held_out.into())),
            Column::i32(all().map(|mark| mark.mark)),
        ]
    })
}

/// Reads `marks.parquet`; refuses rows that are out of order or there twice.
pub fn open_marks(bytes: &Bytes) -> Result<Vec<Mark>> {
    let table = Table::open(&MARKS, bytes)?;
    let (label, image) = (table.text("label")?, table.text("image")?);
    let (held_out, mark) = (table.i32("held_out")?, table.i32("mark")?);
    let mut marks: Vec<Mark> = Vec::with_capacity(table.rows);
    for row in 0..table.rows {
        if !(0..=1).contains(&held_out[row]) {
            return Err(bad_value(MARKS.tag(), "held_out", row, "neither 0 nor 1"));
        }
        if !(-1..=1).contains(&mark[row]) {
            return Err(bad_value(MARKS.tag(), "mark", row, "none of -1, 0 and 1"));
        }
        let next = Mark {
            label: label.get(row).to_owned(),
            held_out: held_out[row] == 1,
            image: image.get(row).to_owned(),
            mark: mark[row],
        };
        let place = |mark: &Mark| (mark.label.clone(), mark.held_out, mark.image.clone());
        if marks.last().is_some_and(|last| place(last) >= place(&next)) {
            return Err(bad_value(MARKS.tag(), "image", row, "not after the row before"));
        }
        marks.push(next);
    }
    Ok(marks)
}
