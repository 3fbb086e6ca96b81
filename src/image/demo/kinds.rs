//! kinds: ten sorts of drawn images that grey edges alone can tell apart, for a demonstration without a data set.

use super::shape;
use crate::base::Stream;
use crate::base::draw::between;
use crate::image::Picture;

/// What each kind shows.
pub const NAMES: [&str; 10] = [
    "horizontal_stripes",
    "vertical_stripes",
    "diagonal_stripes",
    "checkerboard",
    "dots",
    "rings",
    "triangle",
    "cross",
    "speckle",
    "blob",
];

/// Largest deviation of a sample by noise, as a share of white.
const NOISE: f64 = 0.05;

/// Draws an image of `size` x `size` pixels of kind `kind` modulo ten, at a random place, scale and colour.
///
/// It uses only +, -, *, / and square roots, which every machine rounds alike. The same stream gives the same bytes.
pub fn draw(kind: usize, size: u32, stream: &mut Stream) -> Picture {
    let ink = tint(stream, 0.70, 0.95);
    let paper = tint(stream, 0.05, 0.30);
    let cover = shape::draw(kind % NAMES.len(), size, stream);
    let mut rgb = Vec::with_capacity(cover.len() * 3);
    for share in cover {
        let noise = between(stream, -NOISE, NOISE);
        for (ink, paper) in ink.iter().zip(paper) {
            let light = paper + (ink - paper) * share + noise;
            rgb.push((light.clamp(0.0, 1.0) * 255.0 + 0.5) as u8);
        }
    }
    Picture { width: size, height: size, rgb }
}

/// A colour whose channels lie around one random brightness, so that ink and paper also differ in grey.
fn tint(stream: &mut Stream, low: f64, high: f64) -> [f64; 3] {
    let grey = between(stream, low, high);
    [0; 3].map(|_| grey + between(stream, -0.15, 0.15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    #[test]
    fn a_stream_decides_every_byte_and_kinds_differ() {
        let seed = Seed::of_node(31, "images@0");
        for kind in 0..10 {
            let first = draw(kind, 48, &mut seed.stream("image", 3));
            assert_eq!(first, draw(kind, 48, &mut seed.stream("image", 3)));
            assert_ne!(first, draw(kind, 48, &mut seed.stream("image", 4)));
            assert_ne!(first, draw((kind + 1) % 10, 48, &mut seed.stream("image", 3)));
            assert_eq!(first.rgb.len(), 48 * 48 * 3);
        }
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut stream = Seed::of_node(31, "images@0").stream("image", 0);
        for size in [0, 1, 2, 3, 17] {
            for kind in 0..10 {
                assert_eq!(draw(kind, size, &mut stream).rgb.len(), (size * size * 3) as usize);
            }
        }
    }
}
