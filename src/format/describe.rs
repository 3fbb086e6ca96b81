//! describe: what a file contains, for a person: schema, rows, the head of the table, statistics.

use super::error::{Result, damaged};
use super::ipc_reader::IpcFile;
use super::kind::{ColumnType, Metadata, SCHEMA_KEY, Scalar};
use super::table::Table;
use super::weights::{Tensor, Tensors};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use bytes::Bytes;
use half::f16;

/// Statistics look at no more than this many rows,
const STATISTICS_ROWS: usize = 100_000;
/// nor at more than this many numbers of a column.
const STATISTICS_NUMBERS: usize = 4_000_000;
/// Numbers shown of a row of many.
const HEAD_NUMBERS: usize = 4;

/// The content of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What its `dcpipe.schema` says, or `unknown`.
    pub schema: String,
    /// Rows; of safetensors, tensors.
    pub rows: usize,
    /// Every column; of safetensors, every tensor.
    pub columns: Vec<ColumnDescription>,
    /// The first rows, a text for each column; of safetensors none.
    pub head: Vec<Vec<String>>,
    /// Metadata besides the schema.
    pub metadata: Metadata,
}

/// The content of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Its type.
    pub holds: String,
    /// Over its first numbers; of text none.
    pub statistics: Option<Statistics>,
}

/// Statistics of the first numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// How many numbers they cover.
    pub numbers: usize,
    /// The smallest, leaving out NaN.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean; NaN if one of them is.
    pub mean: f64,
}

impl Statistics {
    fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut seen, mut min, mut max, mut sum) = (0, f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for number in numbers.take(STATISTICS_NUMBERS) {
            (seen, min, max, sum) = (seen + 1, number.min(min), number.max(max), sum + number);
        }
        // False of no numbers, and of nothing but NaN.
        (min <= max).then(|| Self { numbers: seen, min, max, mean: sum / seen as f64 })
    }
}

/// Describes a file by its name's ending, `.arrow`, `.parquet` or `.safetensors`, with the first `head` rows of a table.
pub fn describe(name: &str, bytes: &Bytes, head: usize) -> Result<Description> {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("arrow") => arrow(name, bytes, head),
        Some("parquet") => parquet(name, bytes, head),
        Some("safetensors") => safetensors(name, bytes),
        _ => Err(damaged(name, "its name ends in none of .arrow, .parquet and .safetensors")),
    }
}

fn description(mut metadata: Metadata, rows: usize, columns: Vec<ColumnDescription>) -> Description {
    let schema = metadata.remove(SCHEMA_KEY).unwrap_or_else(|| "unknown".to_owned());
    Description { schema, rows, columns, head: Vec::new(), metadata }
}

fn arrow(name: &str, bytes: &Bytes, head_rows: usize) -> Result<Description> {
    let file = IpcFile::open_any(name, bytes)?;
    let statistics =
        |at: usize, scalar| Statistics::of(file.batches.iter().flat_map(|batch| numbers(scalar, at, batch)));
    let columns = file.columns.iter().enumerate().map(|(at, (name, holds))| {
        let (ColumnType::One(scalar) | ColumnType::Row(scalar, _)) = *holds else {
            return ColumnDescription { name: name.clone(), holds: holds.to_string(), statistics: None };
        };
        ColumnDescription { name: name.clone(), holds: holds.to_string(), statistics: statistics(at, scalar) }
    });
    let columns = columns.collect();
    let head = file.batches.iter().flat_map(|batch| (0..batch.rows).map(move |row| (batch, row)));
    let head = head.take(head_rows).map(|(batch, row)| {
        let cells = file.columns.iter().enumerate().map(|(at, (_, holds))| match *holds {
            ColumnType::One(scalar) => numbers(scalar, at, batch).nth(row).map_or_else(String::new, show),
            ColumnType::Row(scalar, width) => {
                let first = numbers(scalar, at, batch).skip(row * width).take(width.min(HEAD_NUMBERS));
                let dots = if width > HEAD_NUMBERS { ", ..." } else { "" };
                format!("[{}{dots}]", first.map(show).collect::<Vec<_>>().join(", "))
            }
            ColumnType::Text => String::new(),
        });
        cells.collect()
    });
    let head = head.collect();
    let rows = file.rows();
    Ok(Description { head, ..description(file.metadata, rows, columns) })
}

/// A batch's column, as doubles.
fn numbers<'a>(
    scalar: Scalar,
    at: usize,
    batch: &'a super::ipc_reader::IpcBatch,
) -> Box<dyn Iterator<Item = f64> + 'a> {
    match scalar {
        Scalar::U8 => Box::new(batch.column::<u8>(at).iter().map(|number| f64::from(*number))),
        Scalar::I32 => Box::new(batch.column::<i32>(at).iter().map(|number| f64::from(*number))),
        Scalar::I64 => Box::new(batch.column::<i64>(at).iter().map(|number| *number as f64)),
        Scalar::F16 => Box::new(batch.column::<f16>(at).iter().map(|number| f64::from(*number))),
        Scalar::F32 => Box::new(batch.column::<f32>(at).iter().map(|number| f64::from(*number))),
        Scalar::F64 => Box::new(batch.column::<f64>(at).iter().copied()),
    }
}

fn show(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number}") } else { format!("{number:.6}") }
}

fn parquet(name: &str, bytes: &Bytes, head_rows: usize) -> Result<Description> {
    let table = Table::open_any(name, bytes, STATISTICS_ROWS.max(head_rows))?;
    let mut columns = Vec::with_capacity(table.columns.len());
    let mut head = vec![Vec::new(); table.rows.min(head_rows)];
    for (column, holds) in &table.columns {
        let pieces = table.pieces(column)?;
        let values: Vec<f64> = pieces.iter().flat_map(|piece| doubles(piece)).collect();
        let mut texts = pieces.iter().filter_map(|piece| piece.as_string_opt::<i32>()).flatten();
        for (row, cells) in head.iter_mut().enumerate() {
            let text = texts.next().flatten();
            cells.push(text.map_or_else(|| values.get(row).copied().map_or_else(String::new, show), ToOwned::to_owned));
        }
        let statistics = Statistics::of(values.into_iter());
        columns.push(ColumnDescription { name: column.clone(), holds: holds.to_string(), statistics });
    }
    Ok(Description { head, ..description(table.metadata, table.rows, columns) })
}

/// A piece of a column, as doubles; of text none.
fn doubles(piece: &dyn Array) -> Vec<f64> {
    if let Some(numbers) = piece.as_primitive_opt::<Int32Type>() {
        numbers.values().iter().map(|number| f64::from(*number)).collect()
    } else if let Some(numbers) = piece.as_primitive_opt::<Int64Type>() {
        numbers.values().iter().map(|number| *number as f64).collect()
    } else if let Some(numbers) = piece.as_primitive_opt::<Float32Type>() {
        numbers.values().iter().map(|number| f64::from(*number)).collect()
    } else if let Some(numbers) = piece.as_primitive_opt::<Float64Type>() {
        numbers.values().to_vec()
    } else {
        Vec::new()
    }
}

fn safetensors(name: &str, bytes: &Bytes) -> Result<Description> {
    let file = Tensors::open_any(name, bytes)?;
    let columns: Vec<_> = file.iter().map(|(name, tensor)| tensor_description(name, tensor)).collect();
    Ok(description(file.metadata().clone(), columns.len(), columns))
}

fn tensor_description(name: &str, tensor: &Tensor) -> ColumnDescription {
    let statistics = match tensor.scalar() {
        Scalar::U8 => Statistics::of(tensor.bytes().iter().map(|number| f64::from(*number))),
        Scalar::I32 => Statistics::of(tensor.numbers::<i32>().into_iter().flatten().map(|number| f64::from(*number))),
        Scalar::I64 => Statistics::of(tensor.numbers::<i64>().into_iter().flatten().map(|number| *number as f64)),
        Scalar::F16 => Statistics::of(tensor.numbers::<f16>().into_iter().flatten().map(|number| f64::from(*number))),
        Scalar::F32 => Statistics::of(tensor.numbers::<f32>().into_iter().flatten().map(|number| f64::from(*number))),
        Scalar::F64 => Statistics::of(tensor.numbers::<f64>().into_iter().flatten().copied()),
    };
    ColumnDescription { name: name.to_owned(), holds: format!("{}{:?}", tensor.scalar(), tensor.shape()), statistics }
}
