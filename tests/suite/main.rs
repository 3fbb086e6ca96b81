//! suite: every integration test in one binary, so that libtorch and faiss are linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod clustering;
mod formats;
mod image;
mod nets;
mod pipelines;
mod tidy;
