//! flavour: variants of formats that the decoders here would give other samples for than Pillow does, by name.
//!
//! Each is told by the header alone. See docs/images.md, whose table is made of the same files as the test's.

use crate::image::{BadImage, Format};

/// Refuses a file of a variant that is not read as Pillow reads it.
pub(super) fn check(bytes: &[u8], format: Format) -> Result<(), BadImage> {
    let name = match format {
        Format::Gif => gif(bytes),
        Format::Bmp => bmp(bytes),
        Format::Webp => return webp(bytes),
        Format::Tiff => Tiff::read(bytes).and_then(|tiff| tiff.unread()),
        Format::Pnm => pnm(bytes),
        Format::Jpeg | Format::Png => None,
    };
    name.map_or(Ok(()), |name| Err(BadImage::Unsupported(name)))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|pair| u16::from_le_bytes(*pair))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

/// A first frame that is not the whole screen. Pillow fills the rest with a colour of the palette, or widens the
/// screen.
fn gif(bytes: &[u8]) -> Option<String> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 6 << (flags & 7) };
    let mut at = 13 + table(*bytes.get(10)?);
    while *bytes.get(at)? == 0x21 {
        at += 2;
        while *bytes.get(at)? != 0 {
            at += 1 + usize::from(bytes[at]);
        }
        at += 1;
    }
    let side = |at| u16_at(bytes, at);
    let frame = (side(at + 1)?, side(at + 3)?, side(at + 5)?, side(at + 7)?);
    let screen = (side(6)?, side(8)?);
    let name = match screen {
        (0, _) | (_, 0) => "a GIF whose screen has no pixels",
        (width, height) if bytes[at] == 0x2c && frame != (0, 0, width, height) => {
            "a GIF whose first frame is not exactly its screen"
        }
        _ if (bytes.get(10)? | bytes.get(at + 9)?) & 0x80 == 0 => "a GIF without a palette",
        _ => return None,
    };
    Some(name.to_owned())
}

/// A largest value by which some value lies halfway between two bytes: Pillow rounds such to the even one. Of those
/// above 255 the ones are read that every value was compared for.
fn pnm(bytes: &[u8]) -> Option<String> {
    if matches!(bytes.get(1)?, b'1' | b'4') {
        return None;
    }
    let head = bytes.get(..bytes.len().min(4096))?;
    let words = head.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b'#').next().unwrap_or(line));
    let mut words = words.flat_map(|line| line.split(u8::is_ascii_whitespace)).filter(|word| !word.is_empty());
    let largest: u32 = std::str::from_utf8(words.nth(3)?).ok()?.parse().ok()?;
    let halves = [6, 10, 34].iter().any(|both| largest.is_multiple_of(*both));
    let is_read = match largest {
        0..=255 => !halves,
        _ => matches!(largest, 511 | 1023 | 4095 | 16383 | 32767 | 65535) || largest > 65535,
    };
    (!is_read).then(|| format!("a PBM, PGM or PPM whose largest value is {largest}"))
}

fn bmp(bytes: &[u8]) -> Option<String> {
    let header = u32_at(bytes, 14)?;
    let bits = if header == 12 { u16_at(bytes, 24)? } else { u16_at(bytes, 28)? };
    let packing = if header == 12 { 0 } else { u32_at(bytes, 30)? };
    let masks = (u32_at(bytes, 54), u32_at(bytes, 58), u32_at(bytes, 62));
    let orders = [
        (0xff_0000, 0xff00, 0xff),
        (0xff00_0000, 0xff_0000, 0xff00),
        (0xff00_0000, 0xff00, 0xff),
        (0xff, 0xff00, 0xff_0000),
    ];
    let is_order = orders.iter().any(|&(r, g, b)| masks == (Some(r), Some(g), Some(b)));
    match (bits, packing) {
        (2 | 16, _) => Some(format!("a BMP of {bits} bits a pixel")),
        (32, 3) if !is_order => Some("a BMP whose bit fields are no bytes".to_owned()),
        (_, 1 | 2) if has_delta(bytes, packing == 2)? => Some("a run-length BMP that leaves pixels out".to_owned()),
        _ => None,
    }
}

/// Whether a run-length BMP moves without drawing.
fn has_delta(bytes: &[u8], nibbles: bool) -> Option<bool> {
    let mut at = u32_at(bytes, 10)? as usize;
    loop {
        // What ends early is for the decoder to say.
        let Some(&[count, value]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Some(false) };
        at += 2;
        match (count, value) {
            (0, 1) => return Some(false),
            (0, 2) => return Some(true),
            (0, 3..) => {
                let literal = if nibbles { usize::from(value).div_ceil(2) } else { usize::from(value) };
                at += literal.next_multiple_of(2);
            }
            _ => {}
        }
    }
}

/// A first frame that is blended with the background, which libwebp rounds otherwise. And a picture that continues
/// behind the end that the file's header gives.
fn webp(bytes: &[u8]) -> Result<(), BadImage> {
    let end = u32_at(bytes, 4).unwrap_or(0) as usize + 8;
    let mut at = 12;
    while let (Some(name), Some(length)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
        let next = at.saturating_add(8).saturating_add(length as usize);
        if matches!(name, b"VP8 " | b"VP8L" | b"ALPH" | b"ANMF") && next > end && next <= bytes.len() {
            return Err(BadImage::Corrupt(
                "the picture continues behind the end that the header of the file gives".into(),
            ));
        }
        if name == b"ANMF" {
            let blended = bytes.get(at + 23).is_some_and(|flags| flags & 2 == 0);
            if blended && bytes.get(at + 24..at + 28) != Some(b"VP8 ".as_slice()) {
                let name = "an animated WebP whose first frame is blended and may be transparent";
                return Err(BadImage::Unsupported(name.to_owned()));
            }
            return Ok(());
        }
        at = next.saturating_add(length as usize % 2);
    }
    Ok(())
}

/// What the first page of a TIFF says of its samples.
pub(super) struct Tiff {
    bits: u64,
    packing: u64,
    light: u64,
    channels: u64,
    planar: u64,
    extra: u64,
    kind: u64,
    order: u64,
    tiled: bool,
}

impl Tiff {
    /// Reads the tags that matter; of several values the first.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let big = bytes.first() == Some(&b'M');
        let number = |at: usize, size: usize| -> Option<u64> {
            let part = bytes.get(at..at.checked_add(size)?)?;
            let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            Some(if big { part.iter().fold(0, add) } else { part.iter().rev().fold(0, add) })
        };
        let start = number(4, 4)? as usize;
        let entries = number(start, 2)? as usize;
        let tag = |wanted: u64| -> Option<u64> {
            let at = (0..entries).map(|n| start + 2 + 12 * n).find(|&at| number(at, 2) == Some(wanted))?;
            let size = match number(at + 2, 2)? {
                1 => 1,
                3 => 2,
                4 => 4,
                _ => return None,
            };
            let inside = size as u64 * number(at + 4, 4)? <= 4;
            number(if inside { at + 8 } else { number(at + 8, 4)? as usize }, size)
        };
        Some(Self {
            bits: tag(258).unwrap_or(1),
            packing: tag(259).unwrap_or(1),
            light: tag(262).unwrap_or(1),
            channels: tag(277).unwrap_or(1),
            planar: tag(284).unwrap_or(1),
            extra: tag(338).unwrap_or(0),
            kind: tag(339).unwrap_or(1),
            order: tag(266).unwrap_or(1),
            tiled: tag(322).is_some(),
        })
    }

    /// What would be read otherwise than by Pillow.
    fn unread(&self) -> Option<String> {
        let what = match self {
            Self { packing: 6 | 7, .. } => "packed by JPEG",
            Self { light: 5, .. } => "in CMYK",
            Self { light: 0, bits: 16, .. } => "of 16 bits whose white is zero",
            Self { planar: 2, bits: 16, .. } => "of 16 bits in planes",
            Self { planar: 2, tiled: true, .. } => "in planes and tiles",
            Self { light: 2, extra: 1, .. } => "whose colours are multiplied by alpha",
            Self { order: 2, .. } => "whose bits are in the reverse order",
            Self { tiled: true, packing: 5, .. } => "in tiles packed by LZW",
            _ => return None,
        };
        Some(format!("a TIFF {what}"))
    }

    /// What it is, for one that the decoder does not support.
    pub(super) fn told(&self) -> String {
        let light = match self.light {
            0 | 1 => "grey",
            2 => "RGB",
            3 => "palette",
            6 => "YCbCr",
            8..=10 => "Lab",
            _ => "other",
        };
        let kind = match self.kind {
            2 => "signed ",
            3 => "floating-point ",
            _ => "",
        };
        let packing = match self.packing {
            1 => "not packed".to_owned(),
            2..=4 => "fax packing".to_owned(),
            5 => "LZW".to_owned(),
            8 | 32946 => "deflate".to_owned(),
            32773 => "PackBits".to_owned(),
            34925 => "LZMA".to_owned(),
            50000 => "ZSTD".to_owned(),
            50001 => "WebP".to_owned(),
            other => format!("packing {other}"),
        };
        format!("a TIFF of {} {kind}{light} samples of {} bits ({packing})", self.channels, self.bits)
    }
}
