//! calibrate: batch norm's running statistics taken from images, so that a network that has seen none can be measured.
//!
//! A network as it is drawn has means 0 and variances 1 in batch norm. Then each layer's answers shrink or grow, and
//! measuring it says more of that than of its weights.

use super::arch::NetShape;
use super::module::{EPSILON, Module, below};
use super::net::{channels_last, precision, upload};
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
    let module = shape.module();
    let _guard = tch::no_grad_guard();
    let mut tensors = StateDict::new();
    for (name, sides) in &shape.trunk() {
        if !name.ends_with("num_batches_tracked") {
            tensors.insert(name.clone(), channels_last(&named(weights, name, sides)?.f_to_device(device)?, device)?);
        }
    }
    let mut sums: Sums = BTreeMap::new();
    let (mut pixels, mut batches) = (Vec::new(), 0);
    loop {
        pixels.clear();
        let images = next(&mut pixels)?;
        if images == 0 {
            break;
        }
        let map = front.forward(&upload(&pixels, images, shape.input, device)?)?;
        drop(pass(&module, "", &tensors, map, &mut sums)?);
        batches += 1;
    }
    ensure!(batches > 0, "no images to calibrate batch norm with");
    let mut weights: StateDict = weights.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
    for (norm, [mean, variance]) in sums {
        for (name, sum) in [("running_mean", mean), ("running_var", variance)] {
            let statistic = sum.f_div_scalar(f64::from(batches))?.f_to_kind(kind)?.f_to_device(Device::Cpu)?;
            weights.insert(below(&norm, name), statistic);
        }
        let count = Tensor::from(i64::from(batches));
        weights.insert(below(&norm, "num_batches_tracked"), count);
    }
    Ok(weights)
}

/// Sums of the batches' means and variances, by the name of the batch norm.
type Sums = BTreeMap<String, [Tensor; 2]>;

/// One batch through module `at`, as in training, up to the last map; its statistics are added to `sums`. What follows
/// the maps has no batch norm, and does not run.
fn pass(module: &Module, at: &str, tensors: &StateDict, map: Tensor, sums: &mut Sums) -> Result<Tensor> {
    let get = |name: &str| {
        let name = below(at, name);
        tensors.get(&name).with_context(|| format!("BUG: tensor {name} is missing"))
    };
    Ok(match module {
        Module::Conv { stride, padding, bias, .. } => {
            let bias = bias.then(|| get("bias")).transpose()?;
            map.f_conv2d(get("weight")?, bias, *stride, *padding, 1, 1)?
        }
        Module::Norm(_) => {
            let values = map.size();
            ensure!(values.len() == 4, "BUG: batch norm {at} is behind the last map");
            ensure!(values[0] * values[2] * values[3] > 1, "one image is too few to calibrate batch norm with");
            // The unbiased variance, as PyTorch's running one.
            let (variance, mean) = map.f_var_mean_dim([0i64, 2, 3].as_slice(), true, false)?;
            let found = [mean.f_to_kind(Kind::Double)?, variance.f_to_kind(Kind::Double)?];
            match sums.get_mut(at) {
                Some(sums) => sums.iter_mut().zip(&found).try_for_each(|(sum, new)| sum.f_add_(new).map(drop))?,
                None => drop(sums.insert(at.to_owned(), found)),
            }
            let (gain, shift) = (get("weight")?, get("bias")?);
            map.f_batch_norm(Some(gain), Some(shift), None::<&Tensor>, None::<&Tensor>, true, 0.0, EPSILON, true)?
        }
        // Not in place: the other way of a residual may read the same map.
        Module::Relu => map.f_relu()?,
        Module::Pool { kernel, stride, padding } => map.f_max_pool2d(*kernel, *stride, *padding, 1, false)?,
        Module::Sequence(children) => {
            children.iter().try_fold(map, |map, (name, child)| pass(child, &below(at, name), tensors, map, sums))?
        }
        Module::Residual(body, shortcut) => {
            let straight = pass(shortcut, at, tensors, map.shallow_clone(), sums)?;
            pass(body, at, tensors, map, sums)?.f_add(&straight)?
        }
        Module::Average
        | Module::Flatten
        | Module::Dropout(_)
        | Module::Linear(..)
        | Module::Map(_)
        | Module::Feature => map,
    })
}
