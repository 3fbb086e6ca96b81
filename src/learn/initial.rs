//! initial: the published initialisation, drawn from a seed: the same weights on every machine.

use super::arch::NetShape;
use super::projector::{FIRST, NORM, Projection};
use super::sobel;
use super::tensors::StateDict;
use crate::base::Seed;
use crate::base::draw::between;
use anyhow::{Context, Result};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use tch::{Kind, Tensor};

const LINEAR_DEVIATION: f64 = 0.01; // published code, every linear layer

/// Convolutions N(0, sqrt(2 / (kernel^2 * outputs))), linear layers N(0, 0.01), biases 0, batch norm 1 and 0, the
/// published Sobel kernels; f32 on the CPU. Every tensor has a stream of its own, called by its name.
pub fn initial_trunk(shape: &NetShape, seed: &Seed) -> Result<StateDict> {
    shape.check()?;
    let mut state = shape
        .trunk()
        .into_par_iter()
        .map(|(name, sides)| {
            let tensor = initial_tensor(&name, &sides, seed).with_context(|| format!("tensor {name}"))?;
            Ok((name, tensor))
        })
        .collect::<Result<StateDict>>()?;
    if shape.sobel {
        state.extend(sobel::tensors());
    }
    Ok(state)
}

/// A fresh head for `k` clusters over features of `dims` values. Its weight is [k, dims] from N(0, 0.01), its bias [k] of
/// zeroes.
pub fn initial_head(k: usize, dims: usize, seed: &Seed) -> Result<(Tensor, Tensor)> {
    let (k, dims) = (i64::try_from(k)?, i64::try_from(dims)?);
    let weight = normal("top_layer.weight", &[k, dims], LINEAR_DEVIATION, seed)?;
    Ok((weight, Tensor::f_zeros([k], (Kind::Float, tch::Device::Cpu))?))
}

/// A fresh projection of features, as torch draws linear layers: uniform up to 1 / sqrt(inputs), biases too. Batch norm
/// begins with 1 and 0.
pub fn initial_projection(projection: Projection, seed: &Seed) -> Result<StateDict> {
    let mut state = StateDict::new();
    for (name, sides) in projection.tensors() {
        let tensor = match (name.as_str(), sides.as_slice()) {
            (name, sides) if name.starts_with(NORM) => initial_tensor(name, sides, seed)?,
            (name, sides) => {
                let inputs = if name.starts_with(FIRST) { projection.from } else { projection.hidden };
                uniform(name, sides, 1. / (inputs as f64).sqrt(), seed)?
            }
        };
        state.insert(name, tensor);
    }
    Ok(state)
}

/// What PyTorch draws for a linear layer of `dims` numbers: weight [classes, dims] and bias [classes]. Both are uniform
/// within one over the root of `dims`.
pub fn initial_linear(name: &str, classes: usize, dims: usize, seed: &Seed) -> Result<(Tensor, Tensor)> {
    let (classes, most) = (i64::try_from(classes)?, 1.0 / (dims as f64).sqrt());
    let weight = uniform(&format!("{name}.weight"), &[classes, i64::try_from(dims)?], most, seed)?;
    Ok((weight, uniform(&format!("{name}.bias"), &[classes], most, seed)?))
}

fn uniform(name: &str, sides: &[i64], most: f64, seed: &Seed) -> Result<Tensor> {
    let mut stream = seed.stream(name, 0);
    let count = sides.iter().product::<i64>();
    let values: Vec<f32> = (0..count).map(|_| between(&mut stream, -most, most) as f32).collect();
    Ok(Tensor::f_from_slice(&values)?.f_view(sides)?)
}

fn initial_tensor(name: &str, sides: &[i64], seed: &Seed) -> Result<Tensor> {
    let filled = |value: f64, kind| Tensor::f_full(sides, value, (kind, tch::Device::Cpu));
    match (name.rsplit('.').next().unwrap_or_default(), sides) {
        ("num_batches_tracked", _) => Ok(filled(0., Kind::Int64)?),
        ("weight", [outputs, _, kernel, _]) => {
            normal(name, sides, (2. / (kernel * kernel * outputs) as f64).sqrt(), seed)
        }
        ("weight", [_, _]) => normal(name, sides, LINEAR_DEVIATION, seed),
        ("weight" | "running_var", _) => Ok(filled(1., Kind::Float)?),
        _ => Ok(filled(0., Kind::Float)?),
    }
}

fn normal(name: &str, sides: &[i64], deviation: f64, seed: &Seed) -> Result<Tensor> {
    let count = sides.iter().product::<i64>() as usize;
    let mut stream = seed.stream(name, 0);
    let mut draw = || {
        let value: f64 = StandardNormal.sample(&mut stream);
        (value * deviation) as f32
    };
    let values: Vec<f32> = (0..count).map(|_| draw()).collect();
    Ok(Tensor::f_from_slice(&values)?.f_view(sides)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rand_distr` does not promise its arithmetic: an upgrade that moves these moves all initial weights, and needs new
    /// versions of the stages `init` and `train`.
    #[test]
    fn the_normal_draws_are_those_of_published_keys() {
        let mut stream = Seed::of_node(31, "weights@0").stream("features.0.weight", 0);
        let drawn: [f64; 8] = std::array::from_fn(|_| StandardNormal.sample(&mut stream));
        let golden: [u64; 8] = [
            0x3fd5_1857_bbaa_36d0,
            0xc003_015a_863a_66f8,
            0xbff1_fc6b_3427_49c4,
            0xbff1_9235_2b5c_fb0b,
            0x3fd6_96f7_c0f5_28ca,
            0x3ff3_1882_6438_4684,
            0x3fd1_3e6e_f0d7_4050,
            0x3fd1_f6f8_c713_bce5,
        ];
        assert_eq!(drawn.map(f64::to_bits), golden, "{drawn:?}");
    }
}
