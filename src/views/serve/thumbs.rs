//! thumbs: small squares of images, from the crops where their bytes are there, else from the originals.

use crate::base::{Artifact, ImageId};
use crate::format::crops;
use crate::format::rows::PART;
use crate::image::{CentreView, Picture, Sheet, encode_jpeg};
use crate::stages::originals::Originals;
use crate::store::{Disk, Store, StoreIo};
use std::path::PathBuf;
use std::sync::Mutex;

/// Side of a thumbnail, in pixels.
pub(super) const SIDE: u32 = 128;
/// Of libjpeg, for pictures that are looked at in passing.
const QUALITY: u8 = 80;
/// Pixels of an original beyond which only one is decoded at a time: it takes three bytes for each.
const LARGE: u64 = 1 << 24;

/// The crops of a data set. No part stays mapped, so a run that evicts crops gets their room on the disk.
pub(super) struct Crops {
    parts: Vec<(PathBuf, u64)>,
    /// The first image of each part.
    starts: Vec<u32>,
    side: u32,
}

impl Crops {
    /// Opens an artifact of crops, whose parts must be there.
    pub(super) fn open(store: &Store, artifact: &Artifact) -> anyhow::Result<Self> {
        let parts = artifact.parts.iter().filter(|part| part.name.starts_with(PART));
        let mut found = Self { parts: Vec::new(), starts: Vec::new(), side: 0 };
        let mut rows = 0;
        for part in parts {
            let (part_rows, side) = crops::open(&[store.map(part)?])?;
            found.starts.push(rows);
            found.parts.push((store.path_of(part), part.bytes));
            (rows, found.side) = (rows + part_rows.rows() as u32, side);
        }
        Ok(found)
    }

    /// An image's crop, where its bytes are there.
    fn picture(&self, image: ImageId) -> Option<Picture> {
        let at = self.starts.partition_point(|start| *start <= image.0).checked_sub(1)?;
        let (path, bytes) = &self.parts[at];
        let (rows, side) = crops::open(&[Disk.map(path, *bytes).ok()?]).ok()?;
        let rgb = rows.row((image.0 - self.starts[at]) as usize)?.to_vec();
        (side == self.side).then_some(Picture { width: side, height: side, rgb })
    }
}

/// Makes thumbnails of a data set.
pub(super) struct Thumbs {
    pub(super) originals: Originals,
    /// Held while a large original is decoded.
    large: Mutex<()>,
}

impl Thumbs {
    pub(super) fn of(originals: Originals) -> Self {
        Self { originals, large: Mutex::new(()) }
    }

    /// A thumbnail as a JPEG file.
    pub(super) fn one(&self, crops: Option<&Crops>, image: ImageId) -> anyhow::Result<Vec<u8>> {
        let rgb = self.square(crops, image, SIDE)?;
        Ok(encode_jpeg(&Picture { width: SIDE, height: SIDE, rgb }, QUALITY))
    }

    /// Several thumbnails of side `tile` in one JPEG file. A tile stays grey where its original cannot be read.
    pub(super) fn sheet(&self, crops: Option<&Crops>, images: &[ImageId], (tile, columns): (u32, u32)) -> Vec<u8> {
        let mut sheet = Sheet::new(images.len(), tile, columns);
        for (at, image) in images.iter().enumerate() {
            if let Ok(square) = self.square(crops, *image, tile) {
                sheet.place(at, &square);
            }
        }
        encode_jpeg(&sheet.picture(), QUALITY)
    }

    fn square(&self, crops: Option<&Crops>, image: ImageId, side: u32) -> anyhow::Result<Vec<u8>> {
        let picture = match crops.and_then(|crops| crops.picture(image)) {
            Some(crop) => crop,
            None => self.original(image)?,
        };
        let view = CentreView { short_side: side, crop: side };
        let mut square = vec![0; view.bytes()];
        view.render(&picture, &mut square);
        Ok(square)
    }

    fn original(&self, image: ImageId) -> anyhow::Result<Picture> {
        let dataset = &self.originals.dataset;
        let is_large = image.index() < dataset.len() && {
            let known = dataset.image(image);
            u64::from(known.width) * u64::from(known.height) > LARGE
        };
        let _turn = is_large.then(|| super::recent::held(&self.large));
        self.originals.picture(image)
    }
}
