//! ledger: which files of the results folder hold which artifact, so that old ones are neither trusted nor left.

use crate::base::Digest;
use crate::store::{Disk, StoreIo};
use crate::views::{files, places};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Counts up when files of the folder change their form, so that those of an older program are written anew.
const VERSION: u32 = 3;
const FILE: &str = ".index.json";

/// What is laid out of a node.
#[derive(serde::Serialize, serde::Deserialize, PartialEq)]
struct Entry {
    /// What the files hold, if that is known: the artifact that they show. Not its key: a node that gave other bytes under
    /// the same key has other files.
    holds: Option<Digest>,
    files: Vec<Filed>,
}

/// A file as it was laid out: where below the results folder, its bytes, and when it was written, in nanoseconds since
/// 1970. One that differs was changed by somebody, or a power cut came before its bytes were on the disk.
#[derive(serde::Serialize, serde::Deserialize, PartialEq)]
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

/// The ledger as it is on disk between two runs.
#[derive(serde::Serialize, serde::Deserialize)]
struct Page<N: Ord, E> {
    version: u32,
    nodes: BTreeMap<N, E>,
}

/// The ledger of a running run.
pub(super) struct Ledger {
    folder: PathBuf,
    /// What earlier runs had laid out and this one has not come to.
    before: BTreeMap<String, Entry>,
    /// What is right as of this run.
    laid_out: BTreeMap<String, Entry>,
    /// Nodes of `before` one of whose files was gone, or another one, when the ledger was opened.
    torn: HashSet<String>,
    /// Whether the file says something else than the two above.
    changed: bool,
    /// Files that are laid out and may not be on the disk yet.
    unsynced: Vec<PathBuf>,
    /// Files that could not be put there, and why.
    failed: Vec<(PathBuf, io::Error)>,
}

impl Ledger {
    /// Takes the ledger from `folder`.
    pub(super) fn open(folder: &Path) -> Self {
        let text = Disk.read(&folder.join(FILE)).ok();
        let page: Option<Page<String, Entry>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let page = page.filter(|page| page.version == VERSION);
        let lost = page.is_none();
        let mut before = page.map(|page| page.nodes).unwrap_or_default();
        // Files are deleted by this list: it may name none that is not below the folder.
        let is_below = |file: &Filed| file.0.components().all(|part| matches!(part, Component::Normal(_)));
        before.retain(|_, entry: &mut Entry| entry.files.iter().all(is_below));
        // By all cores at once: there are thousands, and a run with nothing to do does little else.
        let is_torn = |entry: &Entry| !entry.files.iter().all(|file| file.is_there(folder));
        let torn = before.par_iter().filter(|(_, entry)| is_torn(entry)).map(|(node, _)| node.clone()).collect();
        Self {
            folder: folder.to_owned(),
            before,
            laid_out: BTreeMap::new(),
            torn,
            changed: lost,
            unsynced: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Whether something is, or was, laid out of `node`.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.laid_out.contains_key(node) || self.before.contains_key(node)
    }

    /// What the files of `node` hold, as far as that is known.
    pub(super) fn holds(&self, node: &str) -> Option<Option<Digest>> {
        self.laid_out.get(node).or(self.before.get(node)).map(|entry| entry.holds)
    }

    /// Accepts the files of `node` if they were all there and hold this.
    pub(super) fn accept(&mut self, node: &str, holds: Digest) -> bool {
        if self.torn.contains(node) || self.holds(node) != Some(Some(holds)) {
            return false;
        }
        self.laid_out.extend(self.before.remove_entry(node));
        true
    }

    /// Accepts what is there of the `files` of `node`, which cannot be laid out again, unless they are known to hold
    /// something else. What each of them holds is known if all `prove` it. Says whether all are there.
    pub(super) fn carry(
        &mut self,
        node: &str,
        holds: Digest,
        files: &[PathBuf],
        prove: impl Fn(&Path) -> bool,
    ) -> bool {
        if self.holds(node).is_some_and(|held| held.is_some_and(|held| held != holds)) {
            return false;
        }
        let there: Vec<_> = files.iter().map(|file| Filed::look(&self.folder, file)).collect();
        let known = self.laid_out.remove(node).or(self.before.remove(node));
        if there.iter().all(Option::is_none) {
            self.changed |= known.is_some();
            return files.is_empty();
        }
        let whole = there.iter().all(Option::is_some);
        let proven = there.iter().flatten().all(|file| prove(&file.0));
        let gone = |file: &PathBuf| Filed(file.clone(), 0, 0);
        let files = there.into_iter().zip(files).map(|(there, file)| there.unwrap_or_else(|| gone(file))).collect();
        let entry = Entry { holds: proven.then_some(holds), files };
        self.changed |= known.as_ref() != Some(&entry);
        self.laid_out.insert(node.to_owned(), entry);
        if whole {
            self.torn.remove(node);
        }
        whole
    }

    /// The nodes whose files were accepted though nothing says what they hold.
    pub(super) fn unproven(&self) -> Vec<String> {
        let unproven = self.laid_out.iter().filter(|(_, entry)| entry.holds.is_none());
        unproven.map(|(node, _)| node.clone()).collect()
    }

    /// Notes what is laid out of `node`. What was `made_now` may be evicted soon, so it is put on the disk first; the rest
    /// is when the ledger is closed.
    pub(super) fn note(&mut self, node: &str, holds: Digest, files: &[PathBuf], made_now: bool) -> io::Result<()> {
        let look = |file: &PathBuf| Filed::look(&self.folder, file).ok_or_else(|| io::Error::from(ErrorKind::NotFound));
        let entry = Entry { holds: Some(holds), files: files.iter().map(look).collect::<io::Result<_>>()? };
        self.before.remove(node);
        self.torn.remove(node);
        self.laid_out.insert(node.to_owned(), entry);
        self.unsynced.extend_from_slice(files);
        self.changed = true;
        if !made_now {
            return Ok(());
        }
        let before = self.failed.len();
        self.write()?;
        let own = |failed: &&(PathBuf, io::Error)| files.contains(&failed.0);
        match self.failed[before..].iter().find(own) {
            Some((_, error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }

    /// Files that could not be put on the disk, and are not there now.
    pub(super) fn failed(&self) -> impl Iterator<Item = &(PathBuf, io::Error)> {
        self.failed.iter().filter(|(file, _)| !self.folder.join(file).is_file())
    }

    /// Removes the files of nodes, except what this run has laid out or accepted.
    pub(super) fn remove(&mut self, nodes: &[String]) {
        let ours: HashSet<&Path> = self.laid_out.values().flat_map(|entry| &entry.files).map(|file| &*file.0).collect();
        for file in nodes.iter().filter_map(|node| self.before.remove(node)).flat_map(|entry| entry.files) {
            self.changed = true;
            if !ours.contains(&*file.0) {
                files::remove(&self.folder, &file.0);
            }
        }
    }

    /// Removes the files that `are_wrong`; what else there is of their nodes stays, and is not all of it.
    pub(super) fn remove_files(&mut self, are_wrong: impl Fn(&Path) -> bool) {
        for (node, entry) in self.before.iter().chain(&self.laid_out) {
            for path in entry.files.iter().map(|file| self.folder.join(&file.0)).filter(|path| are_wrong(path)) {
                let _ = std::fs::remove_file(path);
                self.torn.insert(node.clone());
            }
        }
    }

    /// Removes those files of `node` that `are_meant`, as far as they are what was laid out.
    pub(super) fn let_go(&mut self, node: &str, are_meant: impl Fn(&Path) -> bool) {
        for nodes in [&mut self.laid_out, &mut self.before] {
            let Some(entry) = nodes.get_mut(node) else { continue };
            let own = entry.files.iter().filter(|file| are_meant(&file.0) && file.is_there(&self.folder));
            own.for_each(|file| files::remove(&self.folder, &file.0));
            entry.files.retain(|file| !are_meant(&file.0));
            if entry.files.is_empty() {
                nodes.remove(node);
            }
            self.changed = true;
        }
    }

    /// Writes the ledger, after what it names.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.changed = true;
        // What could not be put there is gone, and not what the ledger says of it.
        self.failed.extend(files::sync(&self.folder, &std::mem::take(&mut self.unsynced)));
        let nodes = self.before.iter().chain(&self.laid_out).collect();
        let text = serde_json::to_vec(&Page { version: VERSION, nodes }).map_err(io::Error::other)?;
        files::replace(&self.folder.join(FILE), &text)?;
        self.changed = false;
        Ok(())
    }

    /// Removes the files of nodes that this run has neither laid out nor accepted, or that its pipeline does not have.
    pub(super) fn remove_rest(&mut self) {
        let rest: Vec<String> = self.before.keys().cloned().collect();
        self.remove(&rest);
    }

    /// Removes the files below `folder` that are of an epoch of `noun` which this run did not lay out.
    ///
    /// Only for a run that reached its end: one that did not has no say about what it has not come to. Only files by names
    /// that dcpipe itself gives are touched.
    pub(super) fn clean(&self, folder: &Path, noun: &str) {
        if !std::fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir()) {
            return; // What a link leads to is somebody else's.
        }
        let below = folder.strip_prefix(&self.folder).unwrap_or(folder);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let epoch = name.strip_prefix("epoch=").map(|rest| rest.trim_end_matches(".safetensors"));
            let epoch = match epoch.map(str::parse::<u32>) {
                Some(Ok(epoch)) => epoch,
                _ if files::is_aside(&entry.path()) => {
                    let _ = std::fs::remove_file(entry.path());
                    continue;
                }
                None if name.starts_with("part-") && name.ends_with(".arrow") => 0,
                _ => continue,
            };
            let inside = below.join(&name);
            let inside = inside.as_os_str().as_encoded_bytes();
            let is_inside = |file: &Filed| {
                let rest = file.0.as_os_str().as_encoded_bytes().strip_prefix(inside);
                rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            };
            let ours = self.laid_out.get(&format!("{noun}@{epoch}"));
            if ours.is_some_and(|entry| entry.files.iter().any(is_inside)) {
                continue;
            }
            let path = below.join(&name);
            let all = std::fs::read_dir(entry.path()).into_iter().flatten().flatten().map(|file| file.file_name());
            let own: Vec<_> = all.filter(|file| file.to_str().is_some_and(places::is_name)).collect();
            own.iter().for_each(|file| files::remove(&self.folder, &path.join(file)));
            files::remove(&self.folder, &path);
            let _ = std::fs::remove_dir(entry.path()); // Only if it is empty.
        }
        let _ = std::fs::remove_dir(folder); // Only if it is empty.
    }

    /// Writes the ledger.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.changed { self.write() } else { Ok(()) }
    }
}
