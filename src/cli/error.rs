//! error: everything that can end a command, and the exit code it ends with.

use crate::engine::{ActionError, EngineError, PlanError};
use crate::pipeline::PipelineError;
use crate::store::StoreError;

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not go together.
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
    /// An artifact that cannot be shown.
    #[error("{0}")]
    Artifact(String),
    /// Nobody reads what is printed any more.
    #[error("standard output is closed")]
    Pipe,
    /// Stopped on request.
    #[error("interrupted; all finished work is in the store. Resume with the same command:\n  {again}")]
    Interrupted {
        /// The command.
        again: String,
    },
    /// Another process is at work where this one must be alone.
    #[error("{0}")]
    Locked(String),
    /// The other program has said what there is to say.
    #[error("")]
    Said {
        /// Its exit code.
        code: u8,
    },
    /// What no command should.
    #[error("BUG: it {0}. Committed results are whole, and the same command resumes; please report it")]
    Panicked(String),
    /// Something about files of ours outside the store.
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
            // A worker that finds a file cut short under its hands ends with this code.
            Self::Engine(EngineError::Stage {
                error: ActionError::Damaged { .. } | ActionError::Died { code: Some(5), .. },
                ..
            }) => 5,
            Self::Engine(_) | Self::Pipe | Self::Panicked(_) | Self::Files(_) => 1,
        }
    }
}
