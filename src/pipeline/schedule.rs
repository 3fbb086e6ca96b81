//! schedule: values that change from an epoch on, `{ from_epoch: { 1: 0.05, 150: 0.005 } }`.
//!
//! A stage is given the value of its epoch, never the schedule. A change from epoch 150 on leaves the keys of the 149
//! before it alone.

use crate::base::tree::{Entry, Tree, Value, Word};
use crate::pipeline::MAX_EPOCHS;
use crate::pipeline::error::Fault;
use std::collections::BTreeSet;

/// The key that makes a map a schedule.
pub(super) const KEY: &str = "from_epoch";

/// Adds the epochs from which on something in `tree` has another value.
pub(super) fn changes(tree: &Tree, epochs: &mut BTreeSet<u32>) -> Result<(), Fault> {
    match &tree.value {
        Value::List(items) => items.iter().try_for_each(|item| changes(item, epochs)),
        Value::Map(entries) => match steps(entries)? {
            None => entries.iter().try_for_each(|entry| changes(&entry.value, epochs)),
            Some(steps) => {
                epochs.extend(steps.iter().map(|(epoch, _)| *epoch));
                steps.iter().try_for_each(|(_, value)| changes(value, epochs))
            }
        },
        _ => Ok(()),
    }
}

/// The value at `epoch`, from a tree that [`changes`] has accepted.
pub(super) fn at(tree: &Tree, epoch: u32) -> Tree {
    let value = match &tree.value {
        Value::List(items) => Value::List(items.iter().map(|item| at(item, epoch)).collect()),
        Value::Map(entries) => match steps(entries) {
            Ok(Some(steps)) => {
                let step = steps.iter().rev().find(|(from, _)| *from <= epoch).or(steps.first());
                return at(step.expect("BUG: a schedule has steps").1, epoch);
            }
            _ => Value::Map(entries.iter().map(|e| Entry { key: e.key.clone(), value: at(&e.value, epoch) }).collect()),
        },
        leaf => leaf.clone(),
    };
    Tree { span: tree.span, value }
}

/// The steps of a schedule in the order of their epochs; none where the map is no schedule.
fn steps(entries: &[Entry]) -> Result<Option<Vec<(u32, &Tree)>>, Fault> {
    let Some(entry) = entries.iter().find(|entry| entry.key.text == KEY) else { return Ok(None) };
    if let Some(other) = entries.iter().find(|entry| entry.key.text != KEY) {
        return Err(
            Fault::new(other.key.span, format!("`{}` cannot stand beside {KEY}", other.key.text)).hint(example())
        );
    }
    let Value::Map(steps) = &entry.value.value else {
        let what = format!("{KEY} is a map from epochs to values, but this is {}", entry.value.described());
        return Err(Fault::new(entry.value.span, what).hint(example()));
    };
    let mut found: Vec<(u32, &Tree)> = Vec::new();
    for Entry { key, value } in steps {
        let epoch = epoch_of(key)?;
        if found.iter().any(|(other, _)| *other == epoch) {
            return Err(Fault::new(key.span, format!("the schedule names epoch {epoch} twice")));
        }
        found.push((epoch, value));
    }
    found.sort_unstable_by_key(|(epoch, _)| *epoch);
    if found.first().is_none_or(|(epoch, _)| *epoch != 1) {
        return Err(Fault::new(entry.key.span, "a schedule begins with epoch 1, and this one does not").hint(example()));
    }
    Ok(Some(found))
}

fn epoch_of(key: &Word) -> Result<u32, Fault> {
    let digits = !key.text.is_empty() && key.text.bytes().all(|b| b.is_ascii_digit());
    let epoch = key.text.parse().ok().filter(|epoch| digits && (1..=MAX_EPOCHS).contains(epoch));
    epoch.ok_or_else(|| {
        Fault::new(key.span, format!("`{}` is not an epoch; they count from 1 to {MAX_EPOCHS}", key.text))
            .hint(example())
    })
}

fn example() -> String {
    format!("a schedule looks like this: {{ {KEY}: {{ 1: 0.05, 150: 0.005 }} }}")
}
