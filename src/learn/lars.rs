//! lars: SGD by which each layer moves by a like share of its length (You, Gitman, Ginsburg 2017).

use super::sgd::{self, SgdOptions};
use anyhow::Result;
use tch::Tensor;

/// Keeps a layer without a gradient from a division by zero.
const EPSILON: f64 = 1e-8;

/// One step, that of [`sgd::step`] on d * scale. d is gradient + weight_decay * parameter, and scale is trust * |parameter| /
/// (|gradient| + weight_decay * |parameter|). A parameter of zeroes takes its gradient as it is, or it would never move.
pub(super) fn step(
    parameter: &mut Tensor,
    gradient: &Tensor,
    buffer: &mut Tensor,
    trust: f64,
    options: &SgdOptions,
) -> Result<()> {
    let length = |tensor: &Tensor| tensor.f_square()?.f_sum(tensor.kind())?.f_sqrt();
    let (of_parameter, of_gradient) = (length(parameter)?, length(gradient)?);
    let decay = options.weight_decay;
    // All on the device: a GPU need not wait for each layer's lengths.
    let is_scaled = of_parameter.f_mul(&of_gradient)?.f_gt(0.)?.f_to_kind(parameter.kind())?;
    let divisor = of_parameter.f_mul_scalar(decay)?.f_add(&of_gradient)?.f_add_scalar(EPSILON)?;
    let scale = of_parameter.f_mul_scalar(trust)?.f_div(&divisor)?;
    let unscaled = is_scaled.f_neg()?.f_add_scalar(1.)?;
    let scale = scale.f_mul(&is_scaled)?.f_add(&unscaled)?;
    let decay = is_scaled.f_mul_scalar(decay)?;
    let scaled = parameter.f_mul(&decay)?.f_add(gradient)?.f_mul(&scale)?;
    sgd::step(parameter, &scaled, Some(buffer), &SgdOptions { weight_decay: 0., ..*options })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn draw(phase: f64) -> Tensor {
        (Tensor::arange(24, (Kind::Double, Device::Cpu)) + phase).sin().view([4, 6])
    }

    #[test]
    fn a_first_step_has_the_share_of_the_length_that_trust_and_lr_say() {
        let options = SgdOptions { lr: 2., momentum: 0.9, weight_decay: 0. };
        for size in [1e-3, 1., 1e3] {
            let (mut p, mut b) = (draw(0.), draw(0.).zeros_like());
            step(&mut p, &(draw(1.) * size), &mut b, 0.01, &options).unwrap();
            let moved = (&p - draw(0.)).norm().double_value(&[]) / draw(0.).norm().double_value(&[]);
            assert!((moved - 0.02).abs() < 1e-4, "{size}: {moved}");
        }
    }

    #[test]
    fn a_parameter_of_zeroes_takes_the_gradient_as_it_is() {
        let options = SgdOptions { lr: 0.5, momentum: 0.9, weight_decay: 0.1 };
        let (mut p, mut b) = (draw(0.).zeros_like(), draw(0.).zeros_like());
        step(&mut p, &draw(1.), &mut b, 0.001, &options).unwrap();
        assert!((p + draw(1.) * 0.5).abs().max().double_value(&[]) < 1e-12);
        let (mut p, mut b) = (draw(0.), draw(0.).zeros_like());
        step(&mut p, &draw(1.).zeros_like(), &mut b, 0.001, &options).unwrap();
        assert_eq!(p, draw(0.));
    }
}
