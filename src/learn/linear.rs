//! linear: a linear classifier on activations: multinomial logistic regression, brought to its one optimum by L-BFGS.
//!
//! The objective is the mean cross-entropy plus `decay` / 2 times the squared weights; the biases are free. Activations
//! are first centred and scaled together, so that a row's squared length is 1 in the mean. So no learning rate has to
//! fit, and `decay` means the same for every layer.

use super::activations::Activations;
use anyhow::{Result, ensure};
use std::collections::VecDeque;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Steps of which L-BFGS remembers the gradients.
const MEMORY: usize = 10;
/// Steps after which it ends in any case.
const STEPS: usize = 500;
/// Share of the first gradient's length below which the gradient counts as nothing.
const FLAT: f64 = 1e-3;
/// Rows in one product.
const TOGETHER: usize = 2048;
/// Bytes up to which the rows are held in single precision meanwhile.
const HELD: usize = 1 << 30;

/// A linear classifier.
pub struct Classifier {
    /// [classes, dims], for rows as they come.
    weight: Tensor,
    /// [classes]
    bias: Tensor,
    /// Steps that it took.
    pub steps: usize,
    /// The objective at its end, in nats.
    pub objective: f64,
}

/// Fits a classifier of the first rows of `x`, of which `labels` are below `classes`.
///
/// `step` is told how many steps are done, and may end it.
pub fn fit(
    x: &Activations,
    labels: &[u32],
    classes: usize,
    decay: f64,
    device: Device,
    step: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Classifier> {
    ensure!(!labels.is_empty() && labels.len() <= x.rows(), "{} labels for {} rows", labels.len(), x.rows());
    ensure!(decay > 0.0 && decay.is_finite(), "decay is {decay}, expected a number above 0");
    let _guard = tch::no_grad_guard();
    let problem = Problem::of(x, labels, classes, decay, device)?;
    let dims = x.dims() as i64;
    let mut at = Tensor::f_zeros([classes as i64, dims + 1], (Kind::Float, device))?;
    let (mut objective, mut gradient) = problem.at(&at)?;
    let first = length(&gradient)?;
    let mut memory = Memory::default();
    let mut steps = 0;
    while steps < STEPS && length(&gradient)? > FLAT * first {
        step(steps)?;
        let mut direction = memory.direction(&gradient)?;
        let mut slope = dot(&gradient, &direction)?;
        if slope >= 0.0 {
            memory = Memory::default();
            direction = gradient.f_neg()?;
            slope = -dot(&gradient, &gradient)?;
        }
        // The first step has no curvature to go by: one nat along the slope.
        let mut rate = if memory.is_empty() { 1.0 / slope.abs().max(1e-12) } else { 1.0 };
        let taken = loop {
            let next = at.f_add(&direction.f_mul_scalar(rate)?)?;
            let (value, slopes) = problem.at(&next)?;
            if value <= objective + 1e-4 * rate * slope {
                break Some((next, value, slopes));
            }
            if rate < 1e-6 {
                break None;
            }
            rate /= 2.0;
        };
        let Some((next, value, slopes)) = taken else { break };
        memory.take(next.f_sub(&at)?, slopes.f_sub(&gradient)?)?;
        (at, objective, gradient) = (next, value, slopes);
        steps += 1;
    }
    let (weight, bias) = problem.unscaled(&at)?;
    Ok(Classifier { weight, bias, steps, objective })
}

impl Classifier {
    /// The likeliest class of each of some rows.
    pub fn classes_of(&self, x: &Activations, rows: Range<usize>) -> Result<Vec<u32>> {
        let _guard = tch::no_grad_guard();
        let mut classes = Vec::with_capacity(rows.len());
        for from in rows.clone().step_by(TOGETHER) {
            let block = x.tensor(from..(from + TOGETHER).min(rows.end), self.weight.device())?;
            let best = block.f_linear(&self.weight, Some(&self.bias))?.f_argmax(1, false)?;
            classes.extend(Vec::<i64>::try_from(best.f_to_device(Device::Cpu)?)?.into_iter().map(|class| class as u32));
        }
        Ok(classes)
    }
}

/// Rows, what they should be, and how they are scaled.
struct Problem<'a> {
    x: &'a Activations,
    targets: Tensor,
    /// All rows in single precision, where they are few enough.
    held: Option<Tensor>,
    /// [dims]
    mean: Tensor,
    scale: f64,
    decay: f64,
    device: Device,
}

impl<'a> Problem<'a> {
    fn of(x: &'a Activations, labels: &[u32], classes: usize, decay: f64, device: Device) -> Result<Self> {
        let rows = labels.len();
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            anyhow::bail!("label {label} of {classes} classes");
        }
        let targets: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        let targets = Tensor::f_from_slice(&targets)?.f_to_device(device)?;
        let held = if rows * x.dims() * 4 <= HELD { Some(x.tensor(0..rows, device)?) } else { None };
        let mean = Tensor::f_zeros([x.dims() as i64], (Kind::Double, device))?;
        let mut problem = Self { x, targets, held, mean, scale: 1.0, decay, device };
        let mut sum = problem.mean.f_zeros_like()?;
        problem.blocks(|_, block| {
            let _ = sum.f_add_(&block.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?)?;
            Ok(())
        })?;
        let mean = sum.f_div_scalar(rows as f64)?.f_to_kind(Kind::Float)?;
        let mut spread = 0.0;
        problem.blocks(|_, block| {
            spread += block.f_sub(&mean)?.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
            Ok(())
        })?;
        problem.mean = mean;
        problem.scale = (spread / rows as f64).sqrt().max(f64::from(f32::MIN_POSITIVE));
        Ok(problem)
    }

    fn blocks(&self, mut each: impl FnMut(Range<usize>, Tensor) -> Result<()>) -> Result<()> {
        let rows = self.targets.size()[0] as usize;
        for from in (0..rows).step_by(TOGETHER) {
            let range = from..(from + TOGETHER).min(rows);
            let block = match &self.held {
                Some(held) => held.f_narrow(0, from as i64, range.len() as i64)?,
                None => self.x.tensor(range.clone(), self.device)?,
            };
            each(range, block)?;
        }
        Ok(())
    }

    /// Weight [classes, dims] and bias [classes] for rows as they come, of parameters for scaled rows.
    fn unscaled(&self, at: &Tensor) -> Result<(Tensor, Tensor)> {
        let dims = self.mean.size()[0];
        let weight = at.f_narrow(1, 0, dims)?.f_div_scalar(self.scale)?.f_contiguous()?;
        let bias = at.f_select(1, dims)?.f_sub(&weight.f_mv(&self.mean)?)?;
        Ok((weight, bias))
    }

    /// The objective in nats, and its gradient, at parameters [classes, dims + 1].
    fn at(&self, at: &Tensor) -> Result<(f64, Tensor)> {
        let (weight, bias) = self.unscaled(at)?;
        let (rows, dims) = (self.targets.size()[0] as f64, self.mean.size()[0]);
        let mut of_weight = weight.f_zeros_like()?;
        let mut of_bias = bias.f_zeros_like()?;
        let mut loss = 0.0;
        self.blocks(|range, block| {
            let targets = self.targets.f_narrow(0, range.start as i64, range.len() as i64)?.f_unsqueeze(1)?;
            let logs = block.f_linear(&weight, Some(&bias))?.f_log_softmax(1, Kind::Float)?;
            loss -= logs.f_gather(1, &targets, false)?.f_sum(Kind::Double)?.f_double_value(&[])?;
            let ones = targets.f_ones_like()?.f_to_kind(Kind::Float)?.f_neg()?;
            let off = logs.f_exp()?.f_scatter_add(1, &targets, &ones)?;
            let _ = of_weight.f_add_(&off.f_tr()?.f_matmul(&block)?)?;
            let _ = of_bias.f_add_(&off.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Float)?)?;
            Ok(())
        })?;
        let of_weight =
            of_weight.f_sub(&of_bias.f_unsqueeze(1)?.f_mul(&self.mean)?)?.f_div_scalar(self.scale * rows)?;
        let free = at.f_narrow(1, 0, dims)?;
        let of_weight = of_weight.f_add(&free.f_mul_scalar(self.decay)?)?;
        let gradient = Tensor::f_cat(&[of_weight, of_bias.f_div_scalar(rows)?.f_unsqueeze(1)?], 1)?;
        let objective = loss / rows + self.decay / 2.0 * free.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        ensure!(objective.is_finite(), "the probe's loss is not finite on {}", self.x.name);
        Ok((objective, gradient))
    }
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.f_mul(b)?.f_sum(Kind::Double)?.f_double_value(&[])?)
}

fn length(a: &Tensor) -> Result<f64> {
    Ok(dot(a, a)?.sqrt())
}

/// The last steps, and how the gradient changed in each.
#[derive(Default)]
struct Memory(VecDeque<(Tensor, Tensor, f64)>);

impl Memory {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, moved: Tensor, changed: Tensor) -> Result<()> {
        let curvature = dot(&moved, &changed)?;
        if curvature > 0.0 {
            if self.0.len() == MEMORY {
                self.0.pop_front();
            }
            self.0.push_back((moved, changed, curvature));
        }
        Ok(())
    }

    /// Minus the inverse curvature times the gradient (the two-loop recursion).
    fn direction(&self, gradient: &Tensor) -> Result<Tensor> {
        let mut direction = gradient.f_neg()?;
        let mut shares = Vec::new();
        for (moved, changed, curvature) in self.0.iter().rev() {
            let share = dot(moved, &direction)? / curvature;
            direction = direction.f_sub(&changed.f_mul_scalar(share)?)?;
            shares.push(share);
        }
        if let Some((_, changed, curvature)) = self.0.back() {
            direction = direction.f_mul_scalar(curvature / dot(changed, changed)?)?;
        }
        for ((moved, changed, curvature), share) in self.0.iter().zip(shares.into_iter().rev()) {
            let back = dot(changed, &direction)? / curvature;
            direction = direction.f_add(&moved.f_mul_scalar(share - back)?)?;
        }
        Ok(direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, draw};
    use half::f16;

    /// Three clouds that overlap.
    fn clouds(rows: usize, dims: usize) -> (Activations, Vec<u32>) {
        let mut stream = Seed::of_node(31, "test").stream("linear", 0);
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 3).collect();
        let mut number = |at: usize| {
            let centre = if at % dims == labels[at / dims] as usize { 0.8 } else { 0.0 };
            f16::from_f64(5.0 + centre + draw::between(&mut stream, -1.0, 1.0))
        };
        let numbers = (0..rows * dims).map(&mut number).collect();
        (Activations::of("test", dims, numbers).unwrap(), labels)
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_objective_and_vanishes_at_the_fit() {
        let (x, labels) = clouds(300, 8);
        let problem = Problem::of(&x, &labels, 3, 1e-2, Device::Cpu).unwrap();
        let at = (Tensor::arange(27, (Kind::Float, Device::Cpu)).sin() * 0.5).view([3, 9]);
        let (_, gradient) = problem.at(&at).unwrap();
        for (class, dim) in [(0, 0), (1, 4), (2, 7), (1, 8)] {
            let mut moved = [at.copy(), at.copy()];
            for (moved, by) in moved.iter_mut().zip([-1e-2, 1e-2]) {
                let _ = moved.get(class).get(dim).f_add_scalar_(by).unwrap();
            }
            let [low, high] = moved.map(|at| problem.at(&at).unwrap().0);
            let (due, found) = ((high - low) / 2e-2, gradient.double_value(&[class, dim]));
            assert!((due - found).abs() < 1e-3 * due.abs().max(0.05), "{class} {dim}: {due} {found}");
        }
        let fitted = fit(&x, &labels[..240], 3, 1e-2, Device::Cpu, &mut |_| Ok(())).unwrap();
        let right = fitted.classes_of(&x, 240..300).unwrap().iter().zip(&labels[240..]).filter(|(a, b)| a == b).count();
        assert!(right > 40, "{right} of 60, of which chance has 20");
    }

    #[test]
    fn a_layer_s_scale_and_centre_change_nothing() {
        let (x, labels) = clouds(300, 8);
        let numbers = (0..300).flat_map(|row| x.row(row)).map(|number| f16::from_f32((number - 5.0) * 64.0)).collect();
        let scaled = Activations::of("test", 8, numbers).unwrap();
        let fits = [&x, &scaled].map(|x| fit(x, &labels[..240], 3, 1e-3, Device::Cpu, &mut |_| Ok(())).unwrap());
        assert!((fits[0].objective - fits[1].objective).abs() < 1e-3, "{} {}", fits[0].objective, fits[1].objective);
        let same = fits[0].classes_of(&x, 0..300).unwrap();
        let other = fits[1].classes_of(&scaled, 0..300).unwrap();
        assert!(same.iter().zip(&other).filter(|(a, b)| a != b).count() <= 3);
    }
}
