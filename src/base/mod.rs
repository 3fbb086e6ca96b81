//! base: the words that all rooms share; it depends on no other room.

pub mod artifact;
pub mod clock;
pub mod digest;
pub mod draw;
pub mod graph;
pub mod id;
pub mod noun;
pub mod seed;
pub mod shell;
pub mod tree;
pub mod tree_reader;

pub use artifact::{Artifact, Part};
pub use digest::{Digest, ObjectId, StageKey};
pub use id::{ClusterId, Epoch, ImageId, Position, PseudoLabel};
pub use noun::Noun;
pub use seed::{Seed, Stream};
