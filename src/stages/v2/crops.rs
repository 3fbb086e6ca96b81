//! crops: the crops of each image, drawn by its id, and the batches that they pass the network in.

use crate::base::{ImageId, Seed};
use crate::image::{Augment, Crop};
use crate::learn::order::shuffle;
use crate::learn::train_v2::Crops;
use crate::stages::batches::ahead;
use crate::stages::originals::Originals;
use anyhow::{anyhow, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::ops::Range;

/// Small crops of each image, beside the large ones. A network must end in a mean over its last map to take them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Small {
    /// How many of each image; 6 is published, and 0 leaves them out.
    #[schemars(range(min = 0, max = 64))]
    pub crops: u32,
    /// Side of such a crop, in pixels; 96 is published.
    #[schemars(range(min = 1, max = 4096))]
    pub side: u32,
    /// Smallest share of the image's area that it shows; 0.05 is published.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub smallest: f64,
    /// Largest share; 0.14 is published.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub largest: f64,
}

impl Default for Small {
    fn default() -> Self {
        Self { crops: 0, side: 96, smallest: 0.05, largest: 0.14 }
    }
}

impl Small {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Self { crops, side, smallest, largest } = *self;
        ensure!(crops <= 64, "small's crops is {crops}, not between 0 and 64");
        ensure!((1..=4096).contains(&side), "small's side is {side}, not between 1 and 4096");
        ensure!(
            (0.001..=1.0).contains(&smallest) && (smallest..=1.0).contains(&largest),
            "small's smallest is {smallest} and its largest {largest}; they go from 0.001 to 1, the smaller first"
        );
        Ok(())
    }
}

/// As published: 8 crops in 10 change their colours, 2 in 10 become grey, and every second is blurred.
pub fn published() -> Augment {
    Augment {
        scale: 0.08,
        jitter: 0.8,
        brightness: 0.8,
        contrast: 0.8,
        saturation: 0.8,
        hue: 0.2,
        grey: 0.2,
        blur: 0.5,
    }
}

/// Reads `augment`: what is left out in it is as published, too.
pub(super) fn over_published<'de, D: Deserializer<'de>>(given: D) -> Result<Augment, D::Error> {
    let given = serde_json::Map::deserialize(given)?;
    let mut all = serde_json::to_value(published()).map_err(D::Error::custom)?;
    if let Some(all) = all.as_object_mut() {
        all.extend(given);
    }
    serde_json::from_value(all).map_err(D::Error::custom)
}

pub(super) fn check_augment(augment: &Augment) -> anyhow::Result<()> {
    augment.check().map_err(|wrong| anyhow!(wrong))
}

/// The places of a step among so many.
fn share(places: usize, steps: u64, step: u64) -> Range<usize> {
    let at = |step: u64| (places as u64 * step / steps) as usize;
    at(step)..at(step + 1)
}

/// A pass over all images, each once.
pub(super) struct Pass<'a> {
    originals: &'a Originals,
    seed: &'a Seed,
    augment: Augment,
    sets: Vec<Set>,
    /// The images in the order of the pass.
    pub(super) order: Vec<ImageId>,
    steps: u64,
}

/// Crops of one size.
struct Set {
    /// Which of an image's crops.
    numbers: Range<u32>,
    side: u32,
    smallest: f64,
    largest: f64,
}

impl<'a> Pass<'a> {
    /// In an order that the seed draws, in batches of `batch` images at most.
    pub(super) fn new(originals: &'a Originals, seed: &'a Seed, augment: Augment, batch: u32) -> Self {
        let mut order: Vec<ImageId> = (0..originals.dataset.len() as u32).map(ImageId).collect();
        shuffle(&mut order, &mut seed.stream("order", 0));
        let steps = order.len().div_ceil(batch as usize) as u64;
        Self { originals, seed, augment, sets: Vec::new(), order, steps }
    }

    /// With so many large crops of each image, of this side.
    pub(super) fn large(mut self, crops: u32, side: u32) -> Self {
        self.sets.push(Set { numbers: 0..crops, side, smallest: self.augment.scale, largest: 1.0 });
        self
    }

    /// And these small ones.
    pub(super) fn small(mut self, small: Small) -> Self {
        let first = self.sets.last().map_or(0, |set| set.numbers.end);
        let Small { crops, side, smallest, largest } = small;
        if crops > 0 {
            self.sets.push(Set { numbers: first..first + crops, side, smallest, largest });
        }
        self
    }

    /// How many batches.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    // DIVERGES: the published loader leaves out the images of an incomplete last batch. Then they have no rows in the bank,
    // and no clusters in the next epoch.

    /// The images of a batch. Batches differ by one image at most, for statistics of a small last batch mean little.
    pub(super) fn images(&self, step: u64) -> &[ImageId] {
        &self.order[share(self.order.len(), self.steps, step)]
    }

    /// Calls `step` with the number and the crops of each batch from number `first` on, in order.
    pub(super) fn each(
        &self,
        first: u64,
        step: impl FnMut(u64, Vec<Crops>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        ahead(first..self.steps, |number| self.render(self.images(number)), step)
    }

    fn render(&self, images: &[ImageId]) -> anyhow::Result<Vec<Crops>> {
        let drawn: Vec<Vec<u8>> = images.par_iter().map(|image| self.crops(*image)).collect::<anyhow::Result<_>>()?;
        let (mut all, mut from) = (Vec::new(), 0);
        for Set { numbers, side, .. } in &self.sets {
            let bytes = (side * side * 3) as usize;
            let mut pixels = Vec::with_capacity(numbers.len() * drawn.len() * bytes);
            for _ in numbers.clone() {
                drawn.iter().for_each(|drawn| pixels.extend_from_slice(&drawn[from..from + bytes]));
                from += bytes;
            }
            all.push(Crops { pixels, side: *side, count: numbers.len() });
        }
        Ok(all)
    }

    /// The crops of an image, one after the other. A crop depends on nothing but the seed, the image and its own number.
    fn crops(&self, image: ImageId) -> anyhow::Result<Vec<u8>> {
        let picture = self.originals.picture(image)?;
        let mut all = Vec::new();
        for Set { numbers, side, smallest, largest } in &self.sets {
            for number in numbers.clone() {
                let index = u64::from(image.0);
                let mut stream = self.seed.stream(&format!("crop {number}"), index);
                let crop = Crop::draw_between(&mut stream, *smallest, *largest, picture.width, picture.height);
                let from = all.len();
                all.resize(from + (side * side * 3) as usize, 0);
                crop.render(&picture, *side, &mut all[from..]);
                let mut stream = self.seed.stream(&format!("colours {number}"), index);
                self.augment.apply(&mut stream, &mut all[from..], *side as usize);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_one_step_and_steps_differ_by_one_at_most() {
        for places in 1..200_usize {
            for most in 2..40 {
                let steps = places.div_ceil(most) as u64;
                let all: Vec<_> = (0..steps).map(|step| share(places, steps, step)).collect();
                assert!(all.iter().cloned().flatten().eq(0..places));
                let (least, largest) = (all.iter().map(Range::len).min(), all.iter().map(Range::len).max());
                assert!(largest <= Some(most) && largest <= least.map(|least| least + 1), "{places} {most}: {all:?}");
            }
        }
    }
}
