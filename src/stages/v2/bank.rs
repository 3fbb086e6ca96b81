//! bank: weights -> vectors: what training saw of each image, for k-means.

use crate::base::ImageId;
use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::RowsWriter;
use crate::format::rows::part_name;
use crate::format::vectors::{self, BANK, bank_name};
use crate::learn::train_v2::BANKED;
use crate::stages::{VECTORS, WEIGHTS};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Takes the projections that `train_v2` or `begin_v2` made of one crop of each image.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// Which crop: 0 or 1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub crop: u32,
}

impl Stage for Bank {
    const VERB: &'static str = "bank";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("weights", WEIGHTS.name).reading(&[BANK])];
    const OUTPUT: Noun = VECTORS;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::UntilUsed;

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((self.crop as usize) < BANKED, "crop is {}; the bank has crops 0 and 1", self.crop);
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        inputs.get("weights", "projected").map(|dims| ("dims", dims)).into_iter().collect()
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        has_projection(inputs)
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 512)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let part = cx.input("weights")?.part_if_any(&bank_name(self.crop as usize))?;
        let part = part.context("these weights have no bank; only begin_v2 and train_v2 make weights with one")?;
        let rows = vectors::open(&[part])?;
        let plan = vectors::plan(rows.width(), ImageId(0), rows.rows());
        cx.write_part(&part_name(0), |out| {
            let mut writer = RowsWriter::<f32, _>::create(out, plan)?;
            rows.iter().try_for_each(|(_, numbers)| writer.push(numbers))?;
            writer.finish().map(drop)
        })
    }
}

/// Refuses weights that are known to have no projection.
pub(super) fn has_projection(inputs: &InputSizes<'_>) -> anyhow::Result<()> {
    let is_known = inputs.get("weights", "input").is_some();
    ensure!(
        !is_known || inputs.get("weights", "projected").is_some(),
        "the weights have no projection and no bank; under once, add a node of the stage begin_v2 that reads them"
    );
    Ok(())
}
