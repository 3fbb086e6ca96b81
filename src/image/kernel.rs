//! kernel: the column pass, two output pixels at a time in AVX2, exact to the last bit.
//!
//! A weight has 23 bits and `pmaddwd` multiplies 16, so a weight is cut in two halves of 11 and 12 bits; both sums fit
//! 32 bits and the wide sum is put together at the end. Samples are not negative, and neither are bilinear weights.

use crate::image::taps::{BITS, Taps};
use std::arch::x86_64::*;

/// Bytes that `Columns::apply` may write behind the last pixel of a row, and read behind the last tap.
pub(super) const SPILL: usize = 16;

const LOW: u32 = 11;

/// Weights of the column pass, arranged for two pixels and four taps at a time.
pub(super) struct Columns {
    /// First byte of each pixel's taps; an odd last pixel has a twin.
    first: Vec<usize>,
    /// For each pair of pixels and each four taps: high halves of taps 0 1, of 2 3, low halves of 0 1, of 2 3.
    weights: Vec<[i16; 64]>,
    /// Groups of four taps.
    groups: usize,
    /// Pixels, without the twin.
    count: usize,
    /// Bytes of the input row that the taps reach.
    reach: usize,
    /// Bytes of the input row that are read, some of them for nothing; a shorter row is copied first.
    pub(super) furthest: usize,
}

impl Columns {
    pub(super) fn new(taps: &Taps) -> Self {
        let count = taps.first.len();
        let groups = taps.each().map(|(_, _, row)| row.len().div_ceil(4)).max().unwrap_or(0).max(1);
        let pairs = count.div_ceil(2);
        let mut weights = vec![[0; 64]; pairs * groups];
        for (pixel, _, row) in taps.each() {
            for (tap, &weight) in row.iter().enumerate() {
                let block = &mut weights[pixel / 2 * groups + tap / 4];
                for channel in 0..3 {
                    let lane = tap % 4 / 2 * 16 + pixel % 2 * 8 + channel * 2 + tap % 2;
                    block[lane] = (weight >> LOW) as i16;
                    block[lane + 32] = (weight & ((1 << LOW) - 1)) as i16;
                }
            }
        }
        let mut first: Vec<usize> = taps.first.iter().map(|&at| at as usize * 3).collect();
        first.extend((count % 2 == 1).then(|| first.last().copied()).flatten());
        let reach = taps.reach() as usize * 3;
        let furthest = first.iter().max().map_or(0, |first| first + groups * 12 + 4).max(reach);
        Self { first, weights, groups, count, reach, furthest }
    }

    /// Writes `count` pixels to `out`, which has room for `SPILL` more bytes, from a row that starts at `row[0]`.
    pub(super) fn apply(&self, row: &[u8], out: &mut [u8]) {
        let padded: Vec<u8>;
        let row = if row.len() < self.furthest {
            let mut copy = row[..self.reach].to_vec();
            copy.resize(self.furthest, 0);
            padded = copy;
            &padded[..]
        } else {
            row
        };
        assert!(out.len() >= self.count * 3 + SPILL, "BUG: no room behind the row");
        // SAFETY: the crate is built for x86-64-v3, which has AVX2 (.cargo/config.toml); bounds as asserted above.
        #[expect(unsafe_code, reason = "SIMD loads and stores through pointers")]
        unsafe {
            self.run(row.as_ptr(), out.as_mut_ptr());
        }
    }

    /// SAFETY: `row` is readable for 16 bytes behind every tap group and `out` is writable for count * 3 + SPILL.
    #[expect(unsafe_code, reason = "SIMD loads and stores through pointers")]
    #[target_feature(enable = "avx2")]
    unsafe fn run(&self, row: *const u8, out: *mut u8) {
        // Of four RGB pixels: taps 0 1 (then 2 3) of red, green, blue side by side as 16-bit numbers.
        let near = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
        let far =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
        let gather = _mm_setr_epi8(0, 1, 2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
        let half = _mm256_set1_epi32(1 << (BITS - 1));
        for (pair, (firsts, weights)) in
            self.first.chunks_exact(2).zip(self.weights.chunks_exact(self.groups)).enumerate()
        {
            let (mut high, mut low) = (_mm256_setzero_si256(), half);
            for (group, block) in weights.iter().enumerate() {
                // SAFETY: the caller's promise; a block is four vectors of 32 bytes.
                let (samples, block) = unsafe {
                    let a = _mm_loadu_si128(row.add(firsts[0] + group * 12).cast());
                    let b = _mm_loadu_si128(row.add(firsts[1] + group * 12).cast());
                    let at = block.as_ptr().cast::<__m256i>();
                    let block = [0, 1, 2, 3].map(|i| _mm256_loadu_si256(at.add(i)));
                    (_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(a), b), block)
                };
                let (near, far) = (_mm256_shuffle_epi8(samples, near), _mm256_shuffle_epi8(samples, far));
                let wide = _mm256_add_epi32(_mm256_madd_epi16(near, block[0]), _mm256_madd_epi16(far, block[1]));
                high = _mm256_add_epi32(high, wide);
                let fine = _mm256_add_epi32(_mm256_madd_epi16(near, block[2]), _mm256_madd_epi16(far, block[3]));
                low = _mm256_add_epi32(low, fine);
            }
            let sum = _mm256_add_epi32(_mm256_slli_epi32::<{ LOW as i32 }>(high), low);
            let shifted = _mm256_srai_epi32::<{ BITS as i32 }>(sum);
            let words = _mm256_packs_epi32(shifted, shifted);
            let bytes = _mm256_packus_epi16(words, words);
            let (a, b) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
            let pixels = _mm_or_si128(_mm_shuffle_epi8(a, gather), _mm_slli_si128::<3>(_mm_shuffle_epi8(b, gather)));
            // SAFETY: pair * 6 + 8 <= count * 3 + 3 + 2 + SPILL - 8.
            unsafe { _mm_storel_epi64(out.add(pair * 6).cast(), pixels) };
        }
    }
}
