//! stage: a verb. A pure function from artifacts and parameters to one artifact; the struct is the parameters.

use crate::base::Epoch;
use crate::base::tree::Tree;
use crate::base::tree_reader::TreeError;
use crate::engine::Context;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an artifact is: its noun and the version of its file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noun {
    /// Such as `clusters`.
    pub name: &'static str,
    /// Counts up when the files change in a way that old readers would misread.
    pub format: u32,
}

/// A named, typed input of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name under `from:` in a pipeline.
    pub name: &'static str,
    /// The noun it takes.
    pub noun: &'static str,
    /// Whether the stage also runs without it.
    pub optional: bool,
}

impl Port {
    /// A port that must be connected.
    pub const fn required(name: &'static str, noun: &'static str) -> Self {
        Self { name, noun, optional: false }
    }

    /// A port that may be left open.
    pub const fn optional(name: &'static str, noun: &'static str) -> Self {
        Self { name, noun, optional: true }
    }
}

/// What a running stage occupies; there is one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pool {
    /// The processor's cores.
    Cpu,
    /// The device that networks run on (and the cores, where that is the CPU).
    Device,
    /// Neither to speak of.
    Light,
}

/// How long an artifact's bytes stay. Its record stays for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Always.
    All,
    /// Until everything of this run that reads it has run.
    UntilUsed,
    /// Those of the newest so many epochs; older ones until used.
    Last(u32),
    /// Those of the first, the last and every so manieth epoch; the others until used.
    Every(u32),
}

impl Keep {
    /// Whether the bytes of an epoch's node are to be there when a run of so many epochs is over.
    pub fn stays(self, epoch: Epoch, epochs: u32) -> bool {
        let epoch = epoch.0;
        match self {
            Self::All => true,
            Self::UntilUsed => false,
            Self::Last(count) => epoch > 0 && epoch.saturating_add(count) > epochs,
            Self::Every(step) => epoch > 0 && (epoch == 1 || epoch == epochs || epoch.is_multiple_of(step.max(1))),
        }
    }
}

/// Numbers that become known while a pipeline runs and that later stages are checked against, such as `images`.
pub type Facts = BTreeMap<String, u64>;

/// A verb of the pipeline file. The implementing struct holds the parameters as they stand under `with:`.
///
/// Parameters are plain data: numbers are `f64` or integers and finite, an absent option is left out when serialised,
/// so that adding one leaves the old keys alone.
pub trait Stage: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The name under `stage:`.
    const VERB: &'static str;
    /// Counts up when the same inputs and parameters give other bytes than before.
    const VERSION: u32;
    /// The inputs.
    const INPUTS: &'static [Port];
    /// The output.
    const OUTPUT: Noun;
    /// What it occupies while it runs.
    const POOL: Pool;
    /// How long its output stays when the pipeline does not say.
    const KEEP: Keep;
    /// Whether it draws random numbers, and so has a seed line in its key.
    const DRAWS: bool = false;
    /// Small parts of its output that people read: they stay in the store when the rest goes.
    const SPARED: &'static [&'static str] = &[];

    /// Library versions and device kind, where the output's bits depend on them. `device` is such as `cpu` or `cuda:0`.
    fn numerics(&self, device: &str) -> Option<String> {
        let _ = device;
        None
    }

    /// The folder outside the store that the artifact's paths are relative to. It is where data lives, not what it is,
    /// so it is never part of a key.
    fn source(&self) -> Option<&Path> {
        None
    }

    /// What a stage without inputs sees of the outside world, as text for its key. `cache` is a folder for what may be
    /// remembered between runs.
    fn observe(&self, cache: &Path) -> anyhow::Result<Option<String>> {
        let _ = cache;
        Ok(None)
    }

    /// Refuses parameters that cannot work, before anything is computed and again as facts become known.
    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        let _ = facts;
        Ok(())
    }

    /// About how many bytes the output will have, as far as the facts tell.
    fn estimate(&self, facts: &Facts) -> Option<u64> {
        let _ = facts;
        None
    }

    /// Does the work: reads inputs, writes parts through `cx`.
    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()>;
}

/// A stage with its type erased; nobody implements it by hand.
pub trait AnyStage: Send + Sync {
    /// The registry's line for it.
    fn def(&self) -> &'static StageDef;
    /// The parameters as JSON.
    fn params(&self) -> serde_json::Value;
    /// See [`Stage::numerics`].
    fn numerics(&self, device: &str) -> Option<String>;
    /// See [`Stage::source`].
    fn source(&self) -> Option<PathBuf>;
    /// See [`Stage::observe`].
    fn observe(&self, cache: &Path) -> anyhow::Result<Option<String>>;
    /// See [`Stage::check`].
    fn check(&self, facts: &Facts) -> anyhow::Result<()>;
    /// See [`Stage::estimate`].
    fn estimate(&self, facts: &Facts) -> Option<u64>;
    /// See [`Stage::run`].
    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()>;
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
    /// [`Stage::SPARED`]
    pub spared: &'static [&'static str],
    /// Makes the stage from its parameters as they were written.
    pub parse: fn(&Tree) -> Result<Box<dyn AnyStage>, TreeError>,
    /// The JSON Schema of the parameters.
    pub schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
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
        spared: Self::SPARED,
        parse: |tree| Self::deserialize(tree).map(|stage| Box::new(stage) as Box<dyn AnyStage>),
        schema: |generator| generator.subschema_for::<Self>(),
    };
    /// The line at an address that lasts.
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

    fn numerics(&self, device: &str) -> Option<String> {
        Stage::numerics(self, device)
    }

    fn source(&self) -> Option<PathBuf> {
        Stage::source(self).map(Path::to_owned)
    }

    fn observe(&self, cache: &Path) -> anyhow::Result<Option<String>> {
        Stage::observe(self, cache)
    }

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        Stage::check(self, facts)
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        Stage::estimate(self, facts)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        Stage::run(self, cx)
    }
}
