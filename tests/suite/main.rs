//! suite: every integration test in one binary, so that libtorch and faiss are linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod cache;
mod clustering;
mod formats;
mod graph;
mod image;
mod nets;
mod pipelines;
mod tidy;
mod toys;
