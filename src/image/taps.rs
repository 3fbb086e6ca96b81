//! taps: which input samples make an output sample, and with what weight, in Pillow's arithmetic.

use std::ops::Range;

/// Bits behind the point of a weight: PRECISION_BITS of Pillow's Resample.c, 32 - 8 - 2.
pub(super) const BITS: u32 = 22;

/// For each wanted output sample along one axis: its first input sample and the weights from there on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taps {
    /// First input sample of each output sample.
    pub(super) first: Vec<u32>,
    /// `depth` weights for each output sample, zero behind its last tap.
    pub(super) weights: Vec<i32>,
    /// Weights an output sample has room for.
    pub(super) depth: usize,
}

impl Taps {
    /// Bilinear with antialiasing, from `input` samples to `output` samples, computed for `wanted` of them.
    ///
    /// The centres are those of the whole axis. A box around the wanted part would move them by a rounding error, and
    /// one sample in a thousand by 1. At input = output every weight is 0 or 1, so no pass need be skipped.
    pub(super) fn bilinear(input: u32, output: u32, wanted: Range<u32>) -> Self {
        let scale = f64::from(input) / f64::from(output);
        let support = scale.max(1.0);
        let depth = (support.ceil() as usize * 2 + 1).min(input as usize);
        let mut taps = Self { first: Vec::with_capacity(wanted.len()), weights: Vec::new(), depth };
        taps.weights.reserve_exact(wanted.len() * depth);
        let mut row = Vec::with_capacity(depth);
        for out in wanted {
            let centre = (f64::from(out) + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(i64::from(input));
            row.clear();
            row.extend((first..end).map(|at| triangle((at as f64 - centre + 0.5) * (1.0 / support))));
            let total: f64 = row.iter().sum();
            let fixed = |weight: &f64| (0.5 + weight / total * f64::from(1 << BITS)) as i32;
            taps.first.push(first as u32);
            taps.weights.extend(row.iter().map(fixed));
            taps.weights.resize(taps.first.len() * depth, 0);
        }
        taps
    }

    /// The same output samples from last to first: a mirror.
    pub(super) fn mirrored(mut self) -> Self {
        self.first.reverse();
        self.weights = self.weights.rchunks_exact(self.depth).flatten().copied().collect();
        self
    }

    /// Moves the axis so that the first input sample needed is number 0; returns by how much.
    pub(super) fn start_at_zero(&mut self) -> u32 {
        let start = self.first.iter().copied().min().unwrap_or(0);
        for first in &mut self.first {
            *first -= start;
        }
        start
    }

    /// How many input samples are needed, counted from number 0.
    pub(super) fn reach(&self) -> u32 {
        self.each().map(|(_, first, weights)| (first + weights.len()) as u32).max().unwrap_or(0)
    }

    /// Every output sample: its number, its first input sample, its weights without the zeros behind.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, usize, &[i32])> {
        self.first.iter().zip(self.weights.chunks_exact(self.depth)).enumerate().map(|(at, (&first, weights))| {
            let used = weights.iter().rposition(|&weight| weight != 0).map_or(0, |last| last + 1);
            (at, first as usize, &weights[..used])
        })
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_unchanged_length_is_copied() {
        let taps = Taps::bilinear(7, 7, 0..7);
        for (out, weights) in taps.weights.chunks_exact(taps.depth).enumerate() {
            assert_eq!(taps.first[out] as usize + weights.iter().position(|&w| w == 1 << BITS).unwrap(), out);
            assert_eq!(weights.iter().sum::<i32>(), 1 << BITS);
        }
    }

    #[test]
    fn a_wanted_part_has_the_weights_of_the_whole() {
        for (input, output) in [(500, 341), (375, 256), (3, 224), (9_999, 224), (1, 5), (224, 223)] {
            let whole = Taps::bilinear(input, output, 0..output);
            let part = Taps::bilinear(input, output, output / 3..output / 2);
            let (from, to) = ((output / 3) as usize, (output / 2) as usize);
            assert_eq!(part.first, whole.first[from..to]);
            assert_eq!(part.weights, whole.weights[from * whole.depth..to * whole.depth]);
            assert!(whole.reach() <= input);
        }
    }
}
