//! eta: how long a run will still take, estimated from the nodes that it has finished.

use crate::engine::plan::is_implied;
use crate::engine::{NodeId, Plan};
use std::collections::HashMap;

/// What is known of the nodes of one name, all epochs together.
#[derive(Default)]
struct Kind {
    /// Nodes that neither ran nor were hits.
    left: usize,
    /// Seconds of those that ran, and how many they are.
    took: (f64, usize),
    /// Whether most epochs have one, so that an estimate without it would be wrong.
    is_regular: bool,
}

/// A running node.
pub struct AtWork<'a> {
    /// Such as `features`.
    pub noun: &'a str,
    /// Seconds since it began.
    pub seconds: f64,
    /// From 0 to 1.
    pub share: Option<f64>,
}

/// Counts what is left of a run. Tables are not counted: they take no time to speak of.
#[derive(Default)]
pub struct Eta {
    kinds: HashMap<String, Kind>,
    /// Nodes left, by epoch.
    epochs: Vec<usize>,
    total: usize,
}

impl Eta {
    /// Everything that leads to `to` is left; without `to`, every node.
    pub fn new(plan: &Plan, to: &[NodeId]) -> Self {
        let mut eta = Self { kinds: HashMap::new(), epochs: vec![0; plan.epochs as usize + 1], total: 0 };
        let wanted = plan.leading_to(to);
        for id in plan.order().iter().filter(|id| wanted[id.index()] && !plan.node(**id).is_implied) {
            let node = plan.node(*id);
            match eta.kinds.get_mut(&node.noun) {
                Some(kind) => kind.left += 1,
                None => drop(eta.kinds.insert(node.noun.clone(), Kind { left: 1, ..Kind::default() })),
            }
            eta.epochs[node.epoch.0 as usize] += 1;
            eta.total += 1;
        }
        for kind in eta.kinds.values_mut() {
            kind.is_regular = 2 * kind.left > plan.epochs as usize;
        }
        eta
    }

    /// Notes a hit, or a node that ran for so many seconds. Returns the epoch whose last node this was.
    pub fn done(&mut self, node: &str, seconds: Option<f64>) -> Option<u32> {
        let (noun, epoch) = parts(node);
        let kind = self.kinds.get_mut(noun).filter(|_| !is_implied(node))?;
        kind.left = kind.left.saturating_sub(1);
        if let Some(seconds) = seconds {
            kind.took = (kind.took.0 + seconds, kind.took.1 + 1);
        }
        let left = self.epochs.get_mut(epoch as usize).filter(|left| **left > 0)?;
        *left -= 1;
        (*left == 0 && epoch > 0).then_some(epoch)
    }

    /// Notes that a node which was done must run again.
    pub fn again(&mut self, node: &str) {
        let (noun, epoch) = parts(node);
        if let Some(kind) = self.kinds.get_mut(noun).filter(|_| !is_implied(node)) {
            kind.left += 1;
            self.epochs.get_mut(epoch as usize).into_iter().for_each(|left| *left += 1);
        }
    }

    /// Seconds that the rest will take, one node after the other. None while a kind of node that comes in most epochs
    /// has not run.
    pub fn seconds_left(&self, running: &[AtWork<'_>]) -> Option<f64> {
        let mut left = 0.0;
        for (noun, kind) in self.kinds.iter().filter(|(_, kind)| kind.left > 0) {
            let at_work: Vec<_> = running.iter().filter(|at| at.noun == noun).collect();
            let whole = |at: &&AtWork<'_>| at.share.filter(|share| *share > 0.0).map(|share| at.seconds / share);
            let expected = match kind.took {
                (_, 0) => at_work.iter().find_map(whole),
                (sum, count) => Some(sum / count as f64),
            };
            let Some(expected) = expected else {
                if kind.is_regular {
                    return None;
                }
                continue;
            };
            let spent = |at: &&AtWork<'_>| (whole(at).unwrap_or(expected) - at.seconds).max(0.0);
            left += at_work.iter().map(spent).sum::<f64>();
            left += expected * kind.left.saturating_sub(at_work.len()) as f64;
        }
        Some(left)
    }

    /// How many nodes are done, and how many there are.
    pub fn nodes(&self) -> (usize, usize) {
        let left: usize = self.kinds.values().map(|kind| kind.left).sum();
        (self.total.saturating_sub(left), self.total)
    }

    /// The first epoch that is not done, if the run has epochs.
    pub fn epoch(&self) -> Option<(u32, u32)> {
        let last = self.epochs.len() as u32 - 1;
        let first = self.epochs.iter().skip(1).position(|left| *left > 0)?;
        Some((first as u32 + 1, last))
    }
}

/// The name without the epoch, and the epoch.
pub fn parts(node: &str) -> (&str, u32) {
    let (noun, epoch) = node.split_once('@').unwrap_or((node, "0"));
    (noun, epoch.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eta(kinds: &[(&str, usize)], epochs: usize) -> Eta {
        let kind = |(noun, left): &(&str, usize)| {
            ((*noun).to_owned(), Kind { left: *left, is_regular: 2 * left > epochs, ..Kind::default() })
        };
        let mut by_epoch = vec![kinds.len(); epochs + 1];
        by_epoch[0] = 0;
        Eta { kinds: kinds.iter().map(kind).collect(), epochs: by_epoch, total: kinds.iter().map(|(_, n)| n).sum() }
    }

    #[test]
    fn the_rest_takes_what_the_same_nodes_took_before() {
        let mut eta = eta(&[("features", 10), ("weights", 10)], 10);
        assert_eq!(eta.seconds_left(&[]), None, "nothing has run");
        eta.done("features@1", Some(4.0));
        assert_eq!(eta.seconds_left(&[]), None, "training has not run");
        let half = AtWork { noun: "weights", seconds: 10.0, share: Some(0.5) };
        assert_eq!(eta.seconds_left(&[half]), Some(9.0 * 4.0 + 10.0 + 9.0 * 20.0));
        assert_eq!(eta.done("weights@1", Some(20.0)), Some(1), "the epoch's last node");
        assert_eq!(eta.epoch(), Some((2, 10)));
        assert_eq!(eta.seconds_left(&[]), Some(9.0 * 24.0));
        eta.done("features@2", None);
        assert_eq!(eta.seconds_left(&[]), Some(8.0 * 4.0 + 9.0 * 20.0), "a hit takes no time, and tells none");
        eta.again("features@2");
        assert_eq!(eta.nodes(), (2, 20));
    }

    #[test]
    fn a_node_of_few_epochs_delays_no_estimate() {
        let mut eta = eta(&[("weights", 10), ("gallery", 2)], 10);
        eta.done("weights@1", Some(5.0));
        assert_eq!(eta.seconds_left(&[]), Some(45.0));
        eta.done("gallery@5", Some(1.0));
        assert_eq!(eta.seconds_left(&[]), Some(46.0));
        let late = AtWork { noun: "gallery", seconds: 3.0, share: None };
        assert_eq!(eta.seconds_left(&[late]), Some(45.0), "a late node is about to end");
    }
}
