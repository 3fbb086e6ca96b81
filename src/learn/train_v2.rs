//! train_v2: the training step of DeepCluster-v2: crops to projections, scored against prototypes that stand still.

use super::arch::NetShape;
use super::lars;
use super::net::{precision, upload};
use super::projector::{HEAD, Projection};
use super::sgd::SgdOptions;
use super::sobel::Front;
use super::tensors::{self, StateDict};
use super::train::{Body, Op, Parameter, finite};
use crate::base::ClusterId;
use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Reduction, Tensor};

/// A projection shorter than this is not made longer.
const SHORTEST: f64 = 1e-12;
/// How many crops of an image the bank has: the first ones.
pub const BANKED: usize = 2;

/// Crops of one side: so many of every image of a batch. Crop by crop, each of all images.
#[derive(Clone, Debug)]
pub struct Crops {
    /// count x images x side x side x 3.
    pub pixels: Vec<u8>,
    /// Pixels of a side.
    pub side: u32,
    /// Crops of an image.
    pub count: usize,
}

/// One clustering: its centroids, towards which crops are trained.
#[derive(Clone, Copy, Debug)]
pub struct Prototypes<'a> {
    /// How many.
    pub k: usize,
    /// k x the numbers of a projection, each of length 1.
    pub centroids: &'a [f32],
}

/// Settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Learning rate, momentum and weight decay of everything.
    pub sgd: SgdOptions,
    /// By which share of its length a layer moves at a learning rate of 1.
    pub trust: f64,
    /// What scores are divided by.
    pub temperature: f64,
}

/// What a step has to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Cross-entropy before the update: mean over crops and images, then over the clusterings.
    pub loss: f64,
    /// Projections of the first crops of each image before the update: crop by crop.
    pub banked: Vec<f32>,
}

/// A network with its projection in training. Between any two steps `weights` and `momentum` are its whole state.
pub struct TrainerV2 {
    shape: NetShape,
    projection: Projection,
    front: Front,
    trunk: Vec<Op>,
    head: Vec<Op>,
    body: Body,
    prototypes: Vec<Tensor>,
    steps: u64,
}

impl TrainerV2 {
    /// Starts from a trunk with a projection, and momentum, which is empty at the very first step. Without prototypes it
    /// only projects.
    pub fn new(
        shape: &NetShape,
        weights: &StateDict,
        momentum: &StateDict,
        prototypes: &[Prototypes<'_>],
        device: Device,
    ) -> Result<Self> {
        shape.check()?;
        let projection = Projection::of(weights, shape.feature_dims())?;
        let trunk = shape.trunk();
        tensors::only(weights, &trunk)?;
        let tensors = [trunk, projection.tensors()].concat();
        let kind = precision(weights, &tensors)?;
        let front = Front::new(weights, shape.sobel, kind, device)?;
        // DeepCluster-v2 has no dropout: the bank remembers what training saw.
        let mut body = Body::new(kind, 0., device)?;
        let modules = [("", &shape.module()), (HEAD, &projection.module())];
        let [trunk, head] = body.load(&tensors, modules, weights, momentum)?;
        let load = |prototypes: &Prototypes<'_>| {
            let Prototypes { k, centroids } = *prototypes;
            let size = [k as i64, projection.to];
            ensure!(
                k > 0 && k * projection.to as usize == centroids.len(),
                "{k} prototypes have {} numbers; a projection has {}",
                centroids.len(),
                projection.to
            );
            Ok(Tensor::f_from_slice(centroids)?.f_view(size)?.f_to_kind(kind)?.f_to_device(device)?)
        };
        let prototypes = prototypes.iter().map(load).collect::<Result<_>>()?;
        Ok(Self { shape: *shape, projection, front, trunk, head, body, prototypes, steps: 0 })
    }

    /// Projects the crops of a batch in training mode, so that batch norm's statistics move; nothing is learned. Returns
    /// the first crops of each image, crop by crop.
    pub fn project(&mut self, crops: &[Crops], images: usize) -> Result<Vec<f32>> {
        let _guard = tch::no_grad_guard();
        let projected = self.forward(crops, images)?;
        banked(&projected, images)
    }

    /// One step on the crops of some images. `labels` are, for each clustering, the clusters of these images: all crops of
    /// an image have the same. A loss that is not finite is refused before it reaches the weights; the trainer is then
    /// spent.
    pub fn step(&mut self, crops: &[Crops], labels: &[Vec<ClusterId>], options: &Options) -> Result<Report> {
        let heads = self.prototypes.len();
        ensure!(heads > 0 && labels.len() == heads, "BUG: {} lists of labels for {heads} clusterings", labels.len());
        let images = labels[0].len();
        let projected = self.forward(crops, images)?;
        let mut losses = Vec::with_capacity(heads);
        for (prototypes, labels) in self.prototypes.iter().zip(labels) {
            let targets = targets(labels, prototypes.size()[0], projected.size()[0], projected.device())?;
            let scores = projected.f_matmul(&prototypes.f_tr()?)?.f_div_scalar(options.temperature)?;
            losses.push(scores.f_cross_entropy_loss(&targets, None::<&Tensor>, Reduction::Mean, -100, 0.)?);
        }
        let loss = Tensor::f_stack(&losses, 0)?.f_mean(None::<Kind>)?;
        let value = loss.f_double_value(&[])?;
        self.steps += 1;
        finite(value, self.steps, options.sgd.lr)?;
        let banked = tch::no_grad(|| banked(&projected, images))?;
        self.update(&loss, options)?;
        Ok(Report { loss: value, banked })
    }

    /// Numbers of a projection.
    pub fn dims(&self) -> usize {
        self.projection.to as usize
    }

    /// Trunk, projection, batch norm's statistics, Sobel's kernels if any: copies on the CPU.
    pub fn weights(&self) -> Result<StateDict> {
        self.body.weights(std::iter::empty(), self.steps)
    }

    /// The momentum of everything that is trained: copies on the CPU.
    pub fn momentum(&self) -> Result<StateDict> {
        self.body.momentum()
    }

    /// Crops of one side pass the trunk together, and all of them the head. Rows are crop by crop, each of length 1.
    fn forward(&self, crops: &[Crops], images: usize) -> Result<Tensor> {
        let mut features = Vec::with_capacity(crops.len());
        for crops in crops {
            ensure!(
                self.shape.takes(crops.side),
                "{:?} at {} pixels does not take crops of {}",
                self.shape.arch,
                self.shape.input,
                crops.side
            );
            let pixels = upload(&crops.pixels, crops.count * images, crops.side, self.body.device())?;
            let input = tch::no_grad(|| self.front.forward(&pixels))?;
            features.push(self.body.forward(&self.trunk, input, 0)?);
        }
        let projected = self.body.forward(&self.head, Tensor::f_cat(&features, 0)?, 0)?;
        let length = projected.f_norm_scalaropt_dim(2., [1i64], true)?.f_clamp_min(SHORTEST)?;
        Ok(projected.f_div(&length)?)
    }

    fn update(&mut self, loss: &Tensor, options: &Options) -> Result<()> {
        let parameters: Vec<&Tensor> = self.body.tensors().collect();
        let gradients = Tensor::f_run_backward(&[loss], &parameters, false, false)?;
        let _guard = tch::no_grad_guard();
        for (Parameter { name, tensor, buffer }, gradient) in self.body.parameters.iter_mut().zip(&gradients) {
            lars::step(tensor, gradient, buffer, options.trust, &options.sgd)
                .with_context(|| format!("update of {name}"))?;
        }
        Ok(())
    }
}

/// The labels of some images, again for each crop.
fn targets(labels: &[ClusterId], k: i64, rows: i64, device: Device) -> Result<Tensor> {
    if let Some(label) = labels.iter().find(|label| i64::from(label.0) >= k) {
        anyhow::bail!("cluster {label} has no prototype: there are {k}");
    }
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(label.0)).collect();
    let crops = rows / labels.len().max(1) as i64;
    Ok(Tensor::f_from_slice(&labels)?.f_repeat([crops])?.f_to_device(device)?)
}

/// The rows of the first crops.
fn banked(projected: &Tensor, images: usize) -> Result<Vec<f32>> {
    let rows = (BANKED * images) as i64;
    ensure!(projected.size()[0] >= rows, "the bank needs {BANKED} crops of each image");
    let first = projected.f_detach()?.f_narrow(0, 0, rows)?.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
    let mut numbers = vec![0f32; first.numel()];
    first.f_contiguous()?.f_copy_data(&mut numbers, first.numel())?;
    ensure!(numbers.iter().all(|number| number.is_finite()), "projections are not finite: the weights have diverged");
    Ok(numbers)
}
