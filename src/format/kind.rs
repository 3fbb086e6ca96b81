//! kind: what a file holds: its name, version, columns and metadata.

use super::error::{FormatError, Result};
use std::collections::BTreeMap;
use std::fmt;

/// The metadata key that names kind and version in every file.
pub const SCHEMA_KEY: &str = "dcpipe.schema";

/// The number types that columns are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// 8 bits, 0..=255.
    U8,
    /// 32 bits, signed.
    I32,
    /// 64 bits, signed.
    I64,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
}

impl Scalar {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "uint8",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        })
    }
}

/// The type of a column in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// One number a row.
    One(Scalar),
    /// A fixed count of numbers a row.
    Row(Scalar, usize),
    /// UTF-8.
    Text,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(scalar) => scalar.fmt(f),
            Self::Row(scalar, width) => write!(f, "fixed_size_list<{scalar}>[{width}]"),
            Self::Text => f.write_str("utf8"),
        }
    }
}

/// The types a kind allows for a column.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// One number a row.
    One(Scalar),
    /// As many numbers a row as the named size says, of one of these types.
    Row(&'static [Scalar], &'static str),
    /// UTF-8.
    Text,
    /// One number a row, or null.
    Maybe(Scalar),
    /// A picture's file and its path, as Hugging Face has them, or null.
    Picture,
    /// Neighbours of a row: row numbers and distances.
    Neighbors,
    /// Not a column but a tensor of any type and shape.
    Tensor,
}

impl Holds {
    /// Whether a row may have none: only in files for other programs, which no reader here takes.
    pub fn may_be_null(self) -> bool {
        matches!(self, Self::Maybe(_) | Self::Picture)
    }

    fn allows(self, found: ColumnType) -> bool {
        match (self, found) {
            (Self::One(wanted), ColumnType::One(found)) => wanted == found,
            (Self::Row(wanted, _), ColumnType::Row(found, width)) => wanted.contains(&found) && width > 0,
            (Self::Text, ColumnType::Text) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(scalar) => scalar.fmt(f),
            Self::Row(scalars, width) => {
                let names: Vec<_> = scalars.iter().map(ToString::to_string).collect();
                write!(f, "fixed_size_list<{}>[{width}]", names.join(" or "))
            }
            Self::Text => f.write_str("utf8"),
            Self::Maybe(scalar) => scalar.fmt(f),
            Self::Picture => f.write_str("struct<bytes: binary, path: utf8>"),
            Self::Neighbors => f.write_str("struct<ids: list<int64>, distances: list<float32>>"),
            Self::Tensor => f.write_str("tensor of any numbers"),
        }
    }
}

/// A column of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The column's name.
    pub name: &'static str,
    /// Its type.
    pub holds: Holds,
    /// What a value says, with its unit.
    pub means: &'static str,
}

/// Short for a [`Field`] in a table of them.
pub(super) const fn field(name: &'static str, holds: Holds, means: &'static str) -> Field {
    Field { name, holds, means }
}

/// Which file format carries the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Arrow IPC file.
    Arrow,
    /// Parquet.
    Parquet,
    /// Parquet with pictures.
    Pictures,
    /// safetensors.
    Safetensors,
}

/// A kind of file: one name, one version.
#[derive(Debug)]
pub struct Kind {
    /// Its name, such as `clusters`.
    pub name: &'static str,
    /// Counts up with every change of the columns.
    pub version: u32,
    /// The file's name within its artifact.
    pub file: &'static str,
    /// The file format.
    pub container: Container,
    /// The columns, in their order.
    pub fields: &'static [Field],
    /// Metadata keys besides [`SCHEMA_KEY`], and what they say.
    pub metadata: &'static [(&'static str, &'static str)],
    /// How rows are cut into batches, and in which order they come.
    pub rows: &'static str,
}

impl Kind {
    /// The value of [`SCHEMA_KEY`], such as `clusters/v1`.
    pub fn tag(&self) -> String {
        format!("{}/v{}", self.name, self.version)
    }

    /// The name of its file, as a list of one.
    pub const fn files(&'static self) -> &'static [&'static str] {
        std::slice::from_ref(&self.file)
    }

    /// Refuses a file of another kind or version, or with other columns.
    pub(super) fn check(&self, metadata: &Metadata, columns: &[(String, ColumnType)]) -> Result<()> {
        let expected = self.tag();
        let found = metadata.get(SCHEMA_KEY).cloned().unwrap_or_else(|| format!("no {SCHEMA_KEY}"));
        if found != expected {
            return Err(FormatError::OtherKind { expected, found });
        }
        let other = |column: &str, wanted: &dyn fmt::Display, found: &dyn fmt::Display| FormatError::OtherColumn {
            kind: self.tag(),
            column: column.to_owned(),
            expected: wanted.to_string(),
            found: found.to_string(),
        };
        for (at, wanted) in self.fields.iter().enumerate() {
            match columns.get(at) {
                None => return Err(other(wanted.name, &wanted.holds, &"none")),
                Some((name, _)) if name != wanted.name => {
                    return Err(other(wanted.name, &wanted.holds, &format!("column {name:?} in its place")));
                }
                Some((name, holds)) if !wanted.holds.allows(*holds) => return Err(other(name, &wanted.holds, holds)),
                Some(_) => {}
            }
        }
        match columns.get(self.fields.len()) {
            Some((name, holds)) => Err(other(name, &"absent", holds)),
            None => Ok(()),
        }
    }

    /// Reads a metadata key that must parse.
    pub(super) fn read<T: std::str::FromStr>(&self, metadata: &Metadata, key: &str) -> Result<T> {
        let found = metadata.get(key);
        found.and_then(|text| text.parse().ok()).ok_or_else(|| FormatError::OtherMetadata {
            kind: self.tag(),
            key: key.to_owned(),
            expected: "a number".to_owned(),
            found: found.cloned(),
        })
    }
}

/// The strings a file carries beside its rows.
pub type Metadata = BTreeMap<String, String>;
