//! keys: makes a node's key from its stage, inputs and device; and the key that an earlier program made.

use crate::base::{Digest, Epoch, Seed};
use crate::engine::key::{KeyText, input_of, one_line};
use crate::engine::plan::{NodeId, Plan};
use crate::engine::stage::{AnyStage, Before};
use crate::engine::{Device, EngineError};
use crate::store::Record;
use serde_json::Value;
use std::fmt::Write;

/// What a node reads: each connected port with its record.
pub type Ports<'a> = [(&'static str, &'a Record)];

/// What decides a node's bytes besides its stage and its inputs.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The seed of its draws.
    pub seed: Option<Seed>,
    /// Library versions, if bits depend on them.
    pub numerics: Option<String>,
    /// Its epoch, if the output contains it.
    pub epoch: Option<Epoch>,
    /// What a source observed.
    pub observed: Option<Digest>,
}

/// Makes the key of `id` from its inputs' records. For a source it also looks at the outside world, which takes long
/// for a large data set.
///
/// # Errors
/// If a source cannot see the outside world.
pub fn key_of(plan: &Plan, id: NodeId, inputs: &Ports<'_>, device: &Device) -> Result<KeyText, EngineError> {
    let node = plan.node(id);
    let stage = &*node.stage;
    if let Some(text) = stage.recalls() {
        return Ok(KeyText::from(text.to_owned()));
    }
    let seed = stage.def().draws.then(|| Seed::of_node(plan.seed, &node.name()));
    let observed = if stage.def().observes { stage.observe() } else { Ok(None) };
    let observed = observed.map_err(|error| EngineError::Observe { node: node.name(), error })?;
    let digests: Vec<_> = inputs.iter().map(|(port, record)| (*port, read_at(stage, port, record))).collect();
    let told =
        Told { seed, numerics: stage.numerics(device), epoch: stage.def().tells_epoch.then_some(node.epoch), observed };
    Ok(KeyText::of(stage, &digests, &told))
}

/// The key under which an earlier program recorded the same node. It has that program's version and output of the
/// stage. Most counted inputs with all their parts. None if that is the same key. A record under it is as good, so a
/// run on an older store does not start from nothing.
pub fn key_before(key: &KeyText, stage: &dyn AnyStage, inputs: &Ports<'_>, device: &Device) -> Option<KeyText> {
    let (def, before) = (stage.def(), stage.before(device));
    let Before { version, format, numerics, by_parts } = &before;
    let mut text = String::with_capacity(key.as_str().len());
    for line in key.as_str().lines() {
        let port = || {
            let (name, _) = input_of(line)?;
            Some((name, inputs.iter().find(|(port, _)| *port == name)?.1.artifact.digest()))
        };
        let _ = match (line.split(' ').next(), numerics) {
            (Some("stage"), _) => writeln!(text, "stage {} {version}", def.verb),
            (Some("output"), _) => writeln!(text, "output {} {format}", def.output.name),
            (Some("numerics"), Some(numerics)) => writeln!(text, "numerics {}", one_line(numerics)),
            (Some("input"), _) if !by_parts && let Some((port, digest)) = port() => {
                writeln!(text, "input {port} = {digest}")
            }
            _ => writeln!(text, "{line}"),
        };
    }
    (text != key.as_str()).then(|| KeyText::from(text))
}

/// Whether a record's key text names this stage's parameters and these inputs, by the parts that the stage reads. A key of an
/// earlier program names whole inputs.
pub fn follows(record: &Record, stage: &dyn AnyStage, inputs: &Ports<'_>) -> bool {
    let named: Vec<_> = record.key_text.lines().filter_map(input_of).collect();
    let is_named = |(port, input): &(&str, &Record)| {
        let digests = [read_at(stage, port, input), input.artifact.digest()].map(|digest| digest.to_string());
        named.iter().any(|(name, digest)| name == port && digests.iter().any(|known| known == digest))
    };
    let params = record.key_text.lines().filter(|line| line.starts_with("param"));
    named.len() == inputs.len() && inputs.iter().all(is_named) && params.eq(params_of(stage))
}

/// The digest of the parts of an input that a stage reads.
pub fn read_at(stage: &dyn AnyStage, port: &str, record: &Record) -> Digest {
    record.artifact.digest_of(stage.def().reads(port))
}

impl KeyText {
    /// Builds the text from what decides the bytes: the stage and its version, its parameters, and its inputs' content.
    /// `told` holds the rest, such as the seed and the versions of libraries.
    pub fn of(stage: &dyn AnyStage, inputs: &[(&str, Digest)], told: &Told) -> Self {
        let def = stage.def();
        let params = params_of(stage);
        let mut ports: Vec<_> = inputs.iter().map(|(port, digest)| format!("input {port} = {digest}")).collect();
        ports.sort_unstable();
        let mut text = String::with_capacity(1024);
        let _ = writeln!(text, "dcpipe-key 1\nstage {} {}", def.verb, def.version);
        let _ = writeln!(text, "output {} {}", def.output.name, def.output.format);
        let heads = [
            told.numerics.as_ref().map(|n| format!("numerics {}", one_line(n))),
            told.seed.as_ref().map(|s| format!("seed {}", one_line(s.line()))),
            told.epoch.map(|epoch| format!("epoch {epoch}")),
            told.observed.map(|digest| format!("observed {digest}")),
        ];
        for line in heads.into_iter().flatten().chain(params).chain(ports) {
            text.push_str(&line);
            text.push('\n');
        }
        Self::from(text)
    }
}

/// The lines of the parameters. They are sorted here: the order of a JSON object may change with a feature of its crate.
fn params_of(stage: &dyn AnyStage) -> Vec<String> {
    let mut params = Vec::new();
    leaves("param", &stage.params(), &mut params);
    params.retain(|line| line != "param = {}" && line != "param = null");
    params.sort_unstable();
    params
}

/// One line per leaf. Values are JSON, so no value forges a line and no two values share one.
fn leaves(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if map.values().any(|value| !value.is_null()) => {
            for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                leaves(&format!("{path}.{}", plain(name)), value, lines);
            }
        }
        Value::Object(_) => lines.push(format!("{path} = {{}}")),
        Value::Array(items) if !items.is_empty() => {
            for (i, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{i}]"), value, lines);
            }
        }
        leaf => lines.push(format!("{path} = {leaf}")),
    }
}

/// A plain parameter name as it is, and any other as JSON, so that it has one reading only.
fn plain(name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if is_plain { name.to_owned() } else { Value::from(name).to_string() }
}
