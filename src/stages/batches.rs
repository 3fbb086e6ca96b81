//! batches: random crops of the originals in the manifest's order, made ahead of the network by the other cores.

use crate::base::{Position, PseudoLabel, Seed};
use crate::format::Manifest;
use crate::image::{Augment, Crop};
use crate::stages::originals::Originals;
use anyhow::anyhow;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::mpsc::sync_channel;

/// Batches made ahead.
const AHEAD: usize = 2;

/// Where batches come from.
pub struct Batches<'a> {
    /// The images.
    pub originals: &'a Originals,
    /// What is read at each position.
    pub manifest: &'a Manifest,
    /// Whose streams `crop` and `colours` are drawn from, by position.
    pub seed: &'a Seed,
    /// How a crop is drawn, and its colours.
    pub augment: Augment,
    /// Side of a crop, in pixels.
    pub size: u32,
}

/// Pixels and targets of one step.
pub struct Batch<'a> {
    /// n x size x size x 3, RGB.
    pub pixels: Vec<u8>,
    /// n targets.
    pub labels: &'a [PseudoLabel],
}

/// Calls `step` with each number and what `make` made of it, in order. Another thread makes it, a little ahead. The first
/// error ends both.
pub(super) fn ahead<T: Send>(
    numbers: Range<u64>,
    make: impl Fn(u64) -> anyhow::Result<T> + Send,
    mut step: impl FnMut(u64, T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let all = numbers.clone();
        scope.spawn(move || {
            for made in all.map(make) {
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        });
        for number in numbers {
            let made = receiver.recv().map_err(|_| anyhow!("BUG: the batches ended early"))?;
            step(number, made?)?;
        }
        Ok(())
    })
}

impl Batches<'_> {
    /// Calls `step` with the number and the content of each batch from number `first` on, in order. The first error ends
    /// it.
    pub fn each(
        &self,
        batch: usize,
        first: usize,
        mut step: impl FnMut(u64, Batch<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let total = self.manifest.image_id.len();
        let positions = |number: u64| number as usize * batch..(number as usize * batch + batch).min(total);
        let numbers = first as u64..total.div_ceil(batch) as u64;
        let render = |number| self.render(positions(number));
        ahead(numbers, render, |number, pixels| {
            step(number, Batch { pixels, labels: &self.manifest.pseudo_label[positions(number)] })
        })
    }

    /// Decodes and crops the images at `positions`. A position's crop depends on nothing but the seed and the position.
    fn render(&self, positions: Range<usize>) -> anyhow::Result<Vec<u8>> {
        let bytes = self.size as usize * self.size as usize * 3;
        let mut pixels = vec![0; positions.len() * bytes];
        let rows = positions.into_par_iter().zip(pixels.par_chunks_exact_mut(bytes));
        rows.try_for_each(|(position, out)| self.crop(Position(position as u32), out))?;
        Ok(pixels)
    }

    fn crop(&self, position: Position, out: &mut [u8]) -> anyhow::Result<()> {
        let picture = self.originals.picture(self.manifest.image_id[position.index()])?;
        let mut stream = self.seed.stream("crop", u64::from(position.0));
        let crop = Crop::draw(&mut stream, self.augment.scale, picture.width, picture.height);
        crop.render(&picture, self.size, out);
        if !self.augment.keeps_colours() {
            // Colours have a stream of their own, so that they change no crop's place.
            self.augment.apply(&mut self.seed.stream("colours", u64::from(position.0)), out, self.size as usize);
        }
        Ok(())
    }
}
