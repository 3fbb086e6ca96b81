//! resample: a part of a picture through two sets of taps, rounded to bytes in between as Pillow does.

use crate::image::taps::{BITS, Taps};
use crate::image::{Picture, kernel};

/// Which axis goes first. The rounding in between makes it visible: one sample in four hundred, by 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    ColumnsFirst,
    RowsFirst,
}

impl Order {
    /// Pillow's choice for a whole image. Before Pillow 13 (its pull request 9549) columns always came first. Now rows
    /// do where the height shrinks by more than twice as many pixels as the width. Trying 1,100 shapes showed it.
    pub(super) fn of(width: u32, height: u32, new_width: u32, new_height: u32) -> Self {
        let (down, across) = (i64::from(height) - i64::from(new_height), i64::from(width) - i64::from(new_width));
        if down > 0 && down > 2 * across { Self::RowsFirst } else { Self::ColumnsFirst }
    }
}

/// Where a resampled part is written: `out[offset + row * stride + column * 3 + channel]`.
pub(super) struct Target<'a> {
    pub(super) out: &'a mut [u8],
    pub(super) offset: usize,
    pub(super) stride: usize,
}

/// What is resampled: the part of a picture whose top left corner is (`left`, `top`), by these taps.
pub(super) struct Part<'a> {
    pub(super) picture: &'a Picture,
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) columns: Taps,
    pub(super) rows: Taps,
    pub(super) order: Order,
}

impl Part<'_> {
    /// Computes the samples that the taps name, and only those.
    pub(super) fn resample(mut self, target: &mut Target<'_>) {
        self.left += self.columns.start_at_zero();
        self.top += self.rows.start_at_zero();
        match self.order {
            Order::ColumnsFirst => self.columns_first(target),
            Order::RowsFirst => self.rows_first(target),
        }
    }

    /// The picture's bytes from the part's corner on, and the length of a row.
    fn source(&self) -> (&[u8], usize) {
        let stride = self.picture.width as usize * 3;
        (&self.picture.rgb[self.top as usize * stride + self.left as usize * 3..], stride)
    }

    fn columns_first(&self, target: &mut Target<'_>) {
        let (source, stride) = self.source();
        let width = self.columns.first.len() * 3;
        let height = self.rows.reach() as usize;
        let mut narrow = vec![0_u8; height * width + kernel::SPILL];
        let weights = kernel::Columns::new(&self.columns);
        for y in 0..height {
            weights.apply(&source[y * stride..], &mut narrow[y * width..]);
        }
        for (at, first, weights) in self.rows.each() {
            let begin = target.offset + at * target.stride;
            blend(&narrow[first * width..], width, weights, &mut target.out[begin..begin + width]);
        }
    }

    fn rows_first(&self, target: &mut Target<'_>) {
        let (source, stride) = self.source();
        let width = self.columns.first.len() * 3;
        let columns = kernel::Columns::new(&self.columns);
        let mut low = vec![0_u8; columns.furthest];
        let mut line = vec![0_u8; width + kernel::SPILL];
        let reach = self.columns.reach() as usize * 3;
        for (at, first, weights) in self.rows.each() {
            blend(&source[first * stride..], stride, weights, &mut low[..reach]);
            columns.apply(&low, &mut line);
            let begin = target.offset + at * target.stride;
            target.out[begin..begin + width].copy_from_slice(&line[..width]);
        }
    }
}

/// One output row: the weighted sum of the rows that start every `stride` bytes.
fn blend(rows: &[u8], stride: usize, weights: &[i32], out: &mut [u8]) {
    const LANES: usize = 32;
    let mut blocks = out.chunks_exact_mut(LANES);
    let mut at = 0;
    for block in &mut blocks {
        let mut sums = [1_i32 << (BITS - 1); LANES];
        for (tap, weight) in weights.iter().enumerate() {
            let row = &rows[tap * stride + at..][..LANES];
            for (sum, &sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(sample) * weight;
            }
        }
        for (sample, sum) in block.iter_mut().zip(sums) {
            *sample = byte(sum);
        }
        at += LANES;
    }
    for (column, sample) in blocks.into_remainder().iter_mut().enumerate() {
        let sum: i32 =
            weights.iter().enumerate().map(|(tap, weight)| i32::from(rows[tap * stride + at + column]) * weight).sum();
        *sample = byte(sum + (1 << (BITS - 1)));
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
