//! table: rows of numbers that lie in one slice or in several, such as the batches of an artifact's parts.

use anyhow::{Result, ensure};

/// Rows of `dims` numbers, in the order of their slices. Nothing that is computed depends on where a slice ends.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    dims: usize,
    slices: Vec<&'a [f32]>,
    /// The row at which each slice starts.
    starts: Vec<usize>,
    rows: usize,
}

impl<'a> Table<'a> {
    /// Refuses rows of no numbers, and a slice that ends within a row.
    pub fn new(slices: &[&'a [f32]], dims: usize) -> Result<Self> {
        ensure!(dims > 0, "vectors of 0 dimensions cannot be clustered");
        let (mut starts, mut rows) = (Vec::with_capacity(slices.len()), 0);
        for slice in slices {
            ensure!(slice.len().is_multiple_of(dims), "{} numbers are no whole rows of {dims}", slice.len());
            starts.push(rows);
            rows += slice.len() / dims;
        }
        Ok(Self { dims, slices: slices.to_vec(), starts, rows })
    }

    /// How many rows all slices have together.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// A row, counted from the first of the first slice.
    ///
    /// # Panics
    /// Beyond the last row.
    pub fn row(&self, row: usize) -> &'a [f32] {
        let at = self.starts.partition_point(|start| *start <= row) - 1;
        &self.slices[at][(row - self.starts[at]) * self.dims..][..self.dims]
    }

    /// The rows in runs of at most `most`, each in one slice, with the number of its first row.
    pub fn runs(&self, most: usize) -> impl Iterator<Item = (usize, &'a [f32])> {
        let most = most.max(1);
        let slices = self.starts.iter().zip(&self.slices);
        slices.flat_map(move |(start, slice)| {
            slice.chunks(most * self.dims).enumerate().map(move |(run, rows)| (start + run * most, rows))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_through_all_slices() {
        let table = Table::new(&[&[], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[], &[6.0, 7.0]], 2).unwrap();
        assert_eq!((table.rows(), table.dims()), (4, 2));
        assert_eq!([0, 2, 3].map(|row| table.row(row)), [[0.0, 1.0], [4.0, 5.0], [6.0, 7.0]]);
        let runs: Vec<_> = table.runs(2).map(|(start, rows)| (start, rows.len() / 2)).collect();
        assert_eq!(runs, [(0, 2), (2, 1), (3, 1)]);
        assert!(Table::new(&[&[1.0]], 2).is_err());
        assert!(Table::new(&[], 0).is_err());
    }
}
