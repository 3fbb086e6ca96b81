//! fate: what happens to a node, decided in one place for a run, a forecast and an explanation.

use crate::engine::MissReason;
use crate::store::Stand;

/// What happens to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// The store has its record.
    Hit,
    /// It runs.
    Run(MissReason),
    /// It runs unless all before it turns out as it was; only then is its key known.
    Pending {
        /// The nearest node before it that runs.
        after: String,
    },
}

/// Which need there is for a node's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// No need.
    Nobody,
    /// `keep:` retains them. A deliberate deletion is no reason to rebuild them; damage is.
    Retained,
    /// The pipeline asks for them by name.
    AskedFor,
    /// A node that runs reads them.
    Reader(String),
}

/// What is in the store under a node's key.
pub struct Found<'a> {
    /// Why the node runs, if it has no record.
    pub missing: Option<MissReason>,
    /// The state of the record's bytes.
    pub stand: Stand,
    /// Whether missing bytes were damaged before; asked only if that matters.
    pub is_lost: &'a dyn Fn() -> bool,
}

/// What happens to a node whose key is known.
pub fn fate(found: Found<'_>, need: &Need) -> Fate {
    let rebuild = |needed_by: &str| Fate::Run(MissReason::Evicted { needed_by: needed_by.to_owned() });
    match (found.missing, need) {
        (Some(reason), _) => Fate::Run(reason),
        (None, Need::Nobody) => Fate::Hit,
        (None, _) if found.stand == Stand::Whole => Fate::Hit,
        (None, Need::Reader(reader)) => rebuild(reader),
        (None, Need::AskedFor) => rebuild("keep:"),
        (None, Need::Retained) if found.stand > Stand::Gone || (found.is_lost)() => rebuild("keep:"),
        (None, Need::Retained) => Fate::Hit,
    }
}
