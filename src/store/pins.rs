//! pins: what protects a run's artifacts from gc and from later runs of the same name.

use crate::base::{ObjectId, StageKey};
use crate::store::history::NodeKeys;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a run referenced when it was pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    version: u32,
    /// The run.
    pub run: String,
    /// Its nodes.
    pub nodes: NodeKeys,
}

impl Store {
    fn pin_path(&self, name: &str) -> PathBuf {
        self.root().join("pins").join(format!("{name}.json"))
    }

    /// Pins what the last run called `run` references, under `name`. `None` if that name pins something else already,
    /// which stays pinned.
    pub fn pin(&self, name: &str, run: &str) -> Result<Option<Pin>, StoreError> {
        let pin = Pin { version: 1, run: run.to_owned(), nodes: self.roots_of(run)? };
        let path = self.pin_path(name);
        let unreadable = |error| StoreError::Unreadable { path: path.clone(), run: None, error };
        let there: Option<Pin> = self.read_json(&path).map_err(unreadable)?;
        if there.is_some_and(|there| there.nodes != pin.nodes) {
            return Ok(None);
        }
        self.write_json(&self.root().join("pins"), &format!("{name}.json"), &pin)?;
        Ok(Some(pin))
    }

    /// Removes a pin. False if there is none.
    pub fn unpin(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.pin_path(name);
        match self.io().remove(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path, error)),
        }
    }

    /// Every pin, by name.
    ///
    /// # Errors
    /// If one is unreadable: gc must not take what it references for unreferenced.
    pub fn pins(&self) -> Result<Vec<(String, Pin)>, StoreError> {
        let mut pins = Vec::new();
        let folder = self.root().join("pins");
        for path in self.io().list(&folder).map_err(|error| StoreError::io("list", &folder, error))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".json") else { continue };
            let unreadable = |error| StoreError::Unreadable { path: path.clone(), run: None, error };
            if let Some(pin) = self.read_json::<Pin>(&path).map_err(unreadable)? {
                pins.push((name.to_owned(), pin));
            }
        }
        pins.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(pins)
    }
}

/// The objects that pins and runs of other names keep or have still to read.
#[derive(Default)]
pub struct Elsewhere {
    /// Whether the last look is still current.
    pub is_fresh: bool,
    records: BTreeMap<StageKey, Vec<ObjectId>>,
    objects: BTreeSet<ObjectId>,
}

impl Elsewhere {
    /// Looks again, for the run called `run`; a record that was read once is not read again.
    ///
    /// # Errors
    /// If a pin, a record, or what a run keeps is unreadable: then nothing may count as unreferenced.
    pub fn look(&mut self, store: &Store, run: &str) -> Result<(), StoreError> {
        let mut keys: BTreeSet<StageKey> = BTreeSet::new();
        for name in store.run_names()?.into_iter().filter(|name| name != run) {
            keys.extend(store.kept_by(&name)?);
        }
        keys.extend(store.pins()?.into_iter().flat_map(|(_, pin)| pin.nodes.into_values()));
        self.records.retain(|key, _| keys.contains(key));
        for key in keys {
            if self.records.contains_key(&key) {
                continue;
            }
            match store.record(key) {
                Ok(Some(record)) => {
                    self.records.insert(key, record.artifact.parts.iter().map(|part| part.object).collect());
                }
                Ok(None) | Err(StoreError::DamagedRecord { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.objects = self.records.values().flatten().copied().collect();
        Ok(())
    }

    /// Whether an object is among them.
    pub fn keeps(&self, object: ObjectId) -> bool {
        self.objects.contains(&object)
    }
}
