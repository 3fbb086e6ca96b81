//! stage: a verb. A pure function from artifacts and parameters to one artifact; the struct is the parameters.

use crate::base::Noun;
use crate::base::tree::Tree;
use crate::base::tree_reader::TreeError;
use crate::base::{Digest, Epoch};
use crate::engine::context::{Context, Inputs};
use crate::engine::device::Device;
use crate::engine::sizes::{InputSizes, Sizes};
use crate::engine::work::{Shard, Work};
use anyhow::bail;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A named, typed input of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name under `from:` in a pipeline.
    pub name: &'static str,
    /// The noun it takes.
    pub noun: &'static str,
    /// Whether the stage also runs without it.
    pub optional: bool,
    /// Beginnings of the names of the parts that the stage reads; none: it reads all. The key ignores other parts.
    pub parts: &'static [&'static str],
}

impl Port {
    /// A port that must be connected.
    pub const fn required(name: &'static str, noun: &'static str) -> Self {
        Self { name, noun, optional: false, parts: &[] }
    }

    /// The same port, restricted to parts whose names begin so.
    pub const fn reading(self, parts: &'static [&'static str]) -> Self {
        Self { parts, ..self }
    }

    /// A port that may be left open.
    pub const fn optional(name: &'static str, noun: &'static str) -> Self {
        Self { name, noun, optional: true, parts: &[] }
    }
}

/// What a running stage occupies; there is one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// The processor's cores.
    Cpu,
    /// The device that networks run on (and the cores, where that is the CPU).
    Device,
    /// Hardly any of either.
    Light,
}

/// How long an artifact's bytes are kept. Its record is kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Always.
    All,
    /// Until everything of this run that reads it has run.
    UntilUsed,
    /// Those of the newest so many epochs; older ones until used.
    Last(u32),
    /// Those of the first, the last two and every N-th epoch; the others until used. The last clusters are of the last
    /// weights but one.
    Every(u32),
}

impl Keep {
    /// Whether the bytes of an epoch's node must be there at the end of a run of `epochs` epochs.
    pub fn stays(self, epoch: Epoch, epochs: u32) -> bool {
        let epoch = epoch.0;
        match self {
            Self::All => true,
            Self::UntilUsed => false,
            Self::Last(count) => epoch > 0 && epoch.saturating_add(count) > epochs,
            Self::Every(step) => epoch > 0 && (epoch == 1 || epoch + 1 >= epochs || epoch.is_multiple_of(step.max(1))),
        }
    }
}

/// Numbers that a pipeline learns while it runs and that later stages check, such as `images`.
pub type Facts = BTreeMap<String, u64>;

/// A verb of the pipeline file. The implementing struct holds the parameters as they are under `with:`.
///
/// Parameters are plain data: texts, integers and finite `f64`. An absent option is not serialised, so that a new
/// option leaves old keys unchanged.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name under `stage:`.
    const VERB: &'static str;
    /// Counts up when the same inputs and parameters give other bytes than before, a new column among them. Where earlier
    /// records are as good, [`Stage::before`] says so.
    const VERSION: u32;
    /// The inputs.
    const INPUTS: &'static [Port];
    /// The output.
    const OUTPUT: Noun;
    /// What it occupies while it runs.
    const POOL: Pool;
    /// How long its output is kept if the pipeline does not say.
    const KEEP: Keep;
    /// Whether it draws random numbers, and so has a seed line in its key.
    const DRAWS: bool = false;
    /// Whether it looks at the outside world ([`Stage::observe`]), which takes long for a large data set.
    const OBSERVES: bool = false;
    /// Whether its output contains the epoch, as a column or as metadata, so that its key does too.
    const TELLS_EPOCH: bool = false;
    /// Whether no pipeline file lists it. The plan adds a node after every node whose noun has tables, if a port takes
    /// it.
    const IMPLIED: bool = false;

    /// Library versions and device kind, if the output's bits depend on them.
    fn numerics(&self, device: &Device) -> Option<String> {
        let _ = device;
        None
    }

    /// What an earlier program wrote in keys of this stage, if its artifacts are as good as today's.
    fn before(&self, device: &Device) -> Before {
        Before { version: Self::VERSION, format: Self::OUTPUT.format, numerics: self.numerics(device), by_parts: false }
    }

    /// The folder outside the store that the artifact's paths are relative to. It says where data is, not what it is,
    /// so it is never part of a key.
    fn source(&self) -> Option<&Path> {
        None
    }

    /// What a stage without inputs sees of the outside world, as a digest for its key.
    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Ok(None)
    }

    /// The key text of a record that another run made. It becomes the node's key, and this stage never runs.
    fn recalls(&self) -> Option<&str> {
        None
    }

    /// Refuses parameters that cannot work, before anything is computed and again when facts become known. The ranges of
    /// the schema (`#[schemars(range)]`) are for editors, so it checks them too.
    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        let _ = facts;
        Ok(())
    }

    /// States the sizes of the output, as far as the parameters and the sizes of the inputs decide them.
    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let _ = inputs;
        Sizes::new()
    }

    /// Refuses input sizes that do not fit. All nodes are asked before anything runs.
    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        let _ = inputs;
        Ok(())
    }

    /// About how many bytes the output will have, as far as the facts say.
    fn estimate(&self, facts: &Facts) -> Option<u64> {
        let _ = facts;
        None
    }

    /// States what a node will do. It reads small tables at most, and depends on nothing but the inputs.
    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work> {
        let _ = inputs;
        Ok(Work::Whole)
    }

    /// Does [`Work::Whole`]: reads inputs, writes parts through `cx`.
    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let _ = cx;
        bail!("BUG: {} works in shards and is to run whole", Self::VERB)
    }

    /// Makes the part of one shard. A pure function of the node's key and the shard: it runs in any order, in any process.
    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let _ = (shard, cx);
        bail!("BUG: {} has no shards", Self::VERB)
    }
}

/// What an earlier program wrote of a stage in its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// [`Stage::VERSION`] then.
    pub version: u32,
    /// The format of the output then; today's readers take it.
    pub format: u32,
    /// [`Stage::numerics`] then.
    pub numerics: Option<String>,
    /// Whether it counted inputs by the parts that the stage reads, as today's does, and not with all their parts.
    pub by_parts: bool,
}

/// A stage with its type erased; every [`Stage`] is one.
pub trait AnyStage: Send + Sync {
    /// The registry's line for it.
    fn def(&self) -> &'static StageDef;
    /// The parameters as JSON.
    fn params(&self) -> serde_json::Value;
    /// See [`Stage::numerics`].
    fn numerics(&self, device: &Device) -> Option<String>;
    /// See [`Stage::before`].
    fn before(&self, device: &Device) -> Before;
    /// See [`Stage::source`].
    fn source(&self) -> Option<PathBuf>;
    /// See [`Stage::observe`].
    fn observe(&self) -> anyhow::Result<Option<Digest>>;
    /// See [`Stage::recalls`].
    fn recalls(&self) -> Option<&str>;
    /// See [`Stage::check`].
    fn check(&self, facts: &Facts) -> anyhow::Result<()>;
    /// See [`Stage::sizes`].
    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes;
    /// See [`Stage::fits`].
    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()>;
    /// See [`Stage::estimate`].
    fn estimate(&self, facts: &Facts) -> Option<u64>;
    /// See [`Stage::work`].
    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work>;
    /// See [`Stage::run`].
    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()>;
    /// See [`Stage::run_shard`].
    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()>;
}

/// A registry line: all that is known of a verb without its parameters.
pub struct StageDef {
    /// [`Stage::VERB`]
    pub verb: &'static str,
    /// [`Stage::VERSION`]
    pub version: u32,
    /// [`Stage::INPUTS`]
    pub inputs: &'static [Port],
    /// [`Stage::OUTPUT`]
    pub output: Noun,
    /// [`Stage::POOL`]
    pub pool: Pool,
    /// [`Stage::KEEP`]
    pub keep: Keep,
    /// [`Stage::DRAWS`]
    pub draws: bool,
    /// [`Stage::OBSERVES`]
    pub observes: bool,
    /// [`Stage::TELLS_EPOCH`]
    pub tells_epoch: bool,
    /// [`Stage::IMPLIED`]
    pub is_implied: bool,
    /// Makes the stage from the parameters of a pipeline file.
    pub parse: fn(&Tree) -> Result<Box<dyn AnyStage>, TreeError>,
    /// The JSON Schema of the parameters.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl StageDef {
    /// Beginnings of the names of the parts that it reads at a port; none: it reads all.
    pub fn reads(&self, port: &str) -> &'static [&'static str] {
        self.inputs.iter().find(|known| known.name == port).map_or(&[], |port| port.parts)
    }
}

/// The verbs that a pipeline may use, sorted by name.
pub type Registry = &'static [&'static StageDef];

/// Holds the registry line of one stage type.
pub trait Registered: Stage {
    /// The line.
    const DEF: StageDef = StageDef {
        verb: Self::VERB,
        version: Self::VERSION,
        inputs: Self::INPUTS,
        output: Self::OUTPUT,
        pool: Self::POOL,
        keep: Self::KEEP,
        draws: Self::DRAWS,
        observes: Self::OBSERVES,
        tells_epoch: Self::TELLS_EPOCH,
        is_implied: Self::IMPLIED,
        parse: |tree| Self::deserialize(tree).map(|stage| Box::new(stage) as Box<dyn AnyStage>),
        schema: |generator| generator.subschema_for::<Self>(),
    };
    /// The line at a permanent address.
    const LINE: &'static StageDef = &Self::DEF;
}

impl<S: Stage> Registered for S {}

impl<S: Stage> AnyStage for S {
    fn def(&self) -> &'static StageDef {
        S::LINE
    }

    fn params(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("BUG: parameters are plain data")
    }

    fn numerics(&self, device: &Device) -> Option<String> {
        Stage::numerics(self, device)
    }

    fn before(&self, device: &Device) -> Before {
        Stage::before(self, device)
    }

    fn source(&self) -> Option<PathBuf> {
        Stage::source(self).map(Path::to_owned)
    }

    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Stage::observe(self)
    }

    fn recalls(&self) -> Option<&str> {
        Stage::recalls(self)
    }

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        Stage::check(self, facts)
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        Stage::sizes(self, inputs)
    }

    fn fits(&self, inputs: &InputSizes<'_>) -> anyhow::Result<()> {
        Stage::fits(self, inputs)
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        Stage::estimate(self, facts)
    }

    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work> {
        Stage::work(self, inputs)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        Stage::run(self, cx)
    }

    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()> {
        Stage::run_shard(self, shard, cx)
    }
}
