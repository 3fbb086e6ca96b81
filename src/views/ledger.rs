//! ledger: which files of the results folder were made from which key, so that old ones are neither trusted nor left.

use crate::base::StageKey;
use crate::views::files;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Counts up when files of the folder change their form, so that those of an older program are written anew.
const VERSION: u32 = 1;
const FILE: &str = ".index.json";

/// The ledger as it is on disk between two runs.
#[derive(serde::Serialize, serde::Deserialize, Default)]
struct Page {
    version: u32,
    nodes: BTreeMap<String, StageKey>,
}

/// The ledger of a running run.
pub(super) struct Ledger {
    folder: PathBuf,
    /// What the last run that ended in order had laid out.
    before: BTreeMap<String, StageKey>,
    /// What is known to be right.
    laid_out: BTreeMap<String, StageKey>,
}

impl Ledger {
    /// Takes the ledger from `folder`. Until [`Ledger::close`] there is none: a run that is killed leaves files that
    /// nobody vouches for, and the next one lays them out again.
    pub(super) fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let page: Option<Page> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let _ = std::fs::remove_file(path);
        let before = page.filter(|page| page.version == VERSION).map(|page| page.nodes).unwrap_or_default();
        Self { folder: folder.to_owned(), before, laid_out: BTreeMap::new() }
    }

    /// Whether the files of `node` on disk were made from `key`.
    pub(super) fn vouches(&self, node: &str, key: StageKey) -> bool {
        self.laid_out.get(node).or_else(|| self.before.get(node)) == Some(&key)
    }

    /// Whether the files of `node` are right as of this run.
    pub(super) fn has(&self, node: &str) -> bool {
        self.laid_out.contains_key(node)
    }

    /// Notes that the files of `node` are those of `key`.
    pub(super) fn note(&mut self, node: &str, key: StageKey) {
        self.laid_out.insert(node.to_owned(), key);
    }

    /// Notes that there are no files of `node` any more.
    pub(super) fn strike(&mut self, node: &str) {
        self.laid_out.remove(node);
        self.before.remove(node);
    }

    /// Removes the files below `folder` that are of an epoch of `noun` which this ledger does not vouch for.
    ///
    /// Only names that dcpipe itself gives are touched.
    pub(super) fn clean(&self, folder: &Path, noun: &str) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let epoch = name.strip_prefix("epoch=").map(|rest| rest.trim_end_matches(".safetensors"));
            let epoch = match epoch.map(str::parse::<u32>) {
                Some(Ok(epoch)) => epoch,
                None if name.starts_with("part-") && name.ends_with(".arrow") => 0,
                _ => continue,
            };
            if !self.has(&format!("{noun}@{epoch}")) {
                let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
            }
        }
        let _ = std::fs::remove_dir(folder); // Only if it is empty.
    }

    /// Puts the ledger back.
    pub(super) fn close(self) -> std::io::Result<()> {
        let page = Page { version: VERSION, nodes: self.laid_out };
        let text = serde_json::to_vec(&page).map_err(std::io::Error::other)?;
        files::replace(&self.folder.join(FILE), &text)
    }
}
