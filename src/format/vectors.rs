//! vectors: whitened, normalised features, in as few batches as readers take, so that k-means gets long slices.

use super::error::Result;
use super::kind::{Container, Holds, Kind, Scalar, field};
use super::rows::{FIRST_PART, Rows};
use super::rows_writer::RowsPlan;
use crate::base::ImageId;
use bytes::Bytes;

/// One part of the vectors.
pub static VECTORS: Kind = Kind {
    name: "vectors",
    version: 1,
    file: FIRST_PART,
    container: Container::Arrow,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset; a part's ids have no gap"),
        field("vector", Holds::Row(&[Scalar::F32], "d"), "PCA-whitened feature, or projection, of length 1"),
    ],
    metadata: &[],
    rows: "by image_id, in batches of fewer than 2^31 numbers, each as long as can be",
};

/// What the names of a bank's parts begin with, among the parts of weights. Each part has a projection of every image, as
/// training saw one of its crops.
pub const BANK: &str = "bank-";

/// The part of the bank for that crop.
pub fn bank_name(crop: usize) -> String {
    format!("{BANK}{crop}.arrow")
}

/// Arrow's readers count the numbers of a batch in signed 32 bits, and may overflow beyond.
const MOST_NUMBERS: usize = i32::MAX as usize;

/// Plans a part of `rows` vectors of `dims` numbers, in one batch if that has fewer than 2^31 numbers.
pub fn plan(dims: usize, first: ImageId, rows: usize) -> RowsPlan {
    let batch_rows = rows.min(MOST_NUMBERS / dims.max(1)).max(1);
    RowsPlan { kind: &VECTORS, width: dims, first, rows, batch_rows, metadata: Default::default() }
}

/// Opens the parts of the vectors; each part is one batch or several.
///
/// # Errors
/// If a part is damaged, or does not follow the one before.
pub fn open(parts: &[Bytes]) -> Result<Rows<f32>> {
    Rows::open(&VECTORS, parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::RowsWriter;

    #[test]
    fn a_batch_has_fewer_than_2_to_the_31_numbers() {
        let batch_rows = |dims, rows| plan(dims, ImageId(0), rows).batch_rows;
        assert_eq!(batch_rows(256, 8_388_607), 8_388_607, "the most that are one batch");
        assert_eq!(batch_rows(256, 100_000_000), 8_388_607);
        assert_eq!(batch_rows(1, 3), 3);
        assert_eq!(batch_rows(256, 0), 1, "no rows are no batch, whatever it could hold");
    }

    #[test]
    fn vectors_of_several_batches_open_as_one_table() {
        let numbers: Vec<f32> = (0..14_u8).map(f32::from).collect();
        let plan = RowsPlan { batch_rows: 3, ..plan(2, ImageId(5), 7) };
        let mut writer = RowsWriter::create(Vec::new(), plan).unwrap();
        writer.push(&numbers).unwrap();
        let table = open(&[writer.finish().unwrap().into()]).unwrap();
        assert_eq!((table.rows(), table.batches(), table.first()), (7, 3, ImageId(5)));
        assert_eq!(table.iter().flat_map(|(_, numbers)| numbers.to_vec()).collect::<Vec<_>>(), numbers);
        assert!(table.whole().is_none());
    }
}
