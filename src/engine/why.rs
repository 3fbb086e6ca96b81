//! why: explains a run by the difference of two key texts.

use crate::base::StageKey;
use crate::engine::{KeyText, MissReason};
use crate::store::Store;

/// Why a node with this key runs, given the key that its name had in the last run.
pub fn miss_reason(store: &Store, last: Option<StageKey>, key: &KeyText) -> MissReason {
    let Some(last) = last else { return MissReason::FirstRun };
    if last == key.key() {
        return MissReason::NeverFinished;
    }
    match store.record(last) {
        Ok(Some(record)) => MissReason::KeyChanged { lines: difference(&record.key_text, key.as_str()) },
        _ => MissReason::FirstRun,
    }
}

/// The lines that only one of two key texts has: `-` for the old, `+` for the new, next to each other by their name.
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

/// What a line of a key text is about: all before its value.
fn name_of(line: &str) -> &str {
    line.split_once(" = ").map_or_else(|| line.split(' ').next().unwrap_or(line), |(name, _)| name)
}

/// The ports whose input differs, according to the lines of a [`difference`].
pub fn changed_inputs(lines: &[String]) -> Vec<String> {
    let ports = lines.iter().filter_map(|line| line.strip_prefix("+ input "));
    ports.filter_map(|rest| rest.split_once(" = ").map(|(port, _)| port.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_parameter_stands_as_an_old_and_a_new_line() {
        let (old, new) = ("stage a 1\nparam.k = 10\nparam.n = 1\n", "stage a 1\nparam.k = 20\nparam.n = 1\n");
        assert_eq!(difference(old, new), ["- param.k = 10", "+ param.k = 20"]);
    }

    #[test]
    fn changed_inputs_are_named_by_their_port() {
        let lines = difference("input vectors = aa\n", "input vectors = bb\n");
        assert_eq!(changed_inputs(&lines), ["vectors"]);
    }
}
