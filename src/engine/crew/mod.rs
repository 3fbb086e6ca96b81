//! crew: who does the work of a run.

pub mod process;
pub mod serve;
pub mod threads;
pub mod wire;
mod worker;

use crate::engine::EngineError;
use crate::engine::action::{Action, Report};
use std::sync::Arc;

/// Takes what workers say.
pub type Reports = Arc<dyn Fn(Report) + Send + Sync>;

/// Workers. A report about each action that was started comes to the [`Reports`] that the crew was hired with; the record in
/// the store is the truth, and the report a hint.
pub trait Crew {
    /// Begins an action.
    ///
    /// # Errors
    /// Where nobody can do it: no action can be done then.
    fn start(&mut self, action: Action) -> Result<(), EngineError>;

    /// Asks for the end of all that was begun: at its next checkpoint, or, where the crew can see to it, within seconds.
    fn stop(&mut self);
}

/// Hires a crew for one run, when its first action must be done.
pub type Hire<'a> = &'a dyn Fn(Reports) -> Result<Box<dyn Crew>, EngineError>;

/// How many shards of one node are worked on at a time: one computes while the other waits for the disk.
pub const IN_FLIGHT: usize = 2;
