//! init: nothing -> weights: a network as it is before the first epoch.

use crate::base::Digest;
use crate::engine::{Context, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::Metadata;
use crate::learn::arch::{Arch, NetShape, Stem, is_usual};
use crate::learn::initial::initial_trunk;
use crate::learn::tensors::StateDict;
use crate::stages::outside::Outside;
use crate::stages::{FIRST_WEIGHTS, weights};
use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Draws a network's initial parameters as the published code does, or takes them from a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Init {
    /// Which network.
    pub arch: Arch,
    /// Whether fixed grey and Sobel filters stand before it, as in the published runs; otherwise it sees RGB.
    #[serde(default = "default_sobel")]
    pub sobel: bool,
    /// Side of the square input, in pixels; 224 is published.
    #[serde(default = "default_input")]
    #[schemars(range(min = 1, max = 4096))]
    pub input: u32,
    /// How a ResNet begins; AlexNet and VGG16 have no choice.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub stem: Stem,
    /// A safetensors file with the trunk's tensors, by torchvision's names, the published checkpoints' or dcpipe's own.
    /// A head and an optimizer's numbers in it are left out. If this is left out, the parameters are drawn.
    #[serde(default, skip_serializing)]
    pub from: Option<PathBuf>,
}

fn default_sobel() -> bool {
    true
}

fn default_input() -> u32 {
    224
}

impl Init {
    fn shape(&self) -> NetShape {
        NetShape { stem: self.stem, ..NetShape::new(self.arch, self.sobel, self.input) }
    }
}

impl Stage for Init {
    const VERB: &'static str = "init";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = FIRST_WEIGHTS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::UntilUsed;
    const DRAWS: bool = true;
    const OBSERVES: bool = true;

    /// The content of the file that it reads. A file that does not fit is refused before anything runs.
    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        let Some(path) = &self.from else { return Ok(None) };
        let file = Outside::open(path)?;
        file.trunk(&self.shape())?;
        Ok(Some(file.digest()))
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        self.shape().check()
    }

    fn sizes(&self, _: &InputSizes<'_>) -> Sizes {
        let shape = self.shape();
        let smallest = shape.smallest().map(|side| ("smallest", side.into()));
        [("input", self.input.into()), ("dims", shape.feature_dims() as u64)].into_iter().chain(smallest).collect()
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let shape = self.shape();
        let state = match &self.from {
            Some(path) => taken(path, &shape, cx)?,
            None => initial_trunk(&shape, cx.seed()?)?,
        };
        weights::write(cx.output(), &shape, &state, None, &Metadata::new())
    }
}

fn taken(path: &Path, shape: &NetShape, cx: &Context<'_>) -> anyhow::Result<StateDict> {
    let file = Outside::open(path)?;
    let trunk = file.trunk(shape)?;
    let (count, from) = (trunk.tensors.len(), path.display());
    let left_out = match trunk.left_out.as_slice() {
        [] => String::new(),
        names => format!("; left out: {}", names.join(", ")),
    };
    cx.note(format!("{count} tensors from {from}{left_out}"));
    weights::read_outside(&trunk, shape).with_context(|| format!("reading {from}"))
}
