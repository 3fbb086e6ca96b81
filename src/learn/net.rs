//! net: the network in evaluation: pixels to features, and to the maps behind each convolution.

use super::arch::NetShape;
use super::module::{EPSILON, Module, below};
use super::sobel::Front;
use super::tensors::{self, StateDict, named};
use anyhow::{Context, Result, bail, ensure};
use tch::{Device, Kind, Tensor};

/// Images that pass the convolutions together on a CPU: their maps then stay small, whatever the batch.
const CPU_GROUP: i64 = 64;

/// Images pass a CPU in multiples of this: for fewer, torch and its BLAS take other paths, which round otherwise, and an
/// image's feature should not depend on the images beside it.
const CPU_ROWS: i64 = 16;

/// A network ready to evaluate; batch norm's running statistics are folded into the convolutions.
pub struct Net {
    shape: NetShape,
    device: Device,
    front: Front,
    /// Up to the last map.
    maps: Vec<Op>,
    /// From there to the feature.
    rest: Vec<Op>,
}

enum Op {
    Conv { weight: Tensor, bias: Option<Tensor>, stride: i64, padding: i64 },
    Relu,
    Pool { kernel: i64, stride: i64, padding: i64 },
    Average,
    Linear { weight: Tensor, bias: Tensor },
    Residual { body: Vec<Op>, shortcut: Vec<Op> },
    Map,
    Flatten,
    Feature,
}

impl Net {
    /// Checks every tensor of the trunk (a head may be there and is not read) and moves it to the device.
    /// Calculates in the weights' own precision, f32 or f64.
    pub fn load(shape: &NetShape, weights: &StateDict, device: Device) -> Result<Self> {
        shape.check()?;
        let trunk = shape.trunk();
        tensors::only(weights, &trunk)?;
        for (name, sides) in &trunk {
            if !name.ends_with("num_batches_tracked") {
                named(weights, name, sides)?;
            }
        }
        let kind = precision(weights, &trunk)?;
        let _guard = tch::no_grad_guard();
        let mut maps = Vec::new();
        Loader { weights, device }.add("", &shape.module(), &mut maps)?;
        maps.iter_mut().try_for_each(|op| op.lay_out(device))?;
        let place =
            |of: fn(&Op) -> bool| maps.iter().position(of).context("BUG: a network without flattening or feature");
        let (flatten, feature) = (place(|op| matches!(op, Op::Flatten))?, place(|op| matches!(op, Op::Feature))?);
        maps.truncate(feature);
        let rest = maps.split_off(flatten + 1);
        maps.truncate(flatten);
        Ok(Self { shape: *shape, device, front: Front::new(weights, shape.sobel, kind, device)?, maps, rest })
    }

    /// u8 pixels [n, s, s, 3] (rows, columns, R G B) to features [n, dims] on the device. A feature is FC2 before its
    /// ReLU, the published choice, or the mean over a ResNet's last map. Fails on a feature that is not finite and names
    /// the first such row.
    pub fn features_on_device(&self, pixels: &[u8], n: usize) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        let pixels = self.filled_up(upload(pixels, n, self.shape.input, self.device)?)?;
        let group = if self.device == Device::Cpu { CPU_GROUP } else { pixels.size()[0] };
        let maps = pixels
            .f_split(group, 0)?
            .iter()
            .map(|part| run(&self.maps, self.front.forward(part)?)?.f_flatten(1, -1).map_err(Into::into))
            .collect::<Result<Vec<_>>>()?;
        let maps = Tensor::f_cat(&maps, 0)?;
        let features = run(&self.rest, maps)?.f_narrow(0, 0, n as i64)?;
        finite(&features)?;
        Ok(features)
    }

    /// On a CPU with black images up to a multiple of `CPU_ROWS`.
    fn filled_up(&self, pixels: Tensor) -> Result<Tensor> {
        let mut size = pixels.size();
        let short = (CPU_ROWS - size[0] % CPU_ROWS) % CPU_ROWS;
        if self.device != Device::Cpu || short == 0 {
            return Ok(pixels);
        }
        size[0] = short;
        let black = pixels.f_new_zeros(size, (pixels.kind(), pixels.device()))?;
        Ok(Tensor::f_cat(&[pixels, black], 0)?)
    }

    /// As `features_on_device`, copied out as f32 in row order.
    pub fn features(&self, pixels: &[u8], n: usize) -> Result<Vec<f32>> {
        let features = self.features_on_device(pixels, n)?;
        let mut values = vec![0f32; features.numel()];
        let here = features.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
        here.f_copy_data(&mut values, here.numel())?;
        Ok(values)
    }

    /// The maps of `NetShape::maps`, in their order: [n, channels, side, side] on the device.
    pub fn activations(&self, pixels: &[u8], n: usize) -> Result<Vec<Tensor>> {
        let mut maps = Vec::new();
        self.layers(pixels, n, self.shape.maps().len() - 1, &mut |_, map| {
            maps.push(map.copy());
            Ok(())
        })?;
        Ok(maps)
    }

    /// What probes read, of one pass: the maps of `NetShape::maps`, and behind them the feature. Each goes to `see` with its
    /// place as soon as it is there. None is kept, for all maps of a deep network take gigabytes. The pass ends with the layer
    /// at `last`.
    pub(super) fn layers(
        &self,
        pixels: &[u8],
        n: usize,
        last: usize,
        see: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let pixels = self.filled_up(upload(pixels, n, self.shape.input, self.device)?)?;
        let mut map = self.front.forward(&pixels)?;
        let mut place = 0;
        for op in &self.maps {
            map = op.forward(map)?;
            if matches!(op, Op::Map) {
                see(place, &map.f_narrow(0, 0, n as i64)?)?;
                if place == last {
                    return Ok(());
                }
                place += 1;
            }
        }
        see(place, &run(&self.rest, map.f_flatten(1, -1)?)?.f_narrow(0, 0, n as i64)?)
    }

    /// What the first convolution reads: two edge channels, or normalised RGB; [n, 2 or 3, s, s] on the device.
    pub fn front(&self, pixels: &[u8], n: usize) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.front.forward(&upload(pixels, n, self.shape.input, self.device)?)
    }
}

/// The first trunk tensor decides, and the others must agree.
pub(super) fn precision(weights: &StateDict, trunk: &[(String, Vec<i64>)]) -> Result<Kind> {
    let mut kinds = trunk
        .iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
        .filter_map(|(name, _)| Some((name, weights.get(name)?.kind())));
    let (_, kind) = kinds.next().context("no weights")?;
    ensure!(matches!(kind, Kind::Float | Kind::Double), "weights are {kind:?}, expected f32 or f64");
    match kinds.find(|(_, other)| *other != kind) {
        Some((name, other)) => bail!("tensor {name} is {other:?}, the first is {kind:?}"),
        None => Ok(kind),
    }
}

/// u8 to the device, where it is four times smaller than f32.
pub(super) fn upload(pixels: &[u8], n: usize, side: u32, device: Device) -> Result<Tensor> {
    let side = i64::from(side);
    let expected = n * (side * side * 3) as usize;
    ensure!(n > 0, "no images");
    ensure!(pixels.len() == expected, "{n} images of {side} x {side} x 3 are {expected} bytes, got {}", pixels.len());
    let tensor = Tensor::f_from_slice(pixels)?.f_view([n as i64, side, side, 3])?;
    Ok(tensor.f_to_device(device)?)
}

/// Channels-last: a third faster on a CPU, whose kernels otherwise reorder the maps before and after every layer.
pub(super) fn channels_last(weight: &Tensor, device: Device) -> Result<Tensor> {
    if device != Device::Cpu || weight.dim() != 4 {
        return Ok(weight.f_contiguous()?);
    }
    Ok(weight.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

/// Where a network's operations take their tensors from.
struct Loader<'a> {
    weights: &'a StateDict,
    device: Device,
}

impl Loader<'_> {
    fn get(&self, at: &str, name: &str) -> Result<Tensor> {
        let name = below(at, name);
        Ok(self.weights.get(&name).with_context(|| format!("tensor {name} is missing"))?.f_to_device(self.device)?)
    }

    /// Appends the operations of a module that is called `at`.
    fn add(&self, at: &str, module: &Module, ops: &mut Vec<Op>) -> Result<()> {
        ops.push(match module {
            Module::Conv { stride, padding, bias, .. } => {
                let bias = bias.then(|| self.get(at, "bias")).transpose()?;
                Op::Conv { weight: self.get(at, "weight")?, bias, stride: *stride, padding: *padding }
            }
            Module::Norm(_) => {
                let Some(Op::Conv { weight, bias, .. }) = ops.last_mut() else {
                    bail!("BUG: batch norm {at} does not follow a convolution");
                };
                let [gain, shift] = [self.get(at, "weight")?, self.get(at, "bias")?];
                let norm = [gain, shift, self.get(at, "running_mean")?, self.get(at, "running_var")?];
                let (scaled, shifted) = folded(weight, bias.as_ref(), &norm)?;
                (*weight, *bias) = (scaled, Some(shifted));
                return Ok(());
            }
            Module::Sequence(children) => {
                return children.iter().try_for_each(|(name, child)| self.add(&below(at, name), child, ops));
            }
            Module::Residual(long, short) => {
                let (mut body, mut shortcut) = (Vec::new(), Vec::new());
                self.add(at, long, &mut body)?;
                self.add(at, short, &mut shortcut)?;
                Op::Residual { body, shortcut }
            }
            Module::Linear(..) => {
                Op::Linear { weight: self.get(at, "weight")?.f_contiguous()?, bias: self.get(at, "bias")? }
            }
            Module::Pool { kernel, stride, padding } => {
                Op::Pool { kernel: *kernel, stride: *stride, padding: *padding }
            }
            Module::Relu => Op::Relu,
            Module::Average => Op::Average,
            Module::Flatten => Op::Flatten,
            Module::Map(_) => Op::Map,
            Module::Feature => Op::Feature,
            Module::Dropout(_) => return Ok(()),
        });
        Ok(())
    }
}

/// Batch norm with fixed statistics is a scale and a shift per channel; folded in f64, rounded once.
fn folded(
    weight: &Tensor,
    bias: Option<&Tensor>,
    [gain, shift, mean, variance]: &[Tensor; 4],
) -> Result<(Tensor, Tensor)> {
    let kind = weight.kind();
    let double = |tensor: &Tensor| tensor.f_to_kind(Kind::Double);
    let scale = double(gain)?.f_div(&double(variance)?.f_add_scalar(EPSILON)?.f_sqrt()?)?;
    let bias = bias.map_or_else(|| double(mean)?.f_zeros_like(), double)?;
    let bias = bias.f_sub(&double(mean)?)?.f_mul(&scale)?.f_add(&double(shift)?)?;
    let weight = double(weight)?.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
    Ok((weight.f_to_kind(kind)?, bias.f_to_kind(kind)?))
}

fn run(ops: &[Op], mut x: Tensor) -> Result<Tensor> {
    for op in ops {
        x = op.forward(x)?;
    }
    Ok(x)
}

impl Op {
    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        Ok(match self {
            Op::Conv { weight, bias, stride, padding } => x.f_conv2d(weight, bias.as_ref(), *stride, *padding, 1, 1)?,
            Op::Relu => x.f_relu_()?,
            Op::Pool { kernel, stride, padding } => x.f_max_pool2d(*kernel, *stride, *padding, 1, false)?,
            Op::Average => x.f_mean_dim(&[2i64, 3][..], true, None)?,
            Op::Linear { weight, bias } => x.f_linear(weight, Some(bias))?,
            Op::Residual { body, shortcut } => {
                let other = run(shortcut, x.shallow_clone())?;
                run(body, x)?.f_add_(&other)?
            }
            Op::Map | Op::Flatten | Op::Feature => x,
        })
    }

    /// Lays the weights of its convolutions out as the device likes them.
    fn lay_out(&mut self, device: Device) -> Result<()> {
        match self {
            Op::Conv { weight, .. } => *weight = channels_last(weight, device)?,
            Op::Residual { body, shortcut } => {
                body.iter_mut().chain(shortcut).try_for_each(|op| op.lay_out(device))?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Names the first row that holds NaN or infinity.
fn finite(features: &Tensor) -> Result<()> {
    let rows = features.f_isfinite()?.f_all_dim(1, false)?;
    if rows.f_all()?.f_int64_value(&[])? != 0 {
        return Ok(());
    }
    let rows = Vec::<bool>::try_from(rows.f_to_device(Device::Cpu)?)?;
    let bad = rows.iter().filter(|fine| !**fine).count();
    let first = rows.iter().position(|fine| !fine).unwrap_or(0);
    bail!(
        "the features of {bad} of {} images are not finite, the first at row {first}: the weights have diverged; lower lr in the epochs before",
        rows.len()
    )
}
