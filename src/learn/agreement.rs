//! agreement: how alike two ways of grouping the same images are, and how even one of them is.

use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// How two groupings of the same images overlap; only pairs that occur are held.
#[derive(Clone, Debug)]
pub struct Contingency {
    /// (group in a, group in b) -> images in both; groups are ranks of the ids that occur.
    cells: Vec<(usize, usize, u64)>,
    a: Vec<u64>,
    b: Vec<u64>,
    images: u64,
}

impl Contingency {
    /// Counts two groupings, one id per image each; refuses two lengths.
    pub fn of(a: &[u32], b: &[u32]) -> Result<Self> {
        ensure!(a.len() == b.len(), "two groupings of {} and of {} images cannot be compared", a.len(), b.len());
        let mut pairs: Vec<(u32, u32)> = a.iter().copied().zip(b.iter().copied()).collect();
        pairs.sort_unstable();
        let (rank_a, mut sizes_a) = ranks(a);
        let (rank_b, mut sizes_b) = ranks(b);
        let mut cells = Vec::new();
        for run in pairs.chunk_by(|x, y| x == y) {
            let (in_a, in_b) = (rank_a[&run[0].0], rank_b[&run[0].1]);
            let count = run.len() as u64;
            sizes_a[in_a] += count;
            sizes_b[in_b] += count;
            cells.push((in_a, in_b, count));
        }
        Ok(Self { cells, a: sizes_a, b: sizes_b, images: a.len() as u64 })
    }

    /// Mutual information in nats.
    pub fn mutual_information(&self) -> f64 {
        let all = (self.images as f64).ln();
        let term = |&(in_a, in_b, count): &(usize, usize, u64)| {
            let log = (count as f64).ln() + all - (self.a[in_a] as f64).ln() - (self.b[in_b] as f64).ln();
            count as f64 / self.images as f64 * log
        };
        self.cells.iter().map(term).sum::<f64>().max(0.0)
    }

    fn nmi(&self, mean: fn(f64, f64) -> f64) -> f64 {
        // Edge cases as scikit-learn: two groupings that each put all in one group agree perfectly.
        if self.a.len() == self.b.len() && self.a.len() <= 1 {
            return 1.0;
        }
        let information = self.mutual_information();
        // A single group tells nothing about the other grouping; what is left of it then is rounding.
        if self.a.len() <= 1 || self.b.len() <= 1 || information <= f64::EPSILON {
            return 0.0;
        }
        (information / mean(entropy(&self.a), entropy(&self.b))).min(1.0)
    }

    /// Mutual information over the arithmetic mean of the entropies: scikit-learn's since 0.22.
    pub fn nmi_arithmetic(&self) -> f64 {
        self.nmi(f64::midpoint)
    }

    /// Mutual information over the geometric mean of the entropies: the paper's.
    pub fn nmi_geometric(&self) -> f64 {
        self.nmi(|a, b| (a * b).sqrt())
    }

    /// Mutual information in nats that two groupings of these sizes share by chance. It is the mean over all
    /// permutations of the images. The overlap of two groups is then hypergeometric (Vinh, Epps and Bailey 2010,
    /// equation 24a).
    pub fn expected_information(&self) -> f64 {
        let (in_a, in_b) = (counted(&self.a), counted(&self.b));
        let pairs = in_a.iter().flat_map(|(x, times)| in_b.iter().map(move |(y, others)| (*x, *y, times * others)));
        pairs.map(|(x, y, times)| times as f64 * shared_by_chance(x, y, self.images)).sum()
    }

    /// Adjusted mutual information: 0 is chance at any number of groups, 1 is the same grouping. The mean of the entropies
    /// is the arithmetic one, as in scikit-learn.
    pub fn ami(&self) -> f64 {
        if self.a.len() == self.b.len() && self.a.len() <= 1 {
            return 1.0;
        }
        let (chance, most) = (self.expected_information(), f64::midpoint(entropy(&self.a), entropy(&self.b)));
        let (over, under) = (self.mutual_information() - chance, most - chance);
        // Where chance alone shares everything, as with groups of one image, equal groupings still agree.
        let is_nothing = |value: f64| value.abs() <= 1e-12 * most.max(1.0);
        match (is_nothing(over), is_nothing(under)) {
            (true, true) => 1.0,
            (_, true) => 0.0,
            _ => over / under,
        }
    }

    /// Adjusted Rand index.
    pub fn ari(&self) -> f64 {
        let squares = |sizes: &mut dyn Iterator<Item = u64>| sizes.map(|n| i128::from(n) * i128::from(n)).sum::<i128>();
        let both = squares(&mut self.cells.iter().map(|cell| cell.2));
        let (in_a, in_b) = (squares(&mut self.a.iter().copied()), squares(&mut self.b.iter().copied()));
        let images = i128::from(self.images);
        // Ordered pairs: together in both, in b alone, in a alone, in neither.
        let together = both - images;
        let (only_b, only_a) = (in_b - both, in_a - both);
        let neither = images * images - both - only_a - only_b;
        if only_a == 0 && only_b == 0 {
            return 1.0;
        }
        let over = 2 * (together * neither - only_a * only_b);
        let under = (together + only_a) * (only_a + neither) + (together + only_b) * (only_b + neither);
        over as f64 / under as f64
    }

    /// Share of the images in the largest b-group of their a-group.
    pub fn purity(&self) -> f64 {
        let mut largest = vec![0; self.a.len()];
        for &(in_a, _, count) in &self.cells {
            largest[in_a] = count.max(largest[in_a]);
        }
        if self.images == 0 { 1.0 } else { largest.iter().sum::<u64>() as f64 / self.images as f64 }
    }

    /// Images in pairs of one a-group and one b-group matched to each other, at most one to one.
    pub fn matched(&self) -> Matched {
        let most = self.a.len().max(self.b.len());
        if most <= OPTIMAL_UP_TO {
            Matched { images: self.match_optimally(), optimal: true }
        } else {
            Matched { images: self.match_greedily(), optimal: false }
        }
    }

    /// Share of the images that are not in the group matched to their former one.
    pub fn moved(&self) -> f64 {
        if self.images == 0 { 0.0 } else { 1.0 - self.matched().images as f64 / self.images as f64 }
    }

    fn match_greedily(&self) -> u64 {
        let mut cells = self.cells.clone();
        cells.sort_by(|x, y| y.2.cmp(&x.2).then((x.0, x.1).cmp(&(y.0, y.1))));
        let (mut taken_a, mut taken_b) = (vec![false; self.a.len()], vec![false; self.b.len()]);
        let mut images = 0;
        for (in_a, in_b, count) in cells {
            if !taken_a[in_a] && !taken_b[in_b] {
                (taken_a[in_a], taken_b[in_b]) = (true, true);
                images += count;
            }
        }
        images
    }

    fn match_optimally(&self) -> u64 {
        let side = self.a.len().max(self.b.len());
        let mut cost = vec![0_i64; side * side];
        for &(in_a, in_b, count) in &self.cells {
            cost[in_a * side + in_b] = -(count as i64);
        }
        (-cheapest_matching(&cost, side)) as u64
    }
}

/// Groups up to which the matching is optimal; the work grows with the cube.
const OPTIMAL_UP_TO: usize = 1024;

/// The outcome of a matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Images in matched pairs of groups.
    pub images: u64,
    /// No better matching exists; otherwise (above 1024 groups) the fullest pairs were taken first.
    pub optimal: bool,
}

/// Cost of the cheapest perfect matching of a square table (Hungarian algorithm with potentials).
fn cheapest_matching(cost: &[i64], side: usize) -> i64 {
    const FREE: usize = usize::MAX;
    let (mut row_price, mut column_price) = (vec![0_i64; side], vec![0_i64; side + 1]);
    let mut row_of = vec![FREE; side + 1];
    for row in 0..side {
        let (mut least, mut before) = (vec![i64::MAX; side], vec![side; side]);
        let mut done = vec![false; side + 1];
        // Column `side` is the one the new row stands in until a free one is reached.
        let mut column = side;
        row_of[side] = row;
        while row_of[column] != FREE {
            done[column] = true;
            let (from, mut step, mut next) = (row_of[column], i64::MAX, side);
            for to in (0..side).filter(|&to| !done[to]) {
                let reduced = cost[from * side + to] - row_price[from] - column_price[to];
                if reduced < least[to] {
                    (least[to], before[to]) = (reduced, column);
                }
                if least[to] < step {
                    (step, next) = (least[to], to);
                }
            }
            for to in 0..=side {
                if done[to] {
                    row_price[row_of[to]] += step;
                    column_price[to] -= step;
                } else {
                    least[to] -= step;
                }
            }
            column = next;
        }
        while column != side {
            row_of[column] = row_of[before[column]];
            column = before[column];
        }
    }
    (0..side).map(|column| cost[row_of[column] * side + column]).sum()
}

/// How the images spread over the clusters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Images in the largest cluster.
    pub largest: u64,
    /// Images in the smallest cluster that holds any.
    pub smallest: u64,
    /// Clusters without an image.
    pub empty: u64,
    /// Entropy of the sizes, in nats.
    pub entropy: f64,
    /// exp(entropy): how many clusters of equal size would be as even.
    pub perplexity: f64,
}

impl Spread {
    /// Measures the clusters of images, ids 0..`k`; refuses an id outside.
    pub fn of(clusters: &[u32], k: u32) -> Result<Self> {
        let mut sizes = vec![0_u64; k as usize];
        for (image, &cluster) in clusters.iter().enumerate() {
            ensure!(cluster < k, "image {image} is in cluster {cluster}, but there are only {k} clusters");
            sizes[cluster as usize] += 1;
        }
        let held: Vec<u64> = sizes.iter().copied().filter(|&size| size > 0).collect();
        let entropy = entropy(&held);
        Ok(Self {
            largest: held.iter().copied().max().unwrap_or(0),
            smallest: held.iter().copied().min().unwrap_or(0),
            empty: (sizes.len() - held.len()) as u64,
            entropy,
            perplexity: entropy.exp(),
        })
    }
}

/// Each size that occurs, and how often.
fn counted(sizes: &[u64]) -> BTreeMap<u64, u64> {
    let mut counted = BTreeMap::new();
    sizes.iter().for_each(|size| *counted.entry(*size).or_default() += 1);
    counted
}

/// The mean over all permutations of the term for a group of `x` and a group of `y` among `images`. Probabilities
/// follow from each other, from the likeliest overlap to both sides, so that no factorial is needed.
fn shared_by_chance(x: u64, y: u64, images: u64) -> f64 {
    /// Below this share of the likeliest overlap's probability the others do not count.
    const TINY: f64 = 1e-18;
    let (xf, yf, all) = (x as f64, y as f64, images as f64);
    let likeliest = ((u128::from(x) + 1) * (u128::from(y) + 1) / (u128::from(images) + 2)) as u64;
    let (fewest, most) = ((x + y).saturating_sub(images), x.min(y));
    let start = likeliest.clamp(fewest, most);
    let term = |n: u64| if n == 0 { 0.0 } else { n as f64 / all * (all * n as f64 / (xf * yf)).ln() };
    // From n to n + 1 the probability grows by this factor.
    let growth = |n: u64| {
        let n = n as f64;
        (xf - n) * (yf - n) / ((n + 1.0) * (all - xf - yf + n + 1.0))
    };
    let (mut weights, mut sum) = (1.0, term(start));
    let mut weight = 1.0;
    for n in start..most {
        weight *= growth(n);
        weights += weight;
        sum += weight * term(n + 1);
        if weight < TINY {
            break;
        }
    }
    weight = 1.0;
    for n in (fewest..start).rev() {
        weight /= growth(n);
        weights += weight;
        sum += weight * term(n);
        if weight < TINY {
            break;
        }
    }
    sum / weights
}

/// Entropy in nats of groups of these sizes, none of them 0.
fn entropy(sizes: &[u64]) -> f64 {
    if sizes.len() <= 1 {
        return 0.0;
    }
    let all = sizes.iter().sum::<u64>() as f64;
    -sizes.iter().map(|&size| size as f64 / all * ((size as f64).ln() - all.ln())).sum::<f64>()
}

/// Rank of each id among those that occur, and as many zeros.
fn ranks(ids: &[u32]) -> (BTreeMap<u32, usize>, Vec<u64>) {
    let mut ranks: BTreeMap<u32, usize> = ids.iter().map(|&id| (id, 0)).collect();
    ranks.values_mut().enumerate().for_each(|(rank, slot)| *slot = rank);
    let zeros = vec![0; ranks.len()];
    (ranks, zeros)
}
