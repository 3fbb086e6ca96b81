//! engine: order. Keys, plans, states, events and the loop that moves every node; it has never heard of an image.

mod ahead;
mod board;
pub mod context;
pub mod error;
pub mod event;
pub mod executor;
mod facts;
pub mod forecast;
mod held;
pub mod history;
mod holders;
pub mod journal;
pub mod key;
pub mod output;
pub mod panics;
pub mod plan;
mod resolve;
mod resume;
mod retention;
pub mod roots;
mod sharing;
pub mod slowest;
pub mod stage;
pub mod state;
pub mod why;
mod worker;
pub mod workers;

pub use context::{Cancel, Context, Input};
pub use error::{DamagedInput, EngineError, Interrupted, PlanError};
pub use event::{Event, MissReason, Observer};
pub use executor::{Executor, Outcome, Settings};
pub use key::KeyText;
pub use output::Output;
pub use plan::{Node, NodeId, Plan};
pub use stage::{AnyStage, Facts, Keep, Noun, Pool, Port, Registered, Registry, Stage, StageDef};
pub use state::NodeState;
