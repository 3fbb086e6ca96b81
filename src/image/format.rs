//! format: the formats of image files, recognised by their first bytes.

use crate::image::BadImage;

/// The formats that are read, named by content, never by file extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG; of an animated one the default image.
    Png,
    /// Windows bitmap.
    Bmp,
    /// WebP; of an animated one the first frame.
    Webp,
    /// PBM, PGM or PPM.
    Pnm,
    /// TIFF; of several pages the first.
    Tiff,
    /// GIF; the first frame.
    Gif,
}

impl Format {
    /// Lower-case name, such as `jpeg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Bmp => "bmp",
            Self::Webp => "webp",
            Self::Pnm => "pnm",
            Self::Tiff => "tiff",
            Self::Gif => "gif",
        }
    }

    /// Recognises the format by the first bytes.
    pub fn of(bytes: &[u8]) -> Result<Self, BadImage> {
        match bytes {
            [] => Err(BadImage::Empty),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'B', b'M', ..] => Ok(Self::Bmp),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::Webp),
            [b'P', b'1'..=b'6', space, ..] if space.is_ascii_whitespace() => Ok(Self::Pnm),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Ok(Self::Tiff),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            _ => Err(other(bytes).map_or(BadImage::UnknownFormat, BadImage::OtherFormat)),
        }
    }
}

/// The name of a format that is known and not read.
fn other(bytes: &[u8]) -> Option<&'static str> {
    let name = match bytes {
        [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => "BigTIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f' | b's', ..] => "AVIF",
        [
            _,
            _,
            _,
            _,
            b'f',
            b't',
            b'y',
            b'p',
            b'h' | b'm',
            b'e' | b'i',
            b'i' | b'v' | b'f',
            b'c' | b'x' | b's' | b'1',
            ..,
        ] => "HEIC",
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xff, 0x4f, 0xff, 0x51, ..] => "JPEG 2000",
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] | [0xff, 0x0a, ..] => "JPEG XL",
        [0, 0, 1 | 2, 0, count, 0, ..] if *count > 0 => "ICO",
        [10, 0..=5, 0 | 1, 1 | 2 | 4 | 8, ..] => "PCX",
        [b'8', b'B', b'P', b'S', ..] => "a Photoshop document",
        [b'P', b'7', b'\n', ..] => "PAM",
        [b'P', b'F' | b'f', b'\n', ..] => "PFM",
        [b'%', b'P', b'D', b'F', ..] => "PDF",
        [b'<', b's', b'v', b'g', ..] => "SVG",
        _ => return None,
    };
    Some(name)
}
