//! whiten: features -> vectors: PCA, scaled to equal variance, of length one; and the whitening itself.

use crate::base::ImageId;
use crate::engine::{Before, Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::rows::{PART, part_name};
use crate::format::whitening::{MEAN, WHITENING, write_mean};
use crate::format::{self, Features, RowsWriter, vectors};
use crate::learn::pca::Scatter;
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
        // Once for the scatter, once to project.
        let steps = 2 * cx.input("features")?.artifact.parts.len() as u64;
        let (mut scatter, mut total) = (None, 0);
        for (at, part) in (1..).zip(cx.input("features")?.each(PART)) {
            let features = Features::open(&[part?])?;
            let scatter: &mut Scatter = match &mut scatter {
                Some(scatter) => scatter,
                none => none.insert(Scatter::new(features.dims())?),
            };
            for batch in 0..features.batches() {
                cx.checkpoint()?;
                scatter.add(&features.batch(batch).1)?;
            }
            total += features.rows();
            cx.progress(at, steps, "parts");
        }
        let scatter = scatter.context("the features have no parts")?;
        let (features, dims) = (scatter.dims(), self.dims as usize);
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
        for (at, part) in (steps / 2 + 1..).zip(cx.input("features")?.each(PART)) {
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
