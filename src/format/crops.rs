//! crops: the pixels that extraction reads, one square per image.

use super::error::{Result, damaged};
use super::kind::{Container, Field, Holds, Kind, Scalar, field};
use super::rows::{FIRST_PART, Rows};
use super::rows_writer::RowsPlan;
use crate::base::ImageId;
use bytes::Bytes;

/// One part of the crops. It does not say which images it holds. So the same images make the same part, wherever they
/// are in a dataset.
pub static CROPS: Kind = Kind {
    name: "crops",
    version: 2,
    file: FIRST_PART,
    container: Container::Arrow,
    fields: &[PIXELS],
    metadata: &[(CROP_KEY, "side of the square, in pixels")],
    rows: "by image_id, in batches of 256 rows; the first row of the first part is image 0, and no image is left out",
};

/// The format of earlier programs, which is still read.
pub static CROPS_1: Kind = Kind {
    name: "crops",
    version: 1,
    file: FIRST_PART,
    container: Container::Arrow,
    fields: &[field("image_id", Holds::One(Scalar::I64), "rank in the dataset; a part's ids have no gap"), PIXELS],
    metadata: &[(CROP_KEY, "side of the square, in pixels")],
    rows: "by image_id, in batches of 256 rows",
};

const PIXELS: Field = field(
    "pixels",
    Holds::Row(&[Scalar::U8], "crop*crop*3"),
    "RGB, rows from the top, the three colours of a pixel together",
);

const CROP_KEY: &str = "dcpipe.crop";
/// 256 crops of 224 pixels are 38.5 MB; a batch costs one page to open.
const BATCH_ROWS: usize = 256;

/// Plans a part of `rows` crops of `crop` x `crop` pixels.
pub fn plan(crop: u32, rows: usize) -> RowsPlan {
    let width = (crop as usize).saturating_mul(crop as usize).saturating_mul(3);
    let metadata = [(CROP_KEY.to_owned(), crop.to_string())].into();
    RowsPlan { kind: &CROPS, width, first: ImageId(0), rows, batch_rows: BATCH_ROWS, metadata }
}

/// Opens the parts of the crops; also gives the side of the square.
pub fn open(parts: &[Bytes]) -> Result<(Rows<u8>, u32)> {
    let rows = Rows::open_either(&[&CROPS, &CROPS_1], parts)?;
    let crop: u32 = CROPS.read(rows.metadata(), CROP_KEY)?;
    if u64::from(crop).pow(2).checked_mul(3) != Some(rows.width() as u64) {
        return Err(damaged(CROPS.tag(), format!("rows of {} bytes for crops of side {crop}", rows.width())));
    }
    Ok((rows, crop))
}
