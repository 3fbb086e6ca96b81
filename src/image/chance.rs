//! chance: uniform numbers from a stream, written out so that no version of the random crate can change a crop.

use crate::base::Stream;
use rand::Rng;

/// Uniform in [0, 1), of 53 bits.
pub(super) fn unit(stream: &mut Stream) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Uniform in [low, high).
pub(super) fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(stream)
}

/// Uniform in 0..count; the bias of the product is below 2^-21.
pub(super) fn below(stream: &mut Stream, count: u32) -> u32 {
    (unit(stream) * f64::from(count)) as u32
}
