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
            _ => Err(BadImage::UnknownFormat),
        }
    }
}
