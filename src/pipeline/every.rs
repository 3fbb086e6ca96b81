//! every: at which epochs a node is there, `epochs: { every: 10 }`. By default it is there at every epoch.

use crate::base::tree::{Entry, Tree, Value};
use crate::pipeline::MAX_EPOCHS;
use crate::pipeline::error::Fault;
use crate::pipeline::spec::{NodeSpec, Section};

/// The epochs of a node: each multiple of a step, and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Every(pub(super) u32);

impl Every {
    /// Whether the node is there at an epoch of a run that has so many.
    pub(super) fn holds(self, epoch: u32, epochs: u32) -> bool {
        epoch.is_multiple_of(self.0) || epoch == epochs
    }

    /// How many epochs of so many have the node.
    pub(super) fn count(self, epochs: u32) -> usize {
        (epochs / self.0) as usize + usize::from(!epochs.is_multiple_of(self.0))
    }

    /// Whether there is always such a node where there is one of `reader`.
    pub(super) fn covers(self, reader: Self) -> bool {
        reader.0.is_multiple_of(self.0)
    }

    /// When the node is there, in words.
    pub(super) fn described(self) -> String {
        match self.0 {
            1 => "at every epoch".to_owned(),
            step => format!("at epochs {step}, {}, ... and the last one", 2 * u64::from(step)),
        }
    }

    /// As it stands in a file; nothing where it need not.
    pub(super) fn written(self) -> Option<String> {
        (self.0 > 1).then(|| format!("{{ every: {} }}", self.0))
    }
}

/// The epochs of a node as the file has them.
pub(super) fn of(section: Section, node: &NodeSpec) -> Result<Every, Fault> {
    let Some(tree) = &node.epochs else { return Ok(Every(1)) };
    if section == Section::Once {
        let what = format!("`{}` stands under once, so it has no epochs to choose from", node.noun.text);
        return Err(Fault::new(tree.span, what).hint("move it to each_epoch, or leave `epochs` out".to_owned()));
    }
    let refuse = |tree: &Tree| {
        let what =
            format!("a node's epochs are {{ every: N }}, N from 1 to {MAX_EPOCHS}, but this is {}", tree.described());
        Fault::new(tree.span, what)
            .hint("such as epochs: { every: 10 }, at epochs 10, 20, ... and the last one".to_owned())
    };
    let Value::Map(entries) = &tree.value else { return Err(refuse(tree)) };
    let [Entry { key, value }] = entries.as_slice() else { return Err(refuse(tree)) };
    if key.text != "every" {
        return Err(Fault::new(key.span, format!("a node's epochs have no key `{}`", key.text))
            .hint("write epochs: { every: N }".to_owned()));
    }
    let number = if let Value::Number(number) = &value.value { number.as_u64() } else { None };
    let number = number.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_EPOCHS).contains(n));
    number.map(Every).ok_or_else(|| refuse(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_there_at_each_multiple_and_at_the_last_epoch() {
        for step in 1..9 {
            for epochs in 1..30 {
                let there: Vec<u32> = (1..=epochs).filter(|epoch| Every(step).holds(*epoch, epochs)).collect();
                assert_eq!(there.len(), Every(step).count(epochs), "{step} of {epochs}");
                for reader in (1..9).map(Every).filter(|reader| Every(step).covers(*reader)) {
                    let reads = (1..=epochs).filter(|epoch| reader.holds(*epoch, epochs));
                    assert!(reads.into_iter().all(|epoch| there.contains(&epoch)), "{reader:?} of {step} of {epochs}");
                }
            }
        }
        let there: Vec<u32> = (1..=25).filter(|epoch| Every(10).holds(*epoch, 25)).collect();
        assert_eq!(there, [10, 20, 25]);
    }
}
