//! views: artifacts as plain files for people and other tools; they read the store and never write to it.

pub mod files;
mod layout;
mod ledger;
mod places;
mod results;
mod tables;
mod turn;

pub use results::{End, Lacks, Results};
