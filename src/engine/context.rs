//! context: what a running stage may touch: its inputs, its output, its random streams, and a voice.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, Epoch, Part, Seed};
use crate::engine::{Event, Facts, Interrupted, KeyText, Noun};
use crate::store::{ObjectWriter, Record, Store, StoreError};
use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use std::collections::BTreeSet;
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
    pub(super) output: Noun,
    pub(super) inputs: Vec<(&'static str, Input)>,
    pub(super) seed: Option<Seed>,
    pub(super) device: &'a str,
    pub(super) cancel: &'a Cancel,
    pub(super) emit: &'a (dyn Fn(Event) + Sync),
    pub(super) parts: Vec<Part>,
    pub(super) facts: Facts,
    pub(super) shards: BTreeSet<String>,
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

    /// Begins a part of the output. Hand it to [`Context::finish`].
    pub fn create(&self) -> anyhow::Result<ObjectWriter<'a>> {
        Ok(self.store.create()?)
    }

    /// Makes a part durable as `name` of the output.
    pub fn finish(&mut self, writer: ObjectWriter<'_>, name: &str) -> anyhow::Result<()> {
        self.parts.push(writer.finish(name)?);
        Ok(())
    }

    /// Writes the part `name` of the output by `write`.
    pub fn write_part<E: Into<anyhow::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut (dyn std::io::Write + Send)) -> Result<(), E>,
    ) -> anyhow::Result<()> {
        let mut writer = std::io::BufWriter::with_capacity(1 << 20, self.create()?);
        write(&mut writer).map_err(|error| error.into().context(format!("writing {name}")))?;
        let writer = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        self.finish(writer, name)
    }

    /// Does one shard of the work, or takes it from the store if an earlier, interrupted run got that far.
    ///
    /// `name` says which shard it is, and must not depend on how many workers there are. The shard's parts become parts
    /// of the output, in the order of the calls.
    pub fn shard(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut ShardDraft<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let parts = self.step(name, work)?;
        self.parts.extend(parts);
        Ok(())
    }

    /// As [`Context::shard`], but its parts stay out of the output: a place to go on from, such as the weights after a
    /// thousand steps. Read them with [`Context::open`].
    pub fn step(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut ShardDraft<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Part>> {
        if !self.shards.insert(name.to_owned()) {
            return Err(anyhow!("BUG: two shards are called {name}"));
        }
        let key = self.key.shard(name);
        match self.store.record(key.key()) {
            Ok(Some(record)) if self.store.contains_all(&record.artifact) => return Ok(record.artifact.parts),
            Ok(_) => {}
            Err(error) => self.note(format!("shard {name}: {error}")),
        }
        self.checkpoint()?;
        let watch = Stopwatch::new();
        let mut draft = ShardDraft { store: self.store, parts: Vec::new() };
        work(&mut draft).with_context(|| format!("in shard {name}"))?;
        let artifact = Artifact { kind: self.output.name.to_owned(), format: self.output.format, parts: draft.parts };
        let wall_ms = watch.elapsed().as_millis() as u64;
        let record = Record::new(&self.node, key.as_str(), artifact, Facts::new(), wall_ms);
        Ok(self.store.commit(&record)?.artifact.parts)
    }

    /// The bytes of a part that this node has written.
    pub fn open(&self, part: &Part) -> anyhow::Result<Bytes> {
        Ok(self.store.map(part)?)
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

/// A shard being written.
pub struct ShardDraft<'a> {
    store: &'a Store,
    parts: Vec<Part>,
}

impl<'a> ShardDraft<'a> {
    /// Begins a part of the shard. Hand it to [`ShardDraft::finish`].
    pub fn create(&self) -> anyhow::Result<ObjectWriter<'a>> {
        Ok(self.store.create()?)
    }

    /// Makes a part durable as `name`.
    pub fn finish(&mut self, writer: ObjectWriter<'_>, name: &str) -> anyhow::Result<()> {
        self.parts.push(writer.finish(name)?);
        Ok(())
    }
}

/// Where source stages remember what they saw.
pub(super) fn cache_folder(store: &Store) -> PathBuf {
    Path::new(store.root()).join("stat")
}
