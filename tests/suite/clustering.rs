//! clustering: oracles 6 to 10 and 14: whitening, k-means, sampler and agreement against faiss and scikit-learn.

use dcpipe::base::{ClusterId, ImageId, PseudoLabel, Seed};
use dcpipe::learn::agreement::{Contingency, Spread};
use dcpipe::learn::assign::{Assigner, Assignment, assign};
use dcpipe::learn::coarse::CoarseAssigner;
use dcpipe::learn::fused::FusedAssigner;
use dcpipe::learn::kmeans::{IterationReport, Lloyd};
use dcpipe::learn::nearest::{FaissAssigner, TorchAssigner};
use dcpipe::learn::pca::{Scatter, Whitening, check};
use dcpipe::learn::sampler::{Draw, draw};
use dcpipe::learn::sums::Sums;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;
use tch::Device;

mod certificate;

fn golden(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join("tests/golden/clustering").join(name)).unwrap()
}

fn f32s(file: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn f64s(file: &[u8], name: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let bytes = tensors.tensor(name).unwrap().data().to_vec();
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn i32s(file: &[u8], name: &str) -> Vec<i32> {
    f32s(file, name).into_iter().map(|value| value.to_bits() as i32).collect()
}

/// Numbers of about normal distribution.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    use rand_distr::{Distribution, StandardNormal};
    let mut stream = Seed::of_node(seed, "test").stream("noise", 0);
    (0..count).map(|_| StandardNormal.sample(&mut stream)).collect()
}

fn unit_rows(seed: u64, rows: usize, dims: usize) -> Vec<f32> {
    let mut values = noise(seed, rows * dims);
    for row in values.chunks_mut(dims) {
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    values
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn fit(rows: &[f32], dims: usize, dims_out: usize) -> Whitening {
    let mut scatter = Scatter::new(dims).unwrap();
    scatter.add(rows).unwrap();
    scatter.finish(dims_out, -0.5).unwrap()
}

fn apply(whitening: &Whitening, rows: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() / whitening.mean.len() * whitening.dims_out()];
    whitening.apply(rows, &mut out).unwrap();
    out
}

// Oracles 6 and 7: whitening.

#[test]
fn whitening_is_that_of_faiss() {
    let file = golden("whitening.safetensors");
    let (rows, vectors) = (f32s(&file, "rows"), f32s(&file, "vectors"));
    let (dims, dims_out) = (48, 12);
    let ours = fit(&rows, dims, dims_out);
    for (ours, theirs) in ours.mean.iter().zip(f32s(&file, "mean")) {
        assert!((ours - f64::from(theirs)).abs() < 1e-4);
    }
    for (ours, theirs) in ours.eigenvalues.iter().zip(f32s(&file, "eigenvalues")) {
        assert!((ours / f64::from(theirs) - 1.0).abs() < 1e-4, "{ours} {theirs}");
    }
    let theirs = f32s(&file, "components");
    for (ours, theirs) in ours.components.chunks(dims).zip(theirs.chunks(dims)) {
        let cosine = dot(ours, theirs) / (dot(ours, ours) * dot(theirs, theirs)).sqrt();
        assert!(cosine.abs() > 0.9999, "{cosine}");
        assert!((dot(ours, ours) / dot(theirs, theirs) - 1.0).abs() < 1e-3);
    }
    let ours = apply(&ours, &rows);
    for (a, ours_a) in vectors.chunks(dims_out).zip(ours.chunks(dims_out)) {
        for (b, ours_b) in vectors.chunks(dims_out).zip(ours.chunks(dims_out)) {
            assert!((dot(a, b) - dot(ours_a, ours_b)).abs() < 1e-3);
        }
    }
}

#[test]
fn whitened_columns_have_mean_0_and_covariance_one_nth_and_rows_have_length_1() {
    let (rows, dims, dims_out) = (700, 40, 9);
    let mut features = noise(1, rows * dims);
    features.iter_mut().enumerate().for_each(|(at, value)| *value = *value / (1 + at % dims) as f32 + 50.0);
    let whitening = fit(&features, dims, dims_out);
    let project = |row: &[f32]| -> Vec<f64> {
        let centred: Vec<f32> =
            row.iter().zip(&whitening.mean).map(|(&x, mean)| (f64::from(x) - mean) as f32).collect();
        whitening.components.chunks(dims).map(|component| dot(&centred, component)).collect()
    };
    let projected: Vec<Vec<f64>> = features.chunks(dims).map(project).collect();
    for i in 0..dims_out {
        assert!(projected.iter().map(|row| row[i]).sum::<f64>().abs() < 1e-3);
        for j in 0..dims_out {
            let covariance: f64 = projected.iter().map(|row| row[i] * row[j]).sum();
            assert!((covariance - f64::from(u8::from(i == j))).abs() < 1e-3, "{i} {j} {covariance}");
        }
    }
    for row in apply(&whitening, &features).chunks(dims_out) {
        assert!((dot(row, row) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn dead_and_doubled_features_give_finite_vectors() {
    let (rows, dims, dims_out) = (64, 32, 32);
    let mut features = noise(2, rows * dims);
    for row in features.chunks_mut(dims) {
        row[..8].fill(0.0);
        row[8..16].fill(3.5);
        let (left, right) = row.split_at_mut(24);
        right.copy_from_slice(&left[16..]);
    }
    let whitening = fit(&features, dims, dims_out);
    let vectors = apply(&whitening, &features);
    assert!(vectors.iter().all(|value| value.is_finite()));
    // Eight directions hold everything; the empty ones must not be blown up to compete with them.
    for row in vectors.chunks(dims_out) {
        assert!(dot(&row[..8], &row[..8]) > 0.99, "{row:?}");
    }
    let constant = fit(&[1.5; 12], 3, 2);
    assert_eq!(apply(&constant, &[1.5; 3]), [0.0; 2]);
}

#[test]
fn fewer_rows_than_dimensions_leave_directions_without_variance_at_exactly_zero() {
    let (rows, dims) = (40, 96);
    let features = noise(4, rows * dims);
    let vectors = apply(&fit(&features, dims, rows), &features);
    // Less their mean, 40 rows span 39 directions. Solving for all eigenvectors of 96 x 96 would give the last one noise.
    assert!(vectors.chunks(rows).all(|row| row[rows - 1] == 0.0 && (dot(row, row) - 1.0).abs() < 1e-6));
}

#[test]
fn whitening_refuses_too_few_rows_and_numbers_that_are_not() {
    let error = check(200, 4096, 256).unwrap_err().to_string();
    assert!(error.contains("200 at most"), "{error}");
    assert!(check(256, 4096, 256).is_ok());
    assert!(check(9999, 64, 65).unwrap_err().to_string().contains("64 at most"));
    let mut scatter = Scatter::new(4).unwrap();
    scatter.add(&[0.0; 40]).unwrap();
    let error = scatter.add(&[1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN, 7.0, 8.0]).unwrap_err().to_string();
    assert!(error.contains("row 11 "), "{error}");
    assert!(scatter.finish(5, -0.5).is_err());
    let whitening = fit(&noise(3, 40), 4, 2);
    let error = whitening.apply(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::INFINITY, 0.0], &mut [0.0; 4]).unwrap_err();
    assert!(error.to_string().contains("row 1 "), "{error}");
}

#[test]
fn a_scatter_does_not_depend_on_how_its_rows_came_and_merges() {
    let (rows, dims) = (5000, 20);
    let mut features = noise(4, rows * dims);
    features.iter_mut().enumerate().for_each(|(at, value)| *value = *value / (1 + at % dims) as f32 + 9.0);
    let whole = fit(&features, dims, 6);
    let mut scatter = Scatter::new(dims).unwrap();
    for some in features.chunks(dims * 37) {
        scatter.add(some).unwrap();
    }
    assert_eq!(scatter.finish(6, -0.5).unwrap(), whole);
    let mut merged = Scatter::new(dims).unwrap();
    for (shift, some) in features.chunks(dims * 1700).enumerate() {
        // Another mean in each part: what is merged has another shift.
        let mut part = Scatter::new(dims).unwrap();
        assert!(shift < 3);
        part.add(some).unwrap();
        merged.merge(part).unwrap();
    }
    let merged = merged.finish(6, -0.5).unwrap();
    for (a, b) in merged.eigenvalues.iter().zip(&whole.eigenvalues) {
        assert!((a / b - 1.0).abs() < 1e-5);
    }
    for (a, b) in merged.components.chunks(dims).zip(whole.components.chunks(dims)) {
        assert!(dot(a, b) / dot(b, b) > 0.9999);
    }
}

// Oracles 8 and 9: k-means.

fn lloyd(
    x: &[f32],
    start: &[f32],
    dims: usize,
    iterations: usize,
    by: &mut dyn Assigner,
) -> (Lloyd, Vec<IterationReport>) {
    let mut lloyd = Lloyd::from_centroids(start.to_vec(), dims).unwrap();
    let reports = (0..iterations).map(|_| lloyd.step(&[x], by).unwrap()).collect();
    (lloyd, reports)
}

fn agree_with_faiss(name: &str, dims: usize, equal: f64, by: &mut dyn Assigner) {
    let file = golden(name);
    let (x, start, objective) = (f32s(&file, "x"), f32s(&file, "start"), f64s(&file, "objective"));
    let (lloyd, reports) = lloyd(&x, &start, dims, objective.len(), by);
    for ((report, objective), splits) in reports.iter().zip(objective).zip(i32s(&file, "splits")) {
        assert!((report.objective / objective - 1.0).abs() < 1e-4, "{name} {report:?} {objective}");
        assert_eq!(report.splits as i32, splits);
    }
    let last = lloyd.assign(&[&x], by).unwrap();
    let labels = i32s(&file, "labels");
    let same = last.clusters.iter().zip(&labels).filter(|(ours, theirs)| ours.0 as i32 == **theirs).count();
    assert!(same as f64 >= equal * labels.len() as f64, "{name}: {same} of {}", labels.len());
    for (ours, theirs) in last.distances.iter().zip(f32s(&file, "distances")) {
        assert!((ours - theirs).abs() < 1e-4);
    }
}

/// All searches that this processor has.
fn every_search() -> Vec<Box<dyn Assigner>> {
    let fused = FusedAssigner::new().map(|fused| Box::new(fused) as Box<dyn Assigner>);
    let coarse = CoarseAssigner::for_any_k().map(|coarse| Box::new(coarse) as Box<dyn Assigner>);
    let libraries: [Box<dyn Assigner>; 2] =
        [Box::new(FaissAssigner::default()), Box::new(TorchAssigner::new(Device::Cpu))];
    libraries.into_iter().chain(fused).chain(coarse).collect()
}

#[test]
fn lloyd_from_given_centroids_is_that_of_faiss() {
    for mut by in every_search() {
        agree_with_faiss("sphere.safetensors", 16, 0.999, &mut *by);
        agree_with_faiss("blobs.safetensors", 16, 1.0, &mut *by);
        agree_with_faiss("splits.safetensors", 6, 0.999, &mut *by);
    }
}

#[test]
fn empty_clusters_are_split_as_faiss_does_to_the_bit() {
    let file = golden("splits.safetensors");
    let (x, start) = (f32s(&file, "x"), f32s(&file, "start"));
    let (lloyd, reports) = lloyd(&x, &start, 6, 1, &mut FaissAssigner::default());
    assert_eq!((reports[0].splits, reports[0].empty), (4, 4));
    assert_eq!(reports[0].moved, x.len() as u64 / 6);
    assert_eq!(lloyd.centroids, f32s(&file, "once_centroids"));
}

#[test]
fn lloyd_refuses_more_clusters_than_vectors_and_numbers_that_are_not() {
    let seed = Seed::of_node(31, "clusters@1");
    let mut x = unit_rows(5, 10, 4);
    let error = Lloyd::from_permutation(&[&x], 4, 11, &seed).unwrap_err().to_string();
    assert!(error.contains("10 at most"), "{error}");
    assert!(Lloyd::from_permutation(&[&x], 4, 0, &seed).is_err());
    let mut lloyd = Lloyd::from_permutation(&[&x], 4, 3, &seed).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        x[7 * 4 + 2] = bad;
        for mut by in every_search() {
            let error = lloyd.step(&[&x], &mut *by).unwrap_err().to_string();
            assert!(error.contains("vector 7 "), "{error}");
        }
    }
    assert_eq!(lloyd.iteration, 0);
}

#[test]
fn equally_near_centroids_give_the_lowest_id() {
    let (dims, k) = (24, 40);
    let x = unit_rows(6, 300, dims);
    let distinct = unit_rows(7, k / 4, dims);
    let centroids: Vec<f32> = (0..k).flat_map(|c| distinct[(c * 7 % 10) * dims..][..dims].to_vec()).collect();
    for mut by in every_search() {
        let found = assign(&[&x], &centroids, dims, &mut *by).unwrap();
        assert!(found.clusters.iter().all(|cluster| cluster.0 < 10), "{found:?}");
        assert!(found.margins(&[&x], &centroids, dims).unwrap().iter().all(|&margin| margin == 0.0));
    }
}

#[test]
fn one_cluster_is_the_mean() {
    let x = unit_rows(8, 50, 5);
    for mut by in every_search() {
        let (lloyd, _) = lloyd(&x, &x[..5], 5, 1, &mut *by);
        for dim in 0..5 {
            let mean = x.iter().skip(dim).step_by(5).map(|&value| f64::from(value)).sum::<f64>() / 50.0;
            assert!((f64::from(lloyd.centroids[dim]) - mean).abs() < 1e-7);
        }
    }
}

fn brute_force(x: &[f32], centroids: &[f32], dims: usize) -> Vec<ClusterId> {
    let nearest = |row: &[f32]| {
        let to = |c: &[f32]| row.iter().zip(c).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>();
        let distances: Vec<f64> = centroids.chunks(dims).map(to).collect();
        let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
        ClusterId(distances.iter().position(|&distance| distance == least).unwrap() as u32)
    };
    x.chunks(dims).map(nearest).collect()
}

fn run_on<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_label_is_the_brute_force_nearest(seed in 0_u64..1000, rows in 1_usize..200, dims in 1_usize..40, k in 1_usize..60) {
        let (x, centroids) = (unit_rows(seed, rows, dims), unit_rows(seed + 1, k, dims));
        let want = brute_force(&x, &centroids, dims);
        for mut by in every_search() {
            prop_assert_eq!(&assign(&[&x], &centroids, dims, &mut *by).unwrap().clusters, &want);
        }
    }

    #[test]
    fn the_objective_never_rises_without_a_split(seed in 0_u64..1000, k in 1_usize..40) {
        let x = unit_rows(seed, 250, 8);
        let mut lloyd = Lloyd::from_permutation(&[&x], 8, k, &Seed::of_node(seed, "clusters@1")).unwrap();
        let reports: Vec<_> = (0..8).map(|_| lloyd.step(&[&x], &mut FaissAssigner::default()).unwrap()).collect();
        for pair in reports.windows(2) {
            prop_assert!(pair[0].splits > 0 || pair[1].objective <= pair[0].objective * (1.0 + 1e-6), "{:?}", reports);
        }
    }

    #[test]
    fn neither_threads_nor_a_split_of_the_rows_change_a_bit(seed in 0_u64..1000, cut in 1_usize..499, threads in 1_usize..5) {
        let (dims, k) = (12, 17);
        let x = unit_rows(seed, 500, dims);
        let start = Lloyd::from_permutation(&[&x], dims, k, &Seed::of_node(seed, "clusters@1")).unwrap();
        let mut whole = start.clone();
        let report = whole.step(&[&x], &mut FaissAssigner::default()).unwrap();

        let mut threaded = start.clone();
        let other = run_on(threads, || threaded.step(&[&x], &mut TorchAssigner::new(Device::Cpu)).unwrap());
        prop_assert_eq!(other, report);
        prop_assert_eq!(&threaded.centroids, &whole.centroids);

        let part = |rows: &[f32]| {
            let found: Assignment = start.assign(&[rows], &mut FaissAssigner::default()).unwrap();
            Sums::of(&[rows], dims, &found, k).unwrap()
        };
        let (left, right) = x.split_at(cut * dims);
        let mut sums = part(right);
        sums.merge(&part(left)).unwrap();
        let mut merged = start.clone();
        let other = merged.advance(&sums, 500);
        prop_assert_eq!(other, report);
        prop_assert_eq!(&merged.centroids, &whole.centroids);
    }

    // Oracle 10: the sampler.

    #[test]
    fn every_non_empty_cluster_gives_its_share(
        clusters in prop::collection::vec(0_u32..12, 1..200),
        length in 0_usize..400,
        seed in 0_u64..1000,
    ) {
        let clusters: Vec<ClusterId> = clusters.into_iter().map(|c| ClusterId(c * c % 13)).collect();
        let sizes = |ids: &[ClusterId]| {
            let mut sizes = [0_usize; 14];
            ids.iter().for_each(|id| sizes[id.index()] += 1);
            sizes
        };
        let held = sizes(&clusters);
        let present: Vec<usize> = (0..14).filter(|&c| held[c] > 0).collect();
        let share = length / present.len() + 1;
        let manifest = draw(&clusters, 14, length, Draw::Uniform, &Seed::of_node(seed, "manifest@1")).unwrap();
        prop_assert_eq!(manifest.image.len(), length);
        prop_assert_eq!(manifest.classes as usize, present.len());
        let drawn = sizes(&manifest.cluster);
        prop_assert!(drawn.iter().all(|&count| count <= share));
        let lost: usize = present.iter().map(|&c| share - drawn[c]).sum();
        prop_assert_eq!(lost, share * present.len() - length);
        let mut times = vec![0; clusters.len()];
        for ((image, cluster), label) in manifest.image.iter().zip(&manifest.cluster).zip(&manifest.label) {
            prop_assert_eq!(clusters[image.index()], *cluster);
            prop_assert_eq!(present[label.index()], cluster.index());
            times[image.index()] += 1;
        }
        for (image, times) in times.into_iter().enumerate() {
            // Replacement only where a cluster holds no more than its share.
            prop_assert!(times <= 1 || held[clusters[image].index()] <= share);
        }
    }
}

/// Clusters of very unlike sizes: 40 of them over 20,000 images.
fn skewed() -> Vec<ClusterId> {
    let weights: Vec<f64> = (1..=40).map(|rank| 1.0 / f64::from(rank)).collect();
    let all: f64 = weights.iter().sum();
    let mut ids = Vec::new();
    for (cluster, weight) in weights.iter().enumerate() {
        ids.resize(ids.len() + (weight / all * 20_000.0) as usize, ClusterId(cluster as u32 * 2));
    }
    let mut stream = Seed::of_node(1, "test").stream("skewed", 0);
    dcpipe::learn::order::shuffle(&mut ids, &mut stream);
    ids
}

fn perplexity(labels: &[PseudoLabel]) -> f64 {
    let ids: Vec<u32> = labels.iter().map(|label| label.0).collect();
    Spread::of(&ids, 80).unwrap().perplexity
}

#[test]
fn served_labels_are_balanced_and_the_published_sampler_keeps_the_natural_frequencies() {
    let clusters = skewed();
    let seed = Seed::of_node(31, "manifest@1");
    let uniform = draw(&clusters, 80, clusters.len(), Draw::Uniform, &seed).unwrap();
    assert!(perplexity(&uniform.label) > 0.99 * 40.0);

    let compat = draw(&clusters, 80, clusters.len(), Draw::OfficialCompat, &seed).unwrap();
    let natural: Vec<PseudoLabel> = clusters.iter().map(|cluster| PseudoLabel(cluster.0 / 2)).collect();
    let (served, natural) = (perplexity(&compat.label), perplexity(&natural));
    assert!((served / natural - 1.0).abs() < 0.05, "{served} {natural}");
    // Each image with its own label all the same.
    for ((image, cluster), label) in compat.image.iter().zip(&compat.cluster).zip(&compat.label) {
        assert_eq!((clusters[image.index()], label.0 * 2), (*cluster, cluster.0));
    }
}

#[test]
fn the_published_sampler_reads_the_cluster_ordered_list_at_the_drawn_image() {
    let clusters: Vec<ClusterId> = [2, 0, 2, 0, 5].map(ClusterId).to_vec();
    let seed = Seed::of_node(7, "manifest@1");
    let uniform = draw(&clusters, 6, 5, Draw::Uniform, &seed).unwrap();
    let compat = draw(&clusters, 6, 5, Draw::OfficialCompat, &seed).unwrap();
    let ordered = [1, 3, 0, 2, 4].map(ImageId);
    let served: Vec<ImageId> = uniform.image.iter().map(|drawn| ordered[drawn.index()]).collect();
    assert_eq!(compat.image, served);
    assert_eq!(
        serde_json::to_string(&[Draw::Uniform, Draw::OfficialCompat]).unwrap(),
        r#"["uniform","official-compat"]"#
    );
}

#[test]
fn the_sampler_refuses_what_it_cannot_draw_from() {
    let seed = Seed::of_node(7, "manifest@1");
    assert!(draw(&[], 3, 5, Draw::Uniform, &seed).is_err());
    let error = draw(&[ClusterId(3)], 3, 5, Draw::Uniform, &seed).unwrap_err().to_string();
    assert!(error.contains("image 0 is in cluster 3"), "{error}");
}

// Oracle 14: agreement.

#[test]
fn agreement_is_that_of_scikit_learn() {
    let cases: Vec<Value> = serde_json::from_slice(&golden("agreement.json")).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let ids = |name: &str| -> Vec<u32> { serde_json::from_value(case[name].clone()).unwrap() };
        let (a, b) = (ids("a"), ids("b"));
        let table = Contingency::of(&a, &b).unwrap();
        let spread = Spread::of(&a, a.iter().max().unwrap() + 1).unwrap();
        let measured = [
            ("nmi_arithmetic", table.nmi_arithmetic()),
            ("nmi_geometric", table.nmi_geometric()),
            ("mutual_information", table.mutual_information()),
            ("ami", table.ami()),
            ("ari", table.ari()),
            ("purity", table.purity()),
            ("entropy_a", spread.entropy),
        ];
        for (name, ours) in measured {
            let theirs = case[name].as_f64().unwrap();
            assert!((ours - theirs).abs() < 1e-12, "{} {name}: {ours} {theirs}", case["name"]);
        }
        let matched = table.matched();
        assert_eq!((matched.images, matched.optimal), (case["matched"].as_u64().unwrap(), true), "{}", case["name"]);
    }
}

#[test]
fn information_by_chance_is_the_mean_over_all_permutations() {
    let (a, b) = ([0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 2, 0]);
    let mut order: Vec<usize> = (0..b.len()).collect();
    let (mut sum, mut count) = (0.0, 0);
    permute(&mut order, 0, &mut |order| {
        let permuted: Vec<u32> = order.iter().map(|at| b[*at]).collect();
        sum += Contingency::of(&a, &permuted).unwrap().mutual_information();
        count += 1;
    });
    let expected = Contingency::of(&a, &b).unwrap().expected_information();
    assert_eq!(count, 5040);
    assert!((expected - sum / f64::from(count)).abs() < 1e-12, "{expected} {}", sum / f64::from(count));
}

fn permute(order: &mut Vec<usize>, from: usize, each: &mut dyn FnMut(&[usize])) {
    if from == order.len() {
        return each(order);
    }
    for at in from..order.len() {
        order.swap(from, at);
        permute(order, from + 1, each);
        order.swap(from, at);
    }
}

#[test]
fn many_groups_are_matched_greedily_and_no_better_than_optimally() {
    let a: Vec<u32> = (0..6000).map(|i| i * 7919 % 1500).collect();
    let renamed: Vec<u32> = a.iter().map(|id| 1499 - id).collect();
    let table = Contingency::of(&a, &renamed).unwrap();
    assert!(!table.matched().optimal);
    assert_eq!(table.moved(), 0.0);
    assert!(Contingency::of(&a, &a[1..]).is_err());
}
