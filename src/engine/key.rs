//! key: the short text whose digest names a record; it states everything that decides the output's bytes.

use crate::base::{Digest, StageKey};

/// The text of a key. A person can read it, and a line diff explains a re-run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText {
    text: String,
    key: StageKey,
}

impl KeyText {
    /// The key of a text, whose lines all end.
    pub(super) fn from(text: String) -> Self {
        Self { key: StageKey(Digest::of(text.as_bytes())), text }
    }

    /// The key of a shard of this node: the same text and one more line.
    pub fn shard(&self, name: &str) -> Self {
        Self::from(format!("{}shard {}\n", self.text, one_line(name)))
    }

    /// The text without the lines of some inputs.
    pub(super) fn without_inputs(&self, is_left_out: impl Fn(&str) -> bool) -> String {
        let stays = |line: &&str| input_of(line).is_none_or(|(port, _)| !is_left_out(port));
        self.text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect()
    }

    /// What the source observed, if the text is a source's.
    pub(super) fn observed(&self) -> Option<Digest> {
        self.text.lines().find_map(|line| line.strip_prefix("observed "))?.parse().ok()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of a record with this text.
    pub fn key(&self) -> StageKey {
        self.key
    }
}

/// Makes one line of a text that could be read as several.
pub(super) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The port and digest of a key text's line, if the line is about an input.
pub fn input_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("input ")?.split_once(" = ")
}
