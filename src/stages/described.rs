//! described: a stage that describes itself and cannot run, so that the linker drops what it would run.

use crate::base::Digest;
use crate::engine::{Before, Device, Facts, InputSizes, Inputs, Keep, Noun, Pool, Port, Sizes, Stage, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

// `S` in all but `run`, with the keys and the schema of `S`. A doc comment would become the schema's description.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Described<S>(S);

impl<S: Stage> Stage for Described<S> {
    const VERB: &'static str = S::VERB;
    const VERSION: u32 = S::VERSION;
    const INPUTS: &'static [Port] = S::INPUTS;
    const OUTPUT: Noun = S::OUTPUT;
    const POOL: Pool = S::POOL;
    const KEEP: Keep = S::KEEP;
    const DRAWS: bool = S::DRAWS;
    const OBSERVES: bool = S::OBSERVES;
    const IMPLIED: bool = S::IMPLIED;
    const TELLS_EPOCH: bool = S::TELLS_EPOCH;

    fn numerics(&self, device: &Device) -> Option<String> {
        Stage::numerics(&self.0, device)
    }

    fn source(&self) -> Option<&Path> {
        Stage::source(&self.0)
    }

    fn before(&self, device: &Device) -> Before {
        Stage::before(&self.0, device)
    }

    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Stage::observe(&self.0)
    }

    fn recalls(&self) -> Option<&str> {
        Stage::recalls(&self.0)
    }

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        Stage::check(&self.0, facts)
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        Stage::sizes(&self.0, inputs)
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        Stage::fits(&self.0, inputs)
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        Stage::estimate(&self.0, facts)
    }

    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work> {
        Stage::work(&self.0, inputs)
    }
}
