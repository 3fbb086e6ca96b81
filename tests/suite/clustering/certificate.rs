//! certificate: labels are exact whatever single precision finds, and what settles them stays little.

use super::{brute_force, every_search, run_on, unit_rows};
use dcpipe::base::Seed;
use dcpipe::learn::assign::{Assignment, NEAR, assign};
use dcpipe::learn::kmeans::Lloyd;
use dcpipe::learn::nearest::{FaissAssigner, TorchAssigner};
use proptest::prelude::*;
use tch::Device;

/// Assigns by every search; they must agree in all but the counts. Gives faiss's.
fn by_all(vectors: &[&[f32]], centroids: &[f32], dims: usize) -> Assignment {
    let mut searches = every_search().into_iter();
    let mut next = || searches.next().map(|mut by| assign(vectors, centroids, dims, &mut *by).unwrap());
    let by_faiss = next().expect("faiss is the first");
    while let Some(other) = next() {
        assert_eq!(Assignment { settled: by_faiss.settled, terms: by_faiss.terms, ..other }, by_faiss);
    }
    by_faiss
}

/// The second nearest by brute force: the nearest once the nearest is gone, which keeps all ids.
fn second_by_brute_force(vector: &[f32], first: usize, centroids: &[f32], dims: usize) -> u32 {
    let mut others = centroids.to_vec();
    others[first * dims..][..dims].fill(1e30);
    brute_force(vector, &others, dims)[0].0
}

/// Rows around `clumps` of the unit sphere's points, each coordinate off by about `off`.
fn clumped(seed: u64, rows: usize, dims: usize, clumps: usize, off: f32) -> Vec<f32> {
    let (middles, apart) = (unit_rows(seed, clumps, dims), unit_rows(seed + 7, rows, dims));
    let value = |at: usize| middles[at / dims % clumps * dims + at % dims] + off * apart[at];
    (0..rows * dims).map(value).collect()
}

#[test]
fn a_square_beyond_single_precision_hides_no_centroid() {
    let first: Vec<f32> = std::iter::once(2e19).chain((1..13).map(|at| -1e18 * at as f32)).collect();
    assert_eq!(by_all(&[&[1e19]], &first, 1).clusters, brute_force(&[1e19], &first, 1));
}

#[test]
fn a_vector_that_is_no_number_is_refused_by_every_search() {
    for bad in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::from_bits(0xffff_ffff), f32::INFINITY] {
        for mut by in every_search() {
            let mut vectors = unit_rows(3, 40, 6);
            vectors[17 * 6 + 5] = bad;
            let error = assign(&[&vectors], &unit_rows(4, 20, 6), 6, &mut *by).unwrap_err().to_string();
            assert!(error.contains("vector 17 "), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn near_ties_are_settled_as_by_brute_force(
        seed in 0_u64..1000,
        rows in 1_usize..80,
        dims in 1_usize..70,
        k in 1_usize..50,
        clumps in 1_usize..6,
        off in prop::sample::select(vec![0.0_f32, 1e-7, 1e-5, 1e-3, 0.1]),
        scale in prop::sample::select(vec![1.0_f32, 1e-3, 1e-20, 1e-30, 1e6, 1e18]),
    ) {
        let scaled = |values: Vec<f32>| values.into_iter().map(|value| value * scale).collect::<Vec<_>>();
        let x = scaled(clumped(seed, rows, dims, clumps, off));
        let centroids = scaled(clumped(seed, k, dims, clumps.min(k), off * 0.7));
        let found = by_all(&[&x], &centroids, dims);
        let nearest = brute_force(&x, &centroids, dims);
        let to = |row: usize, id: u32| -> f64 {
            let pairs = x[row * dims..][..dims].iter().zip(&centroids[id as usize * dims..][..dims]);
            pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        for (row, (first, second)) in found.clusters.iter().zip(&found.seconds).enumerate() {
            // The additions here are in another order: what is equal to their rounding may be told apart there.
            let equal = |a: f64, b: f64| (a - b).abs() <= 1e-13 * a.max(b);
            prop_assert!(*first == nearest[row] || equal(to(row, first.0), to(row, nearest[row].0)));
            let next = second_by_brute_force(&x[row * dims..][..dims], first.index(), &centroids, dims);
            prop_assert!(k == 1 || second.0 == next || equal(to(row, second.0), to(row, next)), "{second} {next}");
        }
    }

    #[test]
    fn several_slices_give_the_bits_of_one(seed in 0_u64..1000, cuts in prop::collection::vec(0_usize..=400, 0..5), k in 1_usize..40) {
        let (dims, rows) = (12, 400);
        let x = clumped(seed, rows, dims, 30, 0.2);
        let mut cuts: Vec<usize> = cuts.into_iter().chain([0, rows]).collect();
        cuts.sort_unstable();
        let slices: Vec<&[f32]> = cuts.windows(2).map(|cut| &x[cut[0] * dims..cut[1] * dims]).collect();
        let seed = Seed::of_node(seed, "clusters@1");
        let mut whole = Lloyd::from_permutation(&[&x], dims, k, &seed).unwrap();
        let mut sliced = Lloyd::from_permutation(&slices, dims, k, &seed).unwrap();
        for _ in 0..3 {
            let by_torch = run_on(2, || sliced.step(&slices, &mut TorchAssigner::new(Device::Cpu)).unwrap());
            prop_assert_eq!(whole.step(&[&x], &mut FaissAssigner::default()).unwrap(), by_torch);
            prop_assert_eq!(&whole.centroids, &sliced.centroids);
        }
        let one = whole.assign(&[&x], &mut FaissAssigner::default()).unwrap();
        let several = sliced.assign(&slices, &mut FaissAssigner::default()).unwrap();
        prop_assert_eq!(&one.clusters, &several.clusters);
        prop_assert_eq!(&one.seconds, &several.seconds);
        let bits = |margins: Vec<f32>| margins.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let [one, several] = [one.margins(&[&x], &whole.centroids, dims), several.margins(&slices, &whole.centroids, dims)];
        prop_assert_eq!(bits(one.unwrap()), bits(several.unwrap()));
    }
}

#[test]
fn vectors_in_general_position_leave_little_to_settle() {
    let (rows, dims, k) = (4000, 64, 300);
    let found = by_all(&[&unit_rows(1, rows, dims)], &unit_rows(2, k, dims), dims);
    assert!(found.settled < 40, "{} of {rows} vectors were settled", found.settled);
    assert!(found.terms <= found.settled * 3, "{} distances for {}", found.terms, found.settled);
}

#[test]
fn collapsed_vectors_and_equal_centroids_cost_no_more_than_others() {
    let (rows, dims, k) = (3000, 24, 200);
    let most = (rows * NEAR) as u64;
    let one = unit_rows(3, 1, dims);
    let (equal, spread) = (one.repeat(rows), unit_rows(4, rows, dims));
    // As splits leave them: hardly apart, all of them within what single precision can tell.
    let split = clumped(5, k, dims, 1, 1e-4);
    for (name, x, centroids) in [
        ("equal vectors, equal centroids", &equal, one.repeat(k)),
        ("equal vectors, split centroids", &equal, split.clone()),
        ("spread vectors, equal centroids", &spread, one.repeat(k)),
        ("spread vectors, five centroids forty times", &spread, unit_rows(6, 5, dims).repeat(40)),
    ] {
        let found = by_all(&[x], &centroids, dims);
        assert!(found.terms <= most, "{name}: {} distances for {} of {rows} vectors", found.terms, found.settled);
        assert_eq!(found.clusters, brute_force(x, &centroids, dims), "{name}");
    }
    let mut lloyd = Lloyd::from_permutation(&[&equal], dims, k, &Seed::of_node(31, "clusters@1")).unwrap();
    for _ in 0..4 {
        lloyd.step(&[&equal], &mut FaissAssigner::default()).unwrap();
        let found = by_all(&[&equal], &lloyd.centroids, dims);
        assert!(found.terms <= most, "iteration {}: {} distances", lloyd.iteration, found.terms);
    }
}

#[test]
fn a_long_centroid_does_not_unsettle_the_others() {
    let (rows, dims, k) = (3000, 32, 100);
    let x = unit_rows(8, rows, dims);
    let mut centroids: Vec<f32> = unit_rows(9, k, dims).iter().map(|value| value * 0.5).collect();
    let before = by_all(&[&x], &centroids, dims);
    centroids.extend(unit_rows(10, 1, dims).iter().map(|value| value * 100.0));
    let after = by_all(&[&x], &centroids, dims);
    assert!(after.clusters == before.clusters);
    assert!(after.settled <= before.settled + 2, "{} settled, {} without it", after.settled, before.settled);
}
