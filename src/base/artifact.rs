//! artifact: the typed result of a node, as a list of named parts.

use crate::base::{Digest, ObjectId};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// File name within the artifact, such as `part-00003.arrow`.
    pub name: String,
    /// Its bytes.
    pub object: ObjectId,
    /// Their number.
    pub bytes: u64,
}

/// Hex digits of a tag: 96 bits.
pub const TAG: usize = 24;

impl Part {
    /// The name of a part with `tag`, the beginning of a digest, in it. The digest is of all that decides the part's
    /// bytes: `part-00003.arrow` becomes `part-00003.TAG.arrow`.
    pub fn tagged(name: &str, tag: &str) -> String {
        match name.rsplit_once('.') {
            Some((stem, end)) => format!("{stem}.{tag}.{end}"),
            None => format!("{name}.{tag}"),
        }
    }

    /// The tag in the part's name.
    pub fn tag(&self) -> Option<&str> {
        self.name.split('.').find(|piece| piece.len() == TAG && piece.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// The part's name without its tag.
    pub fn plain_name(&self) -> String {
        self.tag().map_or_else(|| self.name.clone(), |tag| self.name.replacen(&format!(".{tag}"), "", 1))
    }
}

/// The typed, immutable result of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The noun, such as `clusters`.
    pub kind: String,
    /// Version of the noun's file format.
    pub format: u32,
    /// Its files, in their order.
    pub parts: Vec<Part>,
}

impl Artifact {
    /// Names the artifact by its content: kind, format, and each part's name and digest.
    pub fn digest(&self) -> Digest {
        self.digest_of(&[])
    }

    /// The same of only those parts whose name begins with one of `prefixes`; without any, of all.
    pub fn digest_of(&self, prefixes: &[&str]) -> Digest {
        let mut text = String::with_capacity(64 + 128 * self.parts.len());
        let _ = writeln!(text, "dcpipe-artifact 1\n{} {}", self.kind, self.format);
        for part in self.parts.iter().filter(|part| begins_with(part, prefixes)) {
            let _ = writeln!(text, "{} {} {}", part.object, part.bytes, part.name);
        }
        Digest::of(text.as_bytes())
    }

    /// The artifact of those parts alone.
    pub fn only(&self, prefixes: &[&str]) -> Self {
        let parts = self.parts.iter().filter(|part| begins_with(part, prefixes)).cloned().collect();
        Self { kind: self.kind.clone(), format: self.format, parts }
    }

    /// Sum of the parts' sizes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }
}

fn begins_with(part: &Part, prefixes: &[&str]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| part.name.starts_with(prefix))
}
