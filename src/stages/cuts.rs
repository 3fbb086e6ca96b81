//! cuts: cuts a list of images into shards by their digests, so that one image more moves few cuts.

use crate::base::Digest;
use std::ops::Range;

/// A shard has no fewer images than this, but for the last.
const FEWEST: usize = 256;
/// A shard has no more.
const MOST: usize = 1024;
/// Behind the fewest, one image in so many ends its shard.
const ONE_IN: u32 = 256;

/// The rows of each shard. No image at all is one empty shard.
pub fn cut(images: &[Digest]) -> Vec<Range<usize>> {
    let mut shards = Vec::with_capacity(images.len() / FEWEST + 1);
    let mut start = 0;
    for (at, image) in images.iter().enumerate() {
        let size = at + 1 - start;
        let [a, b, c, d, ..] = *image.as_bytes();
        let ends = u32::from_le_bytes([a, b, c, d]).is_multiple_of(ONE_IN);
        if size == MOST || (size >= FEWEST && ends) {
            shards.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < images.len() || shards.is_empty() {
        shards.push(start..images.len());
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn images(count: u32) -> Vec<Digest> {
        (0..count).map(|id| Digest::of(&id.to_le_bytes())).collect()
    }

    #[test]
    fn shards_hold_every_image_once_and_none_is_too_large() {
        for count in [0, 1, 255, 256, 257, 5000] {
            let shards = cut(&images(count));
            let rows: Vec<usize> = shards.iter().cloned().flatten().collect();
            assert_eq!(rows, (0..count as usize).collect::<Vec<_>>());
            let sizes = shards.iter().rev().skip(1).map(Range::len);
            assert!(sizes.into_iter().all(|size| (FEWEST..=MOST).contains(&size)));
            assert!(shards.last().is_some_and(|last| last.len() <= MOST));
        }
    }

    #[test]
    fn one_image_more_changes_few_shards_wherever_it_stands() {
        let all = images(20_000);
        let known: BTreeSet<Vec<Digest>> = cut(&all).into_iter().map(|rows| all[rows].to_vec()).collect();
        for at in (0..=20_000).step_by(1000) {
            let mut more = all.clone();
            more.insert(at, Digest::of(b"one more"));
            let shards = cut(&more);
            let new = shards.iter().filter(|rows| !known.contains(&more[(*rows).clone()])).count();
            assert!((1..=8).contains(&new), "one image at {at}: {new} of {} shards", shards.len());
        }
    }
}
