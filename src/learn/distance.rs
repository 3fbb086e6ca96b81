//! distance: squared L2, products and lengths in double precision, added in one order, which gives any machine the same bits.

/// Sums that run side by side, for vector instructions.
const LANES: usize = 8;
/// Numbers between two looks whether a distance is too large already; a multiple of `LANES`.
const LOOK: usize = 32;

/// Squared L2.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    add(&mut lanes, a, b, squared_difference);
    lanes.iter().sum()
}

/// The same bits as [`distance`], or `None` as soon as it is certain to be above `limit`.
pub(super) fn distance_within(a: &[f32], b: &[f32], limit: f64) -> Option<f64> {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LOOK).zip(b.chunks(LOOK)) {
        add(&mut lanes, a, b, squared_difference);
        // No lane ever falls and rounding keeps the order, so a sum that is too large stays so.
        if lanes.iter().sum::<f64>() > limit {
            return None;
        }
    }
    Some(lanes.iter().sum())
}

/// Inner product.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    add(&mut lanes, a, b, |a, b| a * b);
    lanes.iter().sum()
}

/// L2 length.
pub(super) fn length(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

fn squared_difference(a: f64, b: f64) -> f64 {
    let difference = a - b;
    difference * difference
}

/// Adds the term of each pair of numbers; that of number `i` goes to lane `i % LANES`.
#[inline]
fn add(lanes: &mut [f64; LANES], a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) {
    let tails = a.len() / LANES * LANES;
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(f64::from(*a), f64::from(*b));
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a[tails..].iter().zip(&b[tails..])) {
        *lane += term(f64::from(*a), f64::from(*b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, draw};

    #[test]
    fn a_limit_changes_no_bit_of_what_is_within_it() {
        let mut stream = Seed::of_node(31, "test").stream("distance", 0);
        for dims in [1, 7, 8, 63, 64, 65, 200] {
            let [a, b]: [Vec<f32>; 2] =
                [0, 1].map(|_| (0..dims).map(|_| draw::between(&mut stream, -1.0, 1.0) as f32).collect());
            let whole = distance(&a, &b);
            assert_eq!(distance_within(&a, &b, whole).map(f64::to_bits), Some(whole.to_bits()));
            assert_eq!(distance_within(&a, &b, whole.next_down()), None);
        }
    }
}
