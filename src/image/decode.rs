//! decode: a file's bytes to pixels: hands them to the decoder of its format.

use crate::image::{BadImage, Format, Limits, OnDamage, Picture, jpeg, raster};

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Recognised by content.
    pub format: Format,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// Reads format, width and height and decodes nothing.
pub fn probe(bytes: &[u8], limits: &Limits) -> Result<Probe, BadImage> {
    let format = Format::of(bytes)?;
    let (width, height) = match format {
        Format::Jpeg => jpeg::probe(bytes, limits)?,
        other => raster::probe(bytes, other, limits)?,
    };
    limits.check(width, height)?;
    Ok(Probe { format, width, height })
}

/// Decodes to what Pillow's `Image.open(file).convert("RGB")` gives; the JPEG's EXIF rotation is not applied, as
/// torchvision's loader does not.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, BadImage> {
    decode_or_take(bytes, limits, OnDamage::Refuse)
}

/// The same; what happens to a damaged picture is said.
pub fn decode_or_take(bytes: &[u8], limits: &Limits, on_damage: OnDamage) -> Result<Picture, BadImage> {
    match Format::of(bytes)? {
        Format::Jpeg => jpeg::decode(bytes, limits, on_damage),
        Format::Png => raster::decode_png(bytes, limits, on_damage),
        other => raster::decode(bytes, other, limits),
    }
}
