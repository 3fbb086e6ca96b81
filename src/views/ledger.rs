//! ledger: which files of the results folder hold which artifact, so that old ones are neither trusted nor left.

use crate::base::Digest;
use crate::store::{Disk, StoreIo};
use crate::views::files;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// Counts up when files of the folder change their form, so that those of an older program are written anew.
const VERSION: u32 = 2;
const FILE: &str = ".index.json";

/// What is laid out of a node.
#[derive(serde::Serialize, serde::Deserialize, Clone, PartialEq)]
pub(super) struct Entry {
    /// The artifact that the files hold, if that is known. Not its key: a node that gave other bytes under the same key
    /// has other files.
    pub(super) artifact: Option<Digest>,
    /// The files, below the results folder.
    pub(super) files: Vec<PathBuf>,
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
    /// Nodes of `before` one of whose files was gone when the ledger was opened.
    torn: HashSet<String>,
    /// Whether nothing is known of the files that are there: the ledger was deleted, damaged, or of another version.
    lost: bool,
    /// Whether the file says something else than the two above.
    changed: bool,
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
        let is_below = |file: &PathBuf| file.components().all(|part| matches!(part, Component::Normal(_)));
        before.retain(|_, entry: &mut Entry| entry.files.iter().all(is_below));
        // By all cores at once: there are thousands, and a run with nothing to do does little else.
        let is_torn = |entry: &Entry| !entry.files.iter().all(|file| folder.join(file).exists());
        let torn = before.par_iter().filter(|(_, entry)| is_torn(entry)).map(|(node, _)| node.clone()).collect();
        Self { folder: folder.to_owned(), before, laid_out: BTreeMap::new(), torn, lost, changed: lost }
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

    /// Accepts what is there of `node`, though files of it are gone, if it holds `artifact` for all that is known; where
    /// nothing is known of any node, `left` says what is there. Says whether all is there.
    pub(super) fn carry(&mut self, node: &str, artifact: Digest, left: impl FnOnce() -> Vec<PathBuf>) -> bool {
        if self.lost && !self.knows(node) {
            let files = left();
            if !files.is_empty() {
                self.laid_out.insert(node.to_owned(), Entry { artifact: None, files });
            }
        } else if self.before.get(node).is_some_and(|entry| entry.artifact.is_none_or(|known| known == artifact)) {
            self.laid_out.extend(self.before.remove_entry(node));
        }
        self.laid_out.contains_key(node) && !self.torn.contains(node)
    }

    /// The nodes whose files were accepted though nothing says what they hold.
    pub(super) fn unproven(&self) -> Vec<String> {
        let unproven = self.laid_out.iter().filter(|(_, entry)| entry.artifact.is_none());
        unproven.map(|(node, _)| node.clone()).collect()
    }

    /// Notes what is laid out of `node`.
    pub(super) fn note(&mut self, node: &str, entry: Entry) -> std::io::Result<()> {
        self.before.remove(node);
        self.torn.remove(node);
        self.laid_out.insert(node.to_owned(), entry);
        self.write()
    }

    /// Notes, before any of them is touched, that the files of `node` are not vouched for: a run that is killed half-way
    /// leaves nothing that the next one would trust.
    /// Says which artifact they were of, where that is known.
    pub(super) fn strike(&mut self, node: &str) -> std::io::Result<Option<Digest>> {
        let known = self.laid_out.remove(node).or(self.before.remove(node));
        if known.is_some() {
            self.write()?;
        }
        Ok(known.and_then(|entry| entry.artifact))
    }

    /// Removes the files of `node`, unless this run has laid them out or accepted them.
    pub(super) fn remove(&mut self, node: &str) {
        let known = self.before.remove(node);
        self.changed |= known.is_some();
        for file in known.into_iter().flat_map(|entry| entry.files) {
            let path = self.folder.join(file);
            let _ = std::fs::remove_file(&path);
            let _ = path.parent().map(std::fs::remove_dir); // Only if it is empty.
        }
    }

    /// Removes the files that `are_wrong`; what else there is of their nodes stays, and is not all of it.
    pub(super) fn remove_files(&mut self, are_wrong: impl Fn(&Path) -> bool) {
        for (node, entry) in self.before.iter().chain(&self.laid_out) {
            for path in entry.files.iter().map(|file| self.folder.join(file)).filter(|path| are_wrong(path)) {
                let _ = std::fs::remove_file(path);
                self.torn.insert(node.clone());
            }
        }
    }

    /// Notes that one file of `node` is gone.
    pub(super) fn forget(&mut self, node: &str, file: &Path) {
        for nodes in [&mut self.laid_out, &mut self.before] {
            if let Some(entry) = nodes.get_mut(node) {
                entry.files.retain(|known| known != file);
                self.changed = true;
            }
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.changed = true;
        let nodes = self.before.iter().chain(&self.laid_out).collect();
        let text = serde_json::to_vec(&Page { version: VERSION, nodes }).map_err(std::io::Error::other)?;
        files::replace(&self.folder.join(FILE), &text)?;
        self.changed = false;
        Ok(())
    }

    /// Removes the files below `folder` that are of an epoch of `noun` which this run did not lay out.
    ///
    /// Only for a run that reached its end: one that did not has no say about what it has not come to. Only names that
    /// dcpipe itself gives are touched.
    pub(super) fn clean(&self, folder: &Path, noun: &str) {
        let below = folder.strip_prefix(&self.folder).unwrap_or(folder);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let epoch = name.strip_prefix("epoch=").map(|rest| rest.trim_end_matches(".safetensors"));
            let epoch = match epoch.map(str::parse::<u32>) {
                Some(Ok(epoch)) => epoch,
                _ if name.ends_with(".tmp") => {
                    let _ = std::fs::remove_file(entry.path());
                    continue;
                }
                None if name.starts_with("part-") && name.ends_with(".arrow") => 0,
                _ => continue,
            };
            let inside = below.join(&name);
            let inside = inside.as_os_str().as_encoded_bytes();
            let is_inside = |file: &PathBuf| {
                let rest = file.as_os_str().as_encoded_bytes().strip_prefix(inside);
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

    /// Writes the ledger. After a run that reached its end nothing of earlier ones is left to vouch for.
    pub(super) fn close(mut self, complete: bool) -> std::io::Result<()> {
        if complete {
            self.changed |= !self.before.is_empty();
            self.before.clear();
        }
        if self.changed { self.write() } else { Ok(()) }
    }
}
