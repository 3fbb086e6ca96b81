//! gc: what neither a run nor a pin references, and its removal.

use crate::base::{Digest, ObjectId, StageKey};
use crate::store::io::Found;
use crate::store::standing::RunState;
use crate::store::verify::Findings;
use crate::store::{Record, Stand, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What gc would delete and what it retains.
#[derive(Clone, Debug, Default)]
pub struct GcPlan {
    /// Runs that are discarded; gc deletes their folders first.
    pub runs: Vec<String>,
    /// Records that no run and no pin references.
    pub records: Vec<StageKey>,
    /// Objects that no retained record names, with their bytes.
    pub objects: Vec<(ObjectId, u64)>,
    /// Bytes that gc would delete, by the node that made them; under the empty name where no record says.
    pub by_node: BTreeMap<String, u64>,
    /// Bytes that gc retains.
    pub kept: u64,
    /// Objects that retained records name and that are missing.
    pub missing: BTreeSet<ObjectId>,
    /// Damaged records. They reference nothing.
    pub damaged: usize,
}

impl GcPlan {
    /// Bytes that gc would delete.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Of these, the bytes that also have a name outside `store`, in results: deleting them frees nothing.
    pub fn bytes_shared(&self, store: &Store) -> u64 {
        let is_shared =
            |object| std::fs::symlink_metadata(store.object_path(object)).is_ok_and(|meta| meta.nlink() > 1);
        self.objects.iter().filter(|(object, _)| is_shared(*object)).map(|(_, bytes)| bytes).sum()
    }
}

impl Store {
    /// Finds what neither a pin nor a run references, and deletes nothing. With `last`, only that many of the newest
    /// runs count, and all unfinished ones. The runs named in `drop` do not count.
    ///
    /// # Errors
    /// If a run or a pin is unreadable: its references are unknown, so nothing may be deleted. If there is no run, no
    /// pin and nothing to discard: gc would empty the store.
    pub fn gc_plan(&self, last: Option<usize>, drop: &[String]) -> Result<GcPlan, StoreError> {
        let mut plan = GcPlan::default();
        let mut roots: BTreeSet<StageKey> = BTreeSet::new();
        let pins = self.pins()?;
        let (runs, gone) = self.runs_by_age(last, drop)?;
        let remembers_nothing = pins.is_empty() && runs.is_empty() && gone.is_empty();
        for (_, pin) in pins {
            roots.extend(pin.nodes.into_values());
        }
        for run in runs {
            roots.extend(self.roots_of(&run)?.into_values());
        }
        plan.runs = gone;
        let mut unknown = Findings::default();
        let mut kept = BTreeSet::new();
        let mut owners: BTreeMap<ObjectId, String> = BTreeMap::new();
        for digest in self.names_in("records", &mut unknown, true)? {
            let record = match self.record(StageKey(digest)) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(StoreError::DamagedRecord { .. }) => {
                    plan.damaged += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let objects = record.artifact.parts.iter().map(|part| part.object);
            if self.is_wanted(&record, &roots) {
                kept.extend(objects);
            } else {
                owners.extend(objects.map(|object| (object, record.node.clone())));
                plan.records.push(StageKey(digest));
            }
        }
        let there: BTreeSet<ObjectId> =
            self.names_in("objects", &mut unknown, true)?.into_iter().map(ObjectId).collect();
        for object in there.iter().copied() {
            let Ok(Found::File(bytes)) = self.io().look(&self.object_path(object)) else { continue };
            if kept.contains(&object) {
                plan.kept += bytes;
            } else {
                *plan.by_node.entry(owners.get(&object).cloned().unwrap_or_default()).or_default() += bytes;
                plan.objects.push((object, bytes));
            }
        }
        plan.missing = kept.into_iter().filter(|object| !there.contains(object)).collect();
        if remembers_nothing && !(plan.records.is_empty() && plan.objects.is_empty()) {
            return Err(StoreError::NoRoots { root: self.root().to_owned() });
        }
        Ok(plan)
    }

    /// The runs that count, and those that do not.
    fn runs_by_age(&self, last: Option<usize>, drop: &[String]) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let (mut gone, names): (Vec<_>, Vec<_>) = self.run_names()?.into_iter().partition(|name| drop.contains(name));
        // A killed gc may have deleted a run's list of references and nothing else of its folder.
        let folder = |name: &String| self.io().look(&self.run_folder(name));
        let left = drop.iter().filter(|name| folder(name).is_ok_and(|found| found != Found::Nothing));
        let left: Vec<String> = left.filter(|name| !gone.contains(name)).cloned().collect();
        gone.extend(left);
        let mut runs: Vec<(u64, bool, String)> = Vec::new();
        for name in names {
            let standing = self.standing(&name);
            let is_done = standing.as_ref().is_some_and(|standing| standing.state == RunState::Done);
            runs.push((standing.map_or(0, |standing| standing.unix_ms), is_done, name));
        }
        runs.sort_by(|a, b| b.cmp(a));
        let mut counted = Vec::new();
        for (at, (_, is_done, name)) in runs.into_iter().enumerate() {
            let counts = !is_done || last.is_none_or(|last| at < last);
            if counts { counted.push(name) } else { gone.push(name) }
        }
        Ok((counted, gone))
    }

    /// Whether something references a record. It is a root's, or an unfinished root resumes from it as a checkpoint.
    fn is_wanted(&self, record: &Record, roots: &BTreeSet<StageKey>) -> bool {
        let Some((node, _)) = record.key_text.rsplit_once("\nshard ") else { return roots.contains(&record.key()) };
        let parent = StageKey(Digest::of(format!("{node}\n").as_bytes()));
        let is_whole =
            || self.record(parent).ok().flatten().is_some_and(|whole| self.stand(&whole.artifact) == Stand::Whole);
        roots.contains(&parent) && !is_whole()
    }

    /// Deletes what a plan names: runs, then records, then objects. So nothing ever names an object that gc has
    /// deleted. The caller must have opened the store alone.
    pub fn gc(&self, plan: &GcPlan) -> Result<(), StoreError> {
        let remove = |path: PathBuf| match self.io().remove(&path) {
            // If this is a folder, the caller deletes it together with the run's folder.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(()),
            Err(error) => Err(StoreError::io("remove", &path, error)),
            Ok(()) => Ok(()),
        };
        for run in &plan.runs {
            for file in ["state.json", "nodes.json", "before.json"] {
                remove(self.run_folder(run).join(file))?;
            }
        }
        for key in &plan.records {
            remove(self.record_path(*key))?;
        }
        plan.objects.iter().try_for_each(|(object, _)| self.evict(*object))
    }
}
