//! svm: linear support vector machines with squared hinge loss, one a class, as VISSL measures features on VOC2007.
//!
//! The objective has a loss for each row: `C_i max(0, 1 - y_i (w x_i + b))^2`. To their sum it adds `|w|^2 / 2`, where `b` is
//! one more weight. At its minimum `w` is a sum of the rows that have a loss, and their factors `f` solve `(K + D) f = y`.
//! There `K` has these rows' products and `D` is diagonal, `1 / (2 C_i)`. Newton's method finds these rows (Chapelle 2007)
//! and ends at the optimum itself, where LIBLINEAR ends near it. Only products of rows are needed, so all classes, costs and
//! folds share one table of them.

use super::activations::Activations;
use anyhow::{Context, Result, ensure};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Newton steps after which there is no optimum to be found; ten are usual.
const STEPS: usize = 200;
/// Halvings of a step.
const HALVINGS: usize = 30;

/// Reports nothing and may end the work: it is called every second or so.
pub type Step<'s> = dyn FnMut() -> Result<()> + 's;

/// Products of rows at length 1 with each other, with 1 added for the bias: [rows, rows] in double precision.
pub struct Products(Tensor);

impl Products {
    /// Those of some rows of a layer.
    pub fn of(x: &Activations, rows: Range<usize>, device: Device, step: &mut Step<'_>) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let known = x.unit(rows.clone(), device)?.f_tr()?;
        let all = Tensor::f_zeros([rows.len() as i64, rows.len() as i64], (Kind::Double, device))?;
        for start in rows.clone().step_by(ROWS) {
            step()?;
            let some = start..(start + ROWS).min(rows.end);
            let place = all.f_narrow(0, (start - rows.start) as i64, some.len() as i64)?;
            place.shallow_clone().f_copy_(&x.unit(some, device)?.f_matmul(&known)?.f_add_scalar(1.0)?)?;
        }
        Ok(Self(all))
    }

    fn rows(&self) -> usize {
        self.0.size()[0] as usize
    }
}

/// Rows in one product.
const ROWS: usize = 256;

/// What a row is to a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The image shows it.
    Shown,
    /// It does not.
    Absent,
    /// Nobody can tell: such a row is neither learned from nor measured.
    Difficult,
}

/// How the machine of a class is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options<'a> {
    /// Costs `C` that are tried, in rising order.
    pub costs: &'a [f64],
    /// What an image that shows the class weighs, beside one that does not.
    pub shown_weight: f64,
    /// Folds of the cross-validation.
    pub folds: usize,
}

/// The machine of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Of each row that was learned from: its factor.
    factors: Vec<f64>,
    /// The cost that cross-validation chose.
    pub cost: f64,
}

impl Machine {
    /// Fits the machine of a class. Its cost has the best mean average precision over the folds; of equals the first.
    /// `products` are those of the rows to learn from.
    ///
    /// # Errors
    /// If fewer rows show the class than there are folds, or fewer do not. If a cost is too large for these rows, or `step`
    /// ends it.
    pub fn fit(products: &Products, marks: &[Mark], options: Options<'_>, step: &mut Step<'_>) -> Result<Self> {
        let Options { costs, folds, .. } = options;
        ensure!(marks.len() == products.rows(), "BUG: {} marks of {} rows", marks.len(), products.rows());
        let known: Vec<usize> = (0..marks.len()).filter(|row| marks[*row] != Mark::Difficult).collect();
        let of_fold = folds_of(&known, marks, folds)?;
        let mut sums = vec![0.0; costs.len()];
        for fold in 0..folds {
            let part = |held: bool| known.iter().zip(&of_fold).filter(move |(_, of)| (**of == fold) == held);
            let rows: Vec<usize> = part(false).map(|(row, _)| *row).collect();
            let asked: Vec<usize> = part(true).map(|(row, _)| *row).collect();
            let shown: Vec<bool> = asked.iter().map(|row| marks[*row] == Mark::Shown).collect();
            let mut newton = Newton::new(products, marks, rows);
            for (cost, sum) in costs.iter().zip(&mut sums) {
                newton.descend(*cost, options.shown_weight, step)?;
                let answers: Vec<f64> = asked.iter().map(|row| newton.answers[*row]).collect();
                *sum += average_precision(&answers, &shown);
            }
        }
        let best = sums.iter().enumerate().fold(0, |best, (at, sum)| if *sum > sums[best] { at } else { best });
        let mut newton = Newton::new(products, marks, known);
        newton.descend(costs[best], options.shown_weight, step)?;
        Ok(Self { factors: newton.factors, cost: costs[best] })
    }
}

/// The answers of several machines to some rows: machines x asked. `known` are the rows that they were fitted on.
pub fn answers(
    machines: &[Machine],
    x: &Activations,
    known: Range<usize>,
    asked: Range<usize>,
    device: Device,
    step: &mut Step<'_>,
) -> Result<Vec<Vec<f64>>> {
    let _guard = tch::no_grad_guard();
    let sides = [machines.len() as i64, known.len() as i64];
    let factors: Vec<f64> = machines.iter().flat_map(|machine| machine.factors.iter().copied()).collect();
    let factors = Tensor::f_from_slice(&factors)?.f_view(sides)?.f_to_device(device)?;
    let bias = factors.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?;
    let mut weights = Tensor::f_zeros([sides[0], x.dims() as i64], (Kind::Double, device))?;
    let blocks = |rows: &Range<usize>| {
        let end = rows.end;
        rows.clone().step_by(ROWS).map(move |start| start..(start + ROWS).min(end))
    };
    for some in blocks(&known) {
        step()?;
        let part = factors.f_narrow(1, (some.start - known.start) as i64, some.len() as i64)?;
        weights = weights.f_add(&part.f_matmul(&x.unit(some, device)?.f_to_kind(Kind::Double)?)?)?;
    }
    let mut found = vec![Vec::with_capacity(asked.len()); machines.len()];
    for some in blocks(&asked) {
        step()?;
        let count = some.len();
        let rows = x.unit(some, device)?.f_to_kind(Kind::Double)?;
        let answers = weights.f_matmul(&rows.f_tr()?)?.f_add(&bias)?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let answers = Vec::<f64>::try_from(answers.f_flatten(0, -1)?)?;
        found.iter_mut().zip(answers.chunks(count)).for_each(|(all, some)| all.extend_from_slice(some));
    }
    Ok(found)
}

/// The fold of each of some rows: both kinds are spread evenly, in their order, as scikit-learn's `StratifiedKFold` does.
fn folds_of(rows: &[usize], marks: &[Mark], folds: usize) -> Result<Vec<usize>> {
    ensure!(folds >= 2, "folds is {folds}, and a cross-validation needs two");
    let first = marks[rows.first().copied().unwrap_or_default()];
    let count = |mark: Mark| rows.iter().filter(|row| marks[**row] == mark).count();
    let (before, all) = (count(first), rows.len());
    let least = before.min(all - before);
    ensure!(least >= folds, "{least} images are too few of one kind for {folds} folds");
    // Sorted by kind, that of the first row first, rows go to the folds in turn. That says how many of each a fold gets.
    let of_kind =
        |fold: usize, is_first: bool| (fold..all).step_by(folds).filter(|at| (*at < before) == is_first).count();
    let mut next = [true, false].map(|is_first| {
        let each = (0..folds).flat_map(move |fold| std::iter::repeat_n(fold, of_kind(fold, is_first)));
        each.collect::<Vec<_>>().into_iter()
    });
    Ok(rows.iter().map(|row| next[usize::from(marks[*row] != first)].next().unwrap_or_default()).collect())
}

/// Newton's method for one class and some of the rows.
struct Newton<'a> {
    products: &'a Tensor,
    signs: Vec<f64>,
    /// Rows to learn from.
    rows: Vec<usize>,
    /// Of every row: its factor in `w`.
    factors: Vec<f64>,
    /// Of every row, those that are held out too: what the machine answers.
    answers: Vec<f64>,
}

impl<'a> Newton<'a> {
    fn new(products: &'a Products, marks: &[Mark], rows: Vec<usize>) -> Self {
        let signs = marks.iter().map(|mark| if *mark == Mark::Shown { 1.0 } else { -1.0 }).collect();
        let none = vec![0.0; marks.len()];
        Self { products: &products.0, signs, rows, factors: none.clone(), answers: none }
    }

    /// Continues where it is: the optimum of a lower cost is a good beginning.
    fn descend(&mut self, cost: f64, shown_weight: f64, step: &mut Step<'_>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let cost_of = |sign: f64| cost * if sign > 0.0 { shown_weight } else { 1.0 };
        let mut value = self.objective(&self.factors, &self.answers, &cost_of);
        for _ in 0..STEPS {
            step()?;
            let lossy = |row: &&usize| self.signs[**row] * self.answers[**row] < 1.0;
            let active: Vec<usize> = self.rows.iter().filter(lossy).copied().collect();
            let (factors, answers) = self.solved(&active, &cost_of)?;
            let mix = |from: &[f64], to: &[f64], rate: f64| -> Vec<f64> {
                from.iter().zip(to).map(|(from, to)| from + rate * (to - from)).collect()
            };
            let mut rate = 1.0;
            let mut better = None;
            for _ in 0..HALVINGS {
                let next = (mix(&self.factors, &factors, rate), mix(&self.answers, &answers, rate));
                let found = self.objective(&next.0, &next.1, &cost_of);
                // Rounding may hide the last of the way.
                if found <= value + 1e-12 * value.abs() {
                    better = Some((next, found));
                    break;
                }
                rate /= 2.0;
            }
            let Some(((factors, answers), found)) = better else { return Ok(()) };
            let is_there = rate == 1.0
                && self.rows.iter().all(|row| {
                    let loses = |answers: &[f64]| self.signs[*row] * answers[*row] < 1.0;
                    loses(&answers) == loses(&self.answers)
                });
            let gained = value - found;
            (self.factors, self.answers, value) = (factors, answers, found);
            if is_there || gained <= 1e-13 * value.abs() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `|w|^2 / 2` and the losses.
    fn objective(&self, factors: &[f64], answers: &[f64], cost_of: &dyn Fn(f64) -> f64) -> f64 {
        let length: f64 = factors.iter().zip(answers).map(|(factor, answer)| factor * answer).sum();
        let loss = |row: &usize| {
            let sign = self.signs[*row];
            cost_of(sign) * (1.0 - sign * answers[*row]).max(0.0).powi(2)
        };
        length / 2.0 + self.rows.iter().map(loss).sum::<f64>()
    }

    /// The factors that would be best if exactly the `active` rows had a loss, and every row's answer then.
    fn solved(&self, active: &[usize], cost_of: &dyn Fn(f64) -> f64) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut factors = vec![0.0; self.factors.len()];
        if active.is_empty() {
            return Ok((factors.clone(), factors));
        }
        let device = self.products.device();
        let of = |each: &dyn Fn(&usize) -> f64| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&active.iter().map(each).collect::<Vec<f64>>())?.f_to_device(device)?)
        };
        let places: Vec<i64> = active.iter().map(|row| *row as i64).collect();
        let places = Tensor::f_from_slice(&places)?.f_to_device(device)?;
        let columns = self.products.f_index_select(1, &places)?;
        let mut square = columns.f_index_select(0, &places)?;
        let _ = square.f_diagonal(0, 0, 1)?.f_add_(&of(&|row| 1.0 / (2.0 * cost_of(self.signs[*row])))?)?;
        let too_large = "the products of these rows leave no room for so large a cost: leave the largest of costs out";
        square = square.f_linalg_cholesky(false).context(too_large)?;
        let signs = of(&|row| self.signs[*row])?.f_unsqueeze(1)?;
        let solution = signs.f_cholesky_solve(&square, false)?;
        let answers = Vec::<f64>::try_from(columns.f_matmul(&solution)?.f_flatten(0, -1)?.f_to_device(Device::Cpu)?)?;
        let solution = Vec::<f64>::try_from(solution.f_flatten(0, -1)?.f_to_device(Device::Cpu)?)?;
        active.iter().zip(solution).for_each(|(row, factor)| factors[*row] = factor);
        Ok((factors, answers))
    }
}

/// Area under the curve of precision over recall, in steps, as scikit-learn's `average_precision_score`; 0 where nothing is
/// shown. Rows with equal answers count together.
pub fn average_precision(answers: &[f64], shown: &[bool]) -> f64 {
    let points = curve(answers, shown);
    let mut before = 0.0;
    points
        .iter()
        .fold(0.0, |area, (recall, precision)| area + (recall - std::mem::replace(&mut before, *recall)) * precision)
}

/// The mean of the largest precision at a recall of 0, 0.1, ... 1 or more, as VOC2007's own program counts.
pub fn eleven_points(answers: &[f64], shown: &[bool]) -> f64 {
    let points = curve(answers, shown);
    let most = |least: f64| {
        let beyond = points.iter().filter(|(recall, _)| *recall >= least - 1e-12);
        beyond.map(|(_, precision)| *precision).fold(0.0, f64::max)
    };
    (0..=10).map(|tenth| most(f64::from(tenth) / 10.0)).sum::<f64>() / 11.0
}

/// Recall and precision of the rows with the largest answers, for each number of rows that ends between unequal answers.
fn curve(answers: &[f64], shown: &[bool]) -> Vec<(f64, f64)> {
    let all = shown.iter().filter(|shown| **shown).count();
    let mut order: Vec<usize> = (0..answers.len()).collect();
    order.sort_by(|a, b| answers[*b].total_cmp(&answers[*a]));
    let (mut right, mut points) = (0, Vec::new());
    for (at, row) in order.iter().enumerate() {
        right += usize::from(shown[*row]);
        let ends = order.get(at + 1).is_none_or(|next| answers[*next] != answers[*row]);
        if ends && all > 0 {
            points.push((right as f64 / all as f64, right as f64 / (at + 1) as f64));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use crate::base::draw::unit;
    use half::f16;

    #[test]
    fn at_the_optimum_every_factor_is_its_rows_loss() {
        let (rows, dims) = (60, 5);
        let mut stream = Seed::of_node(31, "svm").stream("rows", 0);
        let numbers = (0..rows * dims).map(|_| f16::from_f64(unit(&mut stream) - 0.3)).collect();
        let x = Activations::of("some", dims, numbers).unwrap();
        let products = Products::of(&x, 0..rows, Device::Cpu, &mut || Ok(())).unwrap();
        let mark = |row: usize| match (row * 7 % 10, x.row(row)[0] > 0.2) {
            (0, _) => Mark::Difficult,
            (_, shown) if shown != row.is_multiple_of(9) => Mark::Shown,
            _ => Mark::Absent,
        };
        let marks: Vec<Mark> = (0..rows).map(mark).collect();
        let known: Vec<usize> = (0..rows).filter(|row| marks[*row] != Mark::Difficult).collect();
        let mut newton = Newton::new(&products, &marks, known.clone());
        for cost in [0.01, 1.0, 100.0] {
            newton.descend(cost, 2.0, &mut || Ok(())).unwrap();
            for row in 0..rows {
                let sign = newton.signs[row];
                let weight = if sign > 0.0 { 2.0 * cost } else { cost };
                let loss = (1.0 - sign * newton.answers[row]).max(0.0);
                let due = if known.contains(&row) { sign * 2.0 * weight * loss } else { 0.0 };
                assert!((newton.factors[row] - due).abs() < 1e-6 * cost.max(1.0), "{row} at {cost}");
            }
        }
        let options = Options { costs: &[0.1, 1.0], shown_weight: 2.0, folds: 3 };
        let machine = Machine::fit(&products, &marks, options, &mut || Ok(())).unwrap();
        let found = answers(std::slice::from_ref(&machine), &x, 0..rows, 0..rows, Device::Cpu, &mut || Ok(())).unwrap();
        newton = Newton::new(&products, &marks, known);
        newton.descend(machine.cost, 2.0, &mut || Ok(())).unwrap();
        assert!(found[0].iter().zip(&newton.answers).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn precision_counts_equal_answers_together_and_falls_to_none() {
        let shown = [true, false, true, false];
        assert!((average_precision(&[4.0, 3.0, 2.0, 1.0], &shown) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert!((average_precision(&[1.0; 4], &shown) - 0.5).abs() < 1e-12);
        assert_eq!((average_precision(&[1.0; 2], &[false; 2]), eleven_points(&[1.0; 2], &[false; 2])), (0.0, 0.0));
        let points = (6.0 + 5.0 * 2.0 / 3.0) / 11.0;
        assert!((eleven_points(&[4.0, 3.0, 2.0, 1.0], &shown) - points).abs() < 1e-12);
    }
}
