//! train: the training step: two networks' layers in training mode, two optimizers, and a state for checkpoints.

use super::arch::NetShape;
use super::dropout;
use super::module::{EPSILON, Module, below};
use super::net::{channels_last, precision, upload};
use super::sgd::{self, SgdOptions};
use super::sobel::Front;
use super::tensors::{self, HEADS, StateDict, named};
use crate::base::PseudoLabel;
use anyhow::{Context, Result, anyhow, bail, ensure};
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
    options: SgdOptions,
    front: Front,
    trunk: Vec<Op>,
    body: Body,
    head: [Tensor; 2],
    steps: u64,
}

/// What modules in training mode carry along: parameters with their momentum, and statistics.
pub(super) struct Body {
    device: Device,
    kind: Kind,
    dropout: f64,
    /// Trained tensors, by name: all but batch norm's statistics and Sobel's kernels.
    pub(super) parameters: Vec<Parameter>,
    norms: Vec<Statistics>,
    /// Sobel's kernels, which are never trained.
    fixed: StateDict,
}

pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// Its momentum.
    pub(super) buffer: Tensor,
}

/// What a batch norm carries along without a gradient.
struct Statistics {
    name: String,
    mean: Tensor,
    variance: Tensor,
    batches: Tensor,
}

/// A module in training; numbers are places among the body's parameters and statistics.
pub(super) enum Op {
    Conv { weight: usize, bias: Option<usize>, stride: i64, padding: i64 },
    Norm { weight: usize, bias: usize, statistics: usize },
    Relu,
    Pool { kernel: i64, stride: i64, padding: i64 },
    Average,
    Flatten,
    Dropout(u64),
    Linear { weight: usize, bias: usize },
    Residual { body: Vec<Op>, shortcut: Vec<Op> },
}

impl Trainer {
    /// Starts from a trunk, the body's momentum and a head: weight [k, dims] and bias [k]. A head among `weights` is not
    /// read. Momentum is empty at the very first step, or else has a buffer for every trained tensor.
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
        check_options(&options)?;
        let tensors = shape.trunk();
        tensors::only(weights, &tensors)?;
        let kind = precision(weights, &tensors)?;
        let front = Front::new(weights, shape.sobel, kind, device)?;
        let mut body = Body::new(kind, dropout, device)?;
        let [trunk] = body.load(&tensors, [("", &shape.module())], weights, momentum)?;
        let head = head_of(head, shape.feature_dims() as i64, kind, device)?;
        Ok(Self { shape: *shape, options, front, trunk, body, head, steps: 0 })
    }

    /// One step on u8 pixels [n, s, s, 3] and n labels below k. `step_seed` alone decides which values dropout leaves
    /// out. A loss that is not finite is refused before it reaches the weights; the trainer is then spent.
    pub fn step(&mut self, pixels: &[u8], labels: &[PseudoLabel], step_seed: i64) -> Result<StepReport> {
        let targets = self.targets(labels)?;
        let pixels = upload(pixels, labels.len(), self.shape.input, self.body.device)?;
        let input = tch::no_grad(|| self.front.forward(&pixels))?;
        let features = self.body.forward(&self.trunk, input, step_seed)?;
        let logits = features.f_linear(&self.head[0], Some(&self.head[1]))?;
        let loss = logits.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.)?;
        let value = loss.f_double_value(&[])?;
        self.steps += 1;
        finite(value, self.steps, self.options.lr)?;
        self.update(&loss)?;
        Ok(StepReport { loss: value, images: labels.len() })
    }

    /// Trunk, batch norm's statistics, Sobel's kernels if any, and `top_layer.*`: copies on the CPU.
    pub fn weights(&self) -> Result<StateDict> {
        let head = HEAD.map(str::to_owned).into_iter().zip(&self.head);
        self.body.weights(head, self.steps)
    }

    /// The body's momentum buffers by the names of their parameters: copies on the CPU. The head has none.
    pub fn momentum(&self) -> Result<StateDict> {
        self.body.momentum()
    }

    fn targets(&self, labels: &[PseudoLabel]) -> Result<Tensor> {
        let k = self.head[1].size()[0];
        if let Some(label) = labels.iter().find(|label| i64::from(label.0) >= k) {
            bail!("pseudo-label {label} has no place in a head of {k} outputs");
        }
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(label.0)).collect();
        Ok(Tensor::f_from_slice(&labels)?.f_to_device(self.body.device)?)
    }

    /// Gradients of this loss alone (so there is nothing to zero), the body's step, then the head's.
    fn update(&mut self, loss: &Tensor) -> Result<()> {
        let parameters: Vec<&Tensor> = self.body.tensors().chain(&self.head).collect();
        let gradients = Tensor::f_run_backward(&[loss], &parameters, false, false)?;
        let _guard = tch::no_grad_guard();
        let (of_body, of_head) = gradients.split_at(self.body.parameters.len());
        for (Parameter { name, tensor, buffer }, gradient) in self.body.parameters.iter_mut().zip(of_body) {
            sgd::step(tensor, gradient, Some(buffer), &self.options).with_context(|| format!("update of {name}"))?;
        }
        for (parameter, gradient) in self.head.iter_mut().zip(of_head) {
            sgd::step(parameter, gradient, None, &self.options)?;
        }
        Ok(())
    }
}

impl Body {
    /// Nothing yet, for [`Body::load`].
    pub(super) fn new(kind: Kind, dropout: f64, device: Device) -> Result<Self> {
        dropout::check(dropout)?;
        Ok(Self { device, kind, dropout, parameters: Vec::new(), norms: Vec::new(), fixed: StateDict::new() })
    }

    /// Takes the tensors of `modules`, which have these names and shapes, and turns each module into operations. Momentum
    /// is empty at the very first step, or else has a buffer for every trained tensor.
    pub(super) fn load<const N: usize>(
        &mut self,
        tensors: &[(String, Vec<i64>)],
        modules: [(&str, &Module); N],
        weights: &StateDict,
        momentum: &StateDict,
    ) -> Result<[Vec<Op>; N]> {
        let (kind, device) = (self.kind, self.device);
        for (name, sides) in tensors {
            if name.ends_with("num_batches_tracked") && !weights.contains_key(name) {
                continue;
            }
            let tensor = tensors::plain(named(weights, name, sides)?)?;
            if !trained(name) {
                self.fixed.insert(name.clone(), tensor);
                continue;
            }
            let buffer = match momentum.is_empty() {
                true => tensor.f_zeros_like()?,
                false => tensors::plain(named(momentum, name, sides).context("momentum")?)?.f_to_kind(kind)?,
            };
            let buffer = channels_last(&buffer.f_to_device(device)?, device)?;
            let tensor = leaf(&channels_last(&tensor.f_to_device(device)?, device)?)?;
            self.parameters.push(Parameter { name: name.clone(), tensor, buffer });
        }
        self.parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let place = |name: &String| self.parameters.binary_search_by(|parameter| parameter.name.cmp(name));
        // The momentum of another method's head is left out, as its weights are.
        let is_of_head = |name: &String| HEADS.iter().any(|head| name.starts_with(head));
        if let Some(name) = momentum.keys().find(|name| place(name).is_err() && !is_of_head(name)) {
            bail!("momentum of {name}: this network trains no tensor of that name");
        }
        let mut builder = Builder { place: &place, fixed: &mut self.fixed, device, norms: Vec::new() };
        let mut all = [const { Vec::new() }; N];
        for ((at, module), ops) in modules.into_iter().zip(&mut all) {
            builder.add(at, module, ops)?;
        }
        self.norms = builder.norms;
        Ok(all)
    }

    /// Where its tensors are.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// What is trained, in the order of the parameters.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().map(|parameter| &parameter.tensor)
    }

    /// Every tensor, and these others: copies on the CPU. Refuses one that is not finite after so many `steps`.
    pub(super) fn weights<'a>(
        &'a self,
        others: impl Iterator<Item = (String, &'a Tensor)>,
        steps: u64,
    ) -> Result<StateDict> {
        let mut weights = StateDict::new();
        let parameters = self.parameters.iter().map(|parameter| (parameter.name.clone(), &parameter.tensor));
        let fixed = self.fixed.iter().map(|(name, tensor)| (name.clone(), tensor));
        let norms = self.norms.iter().flat_map(Statistics::tensors);
        for (name, tensor) in parameters.chain(norms).chain(fixed).chain(others) {
            let copy = tensors::plain(tensor)?;
            let finite = copy.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0;
            ensure!(finite, "tensor {name} is not finite after {steps} steps: the weights have diverged; lower lr");
            weights.insert(name, copy);
        }
        Ok(weights)
    }

    /// The momentum buffers by the names of their parameters: copies on the CPU.
    pub(super) fn momentum(&self) -> Result<StateDict> {
        let copy = |parameter: &Parameter| Ok((parameter.name.clone(), tensors::plain(&parameter.buffer)?));
        self.parameters.iter().map(copy).collect()
    }

    pub(super) fn forward(&self, ops: &[Op], mut x: Tensor, step_seed: i64) -> Result<Tensor> {
        let body = |place: &usize| &self.parameters[*place].tensor;
        for op in ops {
            x = match op {
                Op::Conv { weight, bias, stride, padding } => {
                    x.f_conv2d(body(weight), bias.as_ref().map(body), *stride, *padding, 1, 1)?
                }
                Op::Norm { weight, bias, statistics } => {
                    let norm = &self.norms[*statistics];
                    let (gain, shift, mean, variance) = (body(weight), body(bias), &norm.mean, &norm.variance);
                    let _ = norm.batches.shallow_clone().f_add_scalar_(1)?;
                    // Updates the running statistics in place; the running variance takes the unbiased one.
                    let (mean, variance) = (Some(mean), Some(variance));
                    x.f_batch_norm(Some(gain), Some(shift), mean, variance, true, NORM_MOMENTUM, EPSILON, true)?
                }
                Op::Relu => x.f_relu_()?,
                Op::Pool { kernel, stride, padding } => x.f_max_pool2d(*kernel, *stride, *padding, 1, false)?,
                Op::Average => x.f_mean_dim(&[2i64, 3][..], true, None)?,
                Op::Flatten => x.f_flatten(1, -1)?,
                Op::Dropout(stream) => {
                    match dropout::mask(&x.size(), self.dropout, step_seed, *stream, (self.kind, self.device))? {
                        Some(mask) => x.f_mul(&mask)?,
                        None => x,
                    }
                }
                Op::Linear { weight, bias } => x.f_linear(body(weight), Some(body(bias)))?,
                Op::Residual { body, shortcut } => {
                    let other = self.forward(shortcut, x.shallow_clone(), step_seed)?;
                    self.forward(body, x, step_seed)?.f_add_(&other)?
                }
            };
        }
        Ok(x)
    }
}

impl Statistics {
    fn tensors(&self) -> [(String, &Tensor); 3] {
        let name = |name: &str| below(&self.name, name);
        [
            (name("running_mean"), &self.mean),
            (name("running_var"), &self.variance),
            (name("num_batches_tracked"), &self.batches),
        ]
    }
}

/// Turns modules into operations.
struct Builder<'a> {
    place: &'a dyn Fn(&String) -> std::result::Result<usize, usize>,
    /// Tensors that are not trained; statistics leave it for `norms`.
    fixed: &'a mut StateDict,
    device: Device,
    norms: Vec<Statistics>,
}

impl Builder<'_> {
    /// Appends the operations of a module that is called `at`.
    fn add(&mut self, at: &str, module: &Module, ops: &mut Vec<Op>) -> Result<()> {
        let place = |name: &str| {
            let name = below(at, name);
            (self.place)(&name).map_err(|_| anyhow!("BUG: {name} is not in the body"))
        };
        ops.push(match module {
            Module::Conv { stride, padding, bias, .. } => {
                let bias = bias.then(|| place("bias")).transpose()?;
                Op::Conv { weight: place("weight")?, bias, stride: *stride, padding: *padding }
            }
            Module::Norm(_) => {
                let (weight, bias) = (place("weight")?, place("bias")?);
                let mut take = |name: &str| self.fixed.remove(&below(at, name));
                let (mean, variance) = (take("running_mean"), take("running_var"));
                let (mean, variance) = mean.zip(variance).with_context(|| format!("BUG: {at} has no statistics"))?;
                let (mean, variance) = (mean.f_to_device(self.device)?, variance.f_to_device(self.device)?);
                // Files older than this counter lack it; nothing is computed from it.
                let batches = take("num_batches_tracked").map_or_else(tensors::counter, Ok)?;
                self.norms.push(Statistics { name: at.to_owned(), mean, variance, batches });
                Op::Norm { weight, bias, statistics: self.norms.len() - 1 }
            }
            Module::Linear(..) => Op::Linear { weight: place("weight")?, bias: place("bias")? },
            Module::Sequence(children) => {
                return children.iter().try_for_each(|(name, child)| self.add(&below(at, name), child, ops));
            }
            Module::Residual(long, short) => {
                let (mut body, mut shortcut) = (Vec::new(), Vec::new());
                self.add(at, long, &mut body)?;
                self.add(at, short, &mut shortcut)?;
                Op::Residual { body, shortcut }
            }
            Module::Pool { kernel, stride, padding } => {
                Op::Pool { kernel: *kernel, stride: *stride, padding: *padding }
            }
            Module::Relu => Op::Relu,
            Module::Average => Op::Average,
            Module::Flatten => Op::Flatten,
            Module::Dropout(stream) => Op::Dropout(*stream),
            Module::Map(_) | Module::Feature => return Ok(()),
        });
        Ok(())
    }
}

/// Refuses a loss that is not finite, before it reaches the weights.
pub(super) fn finite(loss: f64, step: u64, lr: f64) -> Result<()> {
    ensure!(
        loss.is_finite(),
        "the loss is {loss} at step {step} of this part (learning rate {lr}): the weights have diverged; lower lr, or raise batch"
    );
    Ok(())
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
