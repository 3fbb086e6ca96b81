//! history: which key each node had in the last run of a name, and which before.

use crate::base::StageKey;
use crate::store::io::Found;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Node name -> key, as of the last run.
pub type NodeKeys = BTreeMap<String, StageKey>;

/// How many of a node's earlier keys are remembered.
const EARLIER: usize = 8;

/// The keys that nodes had in the runs of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    last: NodeKeys,
    /// Newest first, without the last one.
    before: BTreeMap<String, Vec<StageKey>>,
}

impl KeyHistory {
    /// The keys that `node` had, newest first, each once.
    pub fn of(&self, node: &str) -> impl Iterator<Item = StageKey> {
        self.last.get(node).into_iter().chain(self.before.get(node).into_iter().flatten()).copied()
    }

    /// The key that each node had last.
    pub fn last(&self) -> impl Iterator<Item = StageKey> {
        self.last.values().copied()
    }

    /// The keys that nodes had last, of those that `is_it` names.
    pub fn last_of(&self, is_it: impl Fn(&str) -> bool) -> impl Iterator<Item = StageKey> {
        self.last.iter().filter(move |(node, _)| is_it(node)).map(|(_, key)| *key)
    }

    /// Forgets the nodes that the run no longer has.
    pub fn keep_only(&mut self, has: impl Fn(&str) -> bool) {
        self.last.retain(|node, _| has(node));
        self.before.retain(|node, _| has(node));
    }

    /// Notes that `node` has this key now.
    pub fn learn(&mut self, node: &str, key: StageKey) {
        let old = self.last.insert(node.to_owned(), key).filter(|old| *old != key);
        if let Some(before) = self.before.get_mut(node) {
            before.retain(|earlier| *earlier != key && Some(*earlier) != old);
        }
        if let Some(old) = old {
            let before = self.before.entry(node.to_owned()).or_default();
            before.insert(0, old);
            before.truncate(EARLIER);
        }
    }
}

impl Store {
    /// The folder of the run called `name`.
    pub fn run_folder(&self, name: &str) -> PathBuf {
        self.root().join("runs").join(name)
    }

    /// The names of the runs that the store remembers, sorted.
    ///
    /// # Errors
    /// If the folder of the runs is unreadable. An entry that the system refuses to look at counts as a run.
    pub fn run_names(&self) -> Result<Vec<String>, StoreError> {
        let is_there = |path: PathBuf| !matches!(self.io().look(&path), Ok(Found::Nothing));
        let is_run = |path: &PathBuf| ["nodes.json", "state.json"].iter().any(|file| is_there(path.join(file)));
        let runs = self.root().join("runs");
        let folders = self.io().list(&runs).map_err(|error| StoreError::io("list", &runs, error))?;
        let names = folders.iter().filter(|path| is_run(path)).filter_map(|path| path.file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// The keys of the last run called `name`; empty if there was none, or if the file is unreadable. This is for
    /// display, and nothing depends on it. The command gc asks [`Store::roots_of`].
    pub fn node_keys(&self, name: &str) -> NodeKeys {
        self.read_json(&self.run_folder(name).join("nodes.json")).ok().flatten().unwrap_or_default()
    }

    /// The keys of the last run called `name`.
    ///
    /// # Errors
    /// If they are unreadable or missing: gc must not take their records for unreferenced.
    pub fn roots_of(&self, name: &str) -> Result<NodeKeys, StoreError> {
        let path = self.run_folder(name).join("nodes.json");
        let unreadable = |error| StoreError::Unreadable { path: path.clone(), run: Some(name.to_owned()), error };
        let found = self.read_json(&path).map_err(unreadable)?;
        found.ok_or_else(|| unreadable(ErrorKind::NotFound.into()))
    }

    /// The keys of all runs called `name`, as far as the store remembers them; see [`Store::node_keys`].
    pub fn key_history(&self, name: &str) -> KeyHistory {
        let before = self.read_json(&self.run_folder(name).join("before.json")).ok().flatten();
        KeyHistory { last: self.node_keys(name), before: before.unwrap_or_default() }
    }

    /// Replaces the stored history of the runs called `name`.
    pub fn write_key_history(&self, name: &str, history: &KeyHistory) -> Result<(), StoreError> {
        let folder = self.run_folder(name);
        if history.before.is_empty() {
            let _ = self.io().remove(&folder.join("before.json")); // Where there was one.
        } else {
            self.write_json(&folder, "before.json", &history.before)?;
        }
        self.write_json(&folder, "nodes.json", &history.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    #[test]
    fn eight_earlier_keys_are_remembered_newest_first_and_each_once() {
        let key = |n: u8| StageKey(Digest::of(&[n]));
        let mut history = KeyHistory::default();
        let known = |history: &KeyHistory| history.of("a@1").collect::<Vec<_>>();
        for n in [1, 2, 2, 1, 3] {
            history.learn("a@1", key(n));
        }
        assert_eq!(known(&history), [key(3), key(1), key(2)]);
        for n in 4..20 {
            history.learn("a@1", key(n));
        }
        assert_eq!(known(&history), (11..20).rev().map(key).collect::<Vec<_>>());
        assert_eq!(history.of("b@1").count(), 0);
    }
}
