//! views: what a run made, where people look for it: links to the store's files. They read the store and never write to
//! it.

pub mod export;
pub mod files;
pub mod graph;
mod list;
mod made;
mod places;
pub mod report;
mod results;
pub mod serve;
mod turn;

pub use results::{End, Lacks, Results};
