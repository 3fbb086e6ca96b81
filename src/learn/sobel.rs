//! sobel: the fixed first layers: normalised pixels, grey, horizontal and vertical edges.

use super::tensors::{StateDict, named};
use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Names and shapes: a 1 x 1 convolution to grey, then a 3 x 3 one to two edge channels.
pub(super) const SHAPES: [(&str, &[i64]); 4] = [
    ("sobel.0.weight", &[1, 3, 1, 1]),
    ("sobel.0.bias", &[1]),
    ("sobel.1.weight", &[2, 1, 3, 3]),
    ("sobel.1.bias", &[2]),
];

/// Mean of ImageNet's pixels as shares of 255, R G B, as in torchvision's documentation.
pub const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Their standard deviation.
pub const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// The published values: the plain mean of the channels, Sobel's kernels, no bias; never trained.
pub(super) fn tensors() -> StateDict {
    let edges = [1f32, 0., -1., 2., 0., -2., 1., 0., -1., 1., 2., 1., 0., 0., 0., -1., -2., -1.];
    let values: [&[f32]; 4] = [&[1. / 3.; 3], &[0.], &edges, &[0.; 2]];
    SHAPES
        .iter()
        .zip(values)
        .map(|((name, shape), v)| ((*name).to_owned(), Tensor::from_slice(v).view(*shape)))
        .collect()
}

/// From u8 pixels to what the first convolution reads.
pub(super) struct Front {
    /// Per channel, or to grey: [1 or 3, 3, 1, 1] and its bias.
    scale: Tensor,
    shift: Tensor,
    edges: Option<(Tensor, Tensor)>,
}

impl Front {
    /// Folds ImageNet's mean and deviation into the grey layer (`weights` has one) or into a plain scaling.
    pub(super) fn new(weights: &StateDict, sobel: bool, kind: Kind, device: Device) -> Result<Self> {
        let on = |tensor: &Tensor| tensor.f_to_device(device)?.f_to_kind(kind);
        let scale = Tensor::f_from_slice(&DEVIATION.map(|d| 1. / (255. * d)))?.f_view([1, 3, 1, 1])?;
        let shift = Tensor::f_from_slice(&[0, 1, 2].map(|c| -MEAN[c] / DEVIATION[c]))?.f_view([1, 3, 1, 1])?;
        if !sobel {
            return Ok(Self { scale: on(&scale)?, shift: on(&shift)?, edges: None });
        }
        let get = |index: usize| named(weights, SHAPES[index].0, SHAPES[index].1);
        let grey = get(0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        let bias = get(1)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        let bias = bias.f_add(&grey.f_mul(&shift)?.f_sum(Kind::Double)?)?;
        Ok(Self { scale: on(&grey.f_mul(&scale)?)?, shift: on(&bias)?, edges: Some((on(get(2)?)?, on(get(3)?)?)) })
    }

    /// u8 [n, s, s, 3] to [n, 2 or 3, s, s]; edges are padded with zeroes, so borders answer too, as published.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        // The permuted view is channels-last already, and stays so: no copy but the one to floating point.
        let x = pixels.f_permute([0, 3, 1, 2])?.f_to_kind(self.scale.kind())?;
        let Some((weight, bias)) = &self.edges else {
            return Ok(x.f_mul(&self.scale)?.f_add(&self.shift)?);
        };
        let grey = x.f_conv2d(&self.scale, Some(&self.shift), 1, 0, 1, 1)?;
        Ok(grey.f_conv2d(weight, Some(bias), 1, 1, 1, 1)?)
    }
}
