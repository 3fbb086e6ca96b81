//! draw: uniform numbers from a stream, in an arithmetic that no other crate's version can change.

use super::Stream;
use rand_chacha::rand_core::Rng;

/// Uniform in [0, 1), of 53 bits.
pub fn unit(stream: &mut Stream) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Uniform in [low, high).
pub fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(stream)
}

/// Draws one of 0..`end`, each exactly equally likely; `end` must not be 0.
///
/// Shuffles and the sampler use it. Their ranges reach the number of images, where a bias would favour some images.
pub fn below_u64(stream: &mut Stream, end: u64) -> u64 {
    assert!(end > 0, "BUG: nothing to draw from");
    // Lemire's multiply-and-reject: the high word of the product is the draw, the low word says when it is biased.
    let biased = end.wrapping_neg() % end;
    loop {
        let product = u128::from(stream.next_u64()) * u128::from(end);
        if product as u64 >= biased {
            return (product >> 64) as u64;
        }
    }
}

/// Draws one of 0..`count`, for the place of a crop; the bias of the product is below 2^-21.
///
/// It differs from [`below_u64`] on purpose. Like torchvision's crop it takes exactly one number of the stream, so that
/// no place changes the later draws. Another arithmetic would also move every crop under an unchanged key.
pub fn below_as_torchvision(stream: &mut Stream, count: u32) -> u32 {
    (unit(stream) * f64::from(count)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    fn stream() -> Stream {
        Seed::of_node(31, "test").stream("draw", 0)
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_its_ends() {
        let stream = &mut stream();
        let mut seen = [[0; 3]; 2];
        for _ in 0..3000 {
            seen[0][below_u64(stream, 3) as usize] += 1;
            seen[1][below_as_torchvision(stream, 3) as usize] += 1;
            assert!((-1.0..2.0).contains(&between(stream, -1.0, 2.0)));
        }
        // 1,000 expected each, standard deviation 26.
        assert!(seen.as_flattened().iter().all(|count| (870..1130).contains(count)), "{seen:?}");
    }

    #[test]
    fn a_draw_takes_one_number_of_the_stream() {
        let (mut one, mut other) = (stream(), stream());
        let drawn = below_as_torchvision(&mut one, 1000);
        assert_eq!(drawn, (unit(&mut other) * 1000.0) as u32);
        assert_eq!(one.next_u64(), other.next_u64());
    }
}
