//! cuts: crops of the network's size within larger ones: the centre, ten of them, and those that an epoch draws.

use super::draw::Pick;
use super::images::Images;
use crate::base::Seed;
use crate::base::draw::{below_u64, unit};

/// Where a crop begins within the larger one, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    x: usize,
    y: usize,
    mirrored: bool,
}

/// The crops of the network's size within larger ones.
pub(super) struct Cuts<'a> {
    /// The larger crops.
    pub images: &'a Images,
    /// Side of the larger crops.
    pub wide: usize,
    /// Side of what the network takes.
    pub side: usize,
    /// Where places are drawn from.
    pub seed: &'a Seed,
}

impl Cuts<'_> {
    /// In the middle, as torchvision cuts.
    pub(super) fn centre(&self) -> Place {
        // Half is rounded to even, as Python does.
        let at = ((self.wide - self.side) as f64 / 2.0).round_ties_even() as usize;
        Place { x: at, y: at, mirrored: false }
    }

    /// Corners and centre, and their mirror images.
    pub(super) fn ten(&self) -> Vec<Place> {
        let far = self.wide - self.side;
        let corner = |x, y| Place { x, y, mirrored: false };
        let five = [corner(0, 0), corner(far, 0), corner(0, far), corner(far, far), self.centre()];
        five.into_iter().chain(five.map(|place| Place { mirrored: true, ..place })).collect()
    }

    /// What an epoch draws for an image to learn from.
    pub(super) fn drawn(&self, epoch: u32, row: usize) -> Place {
        let mut stream = self.seed.stream(&format!("crop of epoch {epoch}"), row as u64);
        let room = (self.wide - self.side + 1) as u64;
        let x = below_u64(&mut stream, room) as usize;
        let y = below_u64(&mut stream, room) as usize;
        Place { x, y, mirrored: unit(&mut stream) < 0.5 }
    }

    /// Appends the pixels of a crop.
    pub(super) fn push(&self, pick: Pick, place: Place, pixels: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut whole = Vec::with_capacity(self.wide * self.wide * 3);
        self.images.push(pick, &mut whole)?;
        for y in place.y..place.y + self.side {
            let row = &whole[(y * self.wide + place.x) * 3..][..self.side * 3];
            if place.mirrored {
                row.rchunks_exact(3).for_each(|pixel| pixels.extend_from_slice(pixel));
            } else {
                pixels.extend_from_slice(row);
            }
        }
        Ok(())
    }
}
