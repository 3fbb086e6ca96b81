//! worker: makes one node's key, and runs one node's stage to its committed record.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, Digest, Part, Seed};
use crate::engine::context::{Input, cache_folder};
use crate::engine::executor::Settings;
use crate::engine::output::Output;
use crate::engine::panics;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::resume::Unfinished;
use crate::engine::{Cancel, Context, DamagedInput, EngineError, Event, Facts, KeyText};
use crate::format::FormatError;
use crate::store::{OTHER_BYTES, Record, Store};
use anyhow::{anyhow, bail};
use std::path::Path;

/// Makes the key of `id` from the digests of its inputs and, for a source, from a look at the outside world.
pub(super) fn key_of(
    plan: &Plan,
    id: NodeId,
    inputs: &[(&str, Digest)],
    device: &str,
    cache: &Path,
) -> Result<KeyText, EngineError> {
    let node = plan.node(id);
    let stage = &*node.stage;
    let seed = stage.def().draws.then(|| Seed::of_node(plan.seed, &node.name()));
    let observed = stage.observe(cache).map_err(|error| EngineError::Observe { node: node.name(), error })?;
    Ok(KeyText::of(stage, inputs, seed.as_ref(), stage.numerics(device).as_deref(), observed.as_deref()))
}

/// Looks at what a stage read to the last bit where that is why it failed, until something is found wrong: it is made again
/// then, and not read again.
fn blame(store: &Store, cancel: &Cancel, inputs: &[(&'static str, Input)], error: anyhow::Error) -> anyhow::Error {
    let is_of_reading = |error: &FormatError| !matches!(error, FormatError::Write { .. } | FormatError::Rows { .. });
    if !error.chain().filter_map(|cause| cause.downcast_ref()).any(is_of_reading) {
        return error;
    }
    let mut parts: Vec<_> =
        inputs.iter().flat_map(|(port, input)| input.artifact.parts.iter().map(move |part| (part, *port))).collect();
    parts.sort_by_key(|(part, _)| part.bytes); // The small ones tell soon.
    let is_wrong = |part: &Part| store.verify(part).is_ok_and(|right| !right);
    let wrong = parts.into_iter().take_while(|_| !cancel.is_requested()).find(|(part, _)| is_wrong(part));
    let Some((part, port)) = wrong else { return error };
    store.quarantine(part.object, OTHER_BYTES);
    DamagedInput { port }.into()
}

/// Runs one stage on a worker and commits its record. A panic is an error like any other.
pub(super) fn run_stage(
    plan: &Plan,
    id: NodeId,
    store: &Store,
    settings: &Settings<'_>,
    key: KeyText,
    inputs: Vec<(&'static str, Input)>,
    emit: &(dyn Fn(Event) + Sync),
) -> Result<Record, anyhow::Error> {
    let watch = Stopwatch::new();
    let node = plan.node(id);
    let def = node.stage.def();
    let mut cx = Context {
        store,
        node: node.name(),
        epoch: node.epoch,
        key,
        noun: def.output,
        inputs,
        seed: def.draws.then(|| Seed::of_node(plan.seed, &node.name())),
        device: settings.device,
        cancel: &settings.cancel,
        emit,
        parts: Output::new(store),
        facts: Facts::new(),
        progress: Unfinished::default(),
    };
    let ran = panics::caught(|| node.stage.run(&mut cx)).map_err(|panic| anyhow!("BUG: the stage {panic}"))?;
    ran.map_err(|error| blame(store, &settings.cancel, &cx.inputs, error))?;
    // What a source looked at is in its key: what it then read may be something else.
    if node.inputs.is_empty() && key_of(plan, id, &[], settings.device, &cache_folder(store))?.key() != cx.key.key() {
        bail!("what it reads changed while it was read; run the same command again when nobody changes it");
    }
    let parts = std::mem::take(&mut cx.parts.parts);
    let artifact = Artifact { kind: def.output.name.to_owned(), format: def.output.format, parts };
    let wall_ms = watch.elapsed().as_millis() as u64;
    let record = Record::new(&node.name(), cx.key.as_str(), artifact, std::mem::take(&mut cx.facts), wall_ms);
    let record = store.commit(&record)?;
    cx.clear();
    Ok(record)
}
