//! dcpipe: DeepCluster (Caron et al., 2018) as a pipeline of cached, content-addressed stages.
//!
//! The house has six floors, and a file may use only what stands on a lower one or in its own folder:
//!
//! ```text
//!  5  cli        speaks to people
//!  4  pipeline   YAML -> Plan              views   artifacts -> plain files
//!  3  stages     the verbs: the only floor where bytes, columns, pixels and numbers meet
//!  2  engine     order: keys, states, events, the loop
//!  1  store bytes  |  format columns  |  image pixels  |  learn numbers
//!  0  base       the words everyone shares
//! ```
//!
//! ARCHITECTURE.md tells one image's walk through them.

pub mod base;
pub mod cli;
pub mod engine;
pub mod format;
pub mod image;
pub mod learn;
pub mod pipeline;
pub mod stages;
pub mod store;
pub mod views;
