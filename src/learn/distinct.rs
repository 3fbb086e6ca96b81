//! distinct: rows equal to the bit count as one row, so that many of them cost no more than one.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Rows of numbers, each there once, with the two lowest ids that have it.
pub(super) struct Distinct<'a> {
    /// The rows one after the other; borrowed where all are different.
    pub numbers: Cow<'a, [f32]>,
    /// For each row its lowest id, and the next lowest if there is one.
    pub ids: Vec<(u32, Option<u32>)>,
}

impl<'a> Distinct<'a> {
    /// Finds equal rows among `numbers` (k x `dims`); row number i has the id i. Keeps the order of the lowest ids.
    pub fn of(numbers: &'a [f32], dims: usize) -> Self {
        let row = |id: usize| &numbers[id * dims..][..dims];
        let mut groups = equal_rows((0..numbers.len() / dims).collect(), row);
        groups.sort_unstable_by_key(|group| group[0]);
        let ids = groups.iter().map(|group| (group[0] as u32, group.get(1).map(|id| *id as u32))).collect();
        let numbers = match groups.len() * dims == numbers.len() {
            true => Cow::Borrowed(numbers),
            false => Cow::Owned(groups.iter().flat_map(|group| row(group[0])).copied().collect()),
        };
        Self { numbers, ids }
    }
}

/// The ids in groups of equal rows; each group ascends if the ids did.
pub(super) fn equal_rows<'a>(mut ids: Vec<usize>, row: impl Fn(usize) -> &'a [f32]) -> Vec<Vec<usize>> {
    // A stable sort: equal rows keep the order of their ids.
    ids.sort_by(|a, b| compare(row(*a), row(*b)));
    ids.chunk_by(|a, b| compare(row(*a), row(*b)) == Ordering::Equal).map(<[usize]>::to_vec).collect()
}

fn compare(a: &[f32], b: &[f32]) -> Ordering {
    let different = a.iter().zip(b).find(|(a, b)| a.to_bits() != b.to_bits());
    different.map_or(Ordering::Equal, |(a, b)| a.total_cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_one_and_keep_their_lowest_ids() {
        let numbers = [5.0, 5.0, 1.0, 2.0, 5.0, 5.0, 0.0, 9.0, 5.0, 5.0];
        let distinct = Distinct::of(&numbers, 2);
        assert_eq!(*distinct.numbers, [5.0, 5.0, 1.0, 2.0, 0.0, 9.0]);
        assert_eq!(distinct.ids, [(0, Some(2)), (1, None), (3, None)]);
        assert!(matches!(Distinct::of(&numbers[..4], 2).numbers, Cow::Borrowed(_)));
    }
}
