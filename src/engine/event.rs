//! event: everything that the engine reports, as values; terminals, journals and tests listen.

use crate::base::{Digest, StageKey};
use serde::{Deserialize, Serialize};

/// The beginning of a warning's text; its code and a colon follow.
pub const WARNING: &str = "warning ";

/// The beginning of a note that judges what the run made. The run repeats the last one at its end, unless a warning of the
/// same node follows.
pub const VERDICT: &str = "verdict: ";

/// Why a node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MissReason {
    /// No run of this name has had this node before.
    FirstRun,
    /// The key differs in these lines from the last one that the node finished with.
    KeyChanged {
        /// `-old` and `+new` lines of the two key texts.
        lines: Vec<String>,
    },
    /// The last run had the same key but did not finish the node.
    NeverFinished,
    /// It has run, but its bytes are missing and a node that must run needs them.
    Evicted {
        /// The node that needs them.
        needed_by: String,
    },
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A run began: its name, its number of nodes, its device, and the program.
    RunStarted { run: String, nodes: usize, device: String, program: String },
    /// The store has a node's record.
    NodeHit { node: String, key: StageKey, artifact: Digest },
    /// Another process is making the node; this one waits for it.
    NodeWaits { node: String, key: StageKey },
    /// A node began to run.
    NodeStarted { node: String, key: StageKey, reason: MissReason },
    /// A running node committed a shard or a checkpoint; or, with `hit`, found one of an interrupted run.
    PutDown { node: String, part: String, hit: bool },
    /// A running node got this far.
    Progress { node: String, done: u64, total: u64, unit: String },
    /// A running node measured something.
    Metric {
        node: String,
        name: String,
        /// As text if it is infinite or not a number: a person must see that, and JSON cannot say it.
        #[serde(with = "any_number")]
        value: f64,
    },
    /// A running node reports something to a person.
    Note { node: String, text: String },
    /// A node ran and was committed.
    NodeFinished { node: String, key: StageKey, artifact: Digest, bytes: u64, wall_s: f64 },
    /// A node failed.
    NodeFailed { node: String, error: String },
    /// A node's bytes were deleted; what was made from them stays.
    Evicted { node: String, bytes: u64 },
    /// A node gave other bytes than its record promises.
    Drifted { node: String, was: Digest, is: Digest },
    /// The run ended; always the last event.
    RunFinished { ran: usize, hit: usize, failed: usize, skipped: usize, wall_s: f64, interrupted: bool },
}

/// Numbers of which JSON has only the finite ones; the others are written as `"NaN"`, `"Infinity"` and `"-Infinity"`.
mod any_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Finite(f64),
        Text(String),
        /// What earlier programs wrote for all of these.
        Null(()),
    }

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        match value {
            value if value.is_finite() => to.serialize_f64(*value),
            value if value.is_nan() => to.serialize_str("NaN"),
            value => to.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" }),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Written::deserialize(from)? {
            Written::Finite(value) => Ok(value),
            Written::Text(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(D::Error::custom(format!("{text:?} is no number"))),
            },
            Written::Null(()) => Ok(f64::NAN),
        }
    }
}

/// Listens to events. Called from one thread at a time.
pub trait Observer: Send + Sync {
    /// Receives one event.
    fn observe(&self, event: &Event);
}

/// Ignores all events.
impl Observer for () {
    fn observe(&self, _: &Event) {}
}

/// Several listeners as one.
impl Observer for Vec<Box<dyn Observer + '_>> {
    fn observe(&self, event: &Event) {
        for observer in self {
            observer.observe(event);
        }
    }
}

/// Collects events; for tests.
#[derive(Default)]
pub struct Collect(pub std::sync::Mutex<Vec<Event>>);

impl Observer for std::sync::Arc<Collect> {
    fn observe(&self, event: &Event) {
        self.0.lock().expect("BUG: a listener panicked").push(event.clone());
    }
}
