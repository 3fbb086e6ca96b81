//! error: what can go wrong with a plan or a run.

use crate::store::StoreError;

/// A plan that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two nodes of one name.
    #[error("two nodes are called {node}; every name may stand once under once: and once under each_epoch:")]
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
    #[error("these nodes wait for each other: {path}; read the last epoch's with NAME@prev to break the circle")]
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
    /// A name that no node has.
    #[error("there is no node {name}; the pipeline has {nouns}, for single epochs write NAME@EPOCH with 0 to {epochs}")]
    UnknownNode {
        /// What was asked for.
        name: String,
        /// What there is.
        nouns: String,
        /// The last epoch.
        epochs: u32,
    },
}

/// A stage was asked to stop and did, with everything it had finished committed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// What a stage read was found damaged when it failed, and was moved to quarantine.
#[derive(Debug, thiserror::Error)]
#[error("what it reads at {port} had other bytes than its name promises; the same command makes it again")]
pub struct DamagedInput {
    /// The port.
    pub port: &'static str,
}

/// A run that did not reach its end.
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
    #[error("{node}: {error:#}")]
    Stage {
        /// The node.
        node: String,
        /// Why.
        error: anyhow::Error,
    },
    /// A stage gave other bytes than its record promises, again and again.
    #[error("{node} gives other bytes each time it runs; its stage is not a pure function of its key")]
    NeverSettles {
        /// The node.
        node: String,
    },
    /// Something deletes a node's bytes as fast as they are made.
    #[error(
        "the bytes of {node} were gone again each time before they could be read; does something else empty the store?"
    )]
    KeepsVanishing {
        /// The node.
        node: String,
    },
    /// A run that takes what is there, and no more, met a node that is not.
    #[error("{node} must run")]
    MustRun {
        /// The node.
        node: String,
    },
    /// Stopped on request; the same command goes on.
    #[error("interrupted")]
    Interrupted,
}
