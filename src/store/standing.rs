//! standing: how far the last run of a name came, and what it keeps.

use crate::base::StageKey;
use crate::base::clock::unix_ms;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How far the last run of a name came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is running, or was killed.
    Running,
    /// It reached its goal.
    Done,
    /// It failed or was interrupted.
    Unfinished,
}

/// What a store remembers of the last run of a name, besides its keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Standing {
    version: u32,
    /// When this was written, in milliseconds since 1970; runs are sorted by it.
    pub unix_ms: u64,
    /// How far it came.
    pub state: RunState,
    /// Nodes whose bytes it keeps or has still to read; no other run deletes them.
    pub kept: BTreeSet<StageKey>,
}

impl Standing {
    /// As of now.
    pub fn new(state: RunState, kept: BTreeSet<StageKey>) -> Self {
        Self { version: 1, unix_ms: unix_ms(), state, kept }
    }

    /// Whether it was written longer ago than this, or in the future.
    pub fn is_older(&self, than: Duration) -> bool {
        u128::from(unix_ms().abs_diff(self.unix_ms)) > than.as_millis()
    }

    /// Whether both say the same, whenever they were written.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.state, &self.kept) == (other.state, &other.kept)
    }
}

impl Store {
    /// The standing of the last run called `name`, if it is known.
    pub fn standing(&self, name: &str) -> Option<Standing> {
        self.read_json(&self.run_folder(name).join("state.json")).ok().flatten()
    }

    /// The nodes whose bytes the last run called `name` keeps or has still to read; none without a file.
    ///
    /// # Errors
    /// If there is a file and it is unreadable.
    pub fn kept_by(&self, name: &str) -> Result<BTreeSet<StageKey>, StoreError> {
        let path = self.run_folder(name).join("state.json");
        let unreadable = |error| StoreError::Unreadable { path: path.clone(), run: Some(name.to_owned()), error };
        let standing: Option<Standing> = self.read_json(&path).map_err(unreadable)?;
        Ok(standing.map(|standing| standing.kept).unwrap_or_default())
    }

    /// Replaces the standing of the last run called `name`.
    pub fn write_standing(&self, name: &str, standing: &Standing) -> Result<(), StoreError> {
        self.write_json(&self.run_folder(name), "state.json", standing)
    }
}
