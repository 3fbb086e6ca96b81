//! run: what a run of some name did last: which node had which key.

use crate::base::StageKey;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Node name -> key, as of the last run.
pub type NodeKeys = BTreeMap<String, StageKey>;

impl Store {
    /// The folder of the run called `name`.
    pub fn run_folder(&self, name: &str) -> PathBuf {
        self.root().join("runs").join(name)
    }

    /// The keys of the last run called `name`; empty where there was none, or where the file is unreadable: history is
    /// worth having, and nothing depends on it.
    pub fn node_keys(&self, name: &str) -> NodeKeys {
        let path = self.run_folder(name).join("nodes.json");
        self.io().read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Replaces the keys of the last run called `name`.
    pub fn write_node_keys(&self, name: &str, keys: &NodeKeys) -> Result<(), StoreError> {
        let folder = self.run_folder(name);
        let path = folder.join("nodes.json");
        let io = self.io();
        let write = || -> std::io::Result<()> {
            io.create_dir(&folder)?;
            let (tmp, mut file) = self.create_tmp()?;
            file.write_all(&serde_json::to_vec(keys).map_err(std::io::Error::other)?)?;
            drop(file);
            io.rename(&tmp, &path)
        };
        write().map_err(|error| StoreError::io("write", &path, error))
    }
}
