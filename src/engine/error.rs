//! error: what can go wrong with a plan or a run.

use crate::store::StoreError;
use serde::{Deserialize, Serialize};

/// A plan that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two nodes of one name.
    #[error("two nodes are called {node}; use each name once under once: and once under each_epoch:")]
    TwiceNamed {
        /// The name.
        node: String,
    },
    /// A `from:` entry that the stage does not know.
    #[error("{node} connects {port}, which its stage does not read")]
    NoSuchPort {
        /// The node.
        node: String,
        /// The port.
        port: String,
    },
    /// A required port without a node.
    #[error("{node} needs an input for {port}; connect it under from:")]
    NotConnected {
        /// The node.
        node: String,
        /// The port.
        port: String,
    },
    /// A port that takes another noun.
    #[error("{node} reads {want} at {port}, but {from} makes {have}")]
    WrongNoun {
        /// The reader.
        node: String,
        /// Its port.
        port: String,
        /// What the port takes.
        want: &'static str,
        /// The producer.
        from: String,
        /// What it makes.
        have: &'static str,
    },
    /// Nodes that wait for each other.
    #[error("these nodes wait for each other: {path}; read an earlier epoch with NAME@prev to break the circle")]
    Cycle {
        /// The circle.
        path: String,
    },
    /// A stage that refuses its parameters or the facts.
    #[error("{node}: {error}")]
    Refused {
        /// The node.
        node: String,
        /// Why, and what would work.
        error: String,
    },
    /// Sizes that do not fit each other.
    #[error("{misfits}")]
    Misfits {
        /// Every node with what does not fit, and what would, a line each.
        misfits: String,
    },
    /// A name that no node has.
    #[error("there is no node {name}; the pipeline has {nouns}. For one epoch, write NAME@EPOCH (0 to {epochs})")]
    UnknownNode {
        /// What was asked for.
        name: String,
        /// What there is.
        nouns: String,
        /// The last epoch.
        epochs: u32,
    },
}

/// A stage was asked to stop and stopped. All that it had finished is committed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// A stage failed, and one of its inputs proved damaged and was moved to quarantine.
#[derive(Debug, thiserror::Error)]
#[error("its input {port} is damaged; run the same command again, which rebuilds that input")]
pub struct DamagedInput {
    /// The port.
    pub port: &'static str,
}

/// Why an action ended without a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ActionError {
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Its input at a port proved damaged, and was moved to quarantine.
    #[error("its input {port} is damaged; run the same command again, which rebuilds that input")]
    Damaged {
        /// The port.
        port: String,
    },
    /// Bytes that it reads are missing in the store.
    #[error("{what}")]
    Missing {
        /// Which.
        what: String,
    },
    /// A file in the store blocks another.
    #[error("{path} {why}")]
    Stuck {
        /// The file's path, as far as it is text.
        path: String,
        /// What is wrong with the file.
        why: String,
    },
    /// The stage failed.
    #[error("{error}")]
    Failed {
        /// Why.
        error: String,
    },
    /// No worker could begin it.
    #[error("{why}")]
    NoWorker {
        /// Why, and what to do.
        why: String,
    },
    /// The worker process ended in the middle of it.
    #[error("its worker {how} in the middle of it{}", last_words(words))]
    Died {
        /// Such as `aborted (signal 6)`.
        how: String,
        /// Its exit code, if it had one.
        code: Option<i32>,
        /// The end of what it wrote to its standard error.
        words: String,
    },
}

fn last_words(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(". Its last words:\n{words}") }
}

/// A run that did not reach its goal.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The plan cannot work.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A source stage could not see the outside world.
    #[error("{node}: {error:#}")]
    Observe {
        /// The node.
        node: String,
        /// Why.
        error: anyhow::Error,
    },
    /// A stage failed.
    #[error("{node}: {error}")]
    Stage {
        /// The node.
        node: String,
        /// Why.
        error: ActionError,
    },
    /// No worker can do the work.
    #[error("{why}")]
    NoCrew {
        /// Why, and what to do.
        why: String,
    },
    /// A stage gave other bytes than its record promises, in run after run.
    #[error(
        "{node} produces other bytes each time it runs: its stage is not a pure function of its key. Please report it"
    )]
    NeverSettles {
        /// The node.
        node: String,
    },
    /// Another process deletes a node's bytes as fast as this run makes them.
    #[error(
        "{node} was rebuilt several times, but its data vanished before it was read. Is another process deleting from the \
         store?"
    )]
    KeepsVanishing {
        /// The node.
        node: String,
    },
    /// Stopped on request; the same command resumes.
    #[error("interrupted")]
    Interrupted,
}
