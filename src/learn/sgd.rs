//! sgd: stochastic gradient descent as PyTorch defines it, over a momentum buffer that we keep ourselves.

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Settings of both optimizers. Published: 0.05, 0.9, 1e-5, constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// Learning rate.
    pub lr: f64,
    /// Share of the buffer that survives a step; the head's optimizer has none.
    pub momentum: f64,
    /// Pull of every parameter, biases and batch norm too, towards zero.
    pub weight_decay: f64,
}

impl Default for SgdOptions {
    fn default() -> Self {
        Self { lr: 0.05, momentum: 0.9, weight_decay: 1e-5 }
    }
}

/// One step. d = gradient + weight_decay * parameter; with a buffer (the body) buffer = momentum * buffer + d and
/// parameter -= lr * buffer; without (the head) parameter -= lr * d. A buffer of zeroes gives PyTorch's first step.
pub(super) fn step(
    parameter: &mut Tensor,
    gradient: &Tensor,
    buffer: Option<&mut Tensor>,
    options: &SgdOptions,
) -> Result<()> {
    let buffer_fits = buffer.as_ref().is_none_or(|buffer| buffer.stride() == parameter.stride());
    let fits = [&*parameter, gradient].iter().all(|tensor| dense(tensor)) && gradient.stride() == parameter.stride();
    if fits && buffer_fits {
        fused(parameter, gradient, buffer, options);
        return Ok(());
    }
    let decayed = gradient.f_add(&parameter.f_mul_scalar(options.weight_decay)?)?;
    let step = match buffer {
        Some(buffer) => buffer.f_mul_scalar_(options.momentum)?.f_add_(&decayed)?,
        None => decayed,
    };
    let _ = parameter.f_sub_(&step.f_mul_scalar(options.lr)?)?;
    Ok(())
}

/// Values that one thread updates in a row; no result depends on it.
const RUN: usize = 1 << 16;

/// The same in one pass over memory instead of five: the update is bound by memory, and a tenth of a short step.
/// Rounds as PyTorch's CPU kernels do, which fuse the multiplication into `add`.
fn fused(parameter: &mut Tensor, gradient: &Tensor, buffer: Option<&mut Tensor>, options: &SgdOptions) {
    let (lr, momentum, decay) = (options.lr as f32, options.momentum as f32, options.weight_decay as f32);
    let parameters = values_mut(parameter).par_chunks_mut(RUN);
    let gradients = values(gradient).par_chunks(RUN);
    match buffer {
        None => parameters.zip(gradients).for_each(|(parameters, gradients)| {
            for (p, g) in parameters.iter_mut().zip(gradients) {
                *p = p.mul_add(decay, *g).mul_add(-lr, *p);
            }
        }),
        Some(buffer) => {
            let buffers = values_mut(buffer).par_chunks_mut(RUN);
            parameters.zip(gradients).zip(buffers).for_each(|((parameters, gradients), buffers)| {
                for ((p, g), b) in parameters.iter_mut().zip(gradients).zip(buffers) {
                    *b = *b * momentum + p.mul_add(decay, *g);
                    *p = b.mul_add(-lr, *p);
                }
            });
        }
    }
}

/// Whether the values are f32, in this process's memory, and without gaps (row-major or channels-last).
fn dense(tensor: &Tensor) -> bool {
    let gapless = tensor.is_contiguous() || tensor.dim() == 4 && tensor.permute([0, 2, 3, 1]).is_contiguous();
    gapless && tensor.device() == Device::Cpu && tensor.kind() == Kind::Float
}

#[expect(unsafe_code, reason = "torch hands out its memory as a pointer only")]
fn values(tensor: &Tensor) -> &[f32] {
    assert!(dense(tensor), "BUG: a tensor with gaps, or not f32 on the CPU");
    // SAFETY: such a tensor owns `numel` f32 in a row from its data pointer, and lives as long as the borrow.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

#[expect(unsafe_code, reason = "torch hands out its memory as a pointer only")]
fn values_mut(tensor: &mut Tensor) -> &mut [f32] {
    assert!(dense(tensor), "BUG: a tensor with gaps, or not f32 on the CPU");
    // SAFETY: as in `values`; the trainer's parameters and buffers share their memory with no other tensor.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_and_five_give_the_same_step() {
        let draw =
            |phase: f64| (Tensor::arange(2 * 3 * 5 * 5, (Kind::Float, Device::Cpu)) + phase).sin().view([2, 3, 5, 5]);
        let gapped = |t: &Tensor| Tensor::stack(&[t, t], 4).select(4, 0); // forces the five passes
        let options = SgdOptions { lr: 0.1, momentum: 0.9, weight_decay: 0.01 };
        for with_buffer in [true, false] {
            let (mut p, mut b) = (draw(0.), draw(2.));
            let (mut p5, mut b5) = (gapped(&p), gapped(&b));
            for turn in 0..3 {
                let g = draw(f64::from(turn));
                step(&mut p, &g, with_buffer.then_some(&mut b), &options).unwrap();
                step(&mut p5, &g, with_buffer.then_some(&mut b5), &options).unwrap();
            }
            assert!(p.allclose(&p5, 1e-6, 1e-7, false) && b.allclose(&b5, 1e-6, 1e-7, false));
            assert!(!p.allclose(&draw(0.), 1e-3, 1e-3, false));
        }
    }
}
