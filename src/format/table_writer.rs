//! table_writer: Parquet files that every reader takes: zstd, groups of 131072 rows, no embedded Arrow schema.

use super::error::{FormatError, Result, unwritten, wrong_rows};
use super::kind::{Kind, Metadata, SCHEMA_KEY};
use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryBuilder, Float32Array, Float32Builder, Float64Array, Int32Array, Int64Array,
    Int64Builder, ListBuilder, RecordBatch, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::io::Write;
use std::sync::Arc;

/// Rows of a row group; also a good number per push.
pub const GROUP_ROWS: usize = 131_072;
/// The same of a table with pictures. Readers hold those of a group in memory, and count its bytes in 31 bits.
pub const PICTURE_GROUP_ROWS: usize = 1000;
const ZSTD_LEVEL: i32 = 3;
/// The same in every version, so that the same rows stay the same bytes.
const CREATED_BY: &str = "dcpipe";

/// Most bytes of a piece of a text column: half of what Arrow's 32-bit offsets reach.
const TEXT_BYTES: usize = 1 << 30;

/// Some values of a column.
pub struct Column {
    /// The values in their order, in one piece or several.
    pieces: Vec<ArrayRef>,
    may_be_null: bool,
}

impl Column {
    /// 32-bit whole numbers.
    pub fn i32(values: impl IntoIterator<Item = i32>) -> Self {
        Self::of(Arc::new(Int32Array::from_iter_values(values)))
    }

    /// 64-bit whole numbers.
    pub fn i64(values: impl IntoIterator<Item = i64>) -> Self {
        Self::of(Arc::new(Int64Array::from_iter_values(values)))
    }

    /// Single-precision numbers.
    pub fn f32(values: impl IntoIterator<Item = f32>) -> Self {
        Self::of(Arc::new(Float32Array::from_iter_values(values)))
    }

    /// Double-precision numbers.
    pub fn f64(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(Arc::new(Float64Array::from_iter_values(values)))
    }

    /// 64-bit whole numbers, or null.
    pub fn maybe_i64(values: impl IntoIterator<Item = Option<i64>>) -> Self {
        Self { pieces: vec![Arc::new(values.into_iter().collect::<Int64Array>())], may_be_null: true }
    }

    /// Pictures: the bytes of a file, and its path. Where there are no bytes, the picture is null. One call takes less
    /// than 2 GiB.
    pub fn pictures<'v>(values: impl IntoIterator<Item = (Option<&'v [u8]>, &'v str)>) -> Self {
        let (mut bytes, mut paths, mut are_there) = (BinaryBuilder::new(), StringBuilder::new(), Vec::new());
        for (picture, path) in values {
            bytes.append_option(picture);
            paths.append_option(picture.map(|_| path));
            are_there.push(picture.is_some());
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(bytes.finish()), Arc::new(paths.finish())];
        let fields =
            Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
        let pictures = StructArray::new(fields, columns, Some(NullBuffer::from(are_there)));
        Self { pieces: vec![Arc::new(pictures)], may_be_null: true }
    }

    /// Neighbours of each row: row numbers, the nearest first, and how far each is.
    pub fn neighbors<'v>(values: impl IntoIterator<Item = (&'v [i32], &'v [f32])>) -> Self {
        let (mut ids, mut distances) = (ListBuilder::new(Int64Builder::new()), ListBuilder::new(Float32Builder::new()));
        for (near, far) in values {
            ids.append_value(near.iter().map(|id| Some(i64::from(*id))));
            distances.append_value(far.iter().map(|far| Some(*far)));
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(ids.finish()), Arc::new(distances.finish())];
        let field = |(name, column): (&str, &ArrayRef)| Field::new(name, column.data_type().clone(), false);
        let fields: Fields = ["ids", "distances"].into_iter().zip(&columns).map(field).collect();
        Self::of(Arc::new(StructArray::new(fields, columns, None)))
    }

    /// Texts, which may be more than 2 GiB together.
    pub fn text(values: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self::text_in_pieces(values, GROUP_ROWS, TEXT_BYTES)
    }

    /// Texts in pieces of at most `rows` rows. A piece of more than one row also has a limit of bytes.
    fn text_in_pieces(values: impl IntoIterator<Item = impl AsRef<str>>, rows: usize, bytes: usize) -> Self {
        let (mut pieces, mut piece): (Vec<ArrayRef>, _) = (Vec::new(), StringBuilder::new());
        for value in values {
            let value = value.as_ref();
            let is_full = piece.len() == rows || piece.values_slice().len() + value.len() > bytes;
            if is_full && !piece.is_empty() {
                pieces.push(Arc::new(piece.finish()));
            }
            piece.append_value(value);
        }
        if !piece.is_empty() || pieces.is_empty() {
            pieces.push(Arc::new(piece.finish()));
        }
        Self { pieces, may_be_null: false }
    }

    fn of(values: ArrayRef) -> Self {
        Self { pieces: vec![values], may_be_null: false }
    }
}

/// The values of a column from a row on, up to the end of their piece; of no rows, none.
fn rest(pieces: &[ArrayRef], mut row: usize) -> ArrayRef {
    for piece in pieces {
        if row < piece.len() {
            return piece.slice(row, piece.len() - row);
        }
        row -= piece.len();
    }
    pieces[0].slice(0, 0)
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

    /// Writes rows: one column per name, all of one length. An empty table needs one push as well.
    pub fn push(&mut self, columns: Vec<Column>) -> Result<()> {
        let (columns, may_be_null): (Vec<_>, Vec<_>) =
            columns.into_iter().map(|column| (column.pieces, column.may_be_null)).unzip();
        let rows_of = |pieces: &Vec<ArrayRef>| pieces.iter().map(Array::len).sum::<usize>();
        let length = columns.first().map_or(0, rows_of);
        if columns.len() != self.names.len() || columns.iter().any(|pieces| rows_of(pieces) != length) {
            return Err(wrong_rows(&self.kind, "columns that differ in length, or from their names in number"));
        }
        self.state = match std::mem::replace(&mut self.state, State::Broken) {
            State::Fresh(out) => self.open(out, &columns, &may_be_null)?,
            state => state,
        };
        let State::Open(writer, schema) = &mut self.state else {
            return Err(wrong_rows(&self.kind, "written to after it failed"));
        };
        let mut start = 0;
        loop {
            // The rows up to the nearest end of a piece.
            let rests: Vec<_> = columns.iter().map(|pieces| rest(pieces, start)).collect();
            let rows = rests.iter().map(Array::len).min().unwrap_or(0);
            let rests = rests.iter().map(|rest| rest.slice(0, rows)).collect();
            let batch = RecordBatch::try_new(schema.clone(), rests);
            let batch = batch.map_err(|error| wrong_rows(&self.kind, error.to_string()))?;
            writer.write(&batch).map_err(failed(&self.kind))?;
            start += rows;
            if start >= length || rows == 0 {
                return Ok(());
            }
        }
    }

    /// Writes the foot of the file and returns the output.
    pub fn finish(self) -> Result<W> {
        match self.state {
            State::Open(writer, _) => writer.into_inner().map_err(failed(&self.kind)),
            State::Fresh(_) | State::Broken => Err(wrong_rows(&self.kind, "finished without a first piece of rows")),
        }
    }

    fn open(&self, out: W, columns: &[Vec<ArrayRef>], may_be_null: &[bool]) -> Result<State<W>> {
        let field =
            |(at, name): (usize, &String)| Field::new(name, columns[at][0].data_type().clone(), may_be_null[at]);
        let fields: Vec<_> = self.names.iter().enumerate().map(field).collect();
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
                // measured values rarely repeat
                properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
            }
            if matches!(field.data_type(), DataType::Struct(_)) {
                // Files of pictures are packed already, and no reader looks for one between two others.
                let bytes = ColumnPath::new(vec![field.name().clone(), "bytes".to_owned()]);
                properties = properties
                    .set_max_row_group_row_count(Some(PICTURE_GROUP_ROWS))
                    .set_column_compression(bytes.clone(), Compression::UNCOMPRESSED)
                    .set_column_dictionary_enabled(bytes.clone(), false)
                    .set_column_statistics_enabled(bytes, EnabledStatistics::None);
            }
        }
        Ok(properties.build())
    }
}

/// Writes a whole table with columns of the caller's choice; `tag` is its `dcpipe.schema`.
pub fn write_table<W: Write + Send>(out: W, tag: &str, columns: Vec<(&str, Column)>, metadata: &Metadata) -> Result<W> {
    let (names, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let mut writer = TableWriter::create(out, tag, &names, metadata);
    writer.push(columns)?;
    writer.finish()
}

/// Writes a table of `kind` in groups; `columns` makes the columns of a range of rows.
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn texts(rows: usize) -> Vec<String> {
        (0..rows).map(|row| format!("{row:x}").repeat(row % 5)).collect()
    }

    #[test]
    fn texts_in_pieces_of_any_length_are_written_whole() {
        let texts = texts(1_000);
        for (rows, bytes) in [(1, 100), (7, 100), (1_000, 20), (1_000, 0), (2_000, 1 << 20)] {
            let text = Column::text_in_pieces(&texts, rows, bytes);
            assert!(text.pieces.iter().all(|piece| piece.len() <= rows && !piece.is_empty()));
            let columns = vec![("n", Column::i32(0..1_000)), ("text", text), ("m", Column::text(&texts))];
            let file: Bytes = write_table(Vec::new(), "toy/v1", columns, &Metadata::new()).unwrap().into();
            let batches =
                ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1_000).build().unwrap();
            let batch = batches.map(Result::unwrap).next().unwrap();
            for column in [1, 2] {
                let read = batch.column(column).as_string::<i32>().iter().map(Option::unwrap);
                assert!(read.eq(texts.iter().map(String::as_str)), "{rows} rows, {bytes} bytes, column {column}");
            }
        }
    }

    #[test]
    fn a_whole_table_is_the_bytes_of_its_groups() {
        let texts = texts(2 * GROUP_ROWS + 5);
        let numbers = |rows: std::ops::Range<usize>| Column::i64(rows.map(|row| row as i64));
        let columns = vec![("text", Column::text(&texts)), ("n", numbers(0..texts.len()))];
        let whole = write_table(Vec::new(), "toy/v1", columns, &Metadata::new()).unwrap();
        let mut groups = TableWriter::create(Vec::new(), "toy/v1", &["text", "n"], &Metadata::new());
        for (at, group) in texts.chunks(GROUP_ROWS).enumerate() {
            let rows = at * GROUP_ROWS..at * GROUP_ROWS + group.len();
            groups.push(vec![Column::text(group), numbers(rows)]).unwrap();
        }
        assert!(groups.finish().unwrap() == whole);
    }

    #[test]
    fn a_table_of_no_rows_has_its_columns() {
        let none: [&str; 0] = [];
        let columns = vec![("text", Column::text(none)), ("n", Column::i32([]))];
        let file: Bytes = write_table(Vec::new(), "toy/v1", columns, &Metadata::new()).unwrap().into();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!((reader.schema().fields().len(), reader.metadata().file_metadata().num_rows()), (2, 0));
    }
}
