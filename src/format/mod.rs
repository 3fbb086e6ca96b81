//! format: columns: one kind per file, written front to back and read in place.
//!
//! The room knows nothing of the store: writers take any output, readers take mapped bytes. Every file names its kind
//! and version. Nothing in it depends on when or where it was made: the same rows are the same bytes. Bytes that do not
//! fit give a [`FormatError`].

pub mod assignments;
pub mod atlas;
pub mod centroids;
pub mod clusters;
pub mod crops;
pub mod dataset;
pub mod describe;
pub mod element;
pub mod error;
pub mod evaluation;
pub mod features;
pub mod flows;
pub mod gallery;
pub mod ipc_reader;
pub mod ipc_writer;
pub mod kind;
pub mod manifest;
pub mod marks;
pub mod metrics;
pub mod neighbors;
pub mod noun;
pub mod oddities;
pub mod onnx;
pub mod projection;
pub mod rows;
pub mod rows_writer;
pub mod scatter;
pub mod schema;
pub mod search;
pub mod table;
pub mod table_writer;
pub mod tables;
pub mod tfevents;
pub mod vectors;
pub mod weights;
pub mod whitening;

pub use assignments::{Assigned, Assignments, AssignmentsWriter};
pub use centroids::Centroids;
pub use clusters::{Clusters, Iteration};
pub use dataset::{BadImage, Dataset, Image};
pub use describe::{ColumnDescription, Description, Statistics, describe};
pub use error::FormatError;
pub use evaluation::{Evaluation, Measure};
pub use features::Features;
pub use kind::{Kind, Metadata, Scalar};
pub use manifest::Manifest;
pub use metrics::{Metric, Step};
pub use rows::Rows;
pub use rows_writer::{RowsPlan, RowsWriter};
pub use table_writer::{Column, TableWriter, write_table};
pub use weights::{Tensor, TensorRef, Tensors};
pub use whitening::Whitening;
