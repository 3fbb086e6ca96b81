//! graph: an order in which everything comes after what it reads, or a circle that forbids one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// Orders the nodes 0 to `count` so that each comes after all that it reads. Of those that may come next, the one of the
/// smallest `rank` comes first, so equal graphs have equal orders. Nothing recurses: a chain may have any length.
///
/// `reads` names what a node reads, every number below `count`; it may name one twice.
///
/// # Errors
/// Where nodes read each other in a circle: one such circle. Each of its nodes reads the next one, and the last reads the
/// first.
pub fn order_or_cycle<Names, Rank>(
    count: usize,
    reads: impl Fn(usize) -> Names,
    rank: impl Fn(usize) -> Rank,
) -> Result<Vec<usize>, Vec<usize>>
where
    Names: IntoIterator<Item = usize>,
    Rank: Ord,
{
    let mut waits: Vec<usize> = (0..count).map(|node| reads(node).into_iter().count()).collect();
    let readers = Readers::of(count, &reads);
    let entry = |node: usize| Reverse((rank(node), node));
    let mut ready: BinaryHeap<_> = (0..count).filter(|node| waits[*node] == 0).map(entry).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse((_, node))) = ready.pop() {
        order.push(node);
        for reader in readers.of_node(node) {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.push(entry(*reader));
            }
        }
    }
    match waits.iter().position(|left| *left > 0) {
        None => Ok(order),
        Some(stuck) => Err(cycle_from(stuck, |node| {
            let from = reads(node).into_iter().find(|from| waits[*from] > 0);
            from.expect("BUG: a node that waits reads one that waits")
        })),
    }
}

/// Walks from a stuck node to one that it waits for, until a node comes a second time.
fn cycle_from(stuck: usize, next: impl Fn(usize) -> usize) -> Vec<usize> {
    let (mut path, mut seen) = (Vec::new(), HashSet::new());
    let mut at = stuck;
    while seen.insert(at) {
        path.push(at);
        at = next(at);
    }
    let first = path.iter().position(|node| *node == at).unwrap_or(0);
    path.split_off(first)
}

/// The readers of each node: one list for all, and where each node's share of it begins.
struct Readers {
    all: Vec<usize>,
    starts: Vec<usize>,
}

impl Readers {
    fn of<Names: IntoIterator<Item = usize>>(count: usize, reads: impl Fn(usize) -> Names) -> Self {
        let mut starts = vec![0; count + 1];
        for from in (0..count).flat_map(&reads) {
            starts[from + 1] += 1;
        }
        for node in 0..count {
            starts[node + 1] += starts[node];
        }
        let (mut free, mut all) = (starts.clone(), vec![0; starts[count]]);
        for node in 0..count {
            for from in reads(node) {
                all[free[from]] = node;
                free[from] += 1;
            }
        }
        Self { all, starts }
    }

    fn of_node(&self, node: usize) -> &[usize] {
        &self.all[self.starts[node]..self.starts[node + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(graph: &[&[usize]]) -> Result<Vec<usize>, Vec<usize>> {
        order_or_cycle(graph.len(), |node| graph[node].iter().copied(), |node| node)
    }

    #[test]
    fn each_node_comes_after_what_it_reads_and_small_ranks_come_first() {
        assert_eq!(order(&[&[], &[3], &[0], &[]]), Ok(vec![0, 2, 3, 1]));
        assert_eq!(order(&[&[1, 1], &[]]), Ok(vec![1, 0]), "one that is read twice");
        assert_eq!(order(&[]), Ok(vec![]));
        let backwards = order_or_cycle(3, |_| [], Reverse);
        assert_eq!(backwards, Ok(vec![2, 1, 0]));
    }

    #[test]
    fn a_circle_holds_only_its_own_nodes_and_each_reads_the_next() {
        assert_eq!(order(&[&[0]]), Err(vec![0]));
        assert_eq!(order(&[&[1], &[2], &[1], &[]]), Err(vec![1, 2]), "node 0 waits for the circle and is not in it");
        assert_eq!(order(&[&[], &[0, 3], &[1], &[2]]), Err(vec![1, 3, 2]));
    }

    #[test]
    fn a_chain_and_a_circle_of_100_000_nodes_are_walked_without_recursion() {
        const COUNT: usize = 100_000;
        let chain = order_or_cycle(COUNT, |node| (node + 1 < COUNT).then_some(node + 1), |node| node);
        assert!(chain.is_ok_and(|order| order.iter().copied().eq((0..COUNT).rev())));
        let circle = order_or_cycle(COUNT, |node| [(node + 1) % COUNT], |node| node);
        assert!(circle.is_err_and(|circle| circle.into_iter().eq(0..COUNT)));
    }
}
