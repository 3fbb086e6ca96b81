//! features: the network's raw output, one row of D numbers per image.

use super::error::Result;
use super::ipc_reader::IpcFile;
use super::kind::{ColumnType, Container, Field, Holds, Kind, Scalar, field};
use super::rows::{FIRST_PART, Rows};
use super::rows_writer::RowsPlan;
use crate::base::ImageId;
use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::borrow::Cow;
use std::ops::Range;

/// One part of the features. Like a part of the crops, it does not say which images it holds.
pub static FEATURES: Kind = Kind {
    name: "features",
    version: 2,
    file: FIRST_PART,
    container: Container::Arrow,
    fields: &[FEATURE],
    metadata: &[],
    rows: "by image_id, in batches of 1024 rows; the first row of the first part is image 0, and no image is left out",
};

/// The format of earlier programs, which is still read.
pub static FEATURES_1: Kind = Kind {
    name: "features",
    version: 1,
    file: FIRST_PART,
    container: Container::Arrow,
    fields: &[field("image_id", Holds::One(Scalar::I64), "rank in the dataset; a part's ids have no gap"), FEATURE],
    metadata: &[],
    rows: "by image_id, in batches of 1024 rows",
};

const FEATURE: Field =
    field("feature", Holds::Row(&[Scalar::F32, Scalar::F16], "D"), "output of the last layer before its ReLU");

const BATCH_ROWS: usize = 1024;

/// Plans a part of `rows` features of `dims` numbers.
pub fn plan(dims: usize, rows: usize) -> RowsPlan {
    RowsPlan {
        kind: &FEATURES,
        width: dims,
        first: ImageId(0),
        rows,
        batch_rows: BATCH_ROWS,
        metadata: Default::default(),
    }
}

/// Features in their stored precision.
#[derive(Debug)]
pub enum Features {
    /// Stored as the network gave them.
    Single(Rows<f32>),
    /// Rounded to half precision.
    Half(Rows<f16>),
}

impl Features {
    /// Opens the parts of the features.
    pub fn open(parts: &[Bytes]) -> Result<Self> {
        let kinds = [&FEATURES, &FEATURES_1];
        let first = parts.first().map(|part| IpcFile::open_either(&kinds, part)).transpose()?;
        let numbers = first.and_then(|file| file.columns.last().map(|column| column.1));
        let half = matches!(numbers, Some(ColumnType::Row(Scalar::F16, _)));
        Ok(if half {
            Self::Half(Rows::open_either(&kinds, parts)?)
        } else {
            Self::Single(Rows::open_either(&kinds, parts)?)
        })
    }

    /// How many images.
    pub fn rows(&self) -> usize {
        match self {
            Self::Single(rows) => rows.rows(),
            Self::Half(rows) => rows.rows(),
        }
    }

    /// D, the numbers per image.
    pub fn dims(&self) -> usize {
        match self {
            Self::Single(rows) => rows.width(),
            Self::Half(rows) => rows.width(),
        }
    }

    /// The first image.
    pub fn first(&self) -> ImageId {
        match self {
            Self::Single(rows) => rows.first(),
            Self::Half(rows) => rows.first(),
        }
    }

    /// How many batches.
    pub fn batches(&self) -> usize {
        match self {
            Self::Single(rows) => rows.batches(),
            Self::Half(rows) => rows.batches(),
        }
    }

    /// Batch `at`: its rows and their numbers; copied only where they must be widened.
    pub fn batch(&self, at: usize) -> (Range<usize>, Cow<'_, [f32]>) {
        match self {
            Self::Single(rows) => {
                let (range, numbers) = rows.batch(at);
                (range, Cow::Borrowed(numbers))
            }
            Self::Half(rows) => {
                let (range, numbers) = rows.batch(at);
                (range, Cow::Owned(numbers.to_f32_vec()))
            }
        }
    }
}
