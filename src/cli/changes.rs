//! changes: the lines by which two keys differ, as a person reads them.

use crate::cli::plan::{in_words, shorten};
use crate::engine::MissReason;
use crate::engine::key::input_of;

/// How many nodes with a common change are named.
const NAMED: usize = 3;

/// `- param.k = 100` and `+ param.k = 80` as `param.k = 100 -> 80`.
pub fn changes(lines: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    let mut lines = lines.iter().map(|line| shorten(line)).peekable();
    while let Some(line) = lines.next() {
        let (sign, text) = line.split_at_checked(2).unwrap_or(("", &line));
        let (name, value) = parts(text);
        let new = lines.next_if(|next| sign == "- " && next.strip_prefix("+ ").is_some_and(|new| parts(new).0 == name));
        told.push(match new {
            Some(new) => format!("{name}{value} -> {}", parts(&new[2..]).1.trim_start_matches([' ', '='])),
            None if sign == "- " => format!("{text} is gone"),
            None => format!("{text} is new"),
        });
    }
    told
}

/// A line's name, and the rest of it.
fn parts(line: &str) -> (&str, &str) {
    let end = line.find(" = ").or_else(|| line.find(' ')).unwrap_or(line.len());
    line.split_at(end)
}

/// Why a node ran, in a phrase: what changed in its key, with inputs shown by their ports alone.
pub fn phrase(reason: &MissReason) -> String {
    let MissReason::KeyChanged { lines } = reason else { return in_words(reason) };
    let (inputs, own): (Vec<_>, Vec<_>) =
        lines.iter().cloned().partition(|line| line.get(2..).and_then(input_of).is_some());
    let mut ports: Vec<_> = inputs.iter().filter_map(|line| Some(input_of(&line[2..])?.0)).collect();
    ports.dedup();
    let mut told = changes(&own);
    if !ports.is_empty() {
        told.push(format!("other {}", ports.join(" and ")));
    }
    told.join(", ")
}

/// A change that several nodes share.
pub struct Group {
    /// The first node with the change.
    pub node: String,
    /// The lines that describe it.
    pub what: Vec<String>,
    /// The other nodes with the change.
    pub others: Vec<String>,
}

impl Group {
    /// ` (also clusters@2 and 4 more)`, or nothing.
    pub fn also(&self) -> String {
        if self.others.is_empty() {
            return String::new();
        }
        let named = self.others.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.others.len().saturating_sub(NAMED) {
            0 => format!(" (also {named})"),
            more => format!(" (also {named} and {more} more)"),
        }
    }
}

/// Groups nodes of one name, from several epochs, whose changes read the same.
pub fn group(said: impl IntoIterator<Item = (String, Vec<String>)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for (node, what) in said {
        let noun = node.split('@').next().unwrap_or_default().to_owned();
        // The seed's line names the node.
        let words: Vec<_> = what.iter().map(|line| line.replace(&node, &noun)).collect();
        let at = *seen.entry((noun, words)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) if !group.others.contains(&node) && group.node != node => group.others.push(node),
            Some(_) => {}
            None => groups.push(Group { node, what, others: Vec::new() }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_and_a_new_line_become_one_change() {
        let digest = |c: &str| c.repeat(64);
        let (old, new) = (format!("- observed {}", digest("a")), format!("+ observed {}", digest("b")));
        let lines = [
            "- stage cluster 1".to_owned(),
            "+ stage cluster 2".to_owned(),
            old,
            new,
            "- param.k = 100".to_owned(),
            "+ param.k = 80".to_owned(),
            "+ param.sobel = true".to_owned(),
            "- seed 31 a@1".to_owned(),
        ];
        let told = [
            "stage cluster 1 -> cluster 2",
            "observed aaaaaaaaaaaa -> bbbbbbbbbbbb",
            "param.k = 100 -> 80",
            "param.sobel = true is new",
            "seed 31 a@1 is gone",
        ];
        assert_eq!(changes(&lines), told);
    }
}
