//! pipeline: the plan as written. A YAML file, variables and overrides in; an [`engine::Plan`](crate::engine::Plan) out.
//!
//! The steps in their order: `yaml` (a tree that knows the place of every value), `spec` (the file as written), `set`
//! (overrides). Then `vars` and `schedule` (values), `params` (stages), `resolve` (names, ports, circles), `unroll`
//! (epochs). Whatever is wrong is found before the next step begins, and every complaint points at its line.

mod assign;
mod error;
mod every;
mod implied;
mod keep;
mod load;
mod params;
mod resolve;
mod resolved;
mod schedule;
mod schema;
mod set;
mod source;
mod spec;
mod suggest;
mod template;
mod unroll;
mod vars;
mod wires;
mod yaml;

pub use assign::{ASSIGNMENTS, Route};
pub use error::{Complaint, PipelineError, Place};
pub use load::{Loaded, load, load_text};
pub use schema::schema;

/// The seed of a pipeline that gives none: the published code's.
const DEFAULT_SEED: u64 = 31;

/// The most epochs that a pipeline may have.
pub const MAX_EPOCHS: u32 = 100_000;

/// The most nodes that a plan may have.
pub const MAX_NODES: usize = 1_000_000;
