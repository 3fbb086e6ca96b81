//! thumbnails: small squares of images, from crops where the store has them, otherwise from the image files.

use super::source::Source;
use crate::base::ImageId;
use crate::format::Rows;
use crate::image::{CentreView, Picture, encode_jpeg};
use crate::stages::originals::Originals;
use anyhow::Context;

/// Of libjpeg, for pictures that are looked at in passing.
pub const QUALITY: u8 = 80;

/// Makes thumbnails.
pub struct Thumbnails<'s> {
    crops: Option<(Rows<u8>, u32)>,
    originals: &'s Originals,
    side: u32,
}

impl<'s> Thumbnails<'s> {
    /// Thumbnails of this side, in pixels. No crop is enlarged: where crops are smaller, so are the thumbnails.
    pub fn open(source: &'s Source<'_>, side: u32) -> anyhow::Result<Self> {
        let crops = source.crops()?;
        let side = crops.as_ref().map_or(side, |(_, crop)| side.min(*crop));
        Ok(Self { crops, originals: &source.originals, side })
    }

    /// Their side, in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// The thumbnail of an image: side x side x 3 bytes.
    pub fn of(&self, image: ImageId) -> anyhow::Result<Picture> {
        let picture = match &self.crops {
            Some((rows, crop)) => {
                let pixels = rows.image(image).with_context(|| format!("image {image} has no crop"))?;
                Picture { width: *crop, height: *crop, rgb: pixels.to_vec() }
            }
            None => self.originals.picture(image)?,
        };
        if (picture.width, picture.height) == (self.side, self.side) {
            return Ok(picture);
        }
        let view = CentreView { short_side: self.side, crop: self.side };
        let mut rgb = vec![0; view.bytes()];
        view.render(&picture, &mut rgb);
        Ok(Picture { width: self.side, height: self.side, rgb })
    }

    /// The same as a JPEG file.
    pub fn jpeg(&self, image: ImageId) -> anyhow::Result<Vec<u8>> {
        Ok(encode_jpeg(&self.of(image)?, QUALITY))
    }
}
