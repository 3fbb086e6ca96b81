//! list: which results files show which artifact (`.index.json`), so that a run knows its own files.

use crate::base::Digest;
use crate::store::{Disk, StoreIo};
use crate::views::files;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Counts up when files of the folder change their form, so that an older program's files are exported again.
const VERSION: u32 = 4;
const FILE: &str = ".index.json";

/// What the results show of a node.
#[derive(Serialize, Deserialize, PartialEq, Default)]
struct Entry {
    /// Not its key: a node that gave other bytes under the same key has other files. None if some are missing.
    #[serde(default)]
    artifact: Option<Digest>,
    /// Whether its bytes were kept, which decides which of its parts are shown.
    #[serde(default)]
    kept: bool,
    files: Vec<Filed>,
    /// Whether one of the files has changed since its export.
    #[serde(skip)]
    is_torn: bool,
}

/// A file as it was exported: its path below the results folder, its bytes, and its nanoseconds since 1970. A file that
/// differs was changed later, or a power cut came before its bytes were durable.
#[derive(Serialize, Deserialize, PartialEq, Clone)]
struct Filed(PathBuf, u64, i64);

impl Filed {
    fn look(folder: &Path, path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(folder.join(path)).ok().filter(Metadata::is_file)?;
        Some(Self(path.to_owned(), meta.len(), meta.mtime() * 1_000_000_000 + meta.mtime_nsec()))
    }

    fn is_there(&self, folder: &Path) -> bool {
        Self::look(folder, &self.0).as_ref() == Some(self)
    }
}

/// The list as it is on the disk. Version 3 listed the same in other words, which are skipped: its files are checked
/// again.
#[derive(Serialize, Deserialize)]
struct Page<N: Ord, E> {
    version: u32,
    nodes: BTreeMap<N, E>,
}

/// The list of a running run.
pub(super) struct List {
    folder: PathBuf,
    /// By node: what earlier runs exported and this run has not reached. Under no name: files that nodes no longer
    /// show.
    before: BTreeMap<String, Entry>,
    /// By node: what this run has found right or exported.
    now: BTreeMap<String, Entry>,
    /// Whether the file on the disk differs from the two maps above.
    is_changed: bool,
}

impl List {
    /// Reads the list in `folder`. Files that differ from it will be exported again.
    pub(super) fn open(folder: &Path) -> Self {
        let text = Disk.read(&folder.join(FILE)).ok();
        let page: Option<Page<String, Entry>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let page = page.filter(|page| (3..=VERSION).contains(&page.version));
        let is_changed = page.as_ref().is_none_or(|page| page.version != VERSION);
        let mut before = page.map(|page| page.nodes).unwrap_or_default();
        // Files are deleted by this list, so every path in it must be below the folder.
        let is_below = |file: &Filed| file.0.components().all(|part| matches!(part, Component::Normal(_)));
        before.retain(|_, entry: &mut Entry| entry.files.iter().all(is_below));
        // On all cores: there are thousands, and a run with nothing to do does little else.
        before.par_iter_mut().for_each(|(_, entry)| {
            entry.is_torn = !entry.files.iter().all(|file| file.is_there(folder));
        });
        Self { folder: folder.to_owned(), before, now: BTreeMap::new(), is_changed }
    }

    fn entry(&self, node: &str) -> Option<&Entry> {
        self.now.get(node).or(self.before.get(node))
    }

    /// Whether the results show something of `node`, or did.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.entry(node).is_some()
    }

    /// Whether the files of `node` show another artifact than this.
    pub(super) fn shows_another(&self, node: &str, artifact: Digest) -> bool {
        self.entry(node).and_then(|entry| entry.artifact).is_some_and(|shown| shown != artifact)
    }

    /// Whether all files of `node` are there and show this artifact; then they stay.
    pub(super) fn accept(&mut self, node: &str, artifact: Digest, kept: bool) -> bool {
        let shows = |entry: &Entry| !entry.is_torn && (entry.artifact, entry.kept) == (Some(artifact), kept);
        let is_right = self.entry(node).is_some_and(shows);
        if is_right {
            self.now.extend(self.before.remove_entry(node));
        }
        is_right
    }

    /// Whether an earlier run exported this file and it is unchanged.
    pub(super) fn is_own(&self, node: &str, file: &Path) -> bool {
        let files = self.entry(node).into_iter().flat_map(|entry| &entry.files);
        files.into_iter().any(|own| own.0 == file && own.is_there(&self.folder))
    }

    /// Notes which files show `node` now; `is_whole` says that they are all there. Old files of the same artifact are
    /// deleted at once if `kept` has changed. Other old files are deleted at a complete run's end.
    ///
    /// # Errors
    /// If one of the files is unreadable. An unlisted file is not known to be right.
    pub(super) fn note(
        &mut self,
        node: &str,
        artifact: Digest,
        is_whole: bool,
        kept: bool,
        files: &[PathBuf],
    ) -> io::Result<()> {
        let old = self.now.remove(node).or(self.before.remove(node)).unwrap_or_default();
        let rest = old.files.into_iter().filter(|file| !files.contains(&file.0));
        let (gone, left): (Vec<_>, Vec<_>) = rest.partition(|_| old.artifact == Some(artifact) && old.kept != kept);
        gone.iter().filter(|file| file.is_there(&self.folder)).for_each(|file| files::remove(&self.folder, &file.0));
        if !left.is_empty() {
            self.before.entry(String::new()).or_default().files.extend(left);
        }
        let put = files.len();
        let files: Vec<_> = files.iter().filter_map(|file| Filed::look(&self.folder, file)).collect();
        let are_listed = files.len() == put;
        if !files.is_empty() {
            let artifact = Some(artifact).filter(|_| is_whole && are_listed);
            self.now.insert(node.to_owned(), Entry { artifact, kept, files, is_torn: false });
        }
        self.is_changed = true;
        if are_listed { Ok(()) } else { Err(io::Error::other("a file cannot be read again once it was exported")) }
    }

    /// Deletes the files that `are_wrong`; those of their nodes will be exported again.
    pub(super) fn remove_wrong(&mut self, are_wrong: impl Fn(&Path) -> bool) {
        for entry in self.before.values_mut().chain(self.now.values_mut()) {
            for path in entry.files.iter().map(|file| self.folder.join(&file.0)).filter(|path| are_wrong(path)) {
                let _ = std::fs::remove_file(path);
                (entry.is_torn, self.is_changed) = (true, true);
            }
        }
    }

    /// Deletes the files of nodes, except those that this run shows and those that changed since their export.
    pub(super) fn remove(&mut self, nodes: &[String]) {
        let ours: HashSet<&Path> = self.now.values().flat_map(|entry| &entry.files).map(|file| &*file.0).collect();
        for file in nodes.iter().filter_map(|node| self.before.remove(node)).flat_map(|entry| entry.files) {
            self.is_changed = true;
            if !ours.contains(&*file.0) && file.is_there(&self.folder) {
                files::remove(&self.folder, &file.0);
            }
        }
    }

    /// Deletes the files of nodes that this run does not show, or that its pipeline does not have.
    pub(super) fn remove_rest(&mut self) {
        let rest: Vec<String> = self.before.keys().cloned().collect();
        self.remove(&rest);
    }

    /// The files that this run shows.
    pub(super) fn shown(&self) -> HashSet<PathBuf> {
        self.now.values().flat_map(|entry| &entry.files).map(|file| self.folder.join(&file.0)).collect()
    }

    /// Writes the list if it has changed.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.is_changed {
            let nodes: BTreeMap<_, _> = self.before.iter().chain(&self.now).collect();
            let text = serde_json::to_vec(&Page { version: VERSION, nodes }).map_err(io::Error::other)?;
            files::replace(&self.folder.join(FILE), &text)?;
            self.is_changed = false;
        }
        Ok(())
    }
}
