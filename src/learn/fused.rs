//! fused: the nearest centroids on a CPU with AVX-512: a product whose least are picked before it leaves the registers.
//!
//! A library writes each product to memory and reads it again for the least. On some processors it also leaves the wide
//! instructions unused. The file `nearest` has what other CPUs do instead.

use super::assign::{Assigner, Candidates, keep_least};
use anyhow::{Context, Result};
use rayon::prelude::*;
use std::arch::x86_64::{
    __m512, _CMP_LT_OQ, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
};

/// Numbers of a register.
pub(super) const LANES: usize = 16;
/// Centroids that a product takes at a time: two registers of them.
pub(super) const ABREAST: usize = 2 * LANES;
/// Rows that a product takes at a time. Their sums fill 28 of the 32 registers.
pub(super) const ROWS: usize = 14;
/// Numbers of the rows that stay in a core's second cache while all centroids pass.
const HELD: usize = 1 << 16;

/// Searches by instructions of 512 bits.
#[derive(Debug)]
pub struct FusedAssigner {
    taken: Option<Taken>,
}

/// Centroids as the product reads them.
#[derive(Debug)]
struct Taken {
    k: usize,
    dims: usize,
    /// Of each [`ABREAST`] centroids their first numbers, then their second ones; each times -2, which rounds nothing. The
    /// last are filled up with zeros.
    panels: Vec<f32>,
    /// Squared length of each, rounded once; infinite where there is no centroid, which is then never near.
    norms: Vec<f32>,
}

/// The least of one product's rows so far.
pub(super) struct Found<'a> {
    /// How many of each row.
    pub(super) near: usize,
    pub(super) ids: &'a mut [u32],
    pub(super) scores: &'a mut [f32],
}

impl FusedAssigner {
    /// `None` where the processor lacks the instructions.
    pub fn new() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self { taken: None })
    }
}

impl Assigner for FusedAssigner {
    fn take(&mut self, centroids: &[f32], dims: usize) -> Result<()> {
        let k = centroids.len() / dims;
        let mut panels = vec![0.0; k.next_multiple_of(ABREAST) * dims];
        let mut norms = vec![f32::INFINITY; k.next_multiple_of(ABREAST)];
        let packed = panels.par_chunks_mut(ABREAST * dims).zip(norms.par_chunks_mut(ABREAST));
        packed.zip(centroids.par_chunks(ABREAST * dims)).for_each(|((panel, norms), centroids)| {
            for (at, centroid) in centroids.chunks(dims).enumerate() {
                norms[at] = centroid.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>() as f32;
                panel.iter_mut().skip(at).step_by(ABREAST).zip(centroid).for_each(|(to, from)| *to = -2.0 * from);
            }
        });
        self.taken = Some(Taken { k, dims, panels, norms });
        Ok(())
    }

    fn nearest(&mut self, vectors: &[f32], out: &mut Candidates) -> Result<()> {
        let taken = self.taken.as_ref().context("BUG: a search before its centroids")?;
        let dims = taken.dims;
        out.reset(vectors.len() / dims, taken.k);
        let near = out.near;
        let held = held(dims, vectors.len() / dims);
        let found = out.ids.par_chunks_mut(held * near).zip(out.scores.par_chunks_mut(held * near));
        vectors.par_chunks(held * dims).zip(found).for_each_init(Vec::new, |packed, (vectors, (ids, scores))| {
            scores.fill(f32::INFINITY);
            pack(vectors, dims, packed);
            for (index, (panel, norms)) in
                taken.panels.chunks(ABREAST * dims).zip(taken.norms.chunks(ABREAST)).enumerate()
            {
                let rows = ids.chunks_mut(ROWS * near).zip(scores.chunks_mut(ROWS * near));
                for (rows, (ids, scores)) in packed.chunks(ROWS * dims).zip(rows) {
                    let first = (index * ABREAST) as u32;
                    #[expect(unsafe_code, reason = "a function for processors that have the instructions")]
                    // SAFETY: there is no `FusedAssigner` where AVX-512 is missing.
                    unsafe {
                        search(rows, panel, norms, first, &mut Found { near, ids, scores });
                    }
                }
            }
        });
        out.end_with_the_last(taken.k);
        Ok(())
    }
}

/// Rows that one thread takes at a time: few enough for the cache, and for every thread to have some. No result depends on
/// it.
pub(super) fn held(dims: usize, rows: usize) -> usize {
    let each = rows.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(ROWS);
    (HELD / dims / ROWS * ROWS).clamp(ROWS, each.max(ROWS))
}

/// Of each [`ROWS`] rows their first numbers, then their second ones; the last are filled up with zeros.
fn pack(vectors: &[f32], dims: usize, packed: &mut Vec<f32>) {
    packed.clear();
    packed.resize((vectors.len() / dims).next_multiple_of(ROWS) * dims, 0.0);
    for (rows, packed) in vectors.chunks(ROWS * dims).zip(packed.chunks_mut(ROWS * dims)) {
        for (at, row) in rows.chunks(dims).enumerate() {
            packed.iter_mut().skip(at).step_by(ROWS).zip(row).for_each(|(to, from)| *to = *from);
        }
    }
}

/// Scores of [`ROWS`] rows with [`ABREAST`] centroids, of which the first has the id `first`. Each score begins at the
/// centroid's norm and adds one product after the other, each rounded once.
#[target_feature(enable = "avx512f")]
fn search(rows: &[f32], panel: &[f32], norms: &[f32], first: u32, found: &mut Found<'_>) {
    let mut sums = [[load(&norms[..LANES]), load(&norms[LANES..])]; ROWS];
    for (numbers, centroids) in rows.chunks_exact(ROWS).zip(panel.chunks_exact(ABREAST)) {
        let centroids = [load(&centroids[..LANES]), load(&centroids[LANES..])];
        for (sums, number) in sums.iter_mut().zip(numbers) {
            let number = _mm512_set1_ps(*number);
            *sums = [_mm512_fmadd_ps(number, centroids[0], sums[0]), _mm512_fmadd_ps(number, centroids[1], sums[1])];
        }
    }
    keep_below(&sums, first, found);
}

/// Takes what is below the last of each row's list into it.
#[target_feature(enable = "avx512f")]
pub(super) fn keep_below(sums: &[[__m512; 2]; ROWS], first: u32, found: &mut Found<'_>) {
    // The last rows of all may be fewer: what lies behind them is dropped.
    let lists = found.ids.chunks_mut(found.near).zip(found.scores.chunks_mut(found.near));
    for (sums, (ids, scores)) in sums.iter().zip(lists) {
        let last = _mm512_set1_ps(scores[found.near - 1]);
        let below = sums.map(|sums| _mm512_cmp_ps_mask::<_CMP_LT_OQ>(sums, last));
        if below == [0, 0] {
            continue;
        }
        for (half, sums) in sums.iter().enumerate() {
            let from = first + (half * LANES) as u32;
            for (lane, score) in store(*sums).into_iter().enumerate() {
                keep_least(ids, scores, from + lane as u32, score);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
pub(super) fn load(numbers: &[f32]) -> __m512 {
    assert!(numbers.len() >= LANES, "BUG: {} numbers for a register", numbers.len());
    #[expect(unsafe_code, reason = "a load takes an address")]
    // SAFETY: so many numbers are there.
    unsafe {
        _mm512_loadu_ps(numbers.as_ptr())
    }
}

#[target_feature(enable = "avx512f")]
fn store(register: __m512) -> [f32; LANES] {
    let mut numbers = [0.0; LANES];
    #[expect(unsafe_code, reason = "a store takes an address")]
    // SAFETY: there is room for all numbers of the register.
    unsafe {
        _mm512_storeu_ps(numbers.as_mut_ptr(), register);
    }
    numbers
}
