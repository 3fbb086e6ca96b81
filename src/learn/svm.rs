//! svm: linear support vector machines with squared hinge loss, one a class, as VISSL measures features on VOC2007.
//!
//! The objective has a loss for each row: `C_i max(0, 1 - y_i (w x_i + b))^2`. To their sum it adds `|w|^2 / 2`, where `b` is
//! one more weight. Its minimum is found in its dual by descent along one row at a time (Hsieh et al. 2008, as in
//! LIBLINEAR). Each pass has an order of its own. Only products of rows are needed, so all classes, costs and folds share
//! one table of them.

use super::order::shuffle;
use crate::base::{Seed, Stream};
use anyhow::{Result, ensure};

/// Passes after which the descent ends in any case; VISSL's number.
const PASSES: usize = 2000;
/// Violation of the optimum's conditions below which it ends; VISSL's number. At the beginning it is 1.
const TOLERANCE: f64 = 1e-4;

/// Products of rows with rows to learn from, with one more for the bias: asked x known.
pub struct Products {
    /// Rows to learn from.
    pub known: usize,
    /// asked x known.
    pub numbers: Vec<f32>,
}

impl Products {
    fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.known..][..self.known]
    }
}

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
    /// Of each row that was learned from: its share in the answers, with its sign.
    shares: Vec<f64>,
    /// The cost that cross-validation chose.
    pub cost: f64,
}

impl Machine {
    /// Fits the machine of a class. Its cost has the best mean average precision over the folds; of equals the first.
    /// `products` are of the rows to learn from with themselves.
    ///
    /// # Errors
    /// If fewer rows show the class, or do not, than there are folds; if `step` ends it.
    pub fn fit(
        products: &Products,
        marks: &[Mark],
        options: Options<'_>,
        step: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let Options { costs, folds, .. } = options;
        ensure!(marks.len() == products.known, "BUG: {} marks of {} rows", marks.len(), products.known);
        let known: Vec<usize> = (0..marks.len()).filter(|row| marks[*row] != Mark::Difficult).collect();
        let of_fold = folds_of(&known, marks, folds)?;
        let mut sums = vec![0.0; costs.len()];
        for fold in 0..folds {
            let part = |held: bool| known.iter().zip(&of_fold).filter(move |(_, of)| (**of == fold) == held);
            let rows: Vec<usize> = part(false).map(|(row, _)| *row).collect();
            let asked: Vec<usize> = part(true).map(|(row, _)| *row).collect();
            let shown: Vec<bool> = asked.iter().map(|row| marks[*row] == Mark::Shown).collect();
            let mut descent = Descent::new(products, marks, rows);
            for (cost, sum) in costs.iter().zip(&mut sums) {
                step()?;
                descent.descend(*cost, options.shown_weight);
                let answers: Vec<f64> = asked.iter().map(|row| descent.answers[*row]).collect();
                *sum += average_precision(&answers, &shown);
            }
        }
        let best = sums.iter().enumerate().fold(0, |best, (at, sum)| if *sum > sums[best] { at } else { best });
        step()?;
        let mut descent = Descent::new(products, marks, known);
        descent.descend(costs[best], options.shown_weight);
        Ok(Self { shares: descent.shares, cost: costs[best] })
    }

    /// Its answers to other rows, whose products with those learned from these are.
    pub fn answers(&self, products: &Products) -> Vec<f64> {
        let rows = products.numbers.chunks(products.known);
        rows.map(|row| row.iter().zip(&self.shares).map(|(product, share)| f64::from(*product) * share).sum()).collect()
    }
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
        (0..folds)
            .flat_map(move |fold| std::iter::repeat_n(fold, of_kind(fold, is_first)))
            .collect::<Vec<_>>()
            .into_iter()
    });
    Ok(rows.iter().map(|row| next[usize::from(marks[*row] != first)].next().unwrap_or_default()).collect())
}

/// The descent for one class and some of the rows.
struct Descent<'a> {
    products: &'a Products,
    signs: Vec<f64>,
    rows: Vec<usize>,
    /// Of every row: its multiplier times its sign.
    shares: Vec<f64>,
    /// Of every row, those that are held out too: what the machine answers.
    answers: Vec<f64>,
    order: Stream,
}

impl<'a> Descent<'a> {
    fn new(products: &'a Products, marks: &[Mark], rows: Vec<usize>) -> Self {
        let signs = marks.iter().map(|mark| if *mark == Mark::Shown { 1.0 } else { -1.0 }).collect();
        let none = vec![0.0; marks.len()];
        let order = Seed::of_node(0, "svm").stream("order", 0);
        Self { products, signs, rows, shares: none.clone(), answers: none, order }
    }

    /// Continues where it is: the optimum of a lower cost is a good beginning.
    fn descend(&mut self, cost: f64, shown_weight: f64) {
        for _ in 0..PASSES {
            shuffle(&mut self.rows, &mut self.order);
            let mut violation = 0.0_f64;
            for at in 0..self.rows.len() {
                let row = self.rows[at];
                let sign = self.signs[row];
                let own = 1.0 / (2.0 * cost * if sign > 0.0 { shown_weight } else { 1.0 });
                let multiplier = self.shares[row] * sign;
                let slope = sign * self.answers[row] - 1.0 + own * multiplier;
                let way = if multiplier > 0.0 { slope } else { slope.min(0.0) };
                violation = violation.max(way.abs());
                if way == 0.0 {
                    continue;
                }
                let products = self.products.row(row);
                let next = (multiplier - slope / (f64::from(products[row]) + own)).max(0.0);
                let change = (next - multiplier) * sign;
                self.shares[row] = next * sign;
                self.answers
                    .iter_mut()
                    .zip(products)
                    .for_each(|(answer, product)| *answer += change * f64::from(*product));
            }
            if violation < TOLERANCE {
                break;
            }
        }
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
