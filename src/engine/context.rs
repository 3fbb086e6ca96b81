//! context: what a running stage may touch: its inputs, its output, its random streams, and a voice.

use crate::base::Noun;
use crate::base::{Artifact, Digest, Epoch, Part, Seed, StageKey};
use crate::engine::device::Device;
use crate::engine::error::Interrupted;
use crate::engine::event::{Event, WARNING};
use crate::engine::key::KeyText;
use crate::engine::output::Output;
use crate::store::{Record, Store};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A request that a run stop at the next place where nothing is lost.
#[derive(Clone, Default, Debug)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to stop.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// An input artifact. A part is mapped at its first reading, and then stays readable even if it is evicted.
pub struct Input<'a> {
    /// The artifact.
    pub artifact: Artifact,
    /// Where its paths lead, if it describes files outside the store.
    pub source: Option<PathBuf>,
    store: &'a Store,
    node: String,
    maps: Vec<OnceLock<Bytes>>,
}

impl<'a> Input<'a> {
    /// The output of `node`, with nothing mapped yet.
    pub fn new(store: &'a Store, node: String, artifact: &Artifact, source: Option<PathBuf>) -> Self {
        let maps = artifact.parts.iter().map(|_| OnceLock::new()).collect();
        Self { artifact: artifact.clone(), source, store, node, maps }
    }

    fn map(&self, at: usize) -> anyhow::Result<Bytes> {
        if let Some(map) = self.maps[at].get() {
            return Ok(map.clone());
        }
        let map = self.store.map(&self.artifact.parts[at]).with_context(|| format!("reading {}", self.node))?;
        Ok(self.maps[at].get_or_init(|| map).clone())
    }

    /// The bytes of the part called `name`.
    ///
    /// # Errors
    /// If there is no such part, or its bytes are unreadable.
    pub fn part(&self, name: &str) -> anyhow::Result<Bytes> {
        let found = self.part_if_any(name)?;
        found.with_context(|| format!("{} of {} has no part {name}", self.artifact.kind, self.node))
    }

    /// The bytes of the part called `name`, if there is one.
    ///
    /// # Errors
    /// If its bytes are unreadable.
    pub fn part_if_any(&self, name: &str) -> anyhow::Result<Option<Bytes>> {
        let at = self.artifact.parts.iter().position(|part| part.name == name);
        at.map(|at| self.map(at)).transpose()
    }

    /// The bytes of all parts whose name begins with `prefix`, in their order.
    ///
    /// # Errors
    /// If their bytes are unreadable.
    pub fn parts(&self, prefix: &str) -> anyhow::Result<Vec<Bytes>> {
        let meant = |at: &usize| self.artifact.parts[*at].name.starts_with(prefix);
        (0..self.maps.len()).filter(meant).map(|at| self.map(at)).collect()
    }

    /// The same, one after the other. None is kept: a part stays mapped only while the caller uses it.
    pub fn each(&self, prefix: &str) -> impl Iterator<Item = anyhow::Result<Bytes>> {
        let meant = (0..self.maps.len()).filter(move |at| self.artifact.parts[*at].name.starts_with(prefix));
        meant.map(|at| self.for_a_while(at))
    }

    /// The one of them that so many come before. It is not kept, and none before it is mapped.
    pub fn nth(&self, prefix: &str, before: usize) -> Option<anyhow::Result<Bytes>> {
        let mut meant = (0..self.maps.len()).filter(|at| self.artifact.parts[*at].name.starts_with(prefix));
        meant.nth(before).map(|at| self.for_a_while(at))
    }

    fn for_a_while(&self, at: usize) -> anyhow::Result<Bytes> {
        match self.maps[at].get() {
            Some(map) => Ok(map.clone()),
            None => self.store.map(&self.artifact.parts[at]).with_context(|| format!("reading {}", self.node)),
        }
    }

    /// The parts that were mapped.
    pub(super) fn mapped(&self) -> Vec<&Part> {
        let parts = self.artifact.parts.iter().zip(&self.maps);
        parts.filter(|(_, map)| map.get().is_some()).map(|(part, _)| part).collect()
    }
}

/// An input of more parts than this is not mapped in advance.
const MANY: usize = 4096;

/// What a node reads, by port.
pub struct Inputs<'a>(pub(super) Vec<(&'static str, Input<'a>)>);

impl<'a> Inputs<'a> {
    /// The input at `port`, which the stage declared as required.
    ///
    /// # Errors
    /// A bug, if the stage did not.
    pub fn at(&self, port: &str) -> anyhow::Result<&Input<'a>> {
        self.at_if_any(port).ok_or_else(|| anyhow!("BUG: no input at {port}"))
    }

    /// Maps everything that a stage with these ports reads, so that it stays readable after a deletion. Inputs of many
    /// parts are left out, for the system limits a process to 65,530 maps.
    pub(super) fn hold(&self, prefixes: impl Fn(&str) -> &'static [&'static str]) -> anyhow::Result<()> {
        for (port, input) in self.0.iter().filter(|(_, input)| input.maps.len() <= MANY) {
            match prefixes(port) {
                [] => drop(input.parts("")?),
                prefixes => prefixes.iter().try_for_each(|prefix| input.parts(prefix).map(drop))?,
            }
        }
        Ok(())
    }

    /// The input at `port`, if it is connected.
    pub fn at_if_any(&self, port: &str) -> Option<&Input<'a>> {
        self.0.iter().find(|(name, _)| *name == port).map(|(_, input)| input)
    }
}

/// What the shards of one node share in a process, with the node's key: for example a loaded network.
pub type Shared = Option<(StageKey, Box<dyn Any + Send>)>;

/// The listeners of a running stage.
#[derive(Clone, Copy)]
pub(super) struct Ears<'a> {
    /// Receives events.
    pub(super) emit: &'a (dyn Fn(Event) + Sync),
    /// Receives the beginning and the end of a save.
    pub(super) saving: &'a (dyn Fn(bool) + Sync),
}

/// What a stage sees while it runs.
pub struct Context<'a> {
    pub(super) store: &'a Store,
    pub(super) node: String,
    pub(super) epoch: Epoch,
    pub(super) key: KeyText,
    pub(super) key_of_node: StageKey,
    pub(super) noun: Noun,
    pub(super) inputs: Inputs<'a>,
    pub(super) seed: Option<Seed>,
    pub(super) device: &'a Device,
    pub(super) cancel: &'a Cancel,
    pub(super) ears: Ears<'a>,
    pub(super) parts: Output<'a>,
    pub(super) facts: BTreeMap<String, u64>,
    /// The newest state that this node has saved.
    pub(super) save: Option<Record>,
    pub(super) shared: Shared,
}

impl<'a> Context<'a> {
    /// The input at `port`, which the stage declared as required.
    pub fn input(&self, port: &str) -> anyhow::Result<&Input<'a>> {
        self.inputs.at(port)
    }

    /// The input at `port`, if it is connected.
    pub fn input_if_any(&self, port: &str) -> Option<&Input<'a>> {
        self.inputs.at_if_any(port)
    }

    /// The output, to be written part by part.
    pub fn output(&mut self) -> &mut Output<'a> {
        &mut self.parts
    }

    /// Writes the part `name` of the output by `write`.
    pub fn write_part<E: Into<anyhow::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
    ) -> anyhow::Result<()> {
        self.parts.write_part(name, write)
    }

    /// The node's key.
    pub fn key(&self) -> StageKey {
        self.key.key()
    }

    /// What the source observed when the node's key was made ([`crate::engine::Stage::observe`]).
    pub fn observed(&self) -> Option<Digest> {
        self.key.observed()
    }

    /// The node's random streams. Only stages that declare `DRAWS` have any.
    pub fn seed(&self) -> anyhow::Result<&Seed> {
        self.seed.as_ref().ok_or_else(|| anyhow!("BUG: a stage without DRAWS draws"))
    }

    /// The node's name as `--set` takes it, without its epoch.
    pub fn name(&self) -> &str {
        self.node.split_once('@').map_or(&*self.node, |(name, _)| name)
    }

    /// The epoch that the node belongs to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The device that networks run on, such as `cpu` or `cuda:0`.
    pub fn device(&self) -> &str {
        &self.device.name
    }

    /// A folder of the store for what runs may remember and may lose without harm.
    pub fn cache(&self) -> PathBuf {
        self.store.root().join("stat")
    }

    /// What an earlier shard of this node stored with [`Context::share`] in this process; otherwise the result of
    /// `make`.
    pub fn shared<T: Any + Send>(
        &mut self,
        make: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<Box<T>> {
        match self.shared.take().map(|(_, thing)| thing.downcast()) {
            Some(Ok(thing)) => Ok(thing),
            _ => Ok(Box::new(make(self)?)),
        }
    }

    /// Stores a value for the next shard of this node.
    pub fn share<T: Any + Send>(&mut self, thing: Box<T>) {
        self.shared = Some((self.key_of_node, thing));
    }

    /// Says how far the node is, in units such as `images`.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        (self.ears.emit)(Event::Progress { node: self.node.clone(), done, total, unit: unit.to_owned() });
    }

    /// Says what the node measured.
    pub fn metric(&self, name: &str, value: f64) {
        (self.ears.emit)(Event::Metric { node: self.node.clone(), name: name.to_owned(), value });
    }

    /// Reports something to a person.
    pub fn note(&self, text: impl Into<String>) {
        (self.ears.emit)(Event::Note { node: self.node.clone(), text: text.into() });
    }

    /// Warns a person under a code that tools can find. The run continues, and repeats the warning at its end.
    pub fn warn(&self, code: &str, text: &str) {
        self.note(format!("{WARNING}{code}: {text}"));
    }

    /// The node's reports alone, for use inside a shard.
    pub fn voice(&self) -> Voice<'a> {
        Voice { node: self.node.clone(), emit: self.ears.emit, cancel: self.cancel }
    }

    /// Makes a number known to the stages after this one.
    pub fn fact(&mut self, name: &str, value: u64) {
        self.facts.insert(name.to_owned(), value);
    }

    /// Ends the stage here if the run was asked to stop. Call it where little work would be lost.
    pub fn checkpoint(&self) -> anyhow::Result<()> {
        if self.cancel.is_requested() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Whether the run was asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.cancel.is_requested()
    }
}

/// Reports how far a node is, and knows whether it should stop.
#[derive(Clone)]
pub struct Voice<'a> {
    node: String,
    emit: &'a (dyn Fn(Event) + Sync),
    cancel: &'a Cancel,
}

impl Voice<'_> {
    /// See [`Context::progress`].
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        (self.emit)(Event::Progress { node: self.node.clone(), done, total, unit: unit.to_owned() });
    }

    /// See [`Context::checkpoint`].
    pub fn checkpoint(&self) -> anyhow::Result<()> {
        if self.cancel.is_requested() { Err(Interrupted.into()) } else { Ok(()) }
    }
}
