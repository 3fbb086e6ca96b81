//! coarse: the nearest centroids by products of bfloat16 numbers, which bound every score from below.
//!
//! A processor with these instructions multiplies twice as many bfloat16 numbers at a time as single ones. Let x' and c' be
//! the rounded x and c. Then xc and x'c' differ by |x - x'| |c| + |x'| |c - c'| at most. Each row and each centroid has
//! two of these lengths as one more pair of numbers. So the product itself is the lower bound. By it, few centroids can
//! be one of the two nearest: their scores are computed anew. Where more can, the row is searched in single precision.

use super::assign::{Assigner, Candidates, keep_least};
use super::distance::{distance, dot, length};
use super::fused::{ABREAST, Found, FusedAssigner, LANES, ROWS, held, keep_below, load};
use anyhow::Result;
use rayon::prelude::*;
use std::arch::x86_64::{__m512bh, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32};

/// Centroids of a row that are kept by their bounds.
const WIDE: usize = 8;
/// The lengths are widened by this share: their own rounding, and that of a longer sum. What single precision loses in
/// adding up is in the certificate of `assign`.
const WIDENED: f64 = 1.0 + 1.0 / 64.0;
/// For fewer centroids, rounding a row takes longer than the search in single precision.
const WORTH: usize = 512;
/// Rows of which most must be left open before the others go the other way.
const TOLD: usize = 256;

/// Searches by bfloat16, and in single precision what that leaves open.
#[derive(Debug)]
pub struct CoarseAssigner {
    exact: FusedAssigner,
    /// None where every row is searched in single precision at once.
    taken: Option<Taken>,
    /// For fewer centroids that is so.
    worth: usize,
    /// Whether most rows were left open once: then it is so, too, until the end of the clustering.
    blurred: bool,
}

/// Centroids as the product reads them.
#[derive(Debug)]
struct Taken {
    k: usize,
    dims: usize,
    /// k x dims.
    centroids: Vec<f32>,
    /// Of each [`ABREAST`] centroids, times -2, their first pairs of numbers, then their second ones. The last pairs are
    /// of lengths.
    panels: Vec<u32>,
    /// Squared length of each, rounded once; infinite where there is no centroid, which is then never near.
    norms: Vec<f32>,
    /// Length of each.
    lengths: Vec<f64>,
    longest: f64,
}

/// What one thread works with.
#[derive(Default)]
struct Desk {
    rows: Vec<u32>,
    rounded: Vec<f32>,
    /// Length of each row, rounded.
    lengths: Vec<f64>,
    ids: Vec<u32>,
    bounds: Vec<f32>,
}

impl CoarseAssigner {
    /// `None` where the processor lacks the instructions.
    pub fn new() -> Option<Self> {
        let exact = FusedAssigner::new()?;
        is_x86_feature_detected!("avx512bf16").then_some(Self { exact, taken: None, worth: WORTH, blurred: false })
    }

    /// The same by bfloat16 for any number of centroids, even where that takes longer.
    pub fn for_any_k() -> Option<Self> {
        Some(Self { worth: 0, ..Self::new()? })
    }
}

impl Assigner for CoarseAssigner {
    fn take(&mut self, centroids: &[f32], dims: usize) -> Result<()> {
        self.exact.take(centroids, dims)?;
        let pays = !self.blurred && centroids.len() / dims >= self.worth;
        self.taken = pays.then(|| Taken::new(centroids, dims));
        Ok(())
    }

    fn nearest(&mut self, vectors: &[f32], out: &mut Candidates) -> Result<()> {
        let Some(taken) = &self.taken else { return self.exact.nearest(vectors, out) };
        let dims = taken.dims;
        out.reset(vectors.len() / dims, taken.k);
        let near = out.near;
        let held = held(dims, vectors.len() / dims);
        let found = out.ids.par_chunks_mut(held * near).zip(out.scores.par_chunks_mut(held * near));
        let found = found.zip(out.beyond.par_chunks_mut(held));
        let chunks = vectors.par_chunks(held * dims).zip(found).enumerate();
        let open = chunks.map_init(Desk::default, |desk, (chunk, (vectors, ((ids, scores), beyond)))| {
            taken.sweep(vectors, desk);
            let bounds = desk.ids.chunks(WIDE).zip(desk.bounds.chunks(WIDE));
            let rows = vectors.chunks(dims).zip(&desk.lengths).zip(bounds);
            let lists = ids.chunks_mut(near).zip(scores.chunks_mut(near)).zip(beyond);
            let mut open = Vec::new();
            for (row, (((vector, length), bounds), ((ids, scores), beyond))) in rows.zip(lists).enumerate() {
                *beyond = taken.refine((vector, *length), bounds, ids, scores);
                open.extend(beyond.is_nan().then_some(chunk * held + row));
            }
            open
        });
        let open: Vec<usize> = open.flatten_iter().collect();
        if open.len() >= TOLD && open.len() * 2 > vectors.len() / dims {
            (self.blurred, self.taken) = (true, None);
        }
        self.search_again(vectors, dims, &open, out)
    }
}

impl CoarseAssigner {
    /// Searches the `open` rows in single precision.
    fn search_again(&mut self, vectors: &[f32], dims: usize, open: &[usize], out: &mut Candidates) -> Result<()> {
        if open.is_empty() {
            return Ok(());
        }
        let rows: Vec<f32> = open.iter().flat_map(|row| &vectors[row * dims..][..dims]).copied().collect();
        let mut again = Candidates::default();
        self.exact.nearest(&rows, &mut again)?;
        let near = out.near;
        for (at, &row) in open.iter().enumerate() {
            out.ids[row * near..][..near].copy_from_slice(&again.ids[at * near..][..near]);
            out.scores[row * near..][..near].copy_from_slice(&again.scores[at * near..][..near]);
            out.beyond[row] = again.beyond[at];
        }
        Ok(())
    }
}

impl Taken {
    fn new(centroids: &[f32], dims: usize) -> Self {
        let k = centroids.len() / dims;
        let pairs = pairs(dims);
        let mut panels = vec![0; k.next_multiple_of(ABREAST) * pairs];
        let mut norms = vec![f32::INFINITY; k.next_multiple_of(ABREAST)];
        let packed = panels.par_chunks_mut(ABREAST * pairs).zip(norms.par_chunks_mut(ABREAST));
        let packed = packed.zip(centroids.par_chunks(ABREAST * dims));
        packed.for_each_init(Vec::new, |rounded, ((panel, norms), centroids)| {
            for (at, centroid) in centroids.chunks(dims).enumerate() {
                norms[at] = dot(centroid, centroid) as f32;
                let off = round(centroid, -2.0, rounded, panel.iter_mut().skip(at).step_by(ABREAST));
                let lengths = [2.0 * length(centroid), 2.0 * off].map(|length| upwards(length * WIDENED) | 0x8000);
                panel[(pairs - 1) * ABREAST + at] = pair(lengths);
            }
        });
        let lengths: Vec<f64> = centroids.par_chunks(dims).map(length).collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        Self { k, dims, centroids: centroids.to_vec(), panels, norms, lengths, longest }
    }

    /// The [`WIDE`] least bounds of each row.
    fn sweep(&self, vectors: &[f32], desk: &mut Desk) {
        let (dims, pairs) = (self.dims, pairs(self.dims));
        let rows = vectors.len() / dims;
        desk.lengths.clear();
        desk.rows.clear();
        desk.rows.resize(rows.next_multiple_of(ROWS) * pairs, 0);
        for (rows, packed) in vectors.chunks(ROWS * dims).zip(desk.rows.chunks_mut(ROWS * pairs)) {
            for (at, row) in rows.chunks(dims).enumerate() {
                let off = round(row, 1.0, &mut desk.rounded, packed.iter_mut().skip(at).step_by(ROWS));
                let own = length(&desk.rounded);
                packed[(pairs - 1) * ROWS + at] = pair([off, own].map(upwards));
                desk.lengths.push(own);
            }
        }
        desk.ids.clear();
        desk.ids.resize(rows * WIDE, 0);
        desk.bounds.clear();
        desk.bounds.resize(rows * WIDE, f32::INFINITY);
        let panels = self.panels.chunks(ABREAST * pairs).zip(self.norms.chunks(ABREAST));
        for (index, (panel, norms)) in panels.enumerate() {
            let lists = desk.ids.chunks_mut(ROWS * WIDE).zip(desk.bounds.chunks_mut(ROWS * WIDE));
            for (rows, (ids, scores)) in desk.rows.chunks(ROWS * pairs).zip(lists) {
                let first = (index * ABREAST) as u32;
                #[expect(unsafe_code, reason = "a function for processors that have the instructions")]
                // SAFETY: there is no `CoarseAssigner` where one of them is missing.
                unsafe {
                    search(rows, panel, norms, first, &mut Found { near: WIDE, ids, scores });
                }
            }
        }
    }

    /// Computes the scores that might be among the two least. Returns a number that no other score is below, or NaN where
    /// another might be among the two as well.
    fn refine(
        &self,
        (vector, own): (&[f32], f64),
        (wide, bounds): (&[u32], &[f32]),
        ids: &mut [u32],
        scores: &mut [f32],
    ) -> f32 {
        scores.fill(f32::INFINITY);
        let due = self.k.min(WIDE);
        // A number that is none, or too large for a product, hides its bound.
        if !bounds[..due].iter().all(|bound| bound.is_finite()) {
            return f32::NAN;
        }
        let last = scores.len() - 1;
        let second = last.min(1);
        // Four times what `assign` allows a score in single precision to be off.
        let operations = 4.0 * (self.dims + 5) as f64;
        let slack = |ids: &[u32]| {
            // As in the certificate: what is longer than this is no nearer than these two.
            let seconds = self.lengths[ids[0] as usize].max(self.lengths[ids[second] as usize]);
            let longest = self.longest.min(2.0 * own + seconds);
            operations * f64::from(f32::EPSILON / 2.0) * (own + longest).powi(2)
        };
        let mut beyond = if self.k > WIDE { bounds[WIDE - 1] } else { f32::INFINITY };
        for (&id, &bound) in wide.iter().zip(bounds).take(due) {
            if scores[second].is_finite() && f64::from(bound) > f64::from(scores[second]) + slack(ids) {
                beyond = beyond.min(bound);
                break;
            }
            let centroid = &self.centroids[id as usize * self.dims..][..self.dims];
            let score = (f64::from(self.norms[id as usize]) - 2.0 * dot(vector, centroid)) as f32;
            // Either this one or the last falls out of the list.
            beyond = beyond.min(score.max(scores[last]));
            keep_least(ids, scores, id, score);
        }
        if f64::from(beyond) > f64::from(scores[second]) + slack(ids) { beyond } else { f32::NAN }
    }
}

/// Pairs of numbers of a row, and one of its lengths.
fn pairs(dims: usize) -> usize {
    dims.div_ceil(2) + 1
}

/// Writes the numbers, times a power of two, as pairs of bfloat16. Returns the length of what rounding takes from them.
fn round<'a>(numbers: &[f32], times: f32, rounded: &mut Vec<f32>, to: impl Iterator<Item = &'a mut u32>) -> f64 {
    rounded.clear();
    rounded.extend(numbers.iter().map(|number| f32::from_bits(nearest_bits(*number) << 16)));
    for (to, numbers) in to.zip(rounded.chunks(2)) {
        let bits = |at: usize| numbers.get(at).map_or(0, |number| (number * times).to_bits() >> 16);
        *to = pair([bits(0), bits(1)]);
    }
    distance(numbers, rounded).sqrt()
}

/// bfloat16 is the upper half of a single number; this is the nearest, ties to even.
fn nearest_bits(number: f32) -> u32 {
    let bits = number.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// bfloat16 that is no less than the length.
fn upwards(length: f64) -> u32 {
    (length as f32).next_up().to_bits().saturating_add(0xffff) >> 16
}

fn pair([first, second]: [u32; 2]) -> u32 {
    first | second << 16
}

/// Bounds of [`ROWS`] rows with [`ABREAST`] centroids, of which the first has the id `first`.
#[target_feature(enable = "avx512f,avx512bf16")]
fn search(rows: &[u32], panel: &[u32], norms: &[f32], first: u32, found: &mut Found<'_>) {
    let mut sums = [[load(&norms[..LANES]), load(&norms[LANES..])]; ROWS];
    for (pairs, centroids) in rows.chunks_exact(ROWS).zip(panel.chunks_exact(ABREAST)) {
        let centroids = [load_pairs(&centroids[..LANES]), load_pairs(&centroids[LANES..])];
        for (sums, pair) in sums.iter_mut().zip(pairs) {
            #[expect(unsafe_code, reason = "sixteen equal pairs are 512 bits, whatever their type")]
            // SAFETY: both types are 512 bits wide, and every bit pattern is valid in both.
            let pair: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(pair.cast_signed())) };
            *sums = [_mm512_dpbf16_ps(sums[0], pair, centroids[0]), _mm512_dpbf16_ps(sums[1], pair, centroids[1])];
        }
    }
    keep_below(&sums, first, found);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn load_pairs(pairs: &[u32]) -> __m512bh {
    assert!(pairs.len() >= LANES, "BUG: {} pairs for a register", pairs.len());
    #[expect(unsafe_code, reason = "a load takes an address, and gives bits without a type")]
    // SAFETY: so many pairs are there; both types are 512 bits wide, and every bit pattern is valid in both.
    unsafe {
        std::mem::transmute(_mm512_loadu_si512(pairs.as_ptr().cast()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_is_the_nearest_and_lengths_are_no_less() {
        for number in [1.0, 1.003_906_2, 1.003_906_4, -0.1, 3e-39, 0.0, 1e30] {
            let rounded = f32::from_bits(nearest_bits(number) << 16);
            assert!((rounded - number).abs() <= number.abs() / 256.0 + 1e-38, "{number} becomes {rounded}");
        }
        for length in [0.0, 1e-40, 0.3, 1.0, 1.0 + 1e-9, 7e37] {
            assert!(f64::from(f32::from_bits(upwards(length) << 16)) >= length, "{length}");
        }
    }
}
