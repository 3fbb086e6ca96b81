//! extract: crops, weights -> features: the network's output for every image, in evaluation mode.

use crate::base::Part;
use crate::engine::{
    Before, Context, Device, Facts, InputSizes, Inputs, Keep, Noun, Pool, Port, Shard, Sizes, Stage, Work,
};
use crate::format::rows::part_name;
use crate::format::{Rows, RowsWriter, crops, features};
use crate::learn::arch::NetShape;
use crate::learn::device;
use crate::learn::net::Net;
use crate::stages::{CROPS, FEATURES, WEIGHTS, weights};
use anyhow::{Context as _, bail, ensure};
use half::f16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

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

/// Takes every image's feature: the output of the second fully connected layer before its ReLU, dropout off. Of a ResNet
/// it is the mean over the last map.
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
    /// Whether these features have a key of their own, so that no run whose features are equal depends on them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

fn default_batch() -> u32 {
    256
}

impl Stage for Extract {
    const VERB: &'static str = "extract";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Port] = &[
        Port::required("crops", CROPS.name),
        Port::required("weights", WEIGHTS.name).reading(&[weights::WEIGHTS_PART]),
    ];
    const OUTPUT: Noun = FEATURES;
    const POOL: Pool = Pool::Device;
    const KEEP: Keep = Keep::UntilUsed;

    fn numerics(&self, device: &Device) -> Option<String> {
        Some(device.numerics.clone())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((1..=65536).contains(&self.batch), "batch is {}, not between 1 and 65536", self.batch);
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let sizes = [inputs.handed_on("crops", "images"), inputs.handed_on("weights", "dims")];
        sizes.into_iter().flatten().collect()
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        let both = inputs.get("crops", "side").zip(inputs.get("weights", "input"));
        both.map_or(Ok(()), |(side, input)| check_side(side, input))
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        let bytes = if self.precision == Precision::F16 { 2 } else { 4 };
        facts.get("images").map(|images| images * 4096 * bytes)
    }

    fn before(&self, device: &Device) -> Before {
        Before { version: 1, format: 1, numerics: self.numerics(device), by_parts: false }
    }

    /// A shard for each part of the crops, so that an unchanged part makes the same features.
    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work> {
        let parts = &inputs.at("crops")?.artifact.parts;
        let first = parts.first().context("the crops have no parts")?;
        let (crops, _) = crops::open(&[inputs.at("crops")?.part(&first.name)?])?;
        // For progress only, a part's rows by its bytes: to read them, thousands of parts would be mapped.
        let (row, head) = (crops.width() as u64, first.bytes.saturating_sub((crops.rows() * crops.width()) as u64));
        let mut end = 0;
        let shard = |(at, part): (usize, &Part)| {
            let start = end;
            end += part.bytes.saturating_sub(head) / row;
            Shard::new(part_name(at), start..end).reading("crops", vec![part.name.clone()])
        };
        Ok(Work::Shards(parts.iter().enumerate().map(shard).collect()))
    }

    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let loaded = cx.shared(|cx| Loaded::open(cx))?;
        let part = shard.reads.iter().find_map(|read| read.parts.first()).context("BUG: a shard that reads no part")?;
        let (crops, side) = crops::open(&[cx.input("crops")?.part(part)?])?;
        let input = loaded.shape.input;
        check_side(side.into(), input.into())?;
        let voice = cx.voice();
        let tell = |done: usize| {
            voice.progress(done as u64, crops.rows() as u64, "images");
            voice.checkpoint()
        };
        let out = cx.output().create()?;
        let out = match self.precision {
            Precision::F32 => self.part::<f32, _>(out, &loaded, &crops, &tell)?,
            Precision::F16 => self.part::<f16, _>(out, &loaded, &crops, &tell)?,
        };
        cx.output().finish(out, &shard.part)?;
        cx.share(loaded);
        Ok(())
    }
}

fn check_side(side: u64, input: u64) -> anyhow::Result<()> {
    ensure!(
        side == input,
        "the crops are {side} pixels wide and the network takes {input}; give decode's crop and init's input one value"
    );
    Ok(())
}

/// What all shards need.
struct Loaded {
    net: Net,
    shape: NetShape,
}

impl Loaded {
    fn open(cx: &Context<'_>) -> anyhow::Result<Self> {
        let (shape, state) = weights::read(cx.input("weights")?)?;
        let net = Net::load(&shape, &state, device::open(cx.device().parse()?)?)?;
        Ok(Self { net, shape })
    }
}

impl Extract {
    fn part<T: Kept, W: std::io::Write>(
        &self,
        out: W,
        loaded: &Loaded,
        crops: &Rows<u8>,
        tell: &dyn Fn(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<W> {
        let rows = crops.rows();
        let mut writer = RowsWriter::<T, _>::create(out, features::plan(loaded.shape.feature_dims(), rows))?;
        let mut pixels = Vec::with_capacity((self.batch as usize).min(rows) * crops.width());
        for from in (0..rows).step_by(self.batch as usize) {
            let batch = from..(from + self.batch as usize).min(rows);
            pixels.clear();
            crops.pieces(batch.clone()).for_each(|piece| pixels.extend_from_slice(piece));
            let which = || format!("images {} to {} of the part", batch.start, batch.end - 1);
            let features = loaded.net.features(&pixels, batch.len()).with_context(which)?;
            writer.push(&T::keep(&features).with_context(which)?)?;
            tell(batch.end)?;
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
