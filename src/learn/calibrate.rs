//! calibrate: batch norm's running statistics taken from images, so that a network that has seen none can be measured.
//!
//! A network as it is drawn has means 0 and variances 1 in batch norm. Then each layer's answers shrink or grow, and
//! measuring it says more of that than of its weights.

use super::arch::NetShape;
use super::layer::Layer;
use super::net::{EPSILON, channels_last, precision, upload};
use super::sobel::Front;
use super::tensors::{StateDict, named};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// The same weights with the mean of some batches' statistics as running ones. Each batch passes as in training. `next` gives the pixels of a batch and how many images it has; of no images, the batches end.
/// They should be of one size, and as mixed as the images are.
pub fn calibrated(
    shape: &NetShape,
    weights: &StateDict,
    device: Device,
    next: &mut dyn FnMut(&mut Vec<u8>) -> Result<usize>,
) -> Result<StateDict> {
    let kind = precision(weights, &shape.trunk())?;
    let front = Front::new(weights, shape.sobel, kind, device)?;
    let layers = shape.features();
    let _guard = tch::no_grad_guard();
    let mut tensors = StateDict::new();
    for (name, sides) in shape.trunk().iter().filter(|(name, _)| name.starts_with("features.")) {
        if !name.ends_with("num_batches_tracked") {
            tensors.insert(name.clone(), channels_last(&named(weights, name, sides)?.f_to_device(device)?, device)?);
        }
    }
    let mut sums: BTreeMap<usize, [Tensor; 2]> = BTreeMap::new();
    let (mut pixels, mut batches) = (Vec::new(), 0);
    loop {
        pixels.clear();
        let images = next(&mut pixels)?;
        if images == 0 {
            break;
        }
        let map = front.forward(&upload(&pixels, images, shape.input, device)?)?;
        pass(&layers, &tensors, map, &mut sums)?;
        batches += 1;
    }
    ensure!(batches > 0, "no images to calibrate batch norm with");
    let mut weights: StateDict = weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    for (index, [mean, variance]) in sums {
        for (name, sum) in [("running_mean", mean), ("running_var", variance)] {
            let statistic = sum.f_div_scalar(f64::from(batches))?.f_to_kind(kind)?.f_to_device(Device::Cpu)?;
            weights.insert(format!("features.{index}.{name}"), statistic);
        }
        let count = Tensor::from(i64::from(batches));
        weights.insert(format!("features.{index}.num_batches_tracked"), count);
    }
    Ok(weights)
}

/// One batch through the convolutions, as in training; its statistics are added to `sums`.
fn pass(layers: &[Layer], tensors: &StateDict, mut map: Tensor, sums: &mut BTreeMap<usize, [Tensor; 2]>) -> Result<()> {
    let get = |index: &usize, name: &str| {
        let name = format!("features.{index}.{name}");
        tensors.get(&name).with_context(|| format!("BUG: tensor {name} is missing"))
    };
    for layer in layers {
        map = match layer {
            Layer::Conv { index, stride, padding, .. } => {
                map.f_conv2d(get(index, "weight")?, Some(get(index, "bias")?), *stride, *padding, 1, 1)?
            }
            Layer::Norm { index, .. } => {
                let values = map.size();
                ensure!(values[0] * values[2] * values[3] > 1, "one image is too few to calibrate batch norm with");
                // The unbiased variance, as PyTorch's running one.
                let (variance, mean) = map.f_var_mean_dim([0i64, 2, 3].as_slice(), true, false)?;
                let found = [mean.f_to_kind(Kind::Double)?, variance.f_to_kind(Kind::Double)?];
                match sums.get_mut(index) {
                    Some(sums) => sums.iter_mut().zip(&found).try_for_each(|(sum, new)| sum.f_add_(new).map(drop))?,
                    None => drop(sums.insert(*index, found)),
                }
                let (gain, shift) = (get(index, "weight")?, get(index, "bias")?);
                map.f_batch_norm(Some(gain), Some(shift), None::<&Tensor>, None::<&Tensor>, true, 0.0, EPSILON, true)?
            }
            Layer::Relu => map.f_relu_()?,
            Layer::Pool { kernel, stride } => map.f_max_pool2d(*kernel, *stride, 0, 1, false)?,
            Layer::Dropout | Layer::Linear { .. } => map,
        };
    }
    Ok(())
}
