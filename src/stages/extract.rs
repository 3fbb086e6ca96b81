//! extract: crops, weights -> features: the network's output for every image, in evaluation mode.

use crate::base::ImageId;
use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::rows_writer::RowsPlan;
use crate::format::{Rows, RowsWriter, crops, features};
use crate::learn::net::Net;
use crate::learn::{device, torch};
use crate::stages::decode::parts;
use crate::stages::{CROPS, FEATURES, WEIGHTS, weights};
use anyhow::{Context as _, bail, ensure};
use half::f16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// Images of one part: the unit of resuming. 4,096 x 4,096 f32 are 64 MiB.
const PART_ROWS: usize = 4096;

/// How features are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they come.
    #[default]
    F32,
    /// Rounded to half precision: half the bytes.
    F16,
}

/// Takes every image's feature: the output of the second fully connected layer before its ReLU, dropout off.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Images that pass the network together; 256 is published.
    #[serde(default = "default_batch")]
    #[schemars(range(min = 1, max = 65536))]
    pub batch: u32,
    /// How features are kept.
    #[serde(default)]
    pub precision: Precision,
}

fn default_batch() -> u32 {
    256
}

impl Stage for Extract {
    const VERB: &'static str = "extract";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("crops", CROPS.name), Port::required("weights", WEIGHTS.name)];
    const OUTPUT: Noun = FEATURES;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::UntilUsed;

    fn numerics(&self, device: &str) -> Option<String> {
        Some(torch::numerics_of(device))
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((1..=65536).contains(&self.batch), "batch is {}, not between 1 and 65536", self.batch);
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        let bytes = if self.precision == Precision::F16 { 2 } else { 4 };
        facts.get("images").map(|images| images * 4096 * bytes)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let (crops, side) = crops::open(&cx.input("crops")?.parts("part-"))?;
        let (shape, state) = weights::read(cx.input("weights")?)?;
        ensure!(
            side == shape.input,
            "the crops are {side} pixels wide and the network takes {}; give decode's crop and init's input one value",
            shape.input
        );
        let net = Net::load(&shape, &state, device::open(cx.device().parse()?)?)?;
        drop(state);
        let total = crops.rows();
        for (at, rows) in parts(total, PART_ROWS).enumerate() {
            let name = format!("part-{at:05}.arrow");
            let plan = features::plan(shape.feature_dims(), ImageId(rows.start as u32), rows.len());
            let voice = cx.voice();
            let tell = |done: usize| voice.progress(done as u64, total as u64, "images");
            tell(rows.start);
            cx.shard(&name, |shard| {
                let writer = match self.precision {
                    Precision::F32 => self.part::<f32, _>(shard.create()?, plan, &net, &crops, rows, &tell)?,
                    Precision::F16 => self.part::<f16, _>(shard.create()?, plan, &net, &crops, rows, &tell)?,
                };
                shard.finish(writer, &name)
            })?;
        }
        Ok(())
    }
}

impl Extract {
    fn part<T: Kept, W: std::io::Write>(
        &self,
        out: W,
        plan: RowsPlan,
        net: &Net,
        crops: &Rows<u8>,
        rows: Range<usize>,
        tell: &dyn Fn(usize),
    ) -> anyhow::Result<W> {
        let mut writer = RowsWriter::<T, _>::create(out, plan)?;
        for from in rows.clone().step_by(self.batch as usize) {
            let batch = from..(from + self.batch as usize).min(rows.end);
            let pixels: Vec<u8> = crops.pieces(batch.clone()).flatten().copied().collect();
            let features = net
                .features(&pixels, batch.len())
                .with_context(|| format!("images {} to {}", batch.start, batch.end - 1))?;
            let kept = T::keep(&features).with_context(|| format!("images {} to {}", batch.start, batch.end - 1))?;
            writer.push(&kept)?;
            tell(batch.end);
        }
        Ok(writer.finish()?)
    }
}

/// A precision that features can be kept in.
trait Kept: crate::format::element::Element {
    /// Refuses a feature that this precision does not reach.
    fn keep(features: &[f32]) -> anyhow::Result<Cow<'_, [Self]>>;
}

impl Kept for f32 {
    fn keep(features: &[f32]) -> anyhow::Result<Cow<'_, [Self]>> {
        Ok(Cow::Borrowed(features))
    }
}

impl Kept for f16 {
    fn keep(features: &[f32]) -> anyhow::Result<Cow<'_, [Self]>> {
        let largest = f16::MAX.to_f32();
        if let Some(feature) = features.iter().find(|feature| feature.abs() > largest) {
            bail!("a feature of {feature} is beyond half precision ({largest}); use precision: f32");
        }
        Ok(Cow::Owned(features.iter().map(|feature| f16::from_f32(*feature)).collect()))
    }
}
