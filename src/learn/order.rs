//! order: unbiased choices and shuffles by a stream.

use crate::base::Stream;
use crate::base::draw::below_u64;

/// Puts a uniformly drawn choice of `count` items, in random order, in front of the others (Fisher-Yates).
pub fn draw_front<T>(items: &mut [T], count: usize, stream: &mut Stream) {
    for front in 0..count.min(items.len()) {
        let chosen = front + below_u64(stream, (items.len() - front) as u64) as usize;
        items.swap(front, chosen);
    }
}

/// Puts all items in random order.
pub fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    draw_front(items, items.len(), stream);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;

    #[test]
    fn every_order_of_three_is_equally_likely() {
        let mut stream = Seed::of_node(31, "test").stream("shuffle", 0);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..60_000 {
            let mut items = [0, 1, 2];
            shuffle(&mut items, &mut stream);
            *seen.entry(items).or_insert(0_i32) += 1;
        }
        assert_eq!(seen.len(), 6);
        // 10,000 expected each, standard deviation 91.
        assert!(seen.values().all(|&count| (count - 10_000).abs() < 460), "{seen:?}");
    }
}
