//! eigen: the largest eigenvalues of a symmetric matrix and their vectors, without computing the others.

use crate::base::seed::fixed_stream;
use anyhow::{Context, Result, ensure};
use rand_chacha::rand_core::Rng;
use tch::{Device, Kind, Tensor};

/// Eigenvalues, largest first, and their unit vectors as the columns of `vectors` (D x d), both in double precision.
#[derive(Debug)]
pub struct Eigen {
    /// d values.
    pub values: Vec<f64>,
    /// D x d.
    pub vectors: Tensor,
}

/// Columns that the Krylov space grows by: enough for the matrix product to be worth its while.
const BLOCK: i64 = 32;
/// Below this size all eigenvectors are as quickly had (0.2 s at 1024 on two cores).
const SMALL: i64 = 1024;
/// So many rows are fewer than pay for a matrix of their dimensions.
pub const FEW: usize = SMALL as usize;
/// Share of the dimensions above which a Krylov space is dearer than all eigenvectors.
const GIVE_UP: f64 = 0.5;
/// Residual, as a share of the smallest eigenvalue wanted, that bounds the error of every eigenvalue.
const VALUE_ERROR: f64 = 1e-6;
/// Sine of the angle between the space found and the true one (residual over the gap behind it, Davis-Kahan).
const ANGLE: f64 = 1e-4;
/// Residual, as a share of the largest eigenvalue, that is rounding and cannot be made smaller.
const NOISE: f64 = 1e-14;
/// Share of the largest eigenvalue below which the last one wanted counts as none. The space is exhausted; the rest is
/// rounding, which converges to nothing.
const EXHAUSTED: f64 = 1e-10;
/// Residual, as a share of the largest eigenvalue, that is good enough of an exhausted space.
const EXHAUSTED_NOISE: f64 = 1e-12;
/// Gaps below this share of the eigenvalue count as none: no vector of such a pair is better than another.
const GAP: f64 = 1e-4;

/// Finds the `wanted` largest eigenvalues of `matrix` (D x D, double, symmetric) and their vectors.
///
/// The signs are fixed: the entry of largest magnitude of each vector is positive.
pub fn largest(matrix: &Tensor, wanted: usize) -> Result<Eigen> {
    let (size, wanted) = (matrix.size()[0], wanted as i64);
    ensure!(wanted >= 1 && wanted <= size, "{wanted} eigenvalues of a matrix of {size}: 1 to {size} can be had");
    let space = if size <= SMALL { None } else { krylov(matrix, wanted)? };
    let (values, vectors) = match space {
        Some(found) => found,
        None => top_of(matrix, wanted)?,
    };
    signed(&values, &vectors)
}

/// The same of the scatter matrix of `rows` (n x D, double), of which there are at most [`FEW`], by way of the smaller
/// matrix of their products (n x n). Directions that hold less than `empty` of the largest eigenvalue come as zeros.
pub fn largest_of_rows(rows: &Tensor, wanted: usize, empty: f64) -> Result<Eigen> {
    let (count, wanted) = (rows.size()[0], wanted as i64);
    ensure!(wanted >= 1 && wanted <= count, "{wanted} eigenvalues of {count} rows: 1 to {count} can be had");
    let (values, vectors) = top_of(&rows.f_matmul(&rows.f_tr()?)?, wanted)?;
    let values = values.f_clamp_min(0.0)?;
    let floor = values.f_double_value(&[0])? * empty;
    let is_full = values.f_gt(floor)?;
    let inverse = values.f_rsqrt()?.f_where_self(&is_full, &Tensor::f_zeros_like(&values)?)?;
    signed(&values, &rows.f_tr()?.f_matmul(&vectors)?.f_mul(&inverse)?)
}

/// Makes the entry of largest magnitude of each vector positive.
fn signed(values: &Tensor, vectors: &Tensor) -> Result<Eigen> {
    let at = vectors.f_abs()?.f_argmax(0, true)?;
    let signs = vectors.f_gather(0, &at, false)?.f_sign()?;
    let values = Vec::<f64>::try_from(values).context("eigenvalues")?;
    Ok(Eigen { values, vectors: vectors.f_mul(&signs)? })
}

/// The `wanted` largest by solving for all.
fn top_of(matrix: &Tensor, wanted: i64) -> Result<(Tensor, Tensor)> {
    let (values, vectors) = matrix.f_linalg_eigh("L").context("the eigenvalues of the scatter matrix")?;
    let first = values.size()[0] - wanted;
    Ok((values.f_narrow(0, first, wanted)?.f_flip([0])?, vectors.f_narrow(1, first, wanted)?.f_flip([1])?))
}

/// Block Lanczos with full reorthogonalisation: grows a Krylov space until the wanted pairs have converged.
fn krylov(matrix: &Tensor, wanted: i64) -> Result<Option<(Tensor, Tensor)>> {
    let size = matrix.size()[0];
    let most = (size as f64 * GIVE_UP) as i64 / BLOCK * BLOCK;
    if 3 * wanted > most {
        return Ok(None);
    }
    let space = Tensor::f_zeros([most + BLOCK, size], (Kind::Double, Device::Cpu))?;
    let image = Tensor::f_zeros([most, most], (Kind::Double, Device::Cpu))?;
    let mut block = orthonormal(&start(size)?)?.0;
    let (mut held, mut check, mut before) = (0, 3 * wanted, None);
    loop {
        space.f_narrow(0, held, BLOCK)?.f_copy_(&block.f_tr()?)?;
        let within = space.f_narrow(0, 0, held + BLOCK)?;
        let next = matrix.f_matmul(&block)?;
        let (next, inside) = without(&next, &within)?;
        image.f_narrow(0, 0, held + BLOCK)?.f_narrow(1, held, BLOCK)?.f_copy_(&inside)?;
        let (fresh, coupling) = orthonormal(&next)?;
        held += BLOCK;
        if held >= check || held == most {
            let (found, miss) = ritz(&image, &coupling, held, wanted)?;
            if miss <= 1.0 {
                let vectors = space.f_narrow(0, 0, held)?.f_tr()?.f_matmul(&found.1)?;
                return Ok(Some((found.0, vectors)));
            }
            if held == most || hopeless(before, (held, miss), most) {
                return Ok(None);
            }
            before = Some((held, miss));
            check = held + held / 5;
        }
        // Where the space is exhausted, `fresh` is rounding noise and must be made orthogonal once more.
        block = orthonormal(&without(&fresh, &within)?.0)?.0;
    }
}

/// Whether the residual, falling as it did between two looks, stays too large in the largest space allowed.
fn hopeless(before: Option<(i64, f64)>, now: (i64, f64), most: i64) -> bool {
    let Some(before) = before else { return false };
    let per_dimension = (before.1.ln() - now.1.ln()) / (now.0 - before.0) as f64;
    // It falls ever faster, so that the straight line is allowed to miss by a quarter.
    !(per_dimension > 0.0 && now.0 as f64 + now.1.ln() / per_dimension <= 1.25 * most as f64)
}

/// The columns made orthonormal, and their coordinates in what came of them.
fn orthonormal(columns: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok(Tensor::f_linalg_qr(columns, "reduced")?)
}

/// A fixed start: no draw that anybody could want to vary.
fn start(size: i64) -> Result<Tensor> {
    let mut stream = fixed_stream(b"dcpipe: start of a Krylov space.");
    let unit = |word: u64| (word >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
    let numbers: Vec<f64> = (0..size * BLOCK).map(|_| unit(stream.next_u64())).collect();
    Ok(Tensor::f_from_slice(&numbers)?.f_view([size, BLOCK])?)
}

/// `columns` (D x b) less their part in the span of `rows` (m x D, orthonormal), and that part's coordinates (m x b).
fn without(columns: &Tensor, rows: &Tensor) -> Result<(Tensor, Tensor)> {
    let first = rows.f_matmul(columns)?;
    let left = columns.f_sub(&rows.f_tr()?.f_matmul(&first)?)?;
    // Once is not enough for orthogonality to working precision, twice is.
    let again = rows.f_matmul(&left)?;
    Ok((left.f_sub(&rows.f_tr()?.f_matmul(&again)?)?, first.f_add(&again)?))
}

/// The wanted Ritz values and their vectors within the space, and how many times too large their residual is.
fn ritz(image: &Tensor, coupling: &Tensor, held: i64, wanted: i64) -> Result<((Tensor, Tensor), f64)> {
    let image = image.f_narrow(0, 0, held)?.f_narrow(1, 0, held)?;
    // The upper triangle was computed with the space as it is now; the lower one with less of it.
    let (values, vectors) = image.f_linalg_eigh("U").context("the eigenvalues within a Krylov space")?;
    let first = held - wanted;
    let behind = values.f_double_value(&[first - 1])?;
    let last = values.f_double_value(&[first])?;
    let largest = values.f_double_value(&[held - 1])?;
    let noise = if last < EXHAUSTED * largest { EXHAUSTED_NOISE } else { NOISE } * largest;
    let (values, vectors) = (values.f_narrow(0, first, wanted)?, vectors.f_narrow(1, first, wanted)?);
    // A C q = q T + fresh * coupling, so the residual of a Ritz pair is the coupling times the end of its vector.
    let residuals = coupling.f_matmul(&vectors.f_narrow(0, held - BLOCK, BLOCK)?)?;
    let residual = residuals.f_norm()?.f_double_value(&[])?;
    let gap = (last - behind).max(GAP * last);
    let miss = residual / (VALUE_ERROR * last).min(ANGLE * gap).max(noise);
    // Of a matrix of zeros everything is an eigenvector.
    let miss = if residual > 0.0 { miss } else { 0.0 };
    Ok(((values.f_flip([0])?, vectors.f_flip([1])?), miss))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A symmetric matrix with the given eigenvalues and no axis of its own.
    fn with_spectrum(values: &[f64]) -> Tensor {
        let size = values.len() as i64;
        let mut stream = fixed_stream(&[7; 32]);
        let numbers: Vec<f64> =
            (0..size * size).map(|_| (stream.next_u64() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0).collect();
        let (basis, _) = orthonormal(&Tensor::from_slice(&numbers).view([size, size])).unwrap();
        (&basis * Tensor::from_slice(values)).matmul(&basis.tr())
    }

    fn agree(values: &[f64], wanted: i64, without_all: bool) {
        let matrix = with_spectrum(values);
        let found = krylov(&matrix, wanted).unwrap();
        assert_eq!(found.is_some(), without_all);
        let Some((values, vectors)) = found else { return };
        let (true_values, true_vectors) = top_of(&matrix, wanted).unwrap();
        let worst = ((values - &true_values) / true_values).abs().max().double_value(&[]);
        assert!(worst <= 1e-6, "{worst}");
        // The sine of the largest angle: what of the true space lies outside the one found.
        let outside = &true_vectors - vectors.matmul(&vectors.tr().matmul(&true_vectors));
        let sine = outside.norm().double_value(&[]);
        assert!(sine <= 1e-4, "{sine}");
    }

    #[test]
    fn a_krylov_space_finds_what_solving_for_all_finds() {
        let spectrum = |value: fn(f64) -> f64| (0..600).map(|i| value(f64::from(i))).collect::<Vec<f64>>();
        agree(&spectrum(|i| (1.0 + i).powf(-1.5)), 24, true);
        agree(&spectrum(|i| if i < 20.0 { 100.0 - i } else { 1.0 }), 20, true);
        agree(&spectrum(|i| 10.0_f64.powf(-i / 8.0)), 40, true);
        // No gap, and more than a Krylov space pays for.
        agree(&spectrum(|i| 1.0 - i * 1e-4), 40, false);
        agree(&spectrum(|i| (1.0 + i).powf(-1.5)), 101, false);
    }

    #[test]
    fn few_rows_have_the_eigenvectors_of_their_scatter_matrix() {
        let mut stream = fixed_stream(&[9; 32]);
        let numbers: Vec<f64> =
            (0..40 * 90).map(|at| (stream.next_u64() >> 40) as f64 / f64::from(1 + at % 90)).collect();
        let rows = Tensor::from_slice(&numbers).view([40, 90]);
        let (few, all) = (largest_of_rows(&rows, 12, 1e-10).unwrap(), largest(&rows.tr().matmul(&rows), 12).unwrap());
        for (few, all) in few.values.iter().zip(&all.values) {
            assert!((few - all).abs() <= 1e-9 * all, "{few} {all}");
        }
        assert!((few.vectors - all.vectors).abs().max().double_value(&[]) < 1e-6);
        let flat = largest_of_rows(&Tensor::zeros([7, 90], (Kind::Double, Device::Cpu)), 3, 1e-10).unwrap();
        assert!(flat.values == [0.0; 3] && flat.vectors.abs().max().double_value(&[]) == 0.0);
    }

    #[test]
    fn a_spectrum_that_ends_early_needs_no_solving_for_all() {
        // What lies behind the end is zero, or rounding as sums over many images leave it.
        for (rank, rounding) in [(0, 0.0), (1, 0.0), (1, 5e-13), (30, 0.0), (30, 5e-13), (99, 0.0)] {
            let tail = |i: i32| rounding * f64::from(600 - i) / 600.0;
            let values: Vec<f64> = (0..600).map(|i| if i < rank { 1.0 / f64::from(1 + i) } else { tail(i) }).collect();
            assert!(krylov(&with_spectrum(&values), 64).unwrap().is_some(), "rank {rank}, rounding {rounding}");
        }
    }

    #[test]
    fn an_exhausted_space_stays_orthonormal() {
        let values: Vec<f64> = (0..600).map(|i| if i < 20 { 20.0 - f64::from(i) } else { 0.0 }).collect();
        let (values, vectors) = krylov(&with_spectrum(&values), 50).unwrap().unwrap();
        let gram = vectors.tr().matmul(&vectors) - Tensor::eye(50, (Kind::Double, Device::Cpu));
        assert!(gram.abs().max().double_value(&[]) < 1e-10);
        assert!((values.double_value(&[0]) - 20.0).abs() < 1e-10 && values.double_value(&[30]).abs() < 1e-10);
    }
}
