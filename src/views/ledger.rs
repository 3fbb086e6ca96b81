//! ledger: which files of the results folder hold which artifact, so that old ones are neither trusted nor left.

use crate::base::Digest;
use crate::store::{Disk, StoreIo};
use crate::views::files;
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
#[derive(serde::Serialize, serde::Deserialize)]
struct Entry {
    /// The artifact that the files hold, if that is known. Not its key: a node that gave other bytes under the same key
    /// has other files.
    artifact: Option<Digest>,
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
    /// Whether nothing is known of the files that are there: the ledger was deleted, damaged, or of another version.
    lost: bool,
    /// Whether the file says something else than the two above.
    changed: bool,
    /// Files that are laid out and may not be on the disk yet.
    unsynced: Vec<PathBuf>,
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
            lost,
            changed: lost,
            unsynced: Vec::new(),
        }
    }

    /// Whether something is, or was, laid out of `node`.
    pub(super) fn knows(&self, node: &str) -> bool {
        self.laid_out.contains_key(node) || self.before.contains_key(node)
    }

    /// Accepts the files of `node` if they were all there and hold `artifact`.
    pub(super) fn accept(&mut self, node: &str, artifact: Digest) -> bool {
        if let Some(entry) = self.laid_out.get(node) {
            return entry.artifact == Some(artifact) && !self.torn.contains(node);
        }
        if self.torn.contains(node) || self.before.get(node).is_none_or(|entry| entry.artifact != Some(artifact)) {
            return false;
        }
        self.laid_out.extend(self.before.remove_entry(node));
        true
    }

    /// Accepts what is there of `node`, though files of it are gone, if it holds `artifact` for all that is known. Where
    /// nothing is known of the node, its `files` are looked at: those that `prove` to be right are accepted, and others
    /// where nothing is known of any node. Says whether all is there.
    pub(super) fn carry(
        &mut self,
        node: &str,
        artifact: Digest,
        files: &[PathBuf],
        prove: impl FnOnce() -> bool,
    ) -> bool {
        if self.knows(node) {
            if self.before.get(node).is_some_and(|entry| entry.artifact.is_none_or(|known| known == artifact)) {
                self.laid_out.extend(self.before.remove_entry(node));
            }
            return self.laid_out.contains_key(node) && !self.torn.contains(node);
        }
        let there: Vec<_> = files.iter().map(|file| Filed::look(&self.folder, file)).collect();
        let artifact = prove().then_some(artifact);
        if there.iter().all(Option::is_none) || (artifact.is_none() && !self.lost) {
            return files.is_empty();
        }
        let whole = there.iter().all(Option::is_some);
        let gone = |file: &PathBuf| Filed(file.clone(), 0, 0);
        let files = there.into_iter().zip(files).map(|(there, file)| there.unwrap_or_else(|| gone(file))).collect();
        self.laid_out.insert(node.to_owned(), Entry { artifact, files });
        self.changed = true;
        whole
    }

    /// The nodes whose files were accepted though nothing says what they hold.
    pub(super) fn unproven(&self) -> Vec<String> {
        let unproven = self.laid_out.iter().filter(|(_, entry)| entry.artifact.is_none());
        unproven.map(|(node, _)| node.clone()).collect()
    }

    /// Notes what is laid out of `node`. What was `made_now` may be evicted soon, so it is put on the disk first; the rest
    /// is when the ledger is closed.
    pub(super) fn note(&mut self, node: &str, artifact: Digest, files: &[PathBuf], made_now: bool) -> io::Result<()> {
        self.before.remove(node);
        self.torn.remove(node);
        let look = |file: &PathBuf| Filed::look(&self.folder, file).ok_or_else(|| io::Error::from(ErrorKind::NotFound));
        let entry = Entry { artifact: Some(artifact), files: files.iter().map(look).collect::<io::Result<_>>()? };
        self.laid_out.insert(node.to_owned(), entry);
        self.unsynced.extend_from_slice(files);
        self.changed = true;
        if made_now { self.write() } else { Ok(()) }
    }

    /// The files of `node` are about to be others. Says which artifact they were of, where that is known.
    pub(super) fn strike(&mut self, node: &str) -> Option<Digest> {
        let known = self.laid_out.remove(node).or(self.before.remove(node));
        self.changed |= known.is_some();
        known.and_then(|entry| entry.artifact)
    }

    /// Removes the files of `node`, unless this run has laid them out or accepted them.
    pub(super) fn remove(&mut self, node: &str) {
        let known = self.before.remove(node);
        self.changed |= known.is_some();
        for file in known.into_iter().flat_map(|entry| entry.files) {
            let path = self.folder.join(file.0);
            let _ = std::fs::remove_file(&path);
            let _ = path.parent().map(std::fs::remove_dir); // Only if it is empty.
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

    /// Notes that one file of `node` is gone.
    pub(super) fn forget(&mut self, node: &str, file: &Path) {
        for nodes in [&mut self.laid_out, &mut self.before] {
            if let Some(entry) = nodes.get_mut(node) {
                entry.files.retain(|known| known.0 != file);
                self.changed = true;
            }
        }
    }

    /// Writes the ledger, after what it names.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.changed = true;
        files::sync(&self.folder, &std::mem::take(&mut self.unsynced))?;
        let nodes = self.before.iter().chain(&self.laid_out).collect();
        let text = serde_json::to_vec(&Page { version: VERSION, nodes }).map_err(io::Error::other)?;
        files::replace(&self.folder.join(FILE), &text)?;
        self.changed = false;
        Ok(())
    }

    /// Removes the files of nodes that this run has neither laid out nor accepted, or that its pipeline does not have.
    pub(super) fn remove_rest(&mut self) {
        let rest: Vec<String> = self.before.keys().cloned().collect();
        rest.iter().for_each(|node| self.remove(node));
    }

    /// Removes the files below `folder` that are of an epoch of `noun` which this run did not lay out.
    ///
    /// Only for a run that reached its end: one that did not has no say about what it has not come to. Only names that
    /// dcpipe itself gives are touched.
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
            if !ours.is_some_and(|entry| entry.files.iter().any(is_inside)) {
                let path = entry.path();
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
        let _ = std::fs::remove_dir(folder); // Only if it is empty.
    }

    /// Writes the ledger.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.changed { self.write() } else { Ok(()) }
    }
}
