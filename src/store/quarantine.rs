//! quarantine: damaged files, moved away from the names that they had, reported, and never served.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, ObjectId, Part};
use crate::store::io::Found;
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The report of an object that has other content.
pub(crate) const OTHER_BYTES: &str = "has other bytes than its name promises";
/// The ending of a quarantined file's name once its object was rebuilt.
const MENDED: &str = "mended";

/// No file system's clock is coarser. A folder that was listed this long after its last change shows any later change
/// by another time.
const COARSEST: Duration = Duration::from_secs(2);

/// The objects whose damaged files are in quarantine. Other processes quarantine too, so a changed folder is read
/// again.
#[derive(Default)]
pub(super) struct Wrong {
    objects: BTreeSet<ObjectId>,
    /// When the folder last changed, and since when that is known.
    changed: Option<(SystemTime, Stopwatch)>,
    /// Whether every file that came since the reading shows as another change.
    is_settled: bool,
}

/// The object whose place a quarantined file had, unless that object was rebuilt since.
pub fn quarantined_object(path: &Path) -> Option<ObjectId> {
    let name = path.file_name()?.to_str()?;
    let (object, number) = name.split_once('.')?;
    (!number.ends_with(MENDED)).then(|| object.parse().ok().map(ObjectId))?
}

impl Store {
    /// Moves a damaged object to quarantine and reports it. It is never served, and a person can examine it.
    pub fn quarantine(&self, object: ObjectId, why: &str) {
        let path = self.object_path(object);
        if let Err(error) = self.set_aside(&path, &format!("object {object} {why}")) {
            self.is_stuck(path, format!("{why}, and could not be moved to quarantine/: {error}"));
        }
    }

    pub(super) fn is_stuck(&self, path: PathBuf, why: String) {
        self.stop_for(StoreError::Stuck { path, why });
    }

    /// Hands this error to the next caller of [`Store::take_stuck`].
    pub fn stop_for(&self, error: StoreError) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The first damaged object since the last call that blocks a right one. Nothing may count as whole then.
    pub fn take_stuck(&self) -> Option<StoreError> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether a part is missing because its file was damaged, now or earlier.
    pub fn lost_to_damage(&self, artifact: &Artifact) -> bool {
        let wrong = self.wrong();
        let is_gone = |part: &Part| self.io.look(&self.object_path(part.object)).ok() == Some(Found::Nothing);
        artifact.parts.iter().any(|part| wrong.objects.contains(&part.object) && is_gone(part))
    }

    /// What is in quarantine now. While the folder does not change, this costs one look.
    fn wrong(&self) -> MutexGuard<'_, Wrong> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.root.join("quarantine");
        let changed = self.io.changed(&folder).ok();
        let known = wrong.changed.filter(|(known, _)| changed == Some(*known));
        if known.is_some() && wrong.is_settled {
            return wrong;
        }
        wrong.changed = known.or_else(|| changed.map(|changed| (changed, Stopwatch::new())));
        wrong.is_settled = known.is_some_and(|(_, since)| since.elapsed() > COARSEST);
        let paths = self.io.list(&folder).unwrap_or_default();
        wrong.objects = paths.iter().filter_map(|path| quarantined_object(path)).collect();
        wrong
    }

    /// Notes that an object was rebuilt: if it is missing again, that is no damage.
    pub(super) fn mended(&self, object: ObjectId) {
        if !self.wrong().objects.remove(&object) {
            return;
        }
        let is_it = |path: &PathBuf| quarantined_object(path) == Some(object);
        for path in self.io.list(&self.root.join("quarantine")).unwrap_or_default().into_iter().filter(is_it) {
            let _ = self.io.rename(&path, &path.with_added_extension(MENDED));
        }
    }

    pub(super) fn set_aside(&self, path: &Path, what: &str) -> std::io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut n = 0;
        let moved = loop {
            let aside = self.root.join("quarantine").join(format!("{name}.{n}"));
            match self.io.rename_new(path, &aside) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(error) => break Err(error),
                Ok(()) => break Ok(aside),
            }
        };
        match moved {
            Ok(aside) => self.report(format!("{what}; moved to {} and rebuilt when it is needed", aside.display())),
            // Another process was faster.
            Err(_) if self.io.look(path).is_ok_and(|found| found == Found::Nothing) => {}
            Err(error) => {
                self.report(format!("{what}, and could not be moved away: {error}"));
                return Err(error);
            }
        }
        Ok(())
    }

    fn report(&self, text: String) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What the store has met since the last call and a person should know.
    pub fn take_reports(&self) -> Vec<String> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The files in quarantine, with their bytes.
    pub fn quarantined(&self) -> Vec<(PathBuf, u64)> {
        let files = self.io().list(&self.root().join("quarantine")).unwrap_or_default();
        let size = |path: &PathBuf| match self.io().look(path) {
            Ok(Found::File(bytes)) => bytes,
            _ => 0,
        };
        files.into_iter().map(|path| (path.clone(), size(&path))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_quarantine_that_changed_is_read_again_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let quarantine = store.root().join("quarantine");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let seems_old = || File::open(&quarantine).unwrap().set_modified(long_ago).unwrap();
        let object = ObjectId(crate::base::Digest::of(b"what it promises"));
        let is_seen = || store.wrong().objects.contains(&object);
        seems_old();
        assert!(!is_seen());
        let path = quarantine.join(format!("{object}.0"));
        // It may be from the same moment as the change that was seen last.
        File::create(&path).unwrap();
        seems_old();
        assert!(is_seen());
        // Nothing is: a look says that nothing has changed, and what would be read is not.
        store.wrong.lock().unwrap().is_settled = true;
        std::fs::remove_file(&path).unwrap();
        seems_old();
        assert!(is_seen());
        File::open(&quarantine).unwrap().set_modified(long_ago + Duration::from_secs(1)).unwrap();
        assert!(!is_seen());
    }
}
