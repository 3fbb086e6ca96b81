//! colour: samples as a decoder gives them, to RGB bytes by the rules of Pillow's `convert("RGB")`.

use crate::image::{BadImage, Format};
use image::ColorType;

/// How the samples of one pixel lie and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Samples {
    /// Samples a pixel.
    channels: usize,
    /// How a sample becomes a byte.
    depth: Depth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// Bytes already.
    Byte,
    /// 16 bits, of which the high byte is kept: Pillow's colour and grey+alpha.
    High,
    /// 16 bits, divided by 257 and rounded: Pillow's PPM. (`flavour` lets those maxima through that are right.)
    Scaled,
    /// 16 bits, clipped at 255: Pillow's modes I;16 and I, which it does not scale. All but the darkest 1/256 is white.
    Clip,
}

impl Samples {
    /// The layout for a decoder's colour type; `bytes` is the file, whose header settles PNG's 16-bit greys.
    pub(super) fn of(colour: ColorType, format: Format, bytes: &[u8]) -> Result<Self, BadImage> {
        let grey = if format == Format::Png && is_grey_alpha(bytes) { Depth::High } else { Depth::Clip };
        let (channels, depth) = match colour {
            ColorType::L8 => (1, Depth::Byte),
            ColorType::La8 => (2, Depth::Byte),
            ColorType::Rgb8 => (3, Depth::Byte),
            ColorType::Rgba8 => (4, Depth::Byte),
            ColorType::Rgb16 if format == Format::Pnm => (3, Depth::Scaled),
            ColorType::L16 => (1, Depth::Clip),
            ColorType::La16 => (2, grey),
            ColorType::Rgb16 => (3, Depth::High),
            ColorType::Rgba16 => (4, Depth::High),
            other => return Err(BadImage::Unsupported(format!("samples of type {other:?}"))),
        };
        Ok(Self { channels, depth })
    }

    /// Drops alpha, replicates grey, and narrows to bytes.
    pub(super) fn to_rgb(self, raw: Vec<u8>) -> Vec<u8> {
        if self.depth == Depth::Byte && self.channels == 3 {
            return raw;
        }
        let bytes: Vec<u8> = match self.depth {
            Depth::Byte => raw,
            Depth::High => wide(&raw).map(|sample| (sample >> 8) as u8).collect(),
            Depth::Scaled => wide(&raw).map(|sample| ((u32::from(sample) + 128) / 257) as u8).collect(),
            Depth::Clip => wide(&raw).map(|sample| sample.min(255) as u8).collect(),
        };
        let mut rgb = Vec::with_capacity(bytes.len() / self.channels * 3);
        for pixel in bytes.chunks_exact(self.channels) {
            rgb.extend_from_slice(&if self.channels < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] });
        }
        rgb
    }
}

/// The `image` crate gives 16-bit samples in the machine's byte order.
fn wide(raw: &[u8]) -> impl Iterator<Item = u16> + '_ {
    raw.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
}

/// PNG colour type 4 (IHDR's tenth byte): Pillow loads it as RGBA, but grey with a transparent value as I;16.
fn is_grey_alpha(bytes: &[u8]) -> bool {
    bytes.get(25) == Some(&4)
}
