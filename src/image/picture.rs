//! picture: decoded pixels, and how many of them a file may claim.

use crate::image::BadImage;

/// An image in memory: height x width x 3 bytes of RGB, row by row from the top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height * width * 3` samples.
    pub rgb: Vec<u8>,
}

/// What a file may ask for; checked against its header, before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest width x height.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// Pillow's: `DecompressionBombError` above twice `MAX_IMAGE_PIXELS`, which is 2^30 / 4 / 3 (PIL/Image.py).
    fn default() -> Self {
        Self { max_pixels: 2 * (1 << 30) / 4 / 3 }
    }
}

impl Limits {
    /// Refuses an image without pixels and one with too many.
    pub(super) fn check(&self, width: u32, height: u32) -> Result<(), BadImage> {
        if width == 0 || height == 0 {
            return Err(BadImage::Corrupt(format!("the header says {width} x {height} pixels")));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(BadImage::TooLarge { width, height, max_pixels: self.max_pixels });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limit_is_pillows() {
        let limits = Limits::default();
        assert_eq!(limits.max_pixels, 178_956_970);
        assert!(limits.check(178_956_970, 1).is_ok());
        assert_eq!(limits.check(65_535, 65_535).map_err(|bad| bad.reason()), Err("too_large"));
        assert_eq!(limits.check(0, 3).map_err(|bad| bad.reason()), Err("corrupt"));
    }
}
