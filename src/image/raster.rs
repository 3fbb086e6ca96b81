//! raster: every format but JPEG, through the `image` crate.

use crate::image::{BadImage, Format, Limits, OnDamage, Picture, colour, damage, flavour};
use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of the largest layout of samples: 16-bit RGBA.
const LARGEST_PIXEL: u64 = 8;
/// Bytes for palettes, metadata and rows in flight.
const BESIDE_PIXELS: u64 = 1 << 26;

/// Width and height as the picture will have them, from the header alone.
pub(super) fn probe(bytes: &[u8], format: Format, limits: &Limits) -> Result<(u32, u32), BadImage> {
    guarded(|| {
        let mut decoder = open(bytes, format, limits)?;
        let (width, height) = decoder.dimensions();
        Ok(match turned(&mut decoder, format) {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height, width),
            _ => (width, height),
        })
    })
}

/// Decodes a PNG. One that its decoder refuses is tried once more with what its end and its checksums should be.
pub(super) fn decode_png(bytes: &[u8], limits: &Limits, on_damage: OnDamage) -> Result<Picture, BadImage> {
    decode(bytes, Format::Png, limits).or_else(|error| {
        if !matches!(error, BadImage::Truncated(_) | BadImage::Corrupt(_) | BadImage::Checksum(_)) {
            return Err(error);
        }
        let mended = damage::mended_png(bytes, on_damage)?;
        if *mended == *bytes { Err(error) } else { decode(&mended, Format::Png, limits) }
    })
}

/// Decodes to RGB by Pillow's rules of conversion.
pub(super) fn decode(bytes: &[u8], format: Format, limits: &Limits) -> Result<Picture, BadImage> {
    guarded(|| {
        flavour::check(bytes, format)?;
        let mut decoder = open(bytes, format, limits)?;
        let (width, height) = decoder.dimensions();
        limits.check(width, height)?;
        if format == Format::Webp && has_frame_beyond(bytes, width, height) {
            return Err(BadImage::Corrupt("a frame is larger than the picture that it belongs to".to_owned()));
        }
        let orientation = turned(&mut decoder, format);
        let samples = colour::Samples::of(decoder.color_type(), format, bytes)?;
        let mut raw = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
        decoder.read_image(&mut raw).map_err(|error| match bad(&error, bytes, format) {
            BadImage::Corrupt(text) if format == Format::Webp && is_cut(bytes) => BadImage::Truncated(text),
            other => other,
        })?;
        let rgb = samples.to_rgb(raw);
        turn(Picture { width, height, rgb }, orientation)
    })
}

fn open<'a>(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<impl ImageDecoder + 'a, BadImage> {
    let known = match format {
        Format::Png => ImageFormat::Png,
        Format::Bmp => ImageFormat::Bmp,
        Format::Webp => ImageFormat::WebP,
        Format::Pnm => ImageFormat::Pnm,
        Format::Tiff => ImageFormat::Tiff,
        Format::Gif => ImageFormat::Gif,
        Format::Jpeg => return Err(BadImage::UnknownFormat),
    };
    let within = |pixels: u64| {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), known);
        let mut bounds = image::Limits::no_limits();
        // A TIFF may have all its pixels in one strip, which is read beside them.
        let layouts = if format == Format::Tiff { 2 } else { 1 };
        bounds.max_alloc = Some(pixels.saturating_mul(LARGEST_PIXEL * layouts).saturating_add(BESIDE_PIXELS));
        reader.limits(bounds);
        reader.into_decoder().map_err(|error| bad(&error, bytes, format))
    };
    // A PNG's colour profile and texts are packed, up to a thousandfold. They get no room that its pixels have. Nor has
    // what else is in a file more than its own pixels, whatever the limit: the limit is another when it is read again.
    let (width, height) = within(if format == Format::Png { 0 } else { limits.max_pixels })?.dimensions();
    limits.check(width, height)?;
    within(u64::from(width) * u64::from(height))
}

/// Pillow turns TIFFs upright as it loads them, and no other format.
fn turned(decoder: &mut impl ImageDecoder, format: Format) -> Orientation {
    match format {
        Format::Tiff => decoder.orientation().unwrap_or(Orientation::NoTransforms),
        _ => Orientation::NoTransforms,
    }
}

fn turn(picture: Picture, orientation: Orientation) -> Result<Picture, BadImage> {
    if orientation == Orientation::NoTransforms {
        return Ok(picture);
    }
    let pixels = RgbImage::from_raw(picture.width, picture.height, picture.rgb)
        .ok_or_else(|| BadImage::Corrupt("fewer samples than pixels".to_owned()))?;
    let mut upright = DynamicImage::ImageRgb8(pixels);
    upright.apply_orientation(orientation);
    Ok(Picture { width: upright.width(), height: upright.height(), rgb: upright.into_bytes() })
}

/// A decoder that panics on crafted bytes costs one image, not the run.
fn guarded<T>(work: impl FnOnce() -> Result<T, BadImage>) -> Result<T, BadImage> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(BadImage::DecoderFailed("a panic".to_owned())))
}

/// Whether a RIFF file is shorter than its header says.
fn is_cut(bytes: &[u8]) -> bool {
    bytes
        .get(4..8)
        .is_some_and(|size| u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize + 8 > bytes.len())
}

/// Whether a lossy frame of a WebP file claims more than the file's own size, which was checked: its decoder makes room
/// for the frame before it compares the two.
fn has_frame_beyond(bytes: &[u8], width: u32, height: u32) -> bool {
    // The chunk's name and length, the frame's tag, its mark, and two sides of 14 bits.
    bytes.windows(18).any(|head| {
        let side = |at: usize| u32::from(u16::from_le_bytes([head[at], head[at + 1]]) & 0x3fff);
        head.starts_with(b"VP8 ") && head[11..14] == [0x9d, 0x01, 0x2a] && (side(14) > width || side(16) > height)
    })
}

fn bad(error: &ImageError, bytes: &[u8], format: Format) -> BadImage {
    let text = error.to_string();
    match error {
        ImageError::Unsupported(_) => match flavour::Tiff::read(bytes).filter(|_| format == Format::Tiff) {
            Some(tiff) => BadImage::Unsupported(tiff.told()),
            None => BadImage::Unsupported(text),
        },
        ImageError::Limits(limit) if !matches!(limit.kind(), LimitErrorKind::Unsupported { .. }) => {
            BadImage::Unsupported(format!("decoding takes more memory than its pixels justify ({text})"))
        }
        other if ends_early(other) => BadImage::Truncated(text),
        _ if text.contains("CRC error") => BadImage::Checksum(text),
        _ => BadImage::Corrupt(text),
    }
}

/// Whether the end of the file stands somewhere in the chain of causes. Most decoders say so in words alone.
fn ends_early(error: &ImageError) -> bool {
    const SIGNS: [&str; 5] =
        ["unexpected eof", "unexpected end", "end of file", "fill whole buffer", "not enough data"];
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(this) = cause {
        let text = this.to_string().to_lowercase();
        if SIGNS.iter().any(|sign| text.contains(sign)) {
            return true;
        }
        cause = this.source();
    }
    false
}
