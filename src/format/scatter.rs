//! scatter: the sums of a whitening between two parts, a checkpoint from which an interrupted run resumes.

use super::element::{Element, bytes_of};
use super::error::{Result, damaged};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::weights::{TensorRef, Tensors, write_tensors};
use bytes::Bytes;
use std::io::Write;

/// The tensors of the state.
pub static SCATTER: Kind = Kind {
    name: "scatter",
    version: 1,
    file: "scatter.safetensors",
    container: Container::Safetensors,
    fields: &[
        field("rows", Holds::Tensor, "i64 [1]: rows in the sums"),
        field("shift", Holds::Tensor, "f64 [d], or [0] before the first sum: what is subtracted from each row"),
        field("sum", Holds::Tensor, "f64 [d]: sum of the shifted rows"),
        field("bands", Holds::Tensor, "f64 [n]: blocks of the sum of outer products, on and above the diagonal"),
        field("pending", Holds::Tensor, "f32 [m]: rows that are not yet in the sums, one after the other"),
    ],
    metadata: &[("dcpipe.save", "the key of the node that was at work, and the save's name")],
    rows: "tensors of larger numbers first, then by name; the first byte of data is a multiple of 64",
};

/// The sums of a whitening.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedScatter {
    /// Rows in the sums.
    pub rows: u64,
    /// What is subtracted from each row; empty before the first sum.
    pub shift: Vec<f64>,
    /// Sum of the shifted rows.
    pub sum: Vec<f64>,
    /// Blocks of the sum of outer products.
    pub bands: Vec<f64>,
    /// Rows that are not yet in the sums.
    pub pending: Vec<f32>,
}

impl SavedScatter {
    /// Writes `scatter.safetensors`; `metadata` names the save.
    pub fn write<W: Write>(&self, out: W, metadata: &Metadata) -> Result<W> {
        let rows = [self.rows as i64];
        let lengths = [1, self.shift.len(), self.sum.len(), self.bands.len(), self.pending.len()];
        let tensor = |name, scalar, at: usize, bytes| TensorRef { name, scalar, shape: &lengths[at..=at], bytes };
        let tensors = [
            tensor("rows", Scalar::I64, 0, bytes_of(&rows)),
            tensor("shift", Scalar::F64, 1, bytes_of(&self.shift)),
            tensor("sum", Scalar::F64, 2, bytes_of(&self.sum)),
            tensor("bands", Scalar::F64, 3, bytes_of(&self.bands)),
            tensor("pending", Scalar::F32, 4, bytes_of(&self.pending)),
        ];
        write_tensors(out, &SCATTER, &tensors, metadata)
    }

    /// Reads `scatter.safetensors`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let file = Tensors::open(&SCATTER, bytes)?;
        let rows = numbers::<i64>(&file, "rows")?;
        let rows = rows.first().and_then(|rows| u64::try_from(*rows).ok());
        Ok(Self {
            rows: rows.ok_or_else(|| damaged(SCATTER.tag(), "a number of rows below 0, or none"))?,
            shift: numbers(&file, "shift")?,
            sum: numbers(&file, "sum")?,
            bands: numbers(&file, "bands")?,
            pending: numbers(&file, "pending")?,
        })
    }
}

fn numbers<T: Element + Clone>(file: &Tensors, name: &str) -> Result<Vec<T>> {
    let tensor = file.get(name).ok_or_else(|| damaged(SCATTER.tag(), format!("there is no tensor {name:?}")))?;
    let numbers =
        tensor.numbers().ok_or_else(|| damaged(SCATTER.tag(), format!("tensor {name:?} is of other numbers")))?;
    Ok(numbers.to_vec())
}
