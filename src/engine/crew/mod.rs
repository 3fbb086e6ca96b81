//! crew: the workers that do the work of a run.

pub mod process;
pub mod serve;
pub mod threads;
pub mod wire;
mod worker;

use crate::engine::EngineError;
use crate::engine::action::{Action, Report};
use std::sync::Arc;

/// Receives what workers report.
pub type Reports = Arc<dyn Fn(Report) + Send + Sync>;

/// Workers. For every action that it started, a crew reports to the [`Reports`] that it was hired with. The record in
/// the store is the truth; the report is only a hint.
pub trait Crew {
    /// Begins an action.
    ///
    /// # Errors
    /// If no worker can do it: then no action can be done.
    fn start(&mut self, action: Action) -> Result<(), EngineError>;

    /// Asks all running actions to end at their next checkpoint, or within seconds if the crew can enforce that.
    fn stop(&mut self);
}

/// Hires a crew for one run, when its first action is due.
pub type Hire<'a> = &'a dyn Fn(Reports) -> Result<Box<dyn Crew>, EngineError>;

/// How many shards of one node run at a time: one computes while the other waits for the disk.
pub const IN_FLIGHT: usize = 2;
