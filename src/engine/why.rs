//! why: explains a run by the difference of two key texts.

use crate::base::StageKey;
use crate::engine::{KeyText, MissReason};
use crate::store::Store;

/// Why a node with this key runs. `before` are the earlier keys of its name, newest first. `keys` are its key and the
/// key of an earlier program. A record of that program is compared in its own words.
pub fn miss_reason(store: &Store, before: impl IntoIterator<Item = StageKey>, keys: &[&KeyText]) -> MissReason {
    let mut before = before.into_iter().peekable();
    if before.peek().is_some_and(|last| keys.iter().any(|key| key.key() == *last)) {
        return MissReason::NeverFinished;
    }
    let Some(record) = before.find_map(|key| store.record(key).ok().flatten()) else { return MissReason::FirstRun };
    let lines = keys.iter().map(|key| difference(&record.key_text, key.as_str())).min_by_key(Vec::len);
    MissReason::KeyChanged { lines: lines.unwrap_or_default() }
}

/// The lines that only one of two key texts has: `-` for the old, `+` for the new. Lines of one name are neighbours.
pub fn difference(old: &str, new: &str) -> Vec<String> {
    let only = |this: &str, that: &str, sign: char| {
        let kept: Vec<_> = this.lines().filter(|line| !that.lines().any(|other| other == *line)).collect();
        kept.into_iter().map(|line| (name_of(line).to_owned(), sign, line.to_owned())).collect::<Vec<_>>()
    };
    let mut lines = only(old, new, '-');
    lines.extend(only(new, old, '+'));
    lines.sort_by(|a, b| (&a.0, a.1 == '+').cmp(&(&b.0, b.1 == '+')));
    lines.into_iter().map(|(_, sign, line)| format!("{sign} {line}")).collect()
}

/// The subject of a key text's line: all before its value.
fn name_of(line: &str) -> &str {
    line.split_once(" = ").map_or_else(|| line.split(' ').next().unwrap_or(line), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_parameter_stands_as_an_old_and_a_new_line() {
        let (old, new) = ("stage a 1\nparam.k = 10\nparam.n = 1\n", "stage a 1\nparam.k = 20\nparam.n = 1\n");
        assert_eq!(difference(old, new), ["- param.k = 10", "+ param.k = 20"]);
    }

    use crate::engine::key::input_of;

    #[test]
    fn an_input_is_told_from_a_parameter_of_that_name() {
        assert_eq!(input_of("input vectors = aa"), Some(("vectors", "aa")));
        assert_eq!(input_of("param.input = 64"), None);
    }
}
