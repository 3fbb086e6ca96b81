//! view: the deterministic picture that is clustered: short side resized, centre cut out.

use crate::image::Picture;
use crate::image::resample::{Order, Part, Target};
use crate::image::taps::Taps;

/// torchvision's `Resize(short_side)` and `CenterCrop(crop)` on Pillow images, to the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CentreView {
    /// Length of the shorter side after resizing, in pixels. The published code has 256.
    pub short_side: u32,
    /// Side of the square that is cut out of the middle, in pixels. The published code has 224.
    pub crop: u32,
}

/// What the crop takes of one axis.
struct Cut {
    /// First resized sample taken.
    from: u32,
    /// Samples taken.
    count: u32,
    /// Black samples before them.
    before: u32,
}

impl CentreView {
    /// Bytes of a view: crop x crop x 3.
    pub fn bytes(&self) -> usize {
        self.crop as usize * self.crop as usize * 3
    }

    /// Writes the view as HWC RGB to `out`, which holds exactly `bytes()`.
    ///
    /// Only the crop's columns and rows are computed. Where the resized image is smaller than the crop, black is added
    /// on both sides, as torchvision does.
    pub fn render(&self, picture: &Picture, out: &mut [u8]) {
        assert_eq!(out.len(), self.bytes(), "BUG: a view's buffer has another size");
        let (width, height) = self.resized(picture.width, picture.height);
        let (across, down) = (cut(width, self.crop), cut(height, self.crop));
        if across.count < self.crop || down.count < self.crop {
            out.fill(0);
        }
        let columns = Taps::bilinear(picture.width, width, across.from..across.from + across.count);
        let rows = Taps::bilinear(picture.height, height, down.from..down.from + down.count);
        let stride = self.crop as usize * 3;
        let offset = down.before as usize * stride + across.before as usize * 3;
        let order = Order::of(picture.width, picture.height, width, height);
        let part = Part { picture, left: 0, top: 0, columns, rows, order };
        part.resample(&mut Target { out, offset, stride });
    }

    /// Size after resizing: the long side is int(short_side * long / short), by Python's division of whole numbers.
    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        let (short, long) = (width.min(height), width.max(height));
        let short_side = self.short_side.max(1);
        let product = u64::from(short_side) * u64::from(long);
        let long = (product as f64 / f64::from(short)) as u32;
        if width <= height { (short_side, long) } else { (long, short_side) }
    }
}

/// torchvision's CenterCrop along one axis, with Python's rounding of halves to even: 58.5 is 58.
fn cut(length: u32, crop: u32) -> Cut {
    if crop > length {
        return Cut { from: 0, count: length, before: (crop - length) / 2 };
    }
    let from = (f64::from(length - crop) / 2.0).round_ties_even() as u32;
    Cut { from, count: crop, before: 0 }
}
