//! grouping: what a layer's activations tell without any label: groups of images, and how many dimensions they fill.

use super::activations::Activations;
use super::kmeans::Lloyd;
use super::nearest::assigner_on;
use crate::base::Seed;
use anyhow::Result;
use tch::{Device, Kind};

/// Starts, of which the one with the least objective counts.
const STARTS: usize = 4;
const ITERATIONS: usize = 20;
/// Images among which dimensions are counted.
const SAMPLE: usize = 1000;

/// The group of each row, of `k` that k-means finds among the rows at length 1.
pub fn groups(
    x: &Activations,
    k: usize,
    seed: u64,
    device: &str,
    step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<u32>> {
    let dims = x.dims();
    let mut rows = Vec::with_capacity(x.rows() * dims);
    for row in 0..x.rows() {
        let row = x.row(row);
        let length = row.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>().sqrt().max(1e-12);
        rows.extend(row.iter().map(|n| (f64::from(*n) / length) as f32));
    }
    let mut best: Option<(f64, Vec<u32>)> = None;
    let mut assigner = assigner_on(device)?;
    for start in 0..STARTS {
        let seed = Seed::of_node(seed, &format!("probe {start}"));
        let mut lloyd = Lloyd::from_permutation(&[&rows], dims, k, &seed)?;
        for iteration in 0..ITERATIONS {
            step(start * ITERATIONS + iteration)?;
            if lloyd.step(&[&rows], &mut *assigner)?.moved == 0 {
                break;
            }
        }
        let found = lloyd.assign(&[&rows], &mut *assigner)?;
        let objective = found.distances.iter().map(|distance| f64::from(*distance)).sum();
        if best.as_ref().is_none_or(|(least, _)| objective < *least) {
            best = Some((objective, found.clusters.iter().map(|cluster| cluster.0).collect()));
        }
    }
    Ok(best.map_or_else(Vec::new, |(_, groups)| groups))
}

/// How many dimensions of equal variance the rows fill. It is the squared sum of the covariance's eigenvalues over the sum of
/// their squares. At most a thousand rows are looked at, spread evenly; 0 if all are equal.
pub fn effective_dims(x: &Activations) -> Result<f64> {
    let _guard = tch::no_grad_guard();
    let every = x.rows().div_ceil(SAMPLE).max(1);
    let rows: Vec<f32> = (0..x.rows()).step_by(every).flat_map(|row| x.row(row)).collect();
    let count = (rows.len() / x.dims()) as i64;
    let rows = tch::Tensor::f_from_slice(&rows)?.f_view([count, x.dims() as i64])?.f_to_device(Device::Cpu)?;
    let rows = rows.f_to_kind(Kind::Double)?;
    let centred = rows.f_sub(&rows.f_mean_dim([0i64].as_slice(), true, Kind::Double)?)?;
    // The products of rows have the eigenvalues of the covariance, up to a factor.
    let products = centred.f_matmul(&centred.f_tr()?)?;
    let (sum, squares) = (products.f_trace()?.f_double_value(&[])?, products.f_square()?.f_sum(Kind::Double)?);
    let squares = squares.f_double_value(&[])?;
    Ok(if squares > 0.0 { sum * sum / squares } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    fn of(dims: usize, number: impl Fn(usize, usize) -> f64) -> Activations {
        let numbers = (0..400 * dims).map(|at| f16::from_f64(number(at / dims, at % dims))).collect();
        Activations::of("test", dims, numbers).unwrap()
    }

    #[test]
    fn dimensions_that_vary_alike_count_fully_and_one_that_outweighs_counts_alone() {
        let even = of(8, |row, dim| f64::from(u8::from(row % 8 == dim)));
        let dims = effective_dims(&even).unwrap();
        assert!((dims - 7.0).abs() < 1e-6, "eight corners of a simplex fill seven dimensions: {dims}");
        let uneven = of(8, |row, dim| if dim == 0 { row as f64 } else { (row % 3) as f64 * 1e-3 });
        assert!((effective_dims(&uneven).unwrap() - 1.0).abs() < 1e-3);
        assert_eq!(effective_dims(&of(8, |_, _| 2.0)).unwrap(), 0.0);
    }

    #[test]
    fn separate_clouds_are_found_whatever_the_length_of_a_row() {
        let x = of(4, |row, dim| f64::from(u8::from(row % 4 == dim)) * (1 + row % 7) as f64 + 0.01 * (row % 5) as f64);
        let groups = groups(&x, 4, 3, "cpu", &mut |_| Ok(())).unwrap();
        assert!((0..400).all(|row| groups[row] == groups[row % 4]));
        assert_eq!(groups[..4].iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    }
}
