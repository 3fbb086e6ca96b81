//! toys: stages of a few lines that turn numbers into numbers, and the words in which the engine's tests are written.

use crate::hookfs::HookFs;
use crate::simfs::SimFs;
use dcpipe::base::{Artifact, Digest, Epoch};
use dcpipe::engine::crew::IN_FLIGHT;
use dcpipe::engine::event::Collect;
use dcpipe::engine::fate::Fate;
use dcpipe::engine::forecast::{Line, forecast};
use dcpipe::engine::{
    AnyStage, Cancel, Context, Device, EngineError, Event, Executor, Facts, Inputs, Keep, Node, NodeId, Noun, Outcome,
    Plan, PlanError, Pool, Port, Settings, Shard, Stage, Work,
};
use dcpipe::store::{Disk, Store, StoreIo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const NUMBER: Noun = Noun::plain("number", 1);
const PORTS: &[Port] = &[Port::optional("a", "number"), Port::optional("b", "number"), Port::optional("c", "number")];

/// The sum of what is connected.
pub fn sum(cx: &Context<'_>) -> anyhow::Result<u64> {
    let mut sum = 0u64;
    for port in ["a", "b", "c"] {
        for bytes in cx.input_if_any(port).map_or(Ok(Vec::new()), |input| input.parts("n"))? {
            sum = sum.wrapping_add(std::str::from_utf8(&bytes)?.trim().parse::<u64>()?);
        }
    }
    Ok(sum)
}

pub fn write(cx: &mut Context<'_>, number: u64) -> anyhow::Result<()> {
    cx.write_part("n", |out| writeln!(out, "{number}"))
}

macro_rules! toy {
    ($name:ident, $verb:literal, $pool:ident, $inputs:expr, draws: $draws:literal) => {
        const VERB: &'static str = $verb;
        const VERSION: u32 = 1;
        const INPUTS: &'static [Port] = $inputs;
        const OUTPUT: Noun = NUMBER;
        const POOL: Pool = Pool::$pool;
        const KEEP: Keep = Keep::All;
        const DRAWS: bool = $draws;
    };
}

/// A number out of nowhere, which also becomes the fact `images`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Number {
    pub value: u64,
}

impl Stage for Number {
    toy!(Number, "number", Light, &[], draws: false);

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        cx.fact("images", self.value);
        write(cx, self.value)
    }
}

/// The sum of the inputs, and `add`, and 1: no two different inputs give the same.
#[derive(Serialize, Deserialize, JsonSchema, Default)]
pub struct Add {
    pub add: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub option: Option<u64>,
}

impl Stage for Add {
    toy!(Add, "add", Cpu, PORTS, draws: false);

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let sum = sum(cx)?;
        write(cx, sum.wrapping_add(self.add + 1))
    }
}

/// The smaller of its input and `at`: many inputs give the same.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Cap {
    pub at: u64,
}

impl Stage for Cap {
    toy!(Cap, "cap", Light, PORTS, draws: false);

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let sum = sum(cx)?;
        write(cx, sum.min(self.at))
    }
}

/// The sum of its inputs and a random number.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Draw {}

impl Stage for Draw {
    toy!(Draw, "draw", Device, PORTS, draws: true);

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let drawn = cx.seed()?.number("number", 0) as u64 >> 8;
        let sum = sum(cx)?;
        write(cx, sum.wrapping_add(drawn))
    }
}

/// Refuses fewer than `images` images.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Need {
    pub images: u64,
}

impl Stage for Need {
    toy!(Need, "need", Cpu, PORTS, draws: false);

    fn check(&self, facts: &Facts) -> anyhow::Result<()> {
        match facts.get("images") {
            Some(images) if *images < self.images => {
                anyhow::bail!(
                    "{} images are needed and there are {images}; the largest that works is {images}",
                    self.images
                )
            }
            _ => Ok(()),
        }
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let sum = sum(cx)?;
        write(cx, sum)
    }
}

/// The number in a file outside the store, as a source stage that looks at it.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Look {
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// Where the number is read; if that is another file, the one that was looked at is changed meanwhile.
    #[serde(skip_serializing)]
    pub read: PathBuf,
}

impl Look {
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), read: path.to_owned() }
    }
}

impl Stage for Look {
    toy!(Look, "look", Light, &[], draws: false);
    const OBSERVES: bool = true;

    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Ok(Some(Digest::of(&std::fs::read(&self.path)?)))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let number: u64 = std::fs::read_to_string(&self.read)?.trim().parse()?;
        if self.read != self.path {
            std::fs::write(&self.path, number.to_string())?;
        }
        write(cx, number)
    }
}

type Does = dyn Fn(&mut Context<'_>) -> anyhow::Result<()> + Send + Sync;

/// Does whatever the test says: fails, panics, interrupts, gives something else each time. What it does is no part of
/// its key, so a test can change it between two runs.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Act {
    pub part: String,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Arc<Does>>,
}

impl Act {
    pub fn new(part: &str, work: impl Fn(&mut Context<'_>) -> anyhow::Result<()> + Send + Sync + 'static) -> Self {
        Self { part: part.to_owned(), work: Some(Arc::new(work)) }
    }
}

impl Stage for Act {
    toy!(Act, "act", Light, PORTS, draws: false);

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        self.work.as_ref().expect("a toy with something to do")(cx)
    }
}

/// One part a shard: `count` numbers from the sum of the inputs upwards. `before` is called before each is made, and is no
/// part of the key.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Shards {
    pub count: u64,
    /// Whether two shards have one name, as no stage's may.
    #[serde(skip)]
    #[schemars(skip)]
    pub is_wrong: bool,
    #[serde(skip)]
    #[schemars(skip)]
    pub before: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

impl Shards {
    pub fn new(count: u64, before: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { count, is_wrong: false, before: Some(Arc::new(before)) }
    }
}

impl Stage for Shards {
    toy!(Shards, "shards", Light, PORTS, draws: false);

    fn work(&self, _: &Inputs<'_>) -> anyhow::Result<Work> {
        let number = |i| if self.is_wrong { 0 } else { i };
        Ok(Work::Shards((0..self.count).map(|i| Shard::new(format!("n{:03}", number(i)), i..i + 1)).collect()))
    }

    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()> {
        if let Some(before) = &self.before {
            before(shard.rows.start);
        }
        let number = sum(cx)? + shard.rows.start;
        cx.write_part(&shard.part, |out| writeln!(out, "{number}"))
    }
}

/// What tests run on.
pub fn cpu() -> &'static Device {
    static CPU: std::sync::LazyLock<Device> = std::sync::LazyLock::new(|| Device {
        name: "cpu".to_owned(),
        numerics: dcpipe::learn::torch::numerics_of("cpu"),
    });
    &CPU
}

/// Builds a plan, node by node.
pub struct Draft {
    name: String,
    nodes: Vec<Node>,
    epochs: u32,
}

impl Draft {
    pub fn new() -> Self {
        Self { name: "toys".to_owned(), nodes: Vec::new(), epochs: 0 }
    }

    /// Adds `name` (such as `sum@2`, or `sum` for epoch 0) reading `from` (port, name) pairs.
    pub fn node(mut self, name: &str, stage: impl Stage, from: &[(&'static str, &str)]) -> Self {
        let (noun, epoch) = split(name);
        let inputs = from.iter().map(|(port, from)| (*port, self.id(from))).collect();
        let stage: Arc<dyn AnyStage> = Arc::new(stage);
        self.epochs = self.epochs.max(epoch.0);
        self.nodes.push(Node {
            noun,
            epoch,
            keep: stage.def().keep,
            stage,
            inputs,
            asked_for: false,
            is_implied: false,
        });
        self
    }

    /// Keeps the last node's bytes until they are used.
    pub fn until_used(self) -> Self {
        self.keep(Keep::UntilUsed)
    }

    /// Says how long the last node's bytes stay.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.nodes.last_mut().expect("a node").keep = keep;
        self
    }

    /// Names the run.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Has the last node's bytes asked for.
    pub fn asked_for(mut self) -> Self {
        self.nodes.last_mut().expect("a node").asked_for = true;
        self
    }

    fn id(&self, name: &str) -> NodeId {
        let (noun, epoch) = split(name);
        let at = self.nodes.iter().position(|node| node.noun == noun && node.epoch == epoch);
        NodeId(at.unwrap_or_else(|| panic!("no node {name} yet")) as u32)
    }

    pub fn try_plan(self) -> Result<Plan, PlanError> {
        Plan::new(self.name, 31, self.epochs, self.nodes)
    }

    pub fn plan(self) -> Plan {
        self.try_plan().expect("a good plan")
    }
}

fn split(name: &str) -> (String, Epoch) {
    let (noun, epoch) = name.split_once('@').unwrap_or((name, "0"));
    (noun.to_owned(), Epoch(epoch.parse().expect("an epoch")))
}

/// DeepCluster's shape with numbers: once images and weights; each epoch features from both, vectors, clusters, weights.
pub fn little(epochs: u32, k: u64) -> Draft {
    let mut draft =
        Draft::new().node("images", Number { value: 100 }, &[]).node("weights", Number { value: 7 }, &[]).until_used();
    for epoch in 1..=epochs {
        let at = |noun: &str| format!("{noun}@{epoch}");
        let weights = format!("weights@{}", epoch - 1);
        draft = draft
            .node(&at("features"), Add::default(), &[("a", "images"), ("b", &weights)])
            .until_used()
            .node(&at("vectors"), Add { add: 1, ..Add::default() }, &[("a", &at("features"))])
            .until_used()
            .node(&at("clusters"), Add { add: k, ..Add::default() }, &[("a", &at("vectors"))])
            .node(&at("weights"), Draw {}, &[("a", &at("clusters")), ("b", &weights)]);
    }
    draft
}

/// A store in a folder of its own, which is gone with the value.
pub struct TestSpace {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub cancel: Cancel,
}

impl TestSpace {
    /// Without fsync: what the tests of the engine ask does not depend on it.
    pub fn new() -> Self {
        Self::on(Arc::new(HookFs::unsynced(Disk)))
    }

    /// Where nothing touches the store's files but the store.
    pub fn in_memory() -> Self {
        Self::on(Arc::new(HookFs::unsynced(SimFs::new())))
    }

    pub fn on(io: Arc<dyn StoreIo>) -> Self {
        // In memory where there is such a place: some tests write thousands of files.
        let memory = tempfile::tempdir_in("/dev/shm");
        let folder = memory.or_else(|_| tempfile::tempdir()).expect("a temporary folder");
        let store = Store::open_on(&folder.path().join("store"), io).expect("a new store");
        Self { folder, store, cancel: Cancel::default() }
    }

    pub fn run(&self, plan: &Plan) -> Run {
        self.run_to(plan, &[])
    }

    pub fn run_to(&self, plan: &Plan, to: &[&str]) -> Run {
        let to = to.iter().flat_map(|name| plan.find(name).expect("a node")).collect();
        run_on(&self.store, plan, to, self.cancel.clone())
    }

    pub fn forecast(&self, plan: &Plan) -> Vec<(String, Fate)> {
        let lines = forecast(plan, &self.store, cpu()).expect("a forecast");
        lines.into_iter().map(|Line { node, fate, .. }| (plan.node(node).name(), fate)).collect()
    }

    /// Deletes the bytes of a node.
    pub fn evict(&self, run: &Run, plan: &Plan, name: &str) {
        let artifact = run.artifact(plan, name);
        artifact.parts.iter().for_each(|part| self.store.evict(part.object).expect("evicted"));
    }

    /// Whether a node's bytes are there.
    pub fn holds(&self, run: &Run, plan: &Plan, name: &str) -> bool {
        self.store.contains_all(&run.artifact(plan, name))
    }

    /// The number that a node made.
    pub fn value(&self, run: &Run, plan: &Plan, name: &str) -> u64 {
        let bytes = self.store.map(&run.artifact(plan, name).parts[0]).expect("bytes");
        std::str::from_utf8(&bytes).expect("text").trim().parse().expect("a number")
    }
}

/// Runs a plan and keeps everything that was said.
pub fn run_on(store: &Store, plan: &Plan, to: Vec<NodeId>, cancel: Cancel) -> Run {
    let heard = Arc::new(Collect::default());
    let settings = Settings { device: cpu(), to, cancel, hire: None, in_flight: IN_FLIGHT };
    let result = Executor::new(plan, store, &settings, &heard).run();
    let events = std::mem::take(&mut *heard.0.lock().expect("events"));
    Run { result, events }
}

/// What a run did.
pub struct Run {
    pub result: Result<Outcome, EngineError>,
    pub events: Vec<Event>,
}

impl Run {
    fn names(&self, pick: impl Fn(&Event) -> Option<&String>) -> Vec<String> {
        let mut names: Vec<String> = self.events.iter().filter_map(pick).cloned().collect();
        names.sort_unstable();
        names
    }

    /// The nodes that were started, sorted.
    pub fn started(&self) -> Vec<String> {
        self.names(|event| match event {
            Event::NodeStarted { node, .. } => Some(node),
            _ => None,
        })
    }

    /// The nodes that finished, sorted.
    pub fn finished(&self) -> Vec<String> {
        self.names(|event| match event {
            Event::NodeFinished { node, .. } => Some(node),
            _ => None,
        })
    }

    /// What was told to people.
    pub fn notes(&self) -> Vec<String> {
        self.names(|event| match event {
            Event::Note { text, .. } => Some(text),
            _ => None,
        })
    }

    /// The nodes that were hits, sorted.
    pub fn hits(&self) -> Vec<String> {
        self.names(|event| match event {
            Event::NodeHit { node, .. } => Some(node),
            _ => None,
        })
    }

    pub fn outcome(&self) -> &Outcome {
        self.result.as_ref().expect("a run without failure")
    }

    pub fn error(&self) -> String {
        self.result.as_ref().expect_err("a run that failed").to_string()
    }

    pub fn artifact(&self, plan: &Plan, name: &str) -> Artifact {
        let id = plan.find(name).expect("a node")[0];
        self.outcome().records[id.index()].as_ref().expect("an artifact").artifact.clone()
    }

    /// The digests of all results, to compare two runs by.
    pub fn digests(&self) -> Vec<Option<Digest>> {
        self.outcome().digests.clone()
    }
}
