//! probe: the published measures of a frozen network: linear probe, ten crops, weighted nearest neighbours.

use super::arch::{Arch, Map, NetShape};
use anyhow::{Result, ensure};

/// Average pooling (kernel, stride, padding) behind AlexNet's conv1 to conv5 in the published linear probe.
const POOLS: [(i64, i64, i64); 5] = [(6, 6, 3), (4, 4, 0), (3, 3, 1), (3, 3, 1), (2, 2, 0)];

/// Values per image that the linear probe of AlexNet's convolution `conv` (1 to 5) reads; 9600, 9216, 9600, 9600 and
/// 9216 at 224 pixels.
pub fn pooled_dims(shape: &NetShape, conv: usize) -> Result<usize> {
    let (kernel, stride, padding) = pool(shape, conv)?;
    let Map { channels, side, .. } = shape.maps()[conv - 1];
    let pooled = (side + 2 * padding - kernel).div_euclid(stride) + 1;
    ensure!(pooled > 0, "conv{conv}'s map of {side} x {side} is smaller than the probe's window of {kernel}");
    Ok((channels * pooled * pooled) as usize)
}

/// (kernel, stride, padding) of the average pooling behind convolution `conv` (1 to 5).
pub fn pool(shape: &NetShape, conv: usize) -> Result<(i64, i64, i64)> {
    ensure!(shape.arch == Arch::Alexnet, "the published probe has pooling sizes for AlexNet only");
    ensure!((1..=POOLS.len()).contains(&conv), "conv{conv}: AlexNet has conv1 to conv5");
    Ok(POOLS[conv - 1])
}

/// Learning rate of probe step `step`: lr / sqrt(1 + lr * weight_decay * step); published lr 0.01, decay 1e-4 (code)
/// or 1e-7 (its script).
pub fn probe_lr(lr: f64, weight_decay: f64, step: u64) -> f64 {
    lr / (1. + lr * weight_decay * step as f64).sqrt()
}

/// Mean over an image's crops of the softmax of its logits; `logits` is [crops, classes] in row order.
pub fn mean_softmax(logits: &[f64], classes: usize) -> Vec<f64> {
    let mut mean = vec![0.; classes];
    let crops = logits.chunks_exact(classes.max(1));
    let count = crops.len() as f64;
    for crop in crops {
        let highest = crop.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = crop.iter().map(|logit| (logit - highest).exp()).sum();
        for (sum, logit) in mean.iter_mut().zip(crop) {
            *sum += (logit - highest).exp() / total / count;
        }
    }
    mean
}

/// Votes per class of a query's nearest neighbours: the `k` most similar of `neighbours` (cosine similarity, class),
/// each with weight exp(similarity / temperature); published practice is k 10 to 200, temperature 0.07. Of equally
/// similar neighbours the earlier counts.
pub fn knn_votes(neighbours: &[(f32, usize)], k: usize, temperature: f64, classes: usize) -> Vec<f64> {
    let mut order: Vec<_> = neighbours.iter().enumerate().collect();
    order.sort_by(|(i, (a, _)), (j, (b, _))| b.total_cmp(a).then(i.cmp(j)));
    let mut votes = vec![0.; classes];
    for (_, (similarity, class)) in order.into_iter().take(k) {
        if let Some(vote) = votes.get_mut(*class) {
            *vote += (f64::from(*similarity) / temperature).exp();
        }
    }
    votes
}

/// The class with most votes; the first of equals.
pub fn winner(votes: &[f64]) -> Option<usize> {
    let best = votes.iter().copied().max_by(f64::total_cmp)?;
    votes.iter().position(|vote| *vote == best)
}
