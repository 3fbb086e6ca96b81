//! action: one piece of a node's work as plain data, and the steps from its inputs to its committed record.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, Part, Seed, StageKey};
use crate::engine::checkpoint::found;
use crate::engine::context::{Context, Ears, Input, Inputs, Shared};
use crate::engine::error::{ActionError, DamagedInput, Interrupted};
use crate::engine::keys::key_of;
use crate::engine::output::Output;
use crate::engine::work::Shard;
use crate::engine::{Cancel, Device, Event, Facts, KeyText, NodeId, Plan, panics};
use crate::format::FormatError;
use crate::store::{OTHER_BYTES, Record, Store, StoreError};
use anyhow::{Context as _, anyhow, bail, ensure};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often this process looks again for a shard that another process makes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A piece of work that one worker does.
#[derive(Clone, Debug)]
pub struct Action {
    /// Names it in reports.
    pub id: u64,
    /// The node.
    pub node: NodeId,
    /// The node's key.
    pub key: StageKey,
    /// What each connected port reads.
    pub inputs: Vec<ActionInput>,
    /// The shard to make; none for the node as a whole.
    pub shard: Option<Shard>,
}

/// What an action reads at a port.
#[derive(Clone, Debug)]
pub struct ActionInput {
    /// The port.
    pub port: &'static str,
    /// The node that made it.
    pub node: NodeId,
    /// Its record.
    pub record: Arc<Record>,
}

/// What a worker says.
pub enum Report {
    /// Something happened in the action of this id.
    Event(u64, Event),
    /// The action of this id begins or ends a save; until the end, stopping it would lose work.
    Saving(u64, bool),
    /// The action of this id ended.
    Done(u64, Box<Result<Record, ActionError>>),
}

/// The place where actions are done: what they have in common.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The plan that actions name nodes of.
    pub plan: &'a Plan,
    /// Where they read and write.
    pub store: &'a Store,
    /// What networks run on.
    pub device: &'a Device,
    /// The run's request to stop.
    pub cancel: &'a Cancel,
    /// By pool: held by the one shard that computes, while another may sync and commit. It also holds what shards
    /// share.
    pub benches: &'a Benches,
}

/// A bench for each pool.
pub type Benches = [Mutex<Shared>; 3];

impl<'a> Site<'a> {
    fn bench(&self, node: NodeId) -> MutexGuard<'a, Shared> {
        let pool = self.plan.node(node).stage.def().pool;
        self.benches[pool as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does an action and commits its record. A panic is an error like any other.
///
/// # Errors
/// As [`ActionError`] lists them.
pub fn perform(site: Site<'_>, action: &Action, tell: &(dyn Fn(Report) + Sync)) -> Result<Record, ActionError> {
    let emit = |event| tell(Report::Event(action.id, event));
    let saving = |begun| tell(Report::Saving(action.id, begun));
    let done = panics::caught(|| attempt(site, action, Ears { emit: &emit, saving: &saving }));
    let result = done.unwrap_or_else(|panic| Err(anyhow!("BUG: the stage {panic}")));
    // The action that met damage also reports it.
    for text in site.store.take_reports() {
        emit(Event::Note { node: String::new(), text });
    }
    match (result, site.store.take_stuck()) {
        (_, Some(StoreError::Stuck { path, why })) => {
            Err(ActionError::Stuck { path: path.to_string_lossy().into_owned(), why })
        }
        (_, Some(error)) => Err(ActionError::Failed { error: error.to_string() }),
        (result, None) => result.map_err(|error| explained(&error)),
    }
}

/// An error in the form that a run reports.
pub(super) fn explained(error: &anyhow::Error) -> ActionError {
    if error.is::<Interrupted>() {
        return ActionError::Interrupted;
    }
    if let Some(DamagedInput { port }) = error.downcast_ref() {
        return ActionError::Damaged { port: (*port).to_owned() };
    }
    let missing = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().is_some_and(|error| matches!(error, StoreError::Missing { .. }))
    };
    let text = format!("{error:#}");
    if error.chain().any(missing) { ActionError::Missing { what: text } } else { ActionError::Failed { error: text } }
}

fn attempt(site: Site<'_>, action: &Action, ears: Ears<'_>) -> anyhow::Result<Record> {
    let (store, node) = (site.store, site.plan.node(action.node));
    let key = action.key_text(site)?;
    match &action.shard {
        None => whole(site, action, key, ears),
        Some(shard) => {
            let key = key.shard(&shard.part);
            let _lock = loop {
                match store.try_lock(key.key())? {
                    Some(lock) => break lock,
                    None if site.cancel.is_requested() => return Err(Interrupted.into()),
                    None => std::thread::sleep(LOOK_AGAIN), // Another process makes it.
                }
            };
            if let Some(record) = found(store, &key)? {
                (ears.emit)(Event::PutDown { node: node.name(), part: shard.part.clone(), hit: true });
                return Ok(record);
            }
            one_shard(site, action, shard, key, ears).with_context(|| format!("in shard {}", shard.part))
        }
    }
}

impl Action {
    /// The text of the action's key, which must be the key that the run looked up.
    fn key_text(&self, site: Site<'_>) -> anyhow::Result<KeyText> {
        let key = key_of(site.plan, self.node, &self.records(), site.device)?;
        ensure!(key.key() == self.key, "what it reads changed since the run looked at it; run the same command again");
        Ok(key)
    }

    /// The port and record of each input.
    pub fn records(&self) -> Vec<(&'static str, &Record)> {
        self.inputs.iter().map(|input| (input.port, &*input.record)).collect()
    }

    /// What it reads, and no other parts, for the key has no others; nothing is mapped yet.
    pub(super) fn open<'a>(&self, site: Site<'a>) -> Inputs<'a> {
        let def = site.plan.node(self.node).stage.def();
        let open = |input: &ActionInput| {
            let (from, artifact) = (site.plan.node(input.node), input.record.artifact.only(def.reads(input.port)));
            (input.port, Input::new(site.store, from.name(), &artifact, from.stage.source()))
        };
        Inputs(self.inputs.iter().map(open).collect())
    }

    fn context<'a>(&self, site: Site<'a>, key: KeyText, ears: Ears<'a>) -> Context<'a> {
        let (plan, node) = (site.plan, site.plan.node(self.node));
        Context {
            store: site.store,
            node: node.name(),
            epoch: node.epoch,
            key,
            key_of_node: self.key,
            noun: node.stage.def().output,
            inputs: self.open(site),
            seed: node.stage.def().draws.then(|| Seed::of_node(plan.seed, &node.name())),
            device: site.device,
            cancel: site.cancel,
            ears,
            parts: Output::new(site.store),
            facts: Facts::new(),
            save: None,
            shared: None,
        }
    }
}

fn whole(site: Site<'_>, action: &Action, key: KeyText, ears: Ears<'_>) -> anyhow::Result<Record> {
    let watch = Stopwatch::new();
    let node = site.plan.node(action.node);
    let mut cx = action.context(site, key, ears);
    cx.inputs.hold(|port| node.stage.def().reads(port))?;
    *site.bench(action.node) = None; // No action needs what other nodes' shards shared.
    node.stage.run(&mut cx).map_err(|error| blame(site, &cx.inputs, error))?;
    // The key says what the source observed; the stage may then have read something else.
    if node.inputs.is_empty() && action.key_text(site).is_err() {
        bail!("what it reads changed while it ran. Run the same command again once nothing writes to it any more");
    }
    (ears.saving)(true); // Until the action's end: stopping it now would lose all its work.
    let parts = cx.parts.settle()?;
    let facts = std::mem::take(&mut cx.facts);
    let record = commit(site, action, cx.key.as_str(), parts, facts, watch.elapsed())?;
    cx.clear();
    Ok(record)
}

fn one_shard(site: Site<'_>, action: &Action, shard: &Shard, key: KeyText, ears: Ears<'_>) -> anyhow::Result<Record> {
    let watch = Stopwatch::new();
    let node = site.plan.node(action.node);
    let mut cx = action.context(site, key, ears);
    {
        let mut bench = site.bench(action.node);
        cx.checkpoint()?;
        cx.shared = bench.take().filter(|(owner, _)| *owner == action.key);
        node.stage.run_shard(shard, &mut cx).map_err(|error| blame(site, &cx.inputs, error))?;
        *bench = cx.shared.take();
    }
    let parts = cx.parts.settle()?;
    let record = commit(site, action, cx.key.as_str(), parts, Facts::new(), watch.elapsed())?;
    (ears.emit)(Event::PutDown { node: node.name(), part: shard.part.clone(), hit: false });
    Ok(record)
}

/// Commits what a node, or a part of it, made.
fn commit(
    site: Site<'_>,
    action: &Action,
    key: &str,
    parts: Vec<Part>,
    facts: Facts,
    took: Duration,
) -> anyhow::Result<Record> {
    let node = site.plan.node(action.node);
    let output = node.stage.def().output;
    let stranger = parts.iter().find(|part| !output.parts.is_empty() && output.row(&part.name).is_none());
    if let Some(part) = stranger {
        bail!("BUG: {} wrote {}, which is no part of {} in src/format/noun.rs", node.name(), part.name, output.name);
    }
    let artifact = Artifact { kind: output.name.to_owned(), format: output.format, parts };
    Ok(site.store.commit(&Record::new(&node.name(), key, artifact, facts, took.as_millis() as u64))?)
}

/// After a failed read, hashes what the stage read until a part proves to be damaged.
pub(super) fn blame(site: Site<'_>, inputs: &Inputs<'_>, error: anyhow::Error) -> anyhow::Error {
    let is_of_reading = |error: &FormatError| !matches!(error, FormatError::Write { .. } | FormatError::Rows { .. });
    if !error.chain().filter_map(|cause| cause.downcast_ref()).any(is_of_reading) {
        return error;
    }
    let mut parts: Vec<_> =
        inputs.0.iter().flat_map(|(port, input)| input.mapped().into_iter().map(move |part| (part, *port))).collect();
    parts.sort_by_key(|(part, _)| part.bytes); // The small ones are checked soon.
    let is_wrong = |part: &Part| site.store.verify(part).is_ok_and(|right| !right);
    let wrong = parts.into_iter().take_while(|_| !site.cancel.is_requested()).find(|(part, _)| is_wrong(part));
    let Some((part, port)) = wrong else { return error };
    site.store.quarantine(part.object, OTHER_BYTES);
    DamagedInput { port }.into()
}
