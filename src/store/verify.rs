//! verify: checks whether everything in the store is what its name promises.

use crate::base::{Digest, ObjectId, StageKey};
use crate::store::io::Found;
use crate::store::policy::draws;
use crate::store::quarantine::OTHER_BYTES;
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use crate::store::policy::Policy;

fn is_no_folder(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) || error.raw_os_error() == Some(libc::ELOOP)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}; if it fails again, move it away: a run rebuilds its content", path.display())
}

/// What a check of everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records that match their digest.
    pub records: usize,
    /// Objects that were hashed and match their name.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects outside the sample.
    pub unread: usize,
    /// Objects that records name and that are missing, which is no fault.
    pub evicted: usize,
    /// What is damaged, a sentence each; it was moved to quarantine.
    pub wrong: Vec<String>,
    /// Files that dcpipe did not make; it leaves them alone.
    pub unknown: Vec<PathBuf>,
}

impl Store {
    /// Checks every record and the share `sample` (0 to 1) of the objects, drawn by `salt`. What is damaged is moved to
    /// quarantine. `tell` hears how many files were checked, and of how many.
    pub fn verify_all(
        &self,
        sample: f64,
        salt: u64,
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<Findings, StoreError> {
        let mut found = Findings::default();
        let (records, objects) =
            (self.names_in("records", &mut found, false)?, self.names_in("objects", &mut found, false)?);
        let total = records.len() + objects.len();
        found.unknown.retain(|path| {
            let (name, above) = (path.file_name().unwrap_or_default(), path.parent().and_then(Path::parent));
            let digits = name.as_encoded_bytes().iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            let is_shelf = name.len() == 2 && digits && above == Some(self.root());
            if is_shelf {
                let _ = self.set_aside(path, &format!("{} is not a folder", path.display())); // It is reported.
            }
            !is_shelf
        });
        let mut named = BTreeSet::new();
        for (at, digest) in records.iter().enumerate() {
            tell(at, total);
            match self.record(StageKey(*digest)) {
                Ok(Some(record)) => {
                    found.records += 1;
                    named.extend(record.artifact.parts.iter().map(|part| part.object));
                }
                Ok(None) => {} // Another process deleted it in the meantime.
                Err(error @ StoreError::DamagedRecord { .. }) => self.drop_record(StageKey(*digest), &error),
                Err(error) => found.wrong.push(error.to_string()),
            }
        }
        for (at, digest) in objects.iter().enumerate() {
            tell(records.len() + at, total);
            self.verify_one(ObjectId(*digest), sample, salt, &mut found);
        }
        let there: BTreeSet<ObjectId> = objects.into_iter().map(ObjectId).collect();
        found.evicted = named.difference(&there).count();
        found.wrong.extend(self.take_reports());
        Ok(found)
    }

    fn verify_one(&self, object: ObjectId, sample: f64, salt: u64, found: &mut Findings) {
        let path = self.object_path(object);
        match self.io().look(&path) {
            Ok(Found::File(_)) if sample < 1.0 && draws(object, salt) >= sample => found.unread += 1,
            Ok(Found::File(bytes)) => match self.hash(&path, bytes) {
                Ok(digest) if digest == object.0 => {
                    found.objects += 1;
                    found.bytes += bytes;
                }
                // The right bytes may have replaced it in the meantime.
                Ok(_) if self.hash(&path, bytes).is_ok_and(|digest| digest == object.0) => {
                    found.objects += 1;
                    found.bytes += bytes;
                }
                Ok(_) => self.quarantine(object, OTHER_BYTES),
                Err(error) if error.kind() == ErrorKind::NotFound => {} // Evicted in the meantime.
                Err(error) => found.wrong.push(unreadable(&path, &error)),
            },
            Ok(Found::Other) => self.quarantine(object, "is not a regular file"),
            Ok(Found::Nothing) => {}
            Err(error) => found.wrong.push(unreadable(&path, &error)),
        }
    }

    /// The names under `objects/` or `records/`; a name that is no digest is unknown. A shelf that is unreadable counts
    /// as damaged, or is an error if `strict`.
    pub(super) fn names_in(&self, folder: &str, found: &mut Findings, strict: bool) -> Result<Vec<Digest>, StoreError> {
        let root = self.root().join(folder);
        let mut names = Vec::new();
        for shelf in self.io().list(&root).map_err(|error| StoreError::io("list", &root, error))? {
            let files = match self.io().list(&shelf) {
                Ok(files) => files,
                Err(error) if is_no_folder(&error) => {
                    found.unknown.push(shelf);
                    continue;
                }
                // An unreadable shelf does not make its files unreferenced.
                Err(error) if strict => return Err(StoreError::io("list", &shelf, error)),
                Err(error) => {
                    found.wrong.push(unreadable(&shelf, &error));
                    continue;
                }
            };
            let start = shelf.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for path in files {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match name.parse::<Digest>() {
                    Ok(digest) if start.len() == 2 && name.starts_with(&start) => names.push(digest),
                    _ => found.unknown.push(path),
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}
