//! ipc_writer: Arrow IPC files written front to back, from memory that the caller owns.
//!
//! Arrow's own writer wants a whole batch in memory. Rows of fixed size make every offset known beforehand. So a batch
//! of 1.3 GB (vectors are one batch) streams through this writer.

use super::error::{FormatError, Result, unwritten, wrong_rows};
use super::kind::{ColumnType, Kind, Metadata, SCHEMA_KEY, Scalar};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::convert::IpcSchemaEncoder;
use arrow::ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions, write_message};
use arrow::ipc::{
    Block, Buffer, FieldNode, FooterBuilder, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder,
};
use std::collections::VecDeque;
use std::io::{BufWriter, Write};

/// First and last bytes of an Arrow IPC file.
pub(super) const MAGIC: &[u8; 6] = b"ARROW1";
/// Every buffer starts at a multiple of this many bytes of the file.
pub(super) const ALIGNMENT: usize = 64;
/// Smaller writes are gathered; larger ones go straight through.
const GATHER_BYTES: usize = 256 << 10;

/// Writes batches of fixed-size columns; within a batch, column after column.
pub struct IpcWriter<W: Write> {
    out: BufWriter<W>,
    kind: String,
    schema: Schema,
    columns: Vec<ColumnType>,
    position: u64,
    blocks: Vec<Block>,
    due: VecDeque<Due>,
}

/// An incomplete column of the current batch.
struct Due {
    left: usize,
    padding: usize,
}

impl<W: Write> IpcWriter<W> {
    /// Writes the head of a file of `kind`, with these columns.
    pub fn create(out: W, kind: &Kind, columns: &[ColumnType], metadata: &Metadata) -> Result<Self> {
        let names = kind.fields.iter().map(|field| field.name);
        let fields: Vec<_> =
            names.zip(columns).map(|(name, holds)| Field::new(name, data_type(*holds), false)).collect();
        let mut metadata = metadata.clone();
        metadata.insert(SCHEMA_KEY.to_owned(), kind.tag());
        let schema = Schema::new_with_metadata(fields, metadata.into_iter().collect());
        let mut writer = Self {
            out: BufWriter::with_capacity(GATHER_BYTES, out),
            kind: kind.tag(),
            schema,
            columns: columns.to_vec(),
            position: 0,
            blocks: Vec::new(),
            due: VecDeque::new(),
        };
        let mut head = [0; ALIGNMENT];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        writer.put(&head)?;
        let mut tracker = DictionaryTracker::new(true);
        let options = IpcWriteOptions::default();
        let message =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&writer.schema, &mut tracker, &options);
        writer.message(message.ipc_message)?;
        Ok(writer)
    }

    /// Begins a batch of that many rows; the one before must be complete.
    pub fn begin(&mut self, rows: usize) -> Result<()> {
        if !self.due.is_empty() {
            return Err(wrong_rows(&self.kind, "a batch was begun before the one before it was complete"));
        }
        let layout = Layout::of(&self.columns, rows).ok_or_else(|| wrong_rows(&self.kind, "a batch too large"))?;
        let offset = self.position;
        let header = self.message(layout.message(rows))?;
        self.blocks.push(Block::new(offset as i64, header as i32, layout.body as i64));
        self.due = layout.due();
        Ok(())
    }

    /// Writes the next bytes of the batch's current column.
    pub fn column(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some(due) = self.due.front_mut().filter(|due| bytes.len() <= due.left) else {
            return Err(wrong_rows(&self.kind, "more values than the batch was begun for"));
        };
        due.left -= bytes.len();
        let padding = (due.left == 0).then_some(due.padding);
        self.put(bytes)?;
        if let Some(padding) = padding {
            self.due.pop_front();
            self.put(&[0; ALIGNMENT][..padding])?;
        }
        Ok(())
    }

    /// Writes the foot of the file and returns the output.
    pub fn finish(mut self) -> Result<W> {
        if !self.due.is_empty() {
            return Err(wrong_rows(&self.kind, "fewer values than the last batch was begun for"));
        }
        self.put(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])?;
        let footer = footer(&self.schema, &self.blocks);
        self.put(&footer)?;
        self.put(&(footer.len() as i32).to_le_bytes())?;
        self.put(MAGIC)?;
        self.out.into_inner().map_err(|error| unwritten(&self.kind)(error.into_error()))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes).map_err(unwritten(&self.kind))
    }

    /// Writes a message without a body; returns its padded length.
    fn message(&mut self, ipc_message: Vec<u8>) -> Result<usize> {
        let encoded = EncodedData { ipc_message, arrow_data: Vec::new() };
        let (bytes, _) = write_message(&mut self.out, encoded, &IpcWriteOptions::default()).map_err(|error| {
            FormatError::Write { kind: self.kind.clone(), source: std::io::Error::other(error.to_string()) }
        })?;
        self.position += bytes as u64;
        Ok(bytes)
    }
}

/// The places of a batch's columns in its body.
pub(super) struct Layout {
    nodes: Vec<FieldNode>,
    buffers: Vec<Buffer>,
    body: usize,
}

impl Layout {
    /// `None` if the sizes overflow.
    fn of(columns: &[ColumnType], rows: usize) -> Option<Self> {
        let mut layout = Self { nodes: Vec::new(), buffers: Vec::new(), body: 0 };
        let node = |count: usize| FieldNode::new(count as i64, 0);
        for column in columns {
            layout.nodes.push(node(rows));
            layout.buffers.push(Buffer::new(layout.body as i64, 0));
            let (scalar, count) = match *column {
                ColumnType::One(scalar) => (scalar, rows),
                ColumnType::Row(scalar, width) => {
                    let count = rows.checked_mul(width)?;
                    layout.nodes.push(node(count));
                    layout.buffers.push(Buffer::new(layout.body as i64, 0));
                    (scalar, count)
                }
                ColumnType::Text => return None,
            };
            let bytes = count.checked_mul(scalar.bytes())?;
            layout.buffers.push(Buffer::new(layout.body as i64, bytes as i64));
            layout.body = layout.body.checked_add(bytes)?.checked_next_multiple_of(ALIGNMENT)?;
        }
        i64::try_from(layout.body).ok().map(|_| layout)
    }

    fn due(&self) -> VecDeque<Due> {
        let lengths = self.buffers.iter().map(|buffer| buffer.length() as usize).filter(|bytes| *bytes > 0);
        lengths.map(|left| Due { left, padding: left.next_multiple_of(ALIGNMENT) - left }).collect()
    }

    /// The record batch message that announces this body.
    fn message(&self, rows: usize) -> Vec<u8> {
        // arrow re-exports no flatbuffers; this gets a builder without naming the crate
        let mut builder = IpcSchemaEncoder::new().schema_to_fb(&Schema::empty());
        builder.reset();
        let buffers = builder.create_vector(&self.buffers);
        let nodes = builder.create_vector(&self.nodes);
        let mut batch = RecordBatchBuilder::new(&mut builder);
        batch.add_length(rows as i64);
        batch.add_nodes(nodes);
        batch.add_buffers(buffers);
        let header = batch.finish().as_union_value();
        let mut message = MessageBuilder::new(&mut builder);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength(self.body as i64);
        message.add_header(header);
        let root = message.finish();
        builder.finish(root, None);
        builder.finished_data().to_vec()
    }
}

fn footer(schema: &Schema, blocks: &[Block]) -> Vec<u8> {
    let mut builder = IpcSchemaEncoder::new().schema_to_fb(&Schema::empty());
    builder.reset();
    let dictionaries = builder.create_vector::<Block>(&[]);
    let batches = builder.create_vector(blocks);
    let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, schema);
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionaries);
    footer.add_recordBatches(batches);
    let root = footer.finish();
    builder.finish(root, None);
    builder.finished_data().to_vec()
}

/// The Arrow type of a column.
pub(super) fn data_type(column: ColumnType) -> DataType {
    let scalar = |scalar| match scalar {
        Scalar::U8 => DataType::UInt8,
        Scalar::I32 => DataType::Int32,
        Scalar::I64 => DataType::Int64,
        Scalar::F16 => DataType::Float16,
        Scalar::F32 => DataType::Float32,
        Scalar::F64 => DataType::Float64,
    };
    match column {
        ColumnType::One(one) => scalar(one),
        ColumnType::Row(one, width) => DataType::new_fixed_size_list(scalar(one), width as i32, false),
        ColumnType::Text => DataType::Utf8,
    }
}
