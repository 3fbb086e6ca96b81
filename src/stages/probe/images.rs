//! images: the images that a probe reads, with the pixels of their crops.

use super::draw::Pick;
use crate::engine::Context;
use crate::format::dataset::IMAGES;
use crate::format::rows::PART;
use crate::format::{Dataset, Rows, crops};
use anyhow::{Context as _, ensure};

/// Why one of the two ports is refused.
pub(super) const ONE_OF_TWO: &str = "of the ports val and val_crops one is connected: connect both or neither";

/// The images at the ports, with their pixels.
pub(super) struct Images {
    /// Those that have the labels to learn from.
    pub dataset: Dataset,
    crops: Rows<u8>,
    /// Side of a crop, in pixels.
    pub side: u32,
    /// Those that are measured, where the port is connected.
    pub val: Option<(Dataset, Rows<u8>)>,
}

impl Images {
    /// Opens what is connected.
    pub(super) fn open(cx: &Context<'_>) -> anyhow::Result<Self> {
        let open = |dataset: &str, crops: &str| {
            let images = Dataset::open(&cx.input(dataset)?.part(IMAGES.file)?)?;
            let (pixels, side) = crops::open(&cx.input(crops)?.parts(PART)?)?;
            let (rows, count) = (pixels.rows(), images.len());
            ensure!(rows == count, "{rows} images have {crops}, {dataset} has {count}");
            Ok::<_, anyhow::Error>((images, pixels, side))
        };
        let (dataset, crops, side) = open("dataset", "crops")?;
        let val = match ["val", "val_crops"].map(|port| cx.input_if_any(port).is_some()) {
            [true, true] => Some(open("val", "val_crops")?),
            [false, false] => None,
            _ => anyhow::bail!("{ONE_OF_TWO}"),
        };
        if let Some((_, _, other)) = &val {
            ensure!(*other == side, "the val_crops are {other} pixels wide, the crops {side}; decode both alike");
        }
        Ok(Self { dataset, crops, side, val: val.map(|(val, crops, _)| (val, crops)) })
    }

    /// Appends the pixels of an image.
    pub(super) fn push(&self, pick: Pick, pixels: &mut Vec<u8>) -> anyhow::Result<()> {
        let crops = match &self.val {
            Some((_, crops)) if pick.of_val => crops,
            _ => &self.crops,
        };
        pixels.extend_from_slice(crops.image(pick.image).context("BUG: an image without a crop")?);
        Ok(())
    }
}
