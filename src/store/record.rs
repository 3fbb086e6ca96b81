//! record: what a key produced, together with the key's own text, so that a record proves and explains itself.

use crate::base::{Artifact, Digest, StageKey};
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Version of the record's format.
const VERSION: u32 = 1;
/// Bytes of the second line: 64 digits and its end.
const CHECK: usize = 65;

/// What a key produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of the record's format.
    pub version: u32,
    /// The first node that needed it, such as `clusters@17`.
    pub node: String,
    /// The text whose digest is the record's name.
    pub key_text: String,
    /// The result.
    pub artifact: Artifact,
    /// Numbers that later stages check before they run, such as `images`.
    pub facts: BTreeMap<String, u64>,
    /// How long the stage took, in milliseconds.
    pub wall_ms: u64,
    /// The program that wrote it.
    pub program: String,
}

impl Record {
    /// Makes a record of this version.
    pub fn new(node: &str, key_text: &str, artifact: Artifact, facts: BTreeMap<String, u64>, wall_ms: u64) -> Self {
        Self {
            version: VERSION,
            node: node.to_owned(),
            key_text: key_text.to_owned(),
            artifact,
            facts,
            wall_ms,
            program: concat!("dcpipe ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The key that the record is stored under.
    pub fn key(&self) -> StageKey {
        StageKey(Digest::of(self.key_text.as_bytes()))
    }

    /// The record's file: one line of JSON, and one with the digest of the first.
    fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("BUG: a record is plain data");
        text.push(b'\n');
        let check = Digest::of(&text);
        text.extend_from_slice(format!("{check}\n").as_bytes());
        text
    }

    fn decode(key: StageKey, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |why: String| StoreError::DamagedRecord { key, why };
        let split = bytes.split_last_chunk::<CHECK>().filter(|(body, _)| body.ends_with(b"\n"));
        let (body, check) = split.ok_or_else(|| damaged("it is cut off".to_owned()))?;
        if format!("{}\n", Digest::of(body)).as_bytes() != check {
            return Err(damaged("its bytes do not match its check line".to_owned()));
        }
        let record: Self = serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!("it is of version {}", record.version)));
        }
        if record.key() != key {
            return Err(damaged("its key text hashes to another name".to_owned()));
        }
        Ok(record)
    }
}

impl Store {
    /// The record of `key`, if there is one. A damaged record is an error; see [`Store::drop_record`].
    pub fn record(&self, key: StageKey) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(key);
        match self.io().read(&path) {
            Ok(bytes) => Record::decode(key, &bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(StoreError::DamagedRecord { key, why: error.to_string() })
            }
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Commits a record and returns the one that is valid from now on. Its objects must be durable already; the rename
    /// in here is the only commit point.
    ///
    /// The first writer wins. Another run may have been faster with the same key, and nodes may have used its bytes. A
    /// record is replaced only if it is damaged or its bytes are missing.
    pub fn commit(&self, record: &Record) -> Result<Record, StoreError> {
        let path = self.record_path(record.key());
        let failed = |error| StoreError::io("commit", &path, error);
        let tmp = self.write_record(record).map_err(failed)?;
        let placed = self.place_record(record, &tmp, &path);
        // The file has its new name by now, unless another record is valid.
        let _ = self.io().remove(&tmp);
        placed.map_err(failed)
    }

    fn write_record(&self, record: &Record) -> std::io::Result<PathBuf> {
        let (tmp, mut file) = self.create_tmp()?;
        let mut write = || {
            file.write_all(&record.encode())?;
            file.sync()?;
            self.io().make_read_only(&tmp)
        };
        write().inspect_err(|_| drop(self.io().remove(&tmp)))?;
        Ok(tmp)
    }

    fn place_record(&self, record: &Record, tmp: &Path, path: &Path) -> std::io::Result<Record> {
        let (io, key) = (self.io(), record.key());
        let folder = path.parent().expect("BUG: a record has a folder");
        io.create_dir(folder)?;
        let holds = match io.rename_new(tmp, path) {
            Ok(()) => None,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.record(key) {
                Ok(Some(first))
                    if first.artifact == record.artifact
                        || self.has(&first.artifact).map_err(std::io::Error::other)? =>
                {
                    Some(first)
                }
                Ok(_) => {
                    io.rename(tmp, path)?;
                    None
                }
                // It may be valid; nothing says that it is not.
                Err(StoreError::Io { error, .. }) => return Err(error),
                Err(damaged) => {
                    let _ = self.set_aside(path, &damaged.to_string()); // It is reported.
                    io.rename(tmp, path)?;
                    None
                }
            },
            Err(error) => return Err(error),
        };
        self.settle(folder).inspect_err(|_| {
            // The disk may or may not have it: the next run must not find it either. Another process's record,
            // which is valid, was synced by its writer or will be written again.
            if holds.is_none() {
                let _ = io.remove(path);
            }
        })?;
        Ok(holds.unwrap_or_else(|| record.clone()))
    }

    /// Deletes a record. Its artifact's objects stay, and so does everything computed from them.
    pub fn remove_record(&self, key: StageKey) {
        let _ = self.io().remove(&self.record_path(key));
    }

    /// Deletes a record and then its objects, which must belong to no other record. What cannot be deleted is left to
    /// gc.
    pub fn discard(&self, record: &Record) {
        self.remove_record(record.key());
        for part in &record.artifact.parts {
            let _ = self.evict(part.object);
        }
    }

    /// Moves a record out of the way.
    pub fn drop_record(&self, key: StageKey, why: &StoreError) {
        let path = self.record_path(key);
        let _ = self.set_aside(&path, &why.to_string()); // It is reported, and the next record takes its place.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let artifact = Artifact { kind: "toys".into(), format: 1, parts: vec![] };
        Record::new("toys@1", "dcpipe-key 1\nstage toy 1\n", artifact, BTreeMap::new(), 3)
    }

    #[test]
    fn a_record_with_any_byte_changed_is_refused() {
        let record = sample();
        let bytes = record.encode();
        assert_eq!(Record::decode(record.key(), &bytes).expect("whole"), record);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(Record::decode(record.key(), &wrong).is_err(), "byte {at}");
            assert!(Record::decode(record.key(), &bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
