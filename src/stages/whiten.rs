//! whiten: features -> vectors: PCA, scaled to equal variance, of length one; and the whitening itself.

use crate::base::ImageId;
use crate::engine::{Before, Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::rows::{PART, part_name};
use crate::format::scatter::{SCATTER, SavedScatter};
use crate::format::whitening::{MEAN, WHITENING, write_mean};
use crate::format::{self, Features, RowsWriter, vectors};
use crate::learn::pca::{Scatter, ScatterState};
use crate::stages::saves::{Saves, after_step, newest, owner};
use crate::stages::{FEATURES, VECTORS};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Projects features onto their principal components, scales each component, and normalises every vector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whiten {
    /// Components kept; 256 is published.
    #[serde(default = "default_dims")]
    #[schemars(range(min = 1, max = 4096))]
    pub dims: u32,
    /// Each component is scaled by its eigenvalue to this power; -0.5 whitens, 0 only rotates.
    #[serde(default = "default_power")]
    #[schemars(range(min = -1.0, max = 0.0))]
    pub eigen_power: f64,
}

fn default_dims() -> u32 {
    256
}

fn default_power() -> f64 {
    -0.5
}

impl Stage for Whiten {
    const VERB: &'static str = "whiten";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Port] = &[Port::required("features", FEATURES.name)];
    const OUTPUT: Noun = VECTORS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::UntilUsed;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(crate::learn::torch::numerics_of("cpu"))
    }

    fn before(&self, device: &Device) -> Before {
        Before { version: 1, format: Self::OUTPUT.format, numerics: Stage::numerics(self, device), by_parts: false }
    }

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        ensure!((1..=4096).contains(&self.dims), "dims is {}, not between 1 and 4096", self.dims);
        ensure!((-1.0..=0.0).contains(&self.eigen_power), "eigen_power is {}, not between -1 and 0", self.eigen_power);
        facts.get("images").map_or(Ok(()), |images| self.check_at_most(*images, "images"))
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let images = inputs.handed_on("features", "images");
        images.into_iter().chain([("dims", self.dims.into())]).collect()
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        let numbers = inputs.get("features", "dims");
        numbers.map_or(Ok(()), |numbers| self.check_at_most(numbers, "numbers of a feature"))?;
        inputs.get("features", "images").map_or(Ok(()), |images| self.check_at_most(images, "images"))
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * u64::from(self.dims) * 4 + 4096 * u64::from(self.dims) * 4)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let parts = cx.input("features")?.artifact.parts.len() as u64;
        // Once for the scatter, once to project.
        let steps = 2 * parts;
        let scatter = scatter_of(cx, parts)?;
        let (features, dims, total) = (scatter.dims(), self.dims as usize, scatter.rows() as usize);
        let whitening = scatter.finish(dims, self.eigen_power)?;
        let kept = format::Whitening {
            dims: features,
            eigenvalues: whitening.eigenvalues.clone(),
            components: whitening.components.clone(),
        };
        cx.write_part(WHITENING.file, |out| kept.write(out).map(drop))?;
        cx.write_part(MEAN.file, |out| write_mean(out, &whitening.mean).map(drop))?;
        let mut out = cx.output().create()?;
        let mut writer = RowsWriter::<f32, _>::create(&mut out, vectors::plan(dims, ImageId(0), total))?;
        let mut projected = Vec::new();
        for (at, part) in (parts + 1..).zip(cx.input("features")?.each(PART)) {
            let features = Features::open(&[part?])?;
            for batch in 0..features.batches() {
                cx.checkpoint()?;
                let (rows, numbers) = features.batch(batch);
                projected.resize(rows.len() * dims, 0.0);
                whitening.apply(&numbers, &mut projected)?;
                writer.push(&projected)?;
            }
            cx.progress(at, steps, "parts");
        }
        writer.finish()?;
        cx.output().finish(out, &part_name(0))
    }
}

/// The scatter of all `parts`, from the last save on.
fn scatter_of(cx: &mut Context<'_>, parts: u64) -> anyhow::Result<Scatter> {
    let (done, mut scatter) = match saved(cx, parts) {
        Ok(saved) => saved,
        Err(error) => {
            cx.note(format!("what an interrupted run saved cannot be read ({error:#}); starting anew"));
            (0, None)
        }
    };
    let mut saves = Saves::new(None);
    for at in done..parts {
        let part = cx.input("features")?.nth(PART, at as usize).context("the features have too few parts")??;
        let features = Features::open(&[part])?;
        let scatter: &mut Scatter = match &mut scatter {
            Some(scatter) => scatter,
            none => none.insert(Scatter::new(features.dims())?),
        };
        for batch in 0..features.batches() {
            scatter.add(&features.batch(batch).1)?;
        }
        cx.progress(at + 1, 2 * parts, "parts");
        // The last part's sums are no result yet.
        if saves.is_due(at + 1, parts + 1, cx) {
            save(cx, at + 1, scatter)?;
            cx.checkpoint()?;
            saves.restart();
        }
    }
    scatter.context("the features have no parts")
}

fn save(cx: &mut Context<'_>, done: u64, scatter: &Scatter) -> anyhow::Result<()> {
    let ScatterState { rows, shift, sum, bands, pending } = scatter.state()?;
    let (name, saved) = (after_step(done), SavedScatter { rows, shift, sum, bands, pending });
    let metadata = owner(&name, cx);
    cx.save(&name, |out| out.write_part(SCATTER.file, |out| saved.write(out, &metadata).map(drop)))
}

/// Parts that an interrupted run added, and their scatter.
fn saved(cx: &mut Context<'_>, parts: u64) -> anyhow::Result<(u64, Option<Scatter>)> {
    let Some((done, saved)) = newest(cx, parts)? else { return Ok((0, None)) };
    let SavedScatter { rows, shift, sum, bands, pending } = SavedScatter::open(&saved.part(SCATTER.file)?)?;
    Ok((done, Some(Scatter::from_state(ScatterState { rows, shift, sum, bands, pending })?)))
}

impl Whiten {
    fn check_at_most(&self, count: u64, of: &str) -> anyhow::Result<()> {
        let dims = self.dims;
        ensure!(
            count >= u64::from(dims),
            "{count} {of} cannot be whitened to dims = {dims}; dims may be {count} at most"
        );
        Ok(())
    }
}
