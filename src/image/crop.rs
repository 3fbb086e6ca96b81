//! crop: the random part of a picture that is trained on, and its mirror.

use crate::base::Stream;
use crate::base::draw::{below_as_torchvision, between, unit};
use crate::image::Picture;
use crate::image::resample::{Order, Part, Target};
use crate::image::taps::Taps;

/// Largest share of the image's area: torchvision's RandomResizedCrop, as published.
const LARGEST: f64 = 1.0;
/// Narrowest and widest ratio of width to height: the same.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Draws before the largest central crop is taken instead: the same.
const DRAWS: u32 = 10;

/// A rectangle inside a picture, in pixels, and whether it is shown mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Left and right exchanged.
    pub flip: bool,
}

impl Crop {
    /// Draws as torchvision's `RandomResizedCrop` and then `RandomHorizontalFlip(0.5)` do, for an image of this size. A
    /// crop shows at least the share `smallest` of its area; 0.08 is published.
    pub fn draw(stream: &mut Stream, smallest: f64, width: u32, height: u32) -> Self {
        Self::draw_between(stream, smallest, LARGEST, width, height)
    }

    /// The same with another largest share.
    pub fn draw_between(stream: &mut Stream, smallest: f64, largest: f64, width: u32, height: u32) -> Self {
        let area = f64::from(width) * f64::from(height);
        for _ in 0..DRAWS {
            let wanted = area * between(stream, smallest, largest);
            let ratio = between(stream, RATIO.0.ln(), RATIO.1.ln()).exp();
            let across = (wanted * ratio).sqrt().round_ties_even();
            let down = (wanted / ratio).sqrt().round_ties_even();
            if across >= 1.0 && across <= f64::from(width) && down >= 1.0 && down <= f64::from(height) {
                let (across, down) = (across as u32, down as u32);
                let top = below_as_torchvision(stream, height - down + 1);
                let left = below_as_torchvision(stream, width - across + 1);
                return Self { top, left, height: down, width: across, flip: unit(stream) < 0.5 };
            }
        }
        Self { flip: unit(stream) < 0.5, ..Self::central(width, height) }
    }

    /// The largest central crop whose ratio is allowed.
    fn central(width: u32, height: u32) -> Self {
        let ratio = f64::from(width) / f64::from(height);
        let (across, down) = if ratio < RATIO.0 {
            (width, (f64::from(width) / RATIO.0).round_ties_even() as u32)
        } else if ratio > RATIO.1 {
            ((f64::from(height) * RATIO.1).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        Self { top: (height - down) / 2, left: (width - across) / 2, height: down, width: across, flip: false }
    }

    /// Writes size x size x 3 bytes (HWC RGB) to `out`: Pillow's `crop`, `resize((size, size), BILINEAR)`, flip.
    pub fn render(&self, picture: &Picture, size: u32, out: &mut [u8]) {
        let stride = size as usize * 3;
        assert_eq!(out.len(), size as usize * stride, "BUG: a crop's buffer has another size");
        let inside = |from: u32, count: u32, whole: u32| count > 0 && from <= whole && count <= whole - from;
        assert!(
            inside(self.left, self.width, picture.width) && inside(self.top, self.height, picture.height),
            "BUG: a crop reaches outside its picture"
        );
        let columns = Taps::bilinear(self.width, size, 0..size);
        let columns = if self.flip { columns.mirrored() } else { columns };
        let rows = Taps::bilinear(self.height, size, 0..size);
        let order = Order::of(self.width, self.height, size, size);
        let part = Part { picture, left: self.left, top: self.top, columns, rows, order };
        part.resample(&mut Target { out, offset: 0, stride });
    }
}
