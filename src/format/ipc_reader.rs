//! ipc_reader: Arrow IPC files read in place, after a check of every offset in them.
//!
//! Arrow's own decoder panics on wrong lengths. These files hold only numbers without nulls, so a full check leaves
//! that decoder nothing to do.

use super::element::Element;
use super::error::{Result, damaged};
use super::ipc_writer::MAGIC;
use super::kind::{ColumnType, Kind, Metadata, SCHEMA_KEY, Scalar};
use arrow::buffer::Buffer;
use arrow::ipc::{Block, Endianness, Field, MetadataVersion, Precision, RecordBatch, Type};
use arrow::ipc::{root_as_footer, root_as_message};
use bytes::Bytes;

/// A file whose columns point into the bytes that it was opened from.
#[derive(Debug)]
pub struct IpcFile {
    /// Name and type of each column.
    pub columns: Vec<(String, ColumnType)>,
    /// The schema's metadata.
    pub metadata: Metadata,
    /// The batches, in order.
    pub batches: Vec<IpcBatch>,
}

/// One batch: each column's values, not copied.
#[derive(Debug)]
pub struct IpcBatch {
    /// How many rows.
    pub rows: usize,
    columns: Vec<Buffer>,
}

impl IpcBatch {
    /// The values of column `at`: `rows` or `rows * width` of them; none if the column has another type.
    pub fn column<T: Element>(&self, at: usize) -> &[T] {
        let buffer = &self.columns[at];
        if buffer.as_ptr().align_offset(align_of::<T>()) != 0 || !buffer.len().is_multiple_of(size_of::<T>()) {
            return &[];
        }
        buffer.typed_data()
    }
}

impl IpcFile {
    /// Opens a file that must be of `kind`.
    pub fn open(kind: &Kind, bytes: &Bytes) -> Result<Self> {
        let file = Self::open_any(&kind.tag(), bytes)?;
        kind.check(&file.metadata, &file.columns)?;
        Ok(file)
    }

    /// Opens a file of the first of `kinds`, or of another, which is an earlier version of it.
    pub fn open_either(kinds: &[&Kind], bytes: &Bytes) -> Result<Self> {
        let file = Self::open_any(&kinds[0].tag(), bytes)?;
        let is_of = |kind: &&&Kind| file.metadata.get(SCHEMA_KEY) == Some(&kind.tag());
        kinds.iter().find(is_of).unwrap_or(&kinds[0]).check(&file.metadata, &file.columns)?;
        Ok(file)
    }

    /// Opens a file of any kind that holds only numbers; errors call it `name`.
    pub fn open_any(name: &str, bytes: &Bytes) -> Result<Self> {
        parse(bytes).map_err(|reason| damaged(name, reason))
    }

    /// Sum of the batches' rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows).sum()
    }
}

type Parsed<T> = Result<T, String>;

fn parse(bytes: &Bytes) -> Parsed<IpcFile> {
    let tail = MAGIC.len() + 4;
    let end = bytes.len().checked_sub(tail).filter(|end| *end >= 8).ok_or("too short for an Arrow file")?;
    if &bytes[..MAGIC.len()] != MAGIC || &bytes[end + 4..] != MAGIC {
        return Err("no Arrow file: its first or last bytes are not ARROW1".into());
    }
    let length = [bytes[end], bytes[end + 1], bytes[end + 2], bytes[end + 3]];
    let length = usize::try_from(i32::from_le_bytes(length)).map_err(|_| "a negative footer length")?;
    let start = end.checked_sub(length).filter(|start| *start >= 8).ok_or("a footer longer than the file")?;
    let footer = root_as_footer(&bytes[start..end]).map_err(|error| format!("its footer: {error}"))?;
    if footer.version() != MetadataVersion::V5 || footer.dictionaries().is_some_and(|blocks| !blocks.is_empty()) {
        return Err("another version of Arrow's metadata, or dictionaries".into());
    }
    let schema = footer.schema().ok_or("no schema")?;
    if schema.endianness() != Endianness::Little {
        return Err("numbers in big-endian order".into());
    }
    let columns: Vec<_> = schema.fields().ok_or("no columns")?.iter().map(column).collect::<Parsed<_>>()?;
    if columns.is_empty() {
        return Err("no columns".into()); // Nothing would hold its row counts to the file's size.
    }
    let pairs = schema.custom_metadata().into_iter().flatten();
    let metadata = pairs.filter_map(|pair| Some((pair.key()?.to_owned(), pair.value()?.to_owned()))).collect();
    let data = Buffer::from(bytes.slice(..start));
    let types: Vec<_> = columns.iter().map(|(_, holds)| *holds).collect();
    let blocks = footer.recordBatches().ok_or("no list of batches")?;
    let batches = blocks.iter().map(|block| batch(&data, block, &types)).collect::<Parsed<_>>()?;
    Ok(IpcFile { columns, metadata, batches })
}

fn column(field: Field<'_>) -> Parsed<(String, ColumnType)> {
    let name = field.name().unwrap_or_default().to_owned();
    let children: Vec<_> = field.children().into_iter().flatten().collect();
    let holds = match (field.type_type(), children.as_slice()) {
        (Type::FixedSizeList, [item]) => {
            let width = field.type_as_fixed_size_list().map(|list| list.listSize());
            let width = width.and_then(|width| usize::try_from(width).ok()).filter(|width| *width > 0);
            scalar(*item).zip(width).map(|(scalar, width)| ColumnType::Row(scalar, width))
        }
        _ => scalar(field).map(ColumnType::One),
    };
    let holds = holds.filter(|_| !field.nullable() && field.dictionary().is_none());
    Ok((name.clone(), holds.ok_or_else(|| format!("column {name:?} is nullable or of a type never written here"))?))
}

fn scalar(field: Field<'_>) -> Option<Scalar> {
    if field.nullable() || field.dictionary().is_some() {
        return None;
    }
    match field.type_type() {
        Type::Int => {
            let int = field.type_as_int()?;
            match (int.bitWidth(), int.is_signed()) {
                (8, false) => Some(Scalar::U8),
                (32, true) => Some(Scalar::I32),
                (64, true) => Some(Scalar::I64),
                _ => None,
            }
        }
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            Precision::HALF => Some(Scalar::F16),
            Precision::SINGLE => Some(Scalar::F32),
            Precision::DOUBLE => Some(Scalar::F64),
            _ => None,
        },
        _ => None,
    }
}

/// Checks one batch and lends its columns.
fn batch(data: &Buffer, block: &Block, columns: &[ColumnType]) -> Parsed<IpcBatch> {
    let outside = "a batch outside the file";
    let size = |number: i64| usize::try_from(number).map_err(|_| outside);
    let (offset, header, length) =
        (size(block.offset())?, size(block.metaDataLength().into())?, size(block.bodyLength())?);
    let body = offset.checked_add(header).ok_or(outside)?;
    let end = body.checked_add(length).filter(|end| *end <= data.len()).ok_or(outside)?;
    if header < 8 || data[offset..offset + 4] != [0xff; 4] {
        return Err("a batch without its head".into());
    }
    let message = root_as_message(&data[offset + 8..body]).map_err(|error| format!("a batch's head: {error}"))?;
    let batch = message.header_as_record_batch().ok_or("a message that is no batch")?;
    if message.bodyLength() != block.bodyLength() || message.version() != MetadataVersion::V5 {
        return Err("a batch whose head and footer entry disagree".into());
    }
    if batch.compression().is_some() || batch.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err("a compressed batch".into());
    }
    lend(&data.slice_with_length(body, end - body), batch, columns)
}

fn lend(body: &Buffer, batch: RecordBatch<'_>, columns: &[ColumnType]) -> Parsed<IpcBatch> {
    let rows = usize::try_from(batch.length()).map_err(|_| "a negative row count")?;
    let mut nodes = batch.nodes().ok_or("no nodes")?.into_iter();
    let mut buffers = batch.buffers().ok_or("no buffers")?.into_iter();
    let mut node = |wanted: usize| match nodes.next() {
        Some(node) if node.length() == wanted as i64 && node.null_count() == 0 => Ok(()),
        _ => Err("a column of another length than its batch, or with nulls"),
    };
    let mut lent = Vec::with_capacity(columns.len());
    for column in columns {
        node(rows)?;
        let _validity = buffers.next();
        let (scalar, count) = match *column {
            ColumnType::One(scalar) => (scalar, rows),
            ColumnType::Row(scalar, width) => {
                let count = rows.checked_mul(width).ok_or("too many rows")?;
                node(count)?;
                let _validity = buffers.next();
                (scalar, count)
            }
            ColumnType::Text => return Err("a column of text".into()),
        };
        let wanted = count.checked_mul(scalar.bytes()).ok_or("too many rows")?;
        let buffer = buffers.next().ok_or("fewer buffers than columns")?;
        let start = usize::try_from(buffer.offset())
            .ok()
            .filter(|_| buffer.length() >= 0 && buffer.length() as usize >= wanted);
        let start = start.filter(|start| start.checked_add(wanted).is_some_and(|end| end <= body.len()));
        let values = body.slice_with_length(start.ok_or("a column outside its batch")?, wanted);
        if values.as_ptr().align_offset(scalar.bytes()) != 0 {
            return Err("a column that does not lie at a multiple of its number's size in memory".into());
        }
        lent.push(values);
    }
    Ok(IpcBatch { rows, columns: lent })
}
