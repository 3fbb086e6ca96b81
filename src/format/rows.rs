//! rows: tables of one fixed-size row of numbers per image: crops, features, vectors.

use super::element::Element;
use super::error::{Result, bad_value, damaged};
use super::ipc_reader::{IpcBatch, IpcFile};
use super::kind::{ColumnType, Kind, Metadata};
use crate::base::ImageId;
use bytes::Bytes;
use std::marker::PhantomData;
use std::ops::Range;

/// The beginning of the names of parts of rows.
pub const PART: &str = "part-";
/// The name of the first part.
pub(super) const FIRST_PART: &str = "part-00000.arrow";

/// The name of the part of that number, without a tag.
pub fn part_name(number: usize) -> String {
    format!("{PART}{number:05}.arrow")
}

/// A table in mapped parts: image ids without a gap from the first, and `width` numbers for each.
#[derive(Debug)]
pub struct Rows<T> {
    width: usize,
    /// The column of the numbers: the second if a column of ids comes first, as in vectors.
    at: usize,
    first: ImageId,
    rows: usize,
    metadata: Metadata,
    /// Row at which each batch starts.
    starts: Vec<usize>,
    batches: Vec<IpcBatch>,
    numbers: PhantomData<T>,
}

impl<T: Element> Rows<T> {
    /// Opens parts as one table, in their order. All must agree in width and metadata, and skip no image id.
    pub fn open(kind: &Kind, parts: &[Bytes]) -> Result<Self> {
        Self::open_either(&[kind], parts)
    }

    /// The same for the first of `kinds`, or for another, which is an earlier version of it. Parts without ids follow
    /// each other without a gap from image 0 on.
    pub fn open_either(kinds: &[&Kind], parts: &[Bytes]) -> Result<Self> {
        let kind = kinds[0];
        let mut table: Option<Self> = None;
        for part in parts {
            let part = Self::open_part(kinds, part)?;
            match &mut table {
                None => table = Some(part),
                Some(table) => table.append(kind, part)?,
            }
        }
        table.ok_or_else(|| damaged(kind.tag(), "an artifact of no parts"))
    }

    fn open_part(kinds: &[&Kind], bytes: &Bytes) -> Result<Self> {
        let kind = kinds[0];
        let file = IpcFile::open_either(kinds, bytes)?;
        let at = file.columns.len() - 1;
        let width = match file.columns[at] {
            (_, ColumnType::Row(scalar, width)) if scalar == T::SCALAR => width,
            _ => return Err(damaged(kind.tag(), format!("rows of another number than {}", T::SCALAR))),
        };
        let has_ids = at > 0;
        let batches: Vec<_> = file.batches.into_iter().filter(|batch| batch.rows > 0).collect();
        let first = batches.first().filter(|_| has_ids).map(|batch| u32::try_from(batch.column::<i64>(0)[0]).ok());
        let first =
            first.unwrap_or(Some(0)).ok_or_else(|| bad_value(kind.tag(), "image_id", 0, "no 32-bit image id"))?;
        let (mut starts, mut rows) = (Vec::with_capacity(batches.len()), 0);
        for batch in &batches {
            starts.push(rows);
            let due = i64::from(first) + rows as i64;
            let ids = if has_ids { batch.column::<i64>(0) } else { &[] };
            if let Some(at) = ids.iter().zip(due..).position(|(found, due)| *found != due) {
                return Err(bad_value(kind.tag(), "image_id", rows + at, "not the id after the one before"));
            }
            rows += batch.rows;
        }
        if first as usize + rows > u32::MAX as usize {
            return Err(damaged(kind.tag(), "more rows than image ids"));
        }
        let (metadata, numbers) = (file.metadata, PhantomData);
        Ok(Self { width, at, first: ImageId(first), rows, metadata, starts, batches, numbers })
    }

    fn append(&mut self, kind: &Kind, part: Self) -> Result<()> {
        if part.width != self.width || part.metadata != self.metadata {
            return Err(damaged(kind.tag(), "parts that differ in width or metadata"));
        }
        let follows = part.first.index() == self.first.index() + self.rows;
        if self.at > 0 && part.rows > 0 && self.rows > 0 && !follows {
            return Err(bad_value(kind.tag(), "image_id", self.rows, "a part does not follow the one before"));
        }
        if self.rows + part.rows > u32::MAX as usize {
            return Err(damaged(kind.tag(), "more rows than image ids"));
        }
        if self.rows == 0 {
            self.first = part.first;
        }
        self.starts.extend(part.starts.iter().map(|start| start + self.rows));
        self.batches.extend(part.batches);
        self.rows += part.rows;
        Ok(())
    }

    /// How many images.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers per image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The first image; the others follow without a gap.
    pub fn first(&self) -> ImageId {
        self.first
    }

    /// The metadata all parts share.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// How many batches all parts have together; none is empty.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Batch `at`: its rows (counted from the table's first), and their numbers, one image after the other, not copied.
    pub fn batch(&self, at: usize) -> (Range<usize>, &[T]) {
        let batch = &self.batches[at];
        (self.starts[at]..self.starts[at] + batch.rows, batch.column(self.at))
    }

    /// Every batch, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, &[T])> {
        (0..self.batches()).map(|at| self.batch(at))
    }

    /// The numbers of one row, counted from the table's first; `None` beyond the last.
    pub fn row(&self, row: usize) -> Option<&[T]> {
        let at = self.starts.partition_point(|start| *start <= row).checked_sub(1)?;
        let (rows, numbers) = self.batch(at);
        numbers.get((row - rows.start) * self.width..(row - rows.start + 1) * self.width)
    }

    /// The numbers of one image.
    pub fn image(&self, image: ImageId) -> Option<&[T]> {
        self.row(image.index().checked_sub(self.first.index())?)
    }

    /// The pieces of a range of rows, in order, not copied; rows beyond the last are left out.
    pub fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[T]> {
        let from = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let batches = (from..self.batches()).map(|at| self.batch(at));
        let within = batches.take_while({
            let end = range.end;
            move |(rows, _)| rows.start < end
        });
        within.filter_map(move |(rows, numbers)| {
            let (start, end) = (range.start.max(rows.start), range.end.min(rows.end));
            (start < end).then(|| &numbers[(start - rows.start) * self.width..(end - rows.start) * self.width])
        })
    }

    /// The whole table as one slice, rows x width, if it is one batch.
    pub fn whole(&self) -> Option<&[T]> {
        match self.batches.as_slice() {
            [] => Some(&[]),
            [batch] => Some(batch.column(self.at)),
            _ => None,
        }
    }
}
