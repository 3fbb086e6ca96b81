//! cluster: vectors -> clusters: k-means, with every image's cluster, the centroids, and how it went.

use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::centroids::CENTROIDS;
use crate::format::clusters::{self, ITERATIONS, write_iterations};
use crate::format::rows::PART;
use crate::format::search::{SEARCH, Search};
use crate::format::{self, Centroids, Iteration, vectors};
use crate::learn::assign::Assigner;
use crate::learn::kmeans::Lloyd;
use crate::learn::nearest::assigner_on;
use crate::stages::{CLUSTERS, VECTORS, is_default};
use anyhow::{Context as _, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::iter::once;

/// What makes a vector near to a centroid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Euclidean distance, as published.
    #[default]
    L2,
    /// The angle: centroids have length 1, and so must the vectors, as `whiten` makes them.
    Cosine,
}

/// Where k-means begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Init {
    /// At k of the vectors, each as likely as any other, as published.
    #[default]
    #[serde(rename = "random")]
    Random,
    /// At k of the vectors that lie far apart (k-means++). This costs about as much as one more iteration for each core.
    #[serde(rename = "kmeans++")]
    Spread,
    /// At the centroids of the clusters at the port `initial`.
    #[serde(rename = "given")]
    Given,
}

/// What becomes of a cluster that no vector is nearest to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// It takes half of a fuller one, as in faiss and as published.
    #[default]
    Split,
    /// Its centroid stays where it is, as in DeepCluster-v2.
    Keep,
}

/// Groups the vectors by k-means, as faiss does: random vectors to begin with, empty clusters refilled by splitting.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Number of clusters; 10,000 is published for ImageNet, about ten times the classes there are.
    #[schemars(range(min = 1))]
    pub k: u32,
    /// Iterations; 20 is published.
    #[serde(default = "default_iterations")]
    #[schemars(range(min = 1, max = 10000))]
    pub iterations: u32,
    /// What makes a vector near to a centroid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metric: Metric,
    /// Where k-means begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init: Init,
    /// How often k-means begins, from other vectors each time. The clustering with the smallest sum of squared distances is
    /// kept, as by faiss's `nredo`; 1 is published.
    #[serde(default = "default_redo", skip_serializing_if = "is_once")]
    #[schemars(range(min = 1, max = 100))]
    pub redo: u32,
    /// What becomes of a cluster that no vector is nearest to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub empty: Empty,
}

fn default_iterations() -> u32 {
    20
}

fn default_redo() -> u32 {
    1
}

fn is_once(redo: &u32) -> bool {
    *redo == default_redo()
}

impl Stage for Cluster {
    const VERB: &'static str = "cluster";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("vectors", VECTORS.name).reading(&[PART]),
        Port::optional("initial", CLUSTERS.name).reading(CENTROIDS.files()),
    ];
    const OUTPUT: Noun = CLUSTERS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        ensure!(self.k >= 1, "k is 0; at least one cluster is needed");
        ensure!((1..=10_000).contains(&self.iterations), "iterations is {}, not between 1 and 10000", self.iterations);
        ensure!((1..=100).contains(&self.redo), "redo is {}, not between 1 and 100", self.redo);
        // A run looks for a save after each of them.
        ensure!(
            u64::from(self.redo) * u64::from(self.iterations) <= 10_000,
            "redo x iterations is {}, and may be 10000 at most",
            u64::from(self.redo) * u64::from(self.iterations)
        );
        ensure!(
            self.redo == 1 || self.init != Init::Given,
            "redo is {}, and init is given: every attempt would begin at the same centroids; leave redo out",
            self.redo
        );
        facts.get("images").map_or(Ok(()), |images| self.check_k(*images))
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        inputs.get("vectors", "images").map_or(Ok(()), |images| self.check_k(images))?;
        match (self.init, inputs.has("initial")) {
            (Init::Given, false) => {
                bail!(
                    "init is given, and nothing is at the port initial; add initial: NODE to from. clusters@prev is not there in \
                 the first epoch, and the vectors of each epoch have axes of their own"
                )
            }
            (Init::Random | Init::Spread, true) => {
                bail!("clusters are at the port initial, and init does not read them; set init: given")
            }
            _ => {}
        }
        let k = u64::from(self.k);
        inputs.get("initial", "k").filter(|given| *given != k).map_or(Ok(()), |given| {
            bail!("the clusters at the port initial are {given}, and k is {k}; set k: {given}")
        })?;
        match (inputs.get("vectors", "dims"), inputs.get("initial", "dims")) {
            (Some(dims), Some(given)) if dims != given => {
                bail!("the clusters at the port initial have {given} dimensions, the vectors have {dims}")
            }
            _ => Ok(()),
        }
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let k = [("k", u64::from(self.k))];
        k.into_iter().chain(inputs.handed_on("vectors", "dims")).collect()
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 12 + u64::from(self.k) * 1024)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let table = vectors::open(&cx.input("vectors")?.parts(PART)?)?;
        let vectors: Vec<&[f32]> = table.iter().map(|(_, numbers)| numbers).collect();
        let dims = table.width();
        if self.metric == Metric::Cosine {
            of_length_one(&vectors, dims)?;
        }
        let mut assigner = assigner_on(cx.device())?;
        let mut attempts = self.start(cx, &vectors, dims)?;
        loop {
            self.iterate(cx, &vectors, &mut *assigner, &mut attempts)?;
            attempts.keep_the_better();
            if attempts.number + 1 == self.redo {
                break;
            }
            attempts.save(cx, &ended(attempts.number))?;
            attempts.number += 1;
            attempts.now = self.first(cx, &vectors, dims, attempts.number)?;
        }
        let kept = attempts.best.unwrap_or(attempts.now);
        if self.redo > 1 {
            cx.metric("objective", kept.objective());
        }
        let Attempt { lloyd, iterations } = kept;
        let assigned = lloyd.assign(&vectors, &mut *assigner)?;
        let margin = assigned.margins(&vectors, &lloyd.centroids, dims)?;
        let clusters =
            format::Clusters { k: self.k, cluster_id: assigned.clusters, distance: assigned.distances, margin };
        let sizes = clusters.sizes();
        let empty = sizes.iter().filter(|size| **size == 0).count();
        cx.metric("empty", empty as f64);
        let centroids = Centroids { dims, sizes, centroids: lloyd.centroids };
        cx.write_part(clusters::CLUSTERS.file, |out| clusters.write(out).map(drop))?;
        cx.write_part(CENTROIDS.file, |out| centroids.write(out).map(drop))?;
        cx.write_part(ITERATIONS.file, |out| write_iterations(out, &iterations).map(drop))
    }
}

/// By cosine, vectors of other lengths would not go to the centroid of the smallest angle.
fn of_length_one(vectors: &[&[f32]], dims: usize) -> anyhow::Result<()> {
    const TOLERANCE: f64 = 1e-3;
    for (row, vector) in vectors.iter().flat_map(|slice| slice.chunks(dims)).enumerate() {
        let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        // An image whose feature is the mean of all has no direction, and a vector of zeros.
        ensure!(
            length == 0.0 || (length - 1.0).abs() < TOLERANCE,
            "metric cosine needs vectors of length 1, and vector {row} has length {length:.4}. whiten makes such; for \
             others set metric: l2"
        );
    }
    Ok(())
}

/// Multiplications that a save may be far from the last: seconds of one core.
const SAVE_AFTER: u64 = 1 << 38;

/// From the sizes alone, so that an interrupted run and an undisturbed one save the same. Numbers of all vectors are
/// multiplied with every centroid.
fn iterations_between_saves(numbers: usize, k: usize) -> u32 {
    let each = (numbers as u64).saturating_mul(k as u64).max(1);
    u32::try_from(SAVE_AFTER.div_ceil(each)).unwrap_or(u32::MAX)
}

/// One run of k-means, as far as it came.
#[derive(Clone)]
struct Attempt {
    lloyd: Lloyd,
    iterations: Vec<Iteration>,
}

/// The attempt at work, which counts from 0, and the best of those before it.
struct Attempts {
    number: u32,
    now: Attempt,
    best: Option<Attempt>,
}

/// The part of a save that holds the best attempt; the one at work has the usual name.
const BEST: &str = "best.safetensors";

impl Attempt {
    /// Sum of the squared distances in the last iteration.
    fn objective(&self) -> f64 {
        self.iterations.last().map_or(f64::INFINITY, |last| last.objective)
    }

    fn state(&self) -> Search<'_> {
        Search {
            k: self.lloyd.k,
            dims: self.lloyd.dims,
            centroids: Cow::Borrowed(&self.lloyd.centroids),
            previous: Cow::Borrowed(&self.lloyd.previous),
            iterations: Cow::Borrowed(&self.iterations),
        }
    }

    fn reopen(state: Search<'static>, by: &Cluster) -> anyhow::Result<Self> {
        let mut lloyd = Lloyd::from_centroids(state.centroids.into_owned(), state.dims)?;
        // The saved centroids have length 1 already; another division could change a bit.
        lloyd.spherical = by.metric == Metric::Cosine;
        lloyd.keeps_empty = by.empty == Empty::Keep;
        lloyd.iteration = state.iterations.len() as u32;
        lloyd.previous = state.previous.into_owned();
        Ok(Self { lloyd, iterations: state.iterations.into_owned() })
    }
}

impl Attempts {
    /// Of equal ones the first, as faiss does.
    fn keep_the_better(&mut self) {
        if self.best.as_ref().is_some_and(|best| best.objective() <= self.now.objective()) {
            return;
        }
        self.best = Some(self.now.clone());
    }

    /// The files say after what they were saved. A save deletes those of the one before by their content, and the best
    /// attempt may be the same in both.
    fn save(&self, cx: &mut Context<'_>, name: &str) -> anyhow::Result<()> {
        let owner = format!("{} {name}", cx.key());
        cx.save(name, |out| {
            if let Some(best) = &self.best {
                out.write_part(BEST, |out| best.state().write(out, &owner).map(drop))?;
            }
            out.write_part(SEARCH.file, |out| self.now.state().write(out, &owner).map(drop))
        })
    }
}

fn name_of(attempt: u32, iteration: u32) -> String {
    match attempt {
        0 => format!("after iteration {iteration}"),
        _ => format!("attempt {}, after iteration {iteration}", attempt + 1),
    }
}

/// The save behind an attempt.
fn ended(attempt: u32) -> String {
    format!("attempt {} ended", attempt + 1)
}

impl Cluster {
    fn check_k(&self, images: u64) -> anyhow::Result<()> {
        let k = self.k;
        ensure!(images >= u64::from(k), "{images} images cannot make k = {k} clusters; k may be {images} at most");
        Ok(())
    }

    /// Where an attempt begins.
    fn first(&self, cx: &Context<'_>, vectors: &[&[f32]], dims: usize, attempt: u32) -> anyhow::Result<Attempt> {
        let k = self.k as usize;
        let lloyd = match self.init {
            Init::Random => Lloyd::from_permutation(vectors, dims, k, &cx.seed()?.of_attempt(attempt))?,
            Init::Spread => Lloyd::from_spread(vectors, dims, k, &cx.seed()?.of_attempt(attempt), &mut |drawn| {
                cx.progress(drawn as u64, u64::from(self.k), "first centroids");
                cx.checkpoint()
            })?,
            Init::Given => {
                let given = Centroids::open(&cx.input("initial")?.part(CENTROIDS.file)?)?;
                let (of, has) = (given.centroids.len() / given.dims.max(1), given.dims);
                ensure!(
                    of == k && has == dims,
                    "the clusters at the port initial are {of} of {has} dimensions; these are {k} of {dims}"
                );
                Lloyd::from_centroids(given.centroids, dims)?
            }
        };
        let lloyd = if self.metric == Metric::Cosine { lloyd.by_cosine() } else { lloyd };
        let lloyd = if self.empty == Empty::Keep { lloyd.keeping_empty() } else { lloyd };
        Ok(Attempt { lloyd, iterations: Vec::new() })
    }

    /// The iterations that the attempt at work has still to make.
    fn iterate(
        &self,
        cx: &mut Context<'_>,
        vectors: &[&[f32]],
        assigner: &mut dyn Assigner,
        attempts: &mut Attempts,
    ) -> anyhow::Result<()> {
        let numbers = vectors.iter().map(|slice| slice.len()).sum();
        let every = iterations_between_saves(numbers, self.k as usize);
        let before = u64::from(attempts.number) * u64::from(self.iterations);
        let total = u64::from(self.redo) * u64::from(self.iterations) + 1;
        for done in attempts.now.lloyd.iteration + 1..=self.iterations {
            let report = attempts.now.lloyd.step(vectors, assigner)?;
            let (splits, empty, moved) = (report.splits, report.empty, report.moved);
            attempts.now.iterations.push(Iteration { objective: report.objective, splits, empty, moved });
            cx.metric("objective", report.objective);
            cx.progress(before + u64::from(done), total, "iterations");
            if done.is_multiple_of(every) || cx.is_interrupted() {
                attempts.save(cx, &name_of(attempts.number, done))?;
                cx.checkpoint()?;
            }
        }
        Ok(())
    }

    /// The first attempt, or as far as an interrupted run came.
    fn start(&self, cx: &mut Context<'_>, vectors: &[&[f32]], dims: usize) -> anyhow::Result<Attempts> {
        match self.resumed(cx) {
            Ok(Some(attempts)) => return Ok(attempts),
            Err(error) => cx.note(format!("what an interrupted run saved cannot be read ({error:#}); starting anew")),
            Ok(None) => {}
        }
        Ok(Attempts { number: 0, now: self.first(cx, vectors, dims, 0)?, best: None })
    }

    fn resumed(&self, cx: &mut Context<'_>) -> anyhow::Result<Option<Attempts>> {
        let within = |attempt| (1..=self.iterations).rev().map(move |at| (attempt, name_of(attempt, at)));
        let names = || (0..self.redo).rev().flat_map(|attempt| once((attempt, ended(attempt))).chain(within(attempt)));
        let Some((name, saved)) = cx.saved(names().map(|(_, name)| name))? else { return Ok(None) };
        let reopened = |bytes: &bytes::Bytes| Attempt::reopen(Search::open(bytes)?, self);
        let now = reopened(&saved.part(SEARCH.file)?)?;
        let best = saved.part_if_any(BEST)?.map(|bytes| reopened(&bytes)).transpose()?;
        let number = names().find(|(_, other)| *other == name).map(|(attempt, _)| attempt);
        let number = number.with_context(|| format!("BUG: no save of this name was asked for: {name:?}"))?;
        Ok(Some(Attempts { number, now, best }))
    }
}
