//! keep: which bytes a run retains, `[features, vectors]` or `{ features: { last: 2 }, manifest: all }`.

use crate::base::tree::{Entry, Span, Tree, Value};
use crate::engine::Keep;
use crate::pipeline::MAX_EPOCHS;
use crate::pipeline::error::Fault;
use crate::pipeline::spec::Spec;
use crate::pipeline::suggest::{did_you_mean, list};

/// The nodes whose bytes stay in another way than their stage has it, in the file's order.
pub(super) fn of(spec: &Spec) -> Result<Vec<(String, Keep)>, Fault> {
    let mut rules: Vec<(String, Keep)> = Vec::new();
    let Some(tree) = &spec.keep else { return Ok(rules) };
    match &tree.value {
        Value::Null => {}
        Value::List(items) => {
            for item in items {
                let Value::Text(noun) = &item.value else {
                    let what = format!("keep lists nodes, but this is {}", item.described());
                    return Err(Fault::new(item.span, what).hint(example()));
                };
                check(spec, noun, item.span)?;
                if rules.iter().all(|(known, _)| known != noun) {
                    rules.push((noun.clone(), Keep::All));
                }
            }
        }
        Value::Map(entries) => {
            for Entry { key, value } in entries {
                check(spec, &key.text, key.span)?;
                rules.push((key.text.clone(), rule(value)?));
            }
        }
        _ => {
            let what = format!("keep is a list or a map of nodes, but this is {}", tree.described());
            return Err(Fault::new(tree.span, what).hint(example()));
        }
    }
    Ok(rules)
}

fn check(spec: &Spec, noun: &str, span: Span) -> Result<(), Fault> {
    let nouns = spec.nouns();
    if nouns.contains(&noun) {
        return Ok(());
    }
    Err(Fault::new(span, format!("there is no node `{noun}` to keep"))
        .hint(did_you_mean(noun, nouns.iter().copied()))
        .hint(format!("the nodes are {}", list(nouns.iter().copied()))))
}

fn rule(tree: &Tree) -> Result<Keep, Fault> {
    let refuse = |tree: &Tree| {
        let what = format!(
            "`all`, `until_used`, {{ last: N }} and {{ every: N }} can be kept, but this is {}",
            tree.described()
        );
        Err(Fault::new(tree.span, what).hint(example()))
    };
    match &tree.value {
        Value::Text(word) if word == "all" => Ok(Keep::All),
        Value::Text(word) if word == "until_used" => Ok(Keep::UntilUsed),
        Value::Map(entries) => match entries.as_slice() {
            [Entry { key, value }] if key.text == "last" => Ok(Keep::Last(epochs(value)?)),
            [Entry { key, value }] if key.text == "every" => Ok(Keep::Every(epochs(value)?)),
            _ => refuse(tree),
        },
        _ => refuse(tree),
    }
}

fn epochs(tree: &Tree) -> Result<u32, Fault> {
    let number = if let Value::Number(number) = &tree.value { number.as_u64() } else { None };
    let number = number.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_EPOCHS).contains(n));
    number.ok_or_else(|| {
        Fault::new(tree.span, format!("this is a number of epochs, 1 to {MAX_EPOCHS}, but it is {}", tree.described()))
            .hint(example())
    })
}

/// As it stands in a file.
pub(super) fn written(keep: Keep) -> String {
    match keep {
        Keep::All => "all".to_owned(),
        Keep::UntilUsed => "until_used".to_owned(),
        Keep::Last(count) => format!("{{ last: {count} }}"),
        Keep::Every(step) => format!("{{ every: {step} }}"),
    }
}

fn example() -> String {
    "such as [features, vectors], or { features: { last: 2 }, weights: { every: 50 }, manifest: all }".to_owned()
}
