//! projection: a map of two dimensions on which neighbours lie together: UMAP's layout, seeded and on one thread.
//!
//! It follows McInnes, Healy and Melville (2018): a graph of neighbours with weights, and stochastic gradient descent
//! with negative samples. It starts from given places instead of a spectral embedding. All numbers come from one stream
//! and are added in one order: the number of threads changes no place.

use crate::base::{Stream, draw};
use anyhow::{Result, ensure};

/// The curve 1 / (1 + a d^2b), as umap-learn fits it for a smallest distance of 0.1 and a spread of 1.
const A: f64 = 1.576_943_4;
const B: f64 = 0.895_060_8;
/// Random others that push a point away, for each neighbour that pulls it.
const NEGATIVES: f64 = 5.0;
/// The longest step along an axis.
const CLIP: f64 = 4.0;
/// Half the side of the square in which the layout starts.
const START: f64 = 10.0;

/// An edge of the graph.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Edge {
    ends: [u32; 2],
    /// From 0 to 1.
    weight: f32,
}

/// Places points near their neighbours: `ids` and `distances` (L2) are rows x `n`, the nearest first. `start` has a
/// place for each point. `step` is called before each of `epochs` passes, and may end the layout.
///
/// # Errors
/// If the sizes do not fit, or if `step` ends it.
pub fn layout(
    (ids, distances, n): (&[i32], &[f32], usize),
    start: &[[f32; 2]],
    epochs: u32,
    stream: &mut Stream,
    step: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<Vec<[f32; 2]>> {
    let points = start.len();
    ensure!(n > 0 && ids.len() == points * n && distances.len() == ids.len(), "{points} points with other neighbours");
    let edges = graph(ids, distances, n);
    let most = edges.iter().map(|edge| edge.weight).fold(0.0, f32::max);
    // An edge is visited in every 1 / weight-th pass, as seen from the heaviest.
    let every: Vec<f64> = edges.iter().map(|edge| f64::from(most) / f64::from(edge.weight)).collect();
    let mut due = every.clone();
    let mut due_negative: Vec<f64> = every.iter().map(|every| every / NEGATIVES).collect();
    let mut places = spread(start);
    for epoch in 0..epochs {
        step(epoch)?;
        let rate = 1.0 - f64::from(epoch) / f64::from(epochs);
        let now = f64::from(epoch);
        for (at, edge) in edges.iter().enumerate() {
            if due[at] > now {
                continue;
            }
            let [head, tail] = edge.ends.map(|end| end as usize);
            let (apart, squared) = difference(places[head], places[tail]);
            if squared > 0.0 {
                let pull = -2.0 * A * B * squared.powf(B - 1.0) / (A * squared.powf(B) + 1.0);
                for axis in 0..2 {
                    let by = (pull * apart[axis]).clamp(-CLIP, CLIP) * rate;
                    places[head][axis] += by;
                    places[tail][axis] -= by;
                }
            }
            due[at] += every[at];
            let between = every[at] / NEGATIVES;
            let negatives = ((now - due_negative[at]) / between).max(0.0) as u32;
            for _ in 0..negatives {
                let other = draw::below_u64(stream, points as u64) as usize;
                if other == head {
                    continue;
                }
                let (apart, squared) = difference(places[head], places[other]);
                let push = 2.0 * B / ((0.001 + squared) * (A * squared.powf(B) + 1.0));
                for axis in 0..2 {
                    let by = if squared > 0.0 { (push * apart[axis]).clamp(-CLIP, CLIP) } else { CLIP };
                    places[head][axis] += by * rate;
                }
            }
            due_negative[at] += f64::from(negatives) * between;
        }
    }
    Ok(unit(&places))
}

fn difference(a: [f64; 2], b: [f64; 2]) -> ([f64; 2], f64) {
    let apart = [a[0] - b[0], a[1] - b[1]];
    (apart, apart[0] * apart[0] + apart[1] * apart[1])
}

/// Both directions of every pair of neighbours, with the weight of the union of their two views.
fn graph(ids: &[i32], distances: &[f32], n: usize) -> Vec<Edge> {
    let mut pairs: Vec<(u32, u32, f32)> = Vec::with_capacity(2 * ids.len());
    for (row, (ids, distances)) in ids.chunks(n).zip(distances.chunks(n)).enumerate() {
        for (id, weight) in ids.iter().zip(weights(distances)) {
            pairs.push((row as u32, *id as u32, weight));
            pairs.push((*id as u32, row as u32, weight));
        }
    }
    pairs.sort_by_key(|pair| (pair.0, pair.1));
    // A pair that only one of the two names stands once here, and one that both name twice.
    let both = |run: &[(u32, u32, f32)]| match run {
        [one] => one.2,
        [one, other, ..] => one.2 + other.2 - one.2 * other.2,
        [] => 0.0,
    };
    let runs = pairs.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1));
    let edges = runs.map(|run| Edge { ends: [run[0].0, run[0].1], weight: both(run) });
    edges.filter(|edge| edge.weight > 0.0).collect()
}

/// How near each neighbour counts: 1 for the nearest, falling so that all weights add up to log2(n).
fn weights(distances: &[f32]) -> Vec<f32> {
    const HALVINGS: u32 = 64;
    let nearest = distances.iter().copied().find(|distance| *distance > 0.0).unwrap_or(0.0);
    let beyond = |distance: &f32| f64::from((distance - nearest).max(0.0));
    let wanted = (distances.len() as f64).log2();
    let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..HALVINGS {
        let sum: f64 = distances.iter().map(|distance| (-beyond(distance) / width).exp()).sum();
        if (sum - wanted).abs() < 1e-5 {
            break;
        }
        if sum > wanted {
            high = width;
            width = f64::midpoint(low, high);
        } else {
            low = width;
            width = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * width };
        }
    }
    // Not narrower than a thousandth of the mean: one far neighbour must not leave the others without weight.
    let mean = distances.iter().map(|distance| f64::from(*distance)).sum::<f64>() / distances.len() as f64;
    let width = width.max(1e-3 * mean).max(f64::MIN_POSITIVE);
    distances.iter().map(|distance| (-beyond(distance) / width).exp() as f32).collect()
}

/// The places, stretched to the square in which a layout starts.
fn spread(start: &[[f32; 2]]) -> Vec<[f64; 2]> {
    unit(start).into_iter().map(|place| place.map(|axis| (f64::from(axis) - 0.5) * 2.0 * START)).collect()
}

/// The places between 0 and 1, both axes on one scale, in the middle of the shorter one.
pub fn unit<T: Copy + Into<f64>>(places: &[[T; 2]]) -> Vec<[f32; 2]> {
    let range = |axis: usize| {
        let all = places.iter().map(|place| place[axis].into());
        all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)))
    };
    let ranges = [range(0), range(1)];
    let longest = ranges.iter().map(|(low, high)| high - low).fold(0.0, f64::max);
    let side = if longest > 0.0 { longest } else { 1.0 };
    let place = |place: &[T; 2]| {
        [0, 1].map(|axis| {
            let (low, high) = ranges[axis];
            // Rounding leaves the square by a last bit.
            ((place[axis].into() - f64::midpoint(low, high)) / side + 0.5).clamp(0.0, 1.0) as f32
        })
    };
    places.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use proptest::prelude::*;

    fn stream() -> Stream {
        Seed::of_node(31, "test").stream("projection", 0)
    }

    /// Points on a line, in three groups far from each other, with their neighbours.
    fn groups() -> (Vec<i32>, Vec<f32>, Vec<f32>) {
        let at: Vec<f32> = (0..90_u8).map(|i| f32::from(i / 30) * 100.0 + f32::from(i % 30)).collect();
        let (mut ids, mut distances) = (Vec::new(), Vec::new());
        for (row, here) in at.iter().enumerate() {
            let mut others: Vec<_> =
                (0..at.len()).filter(|id| *id != row).map(|id| ((at[id] - here).abs(), id)).collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            ids.extend(others.iter().take(8).map(|(_, id)| *id as i32));
            distances.extend(others.iter().take(8).map(|(far, _)| *far));
        }
        (ids, distances, at)
    }

    #[test]
    fn groups_of_neighbours_lie_apart_and_the_same_stream_gives_the_same_map() {
        let (ids, distances, _) = groups();
        // A start that tells nothing of the groups.
        let start: Vec<[f32; 2]> =
            (0..90_u8).map(|i| [f32::from(i.wrapping_mul(37)), f32::from(i.wrapping_mul(59))]).collect();
        let make = || layout((&ids, &distances, 8), &start, 200, &mut stream(), &mut |_| Ok(())).unwrap();
        let places = make();
        assert_eq!(places, make());
        assert!(places.iter().flatten().all(|axis| (0.0..=1.0).contains(axis)));
        let far = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let mut right = 0;
        for (row, place) in places.iter().enumerate() {
            let others = (0..90).filter(|id| *id != row);
            let nearest = others.min_by(|a, b| far(*place, places[*a]).total_cmp(&far(*place, places[*b])));
            right += usize::from(nearest.is_some_and(|id| id / 30 == row / 30));
        }
        assert!(right >= 85, "{right} of 90 points lie nearest to one of their own group");
    }

    #[test]
    fn weights_fall_with_distance_and_add_up_to_log2_of_their_count() {
        let found = weights(&[0.5, 0.7, 0.9, 1.4, 2.0, 2.1, 2.2, 3.0]);
        assert!(found.windows(2).all(|pair| pair[0] >= pair[1]) && found[0] == 1.0, "{found:?}");
        assert!((found.iter().sum::<f32>() - 3.0).abs() < 1e-3, "{found:?}");
        // Copies of one image: all weights are there, none is NaN.
        assert_eq!(weights(&[0.0; 4]), [1.0; 4]);
    }

    #[test]
    fn places_keep_their_shape_in_the_unit_square() {
        assert_eq!(unit(&[[0.0, 5.0], [4.0, 7.0]]), [[0.0, 0.25], [1.0, 0.75]]);
        assert_eq!(unit(&[[3.0, 3.0]]), [[0.5, 0.5]]);
        assert!(unit::<f32>(&[]).is_empty());
        // Rounding alone gives the first one a place of -1e-16 or so.
        assert_eq!(unit(&[[-0.43, 0.0], [6.06, 0.0_f64]]), [[0.0, 0.5], [1.0, 0.5]]);
    }

    proptest! {
        #[test]
        fn no_place_leaves_the_unit_square_by_rounding(places in proptest::collection::vec([-9.0_f64..9.0, -9.0..9.0], 1..9)) {
            let square = unit(&places);
            prop_assert!(square.iter().flatten().all(|axis| (0.0..=1.0).contains(axis)), "{square:?} of {places:?}");
        }
    }
}
