//! error: everything that can end a command, and the exit code it ends with.

use crate::engine::{ActionError, EngineError, PlanError};
use crate::pipeline::PipelineError;
use crate::store::StoreError;

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The pipeline file.
    #[error("{0}")]
    Pipeline(#[from] PipelineError),
    /// The run.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The machine.
    #[error("{0}")]
    Environment(String),
    /// An artifact that dcpipe cannot show.
    #[error("{0}")]
    Artifact(String),
    /// The reader of standard output has closed it.
    #[error("standard output is closed")]
    Pipe,
    /// Stopped on request.
    #[error("interrupted; all finished work is in the store. Resume with the same command:\n  {again}")]
    Interrupted {
        /// The command.
        again: String,
    },
    /// Another process works on something that this command needs alone.
    #[error("{0}")]
    Locked(String),
    /// The other program has already reported the error.
    #[error("")]
    Said {
        /// Its exit code.
        code: u8,
    },
    /// A bug: no command should end this way.
    #[error("BUG: it {0}. Committed results are whole, and the same command resumes; please report it")]
    Panicked(String),
    /// An error about dcpipe's files outside the store.
    #[error("{0}")]
    Files(String),
}

impl CliError {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Engine(EngineError::Plan(PlanError::UnknownNode { .. })) => 2,
            Self::Pipeline(_) | Self::Engine(EngineError::Plan(_)) => 3,
            Self::Engine(EngineError::Store(store)) | Self::Store(store) => match store {
                StoreError::Missing { .. }
                | StoreError::DamagedRecord { .. }
                | StoreError::UnknownFormat { .. }
                | StoreError::NotAStore { .. }
                | StoreError::NotAFolder { .. }
                | StoreError::Unreadable { .. }
                | StoreError::Stuck { .. }
                | StoreError::NoRoots { .. } => 5,
                StoreError::InUse { .. } => 4,
                StoreError::Io { .. } => 1,
            },
            Self::Said { code } => *code,
            Self::Locked(_) => 4,
            Self::Artifact(_) => 5,
            Self::Environment(_) => 6,
            Self::Interrupted { .. } | Self::Engine(EngineError::Interrupted) => 75,
            Self::Engine(EngineError::NoCrew { .. }) => 6,
            // A worker ends with this code if a mapped file was cut short.
            Self::Engine(EngineError::Stage {
                error: ActionError::Damaged { .. } | ActionError::Died { code: Some(5), .. },
                ..
            }) => 5,
            Self::Engine(_) | Self::Pipe | Self::Panicked(_) | Self::Files(_) => 1,
        }
    }
}
