//! work: what a node will do: one whole, or shards that may run in any order and place.

use crate::base::Digest;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// One piece.
    Whole,
    /// Pieces. Their parts, in this order, are the parts of the output.
    Shards(Vec<Shard>),
}

/// A piece of a node's work: a pure function of the node's key and of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Name of the part that it makes, such as `part-00003.arrow`; no two shards of a node share one.
    pub part: String,
    /// The rows that it makes, counted over all shards of the node.
    pub rows: Range<u64>,
    /// The parts that it reads, where it does not read all of a port.
    pub reads: Vec<Read>,
}

/// What a shard reads of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The port.
    pub port: String,
    /// Names of the parts.
    pub parts: Vec<String>,
    /// What it reads of them, if that is not all their bytes: a digest of it.
    pub content: Option<Digest>,
}

impl Shard {
    /// A shard that reads all of its node's inputs.
    pub fn new(part: String, rows: Range<u64>) -> Self {
        Self { part, rows, reads: Vec::new() }
    }

    /// The same shard, which reads only `parts` of `port`.
    pub fn reading(mut self, port: &str, parts: Vec<String>) -> Self {
        self.reads.push(Read { port: port.to_owned(), parts, content: None });
        self
    }

    /// The same shard, which reads of `port` only what has this digest.
    pub fn reading_rows(mut self, port: &str, content: Digest) -> Self {
        self.reads.push(Read { port: port.to_owned(), parts: Vec::new(), content: Some(content) });
        self
    }
}

impl Work {
    /// Shards of `size` rows each, but for the last, of `total` rows. Zero rows make one empty shard.
    pub fn in_rows(total: u64, size: u64, name: impl Fn(usize) -> String) -> Self {
        let size = size.max(1);
        let starts = (0..total.max(1)).step_by(size as usize);
        let shard = |(at, start)| Shard::new(name(at), start..(start + size).min(total));
        Self::Shards(starts.enumerate().map(shard).collect())
    }
}
