//! key: the short text whose digest names a record; it says everything that decides the output's bytes.

use crate::base::{Digest, Seed, StageKey};
use crate::engine::AnyStage;
use serde_json::Value;
use std::fmt::Write;

/// The text of a key. It is written so that a person can read it and a line diff explains a re-run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText {
    text: String,
    key: StageKey,
}

impl KeyText {
    /// Builds the text from what decides the bytes: the stage and its version, its parameters, the content of its
    /// inputs, the seed where it draws, library versions where bits depend on them, what a source observed.
    pub fn of(
        stage: &dyn AnyStage,
        inputs: &[(&str, Digest)],
        seed: Option<&Seed>,
        numerics: Option<&str>,
        observed: Option<&str>,
    ) -> Self {
        let def = stage.def();
        // Sorted by us: the order of a JSON object may change with a feature of its crate.
        let mut params = Vec::new();
        leaves("param", &stage.params(), &mut params);
        params.retain(|line| line != "param = {}" && line != "param = null");
        params.sort_unstable();
        let mut ports: Vec<_> = inputs.iter().map(|(port, digest)| format!("input {port} = {digest}")).collect();
        ports.sort_unstable();
        let mut text = String::with_capacity(1024);
        let _ = writeln!(text, "dcpipe-key 1\nstage {} {}", def.verb, def.version);
        let _ = writeln!(text, "output {} {}", def.output.name, def.output.format);
        let heads = [
            numerics.map(|n| format!("numerics {}", one_line(n))),
            seed.map(|s| format!("seed {}", one_line(s.line()))),
            observed.map(|o| format!("observed {}", Digest::of(o.as_bytes()))),
        ];
        for line in heads.into_iter().flatten().chain(params).chain(ports) {
            text.push_str(&line);
            text.push('\n');
        }
        Self::from(text)
    }

    fn from(text: String) -> Self {
        Self { key: StageKey(Digest::of(text.as_bytes())), text }
    }

    /// The key of a shard of this node: the same text and one line more.
    pub fn shard(&self, name: &str) -> Self {
        Self::from(format!("{}shard {}\n", self.text, one_line(name)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name that a record with this text has.
    pub fn key(&self) -> StageKey {
        self.key
    }
}

/// One line per leaf, values as JSON, so that no value can forge a line and no two values share one.
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

/// A parameter's name as it is where that is plain, and as JSON where it could be read as something else.
fn plain(name: &str) -> String {
    let is_plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if is_plain { name.to_owned() } else { Value::from(name).to_string() }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
