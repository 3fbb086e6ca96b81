//! context: what a running stage may touch: its inputs, its output, its random streams, and a voice.

use crate::base::{Artifact, Epoch, Seed, StageKey};
use crate::engine::output::Output;
use crate::engine::resume::Unfinished;
use crate::engine::{Event, Facts, Interrupted, KeyText, Noun};
use crate::store::{Store, StoreError};
use anyhow::anyhow;
use bytes::Bytes;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The wish that a run should stop at the next place where nothing is lost.
#[derive(Clone, Default, Debug)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// An input artifact with all its parts mapped, and so readable even if they are evicted meanwhile.
pub struct Input {
    /// The artifact.
    pub artifact: Artifact,
    /// Where the paths in it lead, if it describes files outside the store.
    pub source: Option<PathBuf>,
    node: String,
    maps: Vec<Bytes>,
}

impl Input {
    /// Maps every part of `artifact`, the output of `node`.
    pub fn open(store: &Store, node: String, artifact: &Artifact, source: Option<PathBuf>) -> Result<Self, StoreError> {
        let maps = artifact.parts.iter().map(|part| store.map(part)).collect::<Result<_, _>>()?;
        Ok(Self { artifact: artifact.clone(), source, node, maps })
    }

    /// The bytes of the part called `name`.
    pub fn part(&self, name: &str) -> anyhow::Result<Bytes> {
        self.part_if_any(name).ok_or_else(|| anyhow!("{} of {} has no part {name}", self.artifact.kind, self.node))
    }

    /// The bytes of the part called `name`, where there is one.
    pub fn part_if_any(&self, name: &str) -> Option<Bytes> {
        let at = self.artifact.parts.iter().position(|part| part.name == name)?;
        Some(self.maps[at].clone())
    }

    /// The bytes of all parts whose name begins with `prefix`, in their order.
    pub fn parts(&self, prefix: &str) -> Vec<Bytes> {
        let named = self.artifact.parts.iter().zip(&self.maps);
        named.filter(|(part, _)| part.name.starts_with(prefix)).map(|(_, map)| map.clone()).collect()
    }
}

/// What a stage sees while it runs.
pub struct Context<'a> {
    pub(super) store: &'a Store,
    pub(super) node: String,
    pub(super) epoch: Epoch,
    pub(super) key: KeyText,
    pub(super) noun: Noun,
    pub(super) inputs: Vec<(&'static str, Input)>,
    pub(super) seed: Option<Seed>,
    pub(super) device: &'a str,
    pub(super) cancel: &'a Cancel,
    pub(super) emit: &'a (dyn Fn(Event) + Sync),
    pub(super) parts: Output<'a>,
    pub(super) facts: Facts,
    pub(super) progress: Unfinished,
}

impl<'a> Context<'a> {
    /// The input at `port`, which the stage declared as required.
    pub fn input(&self, port: &str) -> anyhow::Result<&Input> {
        self.input_if_any(port).ok_or_else(|| anyhow!("BUG: no input at {port}"))
    }

    /// The input at `port`, if it is connected.
    pub fn input_if_any(&self, port: &str) -> Option<&Input> {
        self.inputs.iter().find(|(name, _)| *name == port).map(|(_, input)| input)
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

    /// The node's random streams. Only stages that declare `DRAWS` have any.
    pub fn seed(&self) -> anyhow::Result<&Seed> {
        self.seed.as_ref().ok_or_else(|| anyhow!("BUG: a stage without DRAWS draws"))
    }

    /// The epoch that the node belongs to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The device that networks run on, such as `cpu` or `cuda:0`.
    pub fn device(&self) -> &str {
        self.device
    }

    /// A folder of the store for what may be remembered between runs and lost without harm.
    pub fn cache(&self) -> PathBuf {
        cache_folder(self.store)
    }

    /// Says how far the node is, in units such as `images`.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        (self.emit)(Event::Progress { node: self.node.clone(), done, total, unit: unit.to_owned() });
    }

    /// Says what the node measured.
    pub fn metric(&self, name: &str, value: f64) {
        (self.emit)(Event::Metric { node: self.node.clone(), name: name.to_owned(), value });
    }

    /// Tells a person something worth knowing.
    pub fn note(&self, text: impl Into<String>) {
        (self.emit)(Event::Note { node: self.node.clone(), text: text.into() });
    }

    /// The node's voice by itself, for use inside a shard.
    pub fn voice(&self) -> Voice<'a> {
        Voice { node: self.node.clone(), emit: self.emit, cancel: self.cancel }
    }

    /// Makes a number known to the stages after this one.
    pub fn fact(&mut self, name: &str, value: u64) {
        self.facts.insert(name.to_owned(), value);
    }

    /// Ends the stage here if somebody asked the run to stop. Call it where little work would be lost.
    pub fn checkpoint(&self) -> anyhow::Result<()> {
        if self.cancel.is_requested() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Whether somebody asked the run to stop.
    pub fn is_interrupted(&self) -> bool {
        self.cancel.is_requested()
    }
}

/// Tells how far a node is, and hears whether it should stop.
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

/// Where source stages remember what they saw.
pub(super) fn cache_folder(store: &Store) -> PathBuf {
    Path::new(store.root()).join("stat")
}
