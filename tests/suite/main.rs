//! suite: every integration test in one binary, so that libtorch and faiss are linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bad_input;
mod cache;
mod cli;
mod clustering;
mod crash;
mod endings;
mod epochs;
mod formats;
mod graph;
mod hookfs;
mod hostile;
mod image;
mod keys;
mod kill;
mod made;
mod nets;
mod noop;
mod pipelines;
mod readers;
mod results;
mod resume;
mod simfs;
mod space;
mod store_faults;
mod telling;
mod texts;
mod tidy;
mod toys;
mod upkeep;
mod vars;
mod walk;
mod words;
mod workers;
