//! table: Parquet files read whole, column by column.

use super::error::{Result, bad_value, damaged, guarded};
use super::kind::{ColumnType, Kind, Metadata, Scalar};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

/// Rows decoded at a time.
const READ_ROWS: usize = 1 << 16;
/// Every table has a column of unique values, so a file has at most this many rows per byte. Any further claim would
/// turn a few bytes into gigabytes.
const ROWS_A_BYTE: usize = 8;

/// The columns of a Parquet file, in pieces.
#[derive(Debug)]
pub struct Table {
    kind: String,
    /// Rows in the file, even if fewer were read.
    pub rows: usize,
    /// Name and type of each column.
    pub columns: Vec<(String, ColumnType)>,
    /// The file's metadata.
    pub metadata: Metadata,
    pieces: Vec<Vec<ArrayRef>>,
}

impl Table {
    /// Opens a file that must be of `kind`.
    pub fn open(kind: &Kind, bytes: &Bytes) -> Result<Self> {
        let table = Self::open_any(&kind.tag(), bytes, usize::MAX)?;
        kind.check(&table.metadata, &table.columns)?;
        Ok(table)
    }

    /// Opens a file of any kind and reads at most `limit` rows; errors call it `name`.
    pub fn open_any(name: &str, bytes: &Bytes, limit: usize) -> Result<Self> {
        guarded(name, || read(name, bytes.clone(), limit))
    }

    /// Values of a column of 32-bit numbers.
    pub fn i32(&self, column: &str) -> Result<Vec<i32>> {
        self.numbers::<Int32Type>(column)
    }

    /// Values of a column of 64-bit numbers.
    pub fn i64(&self, column: &str) -> Result<Vec<i64>> {
        self.numbers::<Int64Type>(column)
    }

    /// Values of a column of single-precision numbers.
    pub fn f32(&self, column: &str) -> Result<Vec<f32>> {
        self.numbers::<Float32Type>(column)
    }

    /// Values of a column of double-precision numbers.
    pub fn f64(&self, column: &str) -> Result<Vec<f64>> {
        self.numbers::<Float64Type>(column)
    }

    /// Values of a column of 32- or 64-bit numbers; a negative one, or one beyond `limit`, is an error.
    pub fn counts(&self, column: &str, limit: u64) -> Result<Vec<u64>> {
        let wide = match self.i64(column) {
            Ok(values) => values,
            Err(_) => self.i32(column)?.into_iter().map(i64::from).collect(),
        };
        let count = |(row, value): (usize, i64)| match u64::try_from(value) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(bad_value(&self.kind, column, row, format!("{value} is not in 0..={limit}"))),
        };
        wide.into_iter().enumerate().map(count).collect()
    }

    /// Values of an index column, each below `count`.
    pub fn ids<Id>(&self, column: &str, count: u64, id: fn(u32) -> Id) -> Result<Vec<Id>> {
        if count == 0 && self.rows > 0 {
            return Err(bad_value(&self.kind, column, 0, "an id, where there can be none"));
        }
        let limit = count.saturating_sub(1).min(u32::MAX.into());
        Ok(self.counts(column, limit)?.into_iter().map(|value| id(value as u32)).collect())
    }

    /// Checks that a column counts the rows from 0.
    pub fn counts_rows(&self, column: &str) -> Result<()> {
        match self.i64(column)?.into_iter().zip(0..).position(|(found, due)| found != due) {
            Some(row) => Err(bad_value(&self.kind, column, row, "not the number of its row")),
            None => Ok(()),
        }
    }

    /// Values of a column of text.
    pub fn text(&self, column: &str) -> Result<Texts> {
        let pieces = self.pieces(column)?.iter().map(|piece| piece.as_string_opt::<i32>().cloned());
        let pieces: Option<Vec<_>> = pieces.collect();
        let pieces = pieces.ok_or_else(|| damaged(&self.kind, format!("column {column:?} is no text")))?;
        let mut starts = Vec::with_capacity(pieces.len());
        let mut rows = 0;
        for piece in &pieces {
            starts.push(rows);
            rows += piece.len();
        }
        Ok(Texts { starts, pieces })
    }

    /// A column's Arrow arrays.
    pub(super) fn pieces(&self, column: &str) -> Result<&[ArrayRef]> {
        let at = self.columns.iter().position(|(name, _)| name == column);
        at.map(|at| self.pieces[at].as_slice()).ok_or_else(|| damaged(&self.kind, format!("no column {column:?}")))
    }

    fn numbers<A: ArrowPrimitiveType>(&self, column: &str) -> Result<Vec<A::Native>> {
        let mut values = Vec::with_capacity(self.rows);
        for piece in self.pieces(column)? {
            let piece = piece.as_primitive_opt::<A>();
            let piece =
                piece.ok_or_else(|| damaged(&self.kind, format!("column {column:?} is no {}", A::DATA_TYPE)))?;
            values.extend_from_slice(piece.values());
        }
        Ok(values)
    }
}

/// A column of text, without a string object per row.
#[derive(Debug)]
pub struct Texts {
    starts: Vec<usize>,
    pieces: Vec<StringArray>,
}

impl Texts {
    /// The text of a row; panics beyond the last, as a slice does.
    pub fn get(&self, row: usize) -> &str {
        let at = self.starts.partition_point(|start| *start <= row) - 1;
        self.pieces[at].value(row - self.starts[at])
    }

    /// Every text, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().flat_map(|piece| piece.iter().flatten())
    }
}

fn read(name: &str, bytes: Bytes, limit: usize) -> Result<Table> {
    let wrong = |error: parquet::errors::ParquetError| damaged(name, error.to_string());
    let most = bytes.len().saturating_mul(ROWS_A_BYTE).min(u32::MAX as usize);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).map_err(wrong)?;
    let file = builder.metadata().file_metadata();
    let rows = usize::try_from(file.num_rows()).ok().filter(|rows| *rows <= most);
    let rows = rows.ok_or_else(|| damaged(name, format!("{} rows, which it is too short for", file.num_rows())))?;
    let pairs = file.key_value_metadata().into_iter().flatten();
    let metadata = pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
    let columns = builder.schema().fields().iter();
    let columns: Vec<_> = columns.map(|field| column(name, field)).collect::<Result<_>>()?;
    let mut pieces = vec![Vec::new(); columns.len()];
    let mut found = 0;
    for batch in builder.with_batch_size(READ_ROWS.min(rows.max(1))).with_limit(limit).build().map_err(wrong)? {
        let batch = batch.map_err(|error| damaged(name, error.to_string()))?;
        found += batch.num_rows();
        for (pieces, piece) in pieces.iter_mut().zip(batch.columns()) {
            if piece.null_count() > 0 {
                return Err(damaged(name, "a column with nulls"));
            }
            pieces.push(piece.clone());
        }
    }
    if found != rows.min(limit) {
        return Err(damaged(name, format!("{found} rows where {rows} were announced")));
    }
    Ok(Table { kind: name.to_owned(), rows, columns, metadata, pieces })
}

fn column(name: &str, field: &Field) -> Result<(String, ColumnType)> {
    let holds = match field.data_type() {
        DataType::Int32 => ColumnType::One(Scalar::I32),
        DataType::Int64 => ColumnType::One(Scalar::I64),
        DataType::Float32 => ColumnType::One(Scalar::F32),
        DataType::Float64 => ColumnType::One(Scalar::F64),
        DataType::Utf8 => ColumnType::Text,
        other => return Err(damaged(name, format!("column {:?} of a type never written here: {other}", field.name()))),
    };
    if field.is_nullable() {
        return Err(damaged(name, format!("column {:?} may be null", field.name())));
    }
    Ok((field.name().clone(), holds))
}
