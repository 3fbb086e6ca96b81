//! probe: pooled sizes, learning rate, ten crops and weighted neighbours against PyTorch.

use super::{bits, json, uniform};
use dcpipe::learn::arch::{Arch, NetShape};
use dcpipe::learn::probe;

#[test]
fn the_probe_counts_as_published() {
    let want = json("probe.json");
    let shape = NetShape::new(Arch::Alexnet, true, 224);
    let dims: Vec<usize> = (1..=5).map(|conv| probe::pooled_dims(&shape, conv).unwrap()).collect();
    assert_eq!(serde_json::json!(dims), want["dims"]);
    assert!(probe::pooled_dims(&shape, 0).is_err() && probe::pooled_dims(&shape, 6).is_err());
    let near = |got: &[f64], want: &serde_json::Value| {
        got.iter().zip(want.as_array().unwrap()).all(|(g, w)| (g / w.as_f64().unwrap() - 1.).abs() < 1e-12)
    };
    assert!(near(&[0, 1, 1000, 450_000].map(|t| probe::probe_lr(0.01, 1e-4, t)), &want["lr"]));
    let logits: Vec<f64> = uniform("logits", 2 * 10 * 5).map(|u| 4. * u).collect();
    for (image, want) in logits.chunks_exact(50).zip(want["ten_crop"].as_array().unwrap()) {
        assert!(near(&probe::mean_softmax(image, 5), want));
    }
}

#[test]
fn weighted_neighbours_vote_as_in_numpy() {
    let want = json("probe.json");
    let unit = |name: &str, rows: usize| -> Vec<Vec<f64>> {
        let values: Vec<f64> = uniform(name, rows * 16).collect();
        let norm = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
        values.chunks_exact(16).map(|row| row.iter().map(|v| v / norm(row)).collect()).collect()
    };
    let labels: Vec<usize> = bits("bank labels", 60).map(|h| (h % 4) as usize).collect();
    let bank = unit("bank", 60);
    for (i, query) in unit("queries", 9).iter().enumerate() {
        let similarity = |row: &Vec<f64>| row.iter().zip(query).map(|(a, b)| a * b).sum::<f64>() as f32;
        let neighbours: Vec<_> = bank.iter().map(similarity).zip(labels.iter().copied()).collect();
        let votes = probe::knn_votes(&neighbours, 10, 0.07, 4);
        assert_eq!(serde_json::json!(probe::winner(&votes)), want["knn"][i]);
        for (got, want) in votes.iter().zip(want["votes"][i].as_array().unwrap()) {
            assert!((got - want.as_f64().unwrap()).abs() <= 1e-4 * want.as_f64().unwrap());
        }
    }
}
