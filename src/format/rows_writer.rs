//! rows_writer: writes a table of one fixed-size row per image, as the rows come.

use super::element::{Element, bytes_of};
use super::error::{Result, wrong_rows};
use super::ipc_writer::IpcWriter;
use super::kind::{ColumnType, Kind, Metadata, Scalar};
use crate::base::ImageId;
use std::io::Write;
use std::marker::PhantomData;
use std::ops::Range;

/// How many image ids are made at a time: a batch may have millions.
const IDS: usize = 8192;

/// The content of a part, known before its first row, so that it can be written front to back.
#[derive(Clone, Debug)]
pub struct RowsPlan {
    /// The kind of file.
    pub kind: &'static Kind,
    /// Numbers per image.
    pub width: usize,
    /// The first image.
    pub first: ImageId,
    /// How many images, which follow the first without a gap.
    pub rows: usize,
    /// Rows per batch; the last may have fewer.
    pub batch_rows: usize,
    /// Metadata besides the schema's name.
    pub metadata: Metadata,
}

/// Takes rows in slices of any size and holds none of them.
pub struct RowsWriter<T, W: Write> {
    out: IpcWriter<W>,
    plan: RowsPlan,
    /// Rows of the batches begun so far.
    begun: usize,
    /// Numbers still missing from the current batch.
    missing: usize,
    numbers: PhantomData<T>,
}

impl<T: Element, W: Write> RowsWriter<T, W> {
    /// Begins a part.
    pub fn create(out: W, plan: RowsPlan) -> Result<Self> {
        let last = plan.first.index() + plan.rows;
        if plan.width == 0 || plan.width > i32::MAX as usize || plan.batch_rows == 0 || last > u32::MAX as usize {
            return Err(wrong_rows(plan.kind.tag(), "a row of no numbers or too many, or ids beyond 32 bits"));
        }
        let columns = [ColumnType::One(Scalar::I64), ColumnType::Row(T::SCALAR, plan.width)];
        // Only some kinds say which images they hold.
        let columns = &columns[columns.len() - plan.kind.fields.len()..];
        let out = IpcWriter::create(out, plan.kind, columns, &plan.metadata)?;
        Ok(Self { out, plan, begun: 0, missing: 0, numbers: PhantomData })
    }

    /// Writes the next numbers: whole rows, one after the other.
    pub fn push(&mut self, mut numbers: &[T]) -> Result<()> {
        if !numbers.len().is_multiple_of(self.plan.width) {
            let reason = format!("{} numbers are no whole rows of {}", numbers.len(), self.plan.width);
            return Err(wrong_rows(self.plan.kind.tag(), reason));
        }
        while !numbers.is_empty() {
            if self.missing == 0 {
                self.begin()?;
            }
            let (now, later) = numbers.split_at(numbers.len().min(self.missing));
            self.out.column(bytes_of(now))?;
            self.missing -= now.len();
            numbers = later;
        }
        Ok(())
    }

    /// The images whose rows were written.
    pub fn written(&self) -> Range<ImageId> {
        let rows = self.begun - self.missing / self.plan.width;
        self.plan.first..ImageId(self.plan.first.0 + rows as u32)
    }

    /// Completes the part, which must have all its rows.
    pub fn finish(self) -> Result<W> {
        let rows = self.begun - self.missing / self.plan.width;
        if rows != self.plan.rows {
            return Err(wrong_rows(self.plan.kind.tag(), format!("{rows} rows of {}", self.plan.rows)));
        }
        self.out.finish()
    }

    fn begin(&mut self) -> Result<()> {
        let rows = self.plan.batch_rows.min(self.plan.rows - self.begun);
        if rows == 0 {
            return Err(wrong_rows(self.plan.kind.tag(), format!("more than the {} rows announced", self.plan.rows)));
        }
        self.out.begin(rows)?;
        let first = i64::from(self.plan.first.0) + self.begun as i64;
        let has_ids = self.plan.kind.fields.len() > 1;
        let mut ids = Vec::with_capacity(rows.min(IDS));
        for start in (0..if has_ids { rows } else { 0 }).step_by(IDS) {
            ids.clear();
            ids.extend((start..rows.min(start + IDS)).map(|row| first + row as i64));
            self.out.column(bytes_of(&ids))?;
        }
        self.begun += rows;
        self.missing = rows * self.plan.width;
        Ok(())
    }
}
