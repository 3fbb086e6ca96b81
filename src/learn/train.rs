//! train: the training step: two networks' layers in training mode, two optimizers, and a state for checkpoints.

use super::arch::NetShape;
use super::dropout;
use super::layer::Layer;
use super::net::{EPSILON, channels_last, precision, upload};
use super::sgd::{self, SgdOptions};
use super::sobel::Front;
use super::tensors::{self, StateDict, named};
use crate::base::PseudoLabel;
use anyhow::{Context, Result, bail, ensure};
use tch::{Device, Kind, Reduction, Tensor};

/// Share of a batch's statistics in the running ones (PyTorch's default, which the published code uses).
const NORM_MOMENTUM: f64 = 0.1;
const HEAD: [&str; 2] = ["top_layer.weight", "top_layer.bias"];

/// A head: weight [k, dims] and bias [k].
pub type Head = (Tensor, Tensor);

/// The head among the `weights` of a network in training.
pub fn head(weights: &StateDict) -> Result<Head> {
    let tensor =
        |name| weights.get(name).map(Tensor::shallow_clone).with_context(|| format!("tensor {name} is missing"));
    Ok((tensor(HEAD[0])?, tensor(HEAD[1])?))
}

/// What a step has to tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Cross-entropy, mean over the batch, before the update.
    pub loss: f64,
    /// Images of the batch.
    pub images: usize,
}

/// A network in training. Between any two steps `weights` and `momentum` are its whole state.
pub struct Trainer {
    shape: NetShape,
    device: Device,
    kind: Kind,
    options: SgdOptions,
    dropout: f64,
    front: Front,
    /// Trained tensors of the trunk: all but batch norm's statistics and Sobel's kernels.
    body: StateDict,
    buffers: StateDict,
    /// What training carries along without a gradient: statistics and Sobel's kernels.
    fixed: StateDict,
    head: [Tensor; 2],
    steps: u64,
}

impl Trainer {
    /// Starts from a trunk (a head among `weights` is not read), the body's momentum (empty at the very first step,
    /// else a buffer for every trained tensor) and a head: weight [k, 4096] and bias [k].
    pub fn new(
        shape: &NetShape,
        weights: &StateDict,
        momentum: &StateDict,
        head: (&Tensor, &Tensor),
        options: SgdOptions,
        dropout: f64,
        device: Device,
    ) -> Result<Self> {
        shape.check()?;
        dropout::check(dropout)?;
        check_options(&options)?;
        let trunk = shape.trunk();
        tensors::only(weights, &trunk)?;
        let kind = precision(weights, &trunk)?;
        let front = Front::new(weights, shape.sobel, kind, device)?;
        let (mut body, mut buffers, mut fixed) = (StateDict::new(), StateDict::new(), StateDict::new());
        for (name, sides) in &trunk {
            if name.ends_with("num_batches_tracked") && !weights.contains_key(name) {
                // Files older than this counter lack it; nothing is computed from it.
                fixed.insert(name.clone(), Tensor::f_zeros(sides, (Kind::Int64, Device::Cpu))?);
                continue;
            }
            let tensor = tensors::plain(named(weights, name, sides)?)?;
            if !trained(name) {
                let place = if name.starts_with("features") { device } else { Device::Cpu };
                fixed.insert(name.clone(), tensor.f_to_device(place)?);
                continue;
            }
            let buffer = match momentum.is_empty() {
                true => tensor.f_zeros_like()?,
                false => tensors::plain(named(momentum, name, sides).context("momentum")?)?.f_to_kind(kind)?,
            };
            buffers.insert(name.clone(), channels_last(&buffer.f_to_device(device)?, device)?);
            body.insert(name.clone(), leaf(&channels_last(&tensor.f_to_device(device)?, device)?)?);
        }
        if let Some(name) = momentum.keys().find(|name| !body.contains_key(*name)) {
            bail!("momentum of {name}: this network trains no tensor of that name");
        }
        let head = head_of(head, shape.feature_dims() as i64, kind, device)?;
        Ok(Self { shape: *shape, device, kind, options, dropout, front, body, buffers, fixed, head, steps: 0 })
    }

    /// One step on u8 pixels [n, s, s, 3] and n labels below k. `step_seed` alone decides which values dropout leaves
    /// out. A loss that is not finite is refused before it reaches the weights; the trainer is then spent.
    pub fn step(&mut self, pixels: &[u8], labels: &[PseudoLabel], step_seed: i64) -> Result<StepReport> {
        let targets = self.targets(labels)?;
        let pixels = upload(pixels, labels.len(), self.shape.input, self.device)?;
        let input = tch::no_grad(|| self.front.forward(&pixels))?;
        let logits = self.forward(input, step_seed)?;
        let loss = logits.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.)?;
        let value = loss.f_double_value(&[])?;
        self.steps += 1;
        ensure!(
            value.is_finite(),
            "the loss is {value} at step {} of this part (learning rate {}): the weights have diverged; lower lr, or raise batch",
            self.steps,
            self.options.lr
        );
        self.update(&loss)?;
        Ok(StepReport { loss: value, images: labels.len() })
    }

    /// Trunk, batch norm's statistics, Sobel's kernels if any, and `top_layer.*`: copies on the CPU.
    pub fn weights(&self) -> Result<StateDict> {
        let mut weights = StateDict::new();
        for (name, tensor) in self.body.iter().chain(&self.fixed).chain(HEAD.map(str::to_owned).iter().zip(&self.head))
        {
            let copy = tensors::plain(tensor)?;
            let finite = copy.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
            ensure!(
                finite,
                "tensor {name} is not finite after {} steps: the weights have diverged; lower lr",
                self.steps
            );
            weights.insert(name.clone(), copy);
        }
        Ok(weights)
    }

    /// The body's momentum buffers by the names of their parameters: copies on the CPU. The head has none.
    pub fn momentum(&self) -> Result<StateDict> {
        self.buffers.iter().map(|(name, buffer)| Ok((name.clone(), tensors::plain(buffer)?))).collect()
    }

    fn targets(&self, labels: &[PseudoLabel]) -> Result<Tensor> {
        let k = self.head[1].size()[0];
        if let Some(label) = labels.iter().find(|label| i64::from(label.0) >= k) {
            bail!("pseudo-label {label} has no place in a head of {k} outputs");
        }
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(label.0)).collect();
        Ok(Tensor::f_from_slice(&labels)?.f_to_device(self.device)?)
    }

    fn forward(&mut self, input: Tensor, step_seed: i64) -> Result<Tensor> {
        let mut x = input;
        for layer in self.shape.features() {
            x = self.layer("features", &layer, x, step_seed, 0)?;
        }
        x = x.f_flatten(1, -1)?;
        for (place, layer) in self.shape.classifier().iter().enumerate() {
            x = self.layer("classifier", layer, x, step_seed, place as u64)?;
        }
        let [weight, bias] = &self.head;
        Ok(x.f_linear(weight, Some(bias))?)
    }

    fn layer(&mut self, sequence: &str, layer: &Layer, mut x: Tensor, step_seed: i64, place: u64) -> Result<Tensor> {
        let body = |index: &usize, name: &str| {
            let name = format!("{sequence}.{index}.{name}");
            self.body.get(&name).with_context(|| format!("BUG: {name} is not in the body"))
        };
        Ok(match layer {
            Layer::Conv { index, stride, padding, .. } => {
                x.f_conv2d(body(index, "weight")?, Some(body(index, "bias")?), *stride, *padding, 1, 1)?
            }
            Layer::Norm { index, .. } => {
                let statistic = |name: &str| self.fixed.get(&format!("{sequence}.{index}.{name}"));
                let (mean, variance) = (statistic("running_mean"), statistic("running_var"));
                let (gain, shift) = (body(index, "weight")?, body(index, "bias")?);
                // Updates the running statistics in place; the running variance takes the unbiased one.
                let y = x.f_batch_norm(Some(gain), Some(shift), mean, variance, true, NORM_MOMENTUM, EPSILON, true)?;
                if let Some(count) = self.fixed.get_mut(&format!("{sequence}.{index}.num_batches_tracked")) {
                    let _ = count.f_add_scalar_(1)?;
                }
                y
            }
            Layer::Relu => x.f_relu_()?,
            Layer::Pool { kernel, stride } => x.f_max_pool2d(*kernel, *stride, 0, 1, false)?,
            Layer::Dropout => match dropout::mask(&x.size(), self.dropout, step_seed, place, (self.kind, self.device))?
            {
                Some(mask) => x.f_mul(&mask)?,
                None => x,
            },
            Layer::Linear { index, .. } => x.f_linear(body(index, "weight")?, Some(body(index, "bias")?))?,
        })
    }

    /// Gradients of this loss alone (so there is nothing to zero), the body's step, then the head's.
    fn update(&mut self, loss: &Tensor) -> Result<()> {
        let parameters: Vec<&Tensor> = self.body.values().chain(&self.head).collect();
        let gradients = Tensor::f_run_backward(&[loss], &parameters, false, false)?;
        let _guard = tch::no_grad_guard();
        let (of_body, of_head) = gradients.split_at(self.body.len());
        for (((name, parameter), buffer), gradient) in self.body.iter_mut().zip(self.buffers.values_mut()).zip(of_body)
        {
            sgd::step(parameter, gradient, Some(buffer), &self.options).with_context(|| format!("update of {name}"))?;
        }
        for (parameter, gradient) in self.head.iter_mut().zip(of_head) {
            sgd::step(parameter, gradient, None, &self.options)?;
        }
        Ok(())
    }
}

fn trained(name: &str) -> bool {
    !name.starts_with("sobel.") && (name.ends_with(".weight") || name.ends_with(".bias"))
}

fn leaf(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_detach()?.f_set_requires_grad(true)?)
}

fn head_of((weight, bias): (&Tensor, &Tensor), dims: i64, kind: Kind, device: Device) -> Result<[Tensor; 2]> {
    let k = bias.size().first().copied().unwrap_or(0);
    ensure!(k > 0 && bias.dim() == 1, "the head's bias has shape {:?}, expected [k]", bias.size());
    ensure!(weight.size() == [k, dims], "the head's weight has shape {:?}, expected {:?}", weight.size(), [k, dims]);
    let own = |tensor: &Tensor| leaf(&tensors::plain(tensor)?.f_to_kind(kind)?.f_to_device(device)?);
    Ok([own(weight)?, own(bias)?])
}

fn check_options(options: &SgdOptions) -> Result<()> {
    let SgdOptions { lr, momentum, weight_decay } = *options;
    ensure!(lr.is_finite() && lr >= 0., "the learning rate is {lr}, expected a finite number of 0 or more");
    ensure!((0. ..1.).contains(&momentum), "momentum is {momentum}, expected 0 or more and less than 1");
    ensure!(weight_decay.is_finite() && weight_decay >= 0., "weight decay is {weight_decay}, expected 0 or more");
    Ok(())
}
