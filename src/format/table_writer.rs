//! table_writer: Parquet files that every reader takes: zstd, groups of 131072 rows, no embedded Arrow schema.

use super::error::{FormatError, Result, unwritten, wrong_rows};
use super::kind::{Kind, Metadata, SCHEMA_KEY};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group; also a good number to push at a time.
pub const GROUP_ROWS: usize = 131_072;
const ZSTD_LEVEL: i32 = 3;
/// The same in every version, so that the same rows stay the same bytes.
const CREATED_BY: &str = "dcpipe";

/// Some values of a column.
pub struct Column(ArrayRef);

impl Column {
    /// 32-bit whole numbers.
    pub fn i32(values: impl IntoIterator<Item = i32>) -> Self {
        Self(Arc::new(Int32Array::from_iter_values(values)))
    }

    /// 64-bit whole numbers.
    pub fn i64(values: impl IntoIterator<Item = i64>) -> Self {
        Self(Arc::new(Int64Array::from_iter_values(values)))
    }

    /// Single-precision numbers.
    pub fn f32(values: impl IntoIterator<Item = f32>) -> Self {
        Self(Arc::new(Float32Array::from_iter_values(values)))
    }

    /// Double-precision numbers.
    pub fn f64(values: impl IntoIterator<Item = f64>) -> Self {
        Self(Arc::new(Float64Array::from_iter_values(values)))
    }

    /// Texts.
    pub fn text(values: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(Arc::new(StringArray::from_iter_values(values)))
    }
}

/// Writes a table in pieces of rows; the first piece gives the columns their types.
pub struct TableWriter<W: Write + Send> {
    kind: String,
    metadata: Metadata,
    names: Vec<String>,
    state: State<W>,
}

enum State<W: Write + Send> {
    Fresh(W),
    Open(Box<ArrowWriter<W>>, SchemaRef),
    Broken,
}

impl<W: Write + Send> TableWriter<W> {
    /// Begins a file whose `dcpipe.schema` is `tag`, with columns of these names.
    pub fn create(out: W, tag: &str, names: &[&str], metadata: &Metadata) -> Self {
        let mut metadata = metadata.clone();
        metadata.insert(SCHEMA_KEY.to_owned(), tag.to_owned());
        let names = names.iter().map(ToString::to_string).collect();
        Self { kind: tag.to_owned(), metadata, names, state: State::Fresh(out) }
    }

    /// Begins a file of `kind`.
    pub fn of(out: W, kind: &Kind, metadata: &Metadata) -> Self {
        let names: Vec<_> = kind.fields.iter().map(|field| field.name).collect();
        Self::create(out, &kind.tag(), &names, metadata)
    }

    /// Writes rows: one column per name, all of one length. Push a table of no rows once as well.
    pub fn push(&mut self, columns: Vec<Column>) -> Result<()> {
        let columns: Vec<_> = columns.into_iter().map(|column| column.0).collect();
        let length = columns.first().map_or(0, |column| column.len());
        if columns.len() != self.names.len() || columns.iter().any(|column| column.len() != length) {
            return Err(wrong_rows(&self.kind, "columns that differ in length, or from their names in number"));
        }
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Fresh(out) => self.open(out, &columns)?,
            state => state,
        };
        let State::Open(writer, schema) = &mut self.state else {
            return Err(wrong_rows(&self.kind, "written to after it failed"));
        };
        let batch =
            RecordBatch::try_new(schema.clone(), columns).map_err(|error| wrong_rows(&self.kind, error.to_string()))?;
        writer.write(&batch).map_err(failed(&self.kind))
    }

    /// Writes the foot of the file and gives back what was written to.
    pub fn finish(self) -> Result<W> {
        match self.state {
            State::Open(writer, _) => writer.into_inner().map_err(failed(&self.kind)),
            State::Fresh(_) | State::Broken => Err(wrong_rows(&self.kind, "finished without a first piece of rows")),
        }
    }

    fn open(&self, out: W, columns: &[ArrayRef]) -> Result<State<W>> {
        let fields = self.names.iter().zip(columns);
        let fields: Vec<_> = fields.map(|(name, column)| Field::new(name, column.data_type().clone(), false)).collect();
        let schema = Arc::new(Schema::new(fields));
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties(&schema)?)
            .with_skip_arrow_metadata(true)
            .with_schema_root("dcpipe".to_owned());
        let writer = ArrowWriter::try_new_with_options(out, schema.clone(), options).map_err(failed(&self.kind))?;
        Ok(State::Open(Box::new(writer), schema))
    }

    fn properties(&self, schema: &Schema) -> Result<WriterProperties> {
        let pairs = self.metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(failed(&self.kind))?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(CREATED_BY.to_owned())
            .set_key_value_metadata(Some(pairs.collect()));
        for field in schema.fields() {
            if matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
                // measured values hardly repeat
                properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
            }
        }
        Ok(properties.build())
    }
}

/// Writes a whole table with columns of one's own choice, for the views; `tag` is its `dcpipe.schema`.
pub fn write_table<W: Write + Send>(out: W, tag: &str, columns: Vec<(&str, Column)>, metadata: &Metadata) -> Result<W> {
    let (names, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let mut writer = TableWriter::create(out, tag, &names, metadata);
    writer.push(columns)?;
    writer.finish()
}

/// Writes a table of `kind` in groups; `columns` makes those of a range of rows.
pub(super) fn write_groups<W: Write + Send>(
    out: W,
    kind: &Kind,
    metadata: &Metadata,
    rows: usize,
    mut columns: impl FnMut(std::ops::Range<usize>) -> Vec<Column>,
) -> Result<W> {
    let mut writer = TableWriter::of(out, kind, metadata);
    let mut start = 0;
    loop {
        let end = rows.min(start + GROUP_ROWS);
        writer.push(columns(start..end))?;
        start = end;
        if start == rows {
            return writer.finish();
        }
    }
}

fn failed(kind: &str) -> impl Fn(ParquetError) -> FormatError {
    let kind = kind.to_owned();
    move |error| match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(source) => unwritten(&kind)(*source),
            Err(error) => unwritten(&kind)(std::io::Error::other(error)),
        },
        error => unwritten(&kind)(std::io::Error::other(error.to_string())),
    }
}
