//! seed: named, independent random streams, and the only place where one is made (clippy.toml forbids it elsewhere).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A random stream. ChaCha8 gives the same numbers on every machine and in every version of its crate.
pub type Stream = ChaCha8Rng;

/// Opens the stream of these 32 bytes, for numbers that no seed may vary, such as where an iteration starts.
#[expect(clippy::disallowed_methods, reason = "streams are made here")]
pub fn fixed_stream(name: &[u8; 32]) -> Stream {
    ChaCha8Rng::from_seed(*name)
}

/// What a node draws from: the text of its seed line, such as `31 manifest@17`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(String);

impl Seed {
    /// The seed of the node `noun@epoch` under the pipeline's `seed`.
    pub fn of_node(seed: u64, node: &str) -> Self {
        Self(format!("{seed} {node}"))
    }

    /// The seed of one more attempt at the same node. The first, 0, has the node's own.
    #[must_use]
    pub fn of_attempt(&self, number: u32) -> Self {
        match number {
            0 => self.clone(),
            _ => Self(format!("{} attempt {number}", self.0)),
        }
    }

    /// The seed's line in the node's key.
    pub fn line(&self) -> &str {
        &self.0
    }

    /// Opens stream number `index` of those called `name`; every pair gives an independent stream.
    pub fn stream(&self, name: &str, index: u64) -> Stream {
        let mut hasher = blake3::Hasher::new_derive_key("dcpipe 1 random stream");
        for text in [self.0.as_str(), name] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&index.to_le_bytes());
        fixed_stream(hasher.finalize().as_bytes())
    }

    /// A single 63-bit number from such a stream, for libraries that take one as their seed.
    pub fn number(&self, name: &str, index: u64) -> i64 {
        use rand_chacha::rand_core::Rng;
        (self.stream(name, index).next_u64() >> 1) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        let seed = Seed::of_node(31, "manifest@17");
        let first = seed.number("draw", 0);
        assert_eq!(first, seed.number("draw", 0));
        assert_ne!(first, seed.number("draw", 1));
        assert_ne!(first, seed.number("flip", 0));
        assert_ne!(first, Seed::of_node(31, "manifest@18").number("draw", 0));
        assert_eq!(first, seed.of_attempt(0).number("draw", 0));
        assert_ne!(first, seed.of_attempt(1).number("draw", 0));
    }
}
