//! run: what the runs of some name did: which key a node had in the last one, and which before.

use crate::base::StageKey;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

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

    /// `node` has this key now.
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

    /// The keys of the last run called `name`; empty where there was none, or where the file is unreadable: history is
    /// worth having, and nothing depends on it.
    pub fn node_keys(&self, name: &str) -> NodeKeys {
        self.read_json(&self.run_folder(name).join("nodes.json"))
    }

    /// The keys of all runs called `name`, as far as they are remembered; see [`Store::node_keys`].
    pub fn key_history(&self, name: &str) -> KeyHistory {
        KeyHistory { last: self.node_keys(name), before: self.read_json(&self.run_folder(name).join("before.json")) }
    }

    fn read_json<T: Default + serde::de::DeserializeOwned>(&self, path: &Path) -> T {
        self.io().read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces what is remembered of the runs called `name`.
    pub fn write_key_history(&self, name: &str, history: &KeyHistory) -> Result<(), StoreError> {
        let folder = self.run_folder(name);
        if !history.before.is_empty() {
            self.write_json(&folder, "before.json", &history.before)?;
        }
        self.write_json(&folder, "nodes.json", &history.last)
    }

    fn write_json(&self, folder: &Path, file: &str, value: &impl serde::Serialize) -> Result<(), StoreError> {
        let path = folder.join(file);
        let io = self.io();
        let write = || -> std::io::Result<()> {
            io.create_dir(folder)?;
            let (tmp, mut file) = self.create_tmp()?;
            file.write_all(&serde_json::to_vec(value).map_err(std::io::Error::other)?)?;
            drop(file);
            io.rename(&tmp, &path)
        };
        write().map_err(|error| StoreError::io("write", &path, error))
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
