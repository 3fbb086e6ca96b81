//! list: which files under a folder are images, in the order that makes their ids.
//!
//! The order is torchvision's `ImageFolder`. Folders at the top are classes, sorted by name. Within a class its folders
//! are sorted by their whole path, so `a/b-c` comes before `a/b/c`. In each the files are sorted by name. `ImageFolder`
//! does not see images at the top itself. They come last and have no label, so a stray file shifts no id.

use crate::image::names::{ENDINGS, Named, OURS};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An image file that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Relative to the root, with `/` between folders.
    pub path: String,
    /// Name of the topmost folder; none for a file at the top.
    pub label: Option<String>,
    /// Size of the file.
    pub bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of the last change of anything about the file, which nobody can set, in nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Inode, which tells a replaced file from an unchanged one.
    pub inode: u64,
}

/// What a data set lacks for a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacks {
    /// One image.
    Image,
    /// Any number of images: nobody can look into the folder.
    Folder,
    /// Nothing that a data set could have had.
    Nothing,
}

/// Something under the root that looked like an image or a folder and could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the root; bytes that are not UTF-8 are shown as `\xe9`.
    pub path: String,
    /// Stable code: `not_utf8`, `broken_link`, `broken_folder_link`, `link_loop`, `unreadable`, `unreadable_folder`,
    /// `not_a_file`, `not_read`.
    pub reason: &'static str,
    /// What the system said, and after a semicolon what to do.
    pub detail: String,
    /// What is missing for it.
    pub lacks: Lacks,
}

/// Everything found under a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of ids.
    pub images: Vec<Listed>,
    /// Sorted by path.
    pub problems: Vec<Problem>,
    /// How many entries were not images.
    pub aside: Aside,
}

/// What lies among images and is none, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// Pictures of kinds that are not read, by kind; each is a problem, too.
    pub unread: BTreeMap<&'static str, u64>,
    /// What systems and tools leave behind, by the rule that passes over it; a folder counts as one.
    pub left_behind: BTreeMap<&'static str, u64>,
    /// Folders below the root into which dcpipe wrote images, such as exports.
    pub ours: BTreeSet<String>,
    /// Other files, by their ending in small letters; empty: without one.
    pub others: BTreeMap<String, u64>,
}

impl Aside {
    fn add(&mut self, more: Self) {
        self.ours.extend(more.ours);
        more.unread.into_iter().for_each(|(kind, count)| *self.unread.entry(kind).or_default() += count);
        more.left_behind.into_iter().for_each(|(rule, count)| *self.left_behind.entry(rule).or_default() += count);
        more.others.into_iter().for_each(|(ending, count)| *self.others.entry(ending).or_default() += count);
    }
}

/// A root from which no dataset can be made.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Nothing is there, or nothing that can be read.
    #[error("cannot read the image folder {root}: {error}; check the path (--set vars.images=DIR sets it)")]
    Root {
        /// As given.
        root: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file where a folder was meant.
    #[error("{root} is a file, but the root must be a folder of images; name the folder that holds it")]
    NotAFolder {
        /// As given.
        root: PathBuf,
    },
    /// Something below the root that cannot be read at this moment. Leaving it out would pass for a folder without it.
    #[error("cannot read {path}: {error}; run again when it can be read")]
    Below {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A folder without images.
    #[error("no images under {root}{}; files must end in {}", held(.listing), ENDINGS.join(" "))]
    NoImages {
        /// As given.
        root: PathBuf,
        /// What else is there.
        listing: Box<Listing>,
    },
}

/// What there is in a folder without images.
fn held(listing: &Listing) -> String {
    let mut held = String::new();
    if let Some(Problem { path, reason, detail, .. }) = listing.problems.first() {
        let count = listing.problems.len();
        let entries = if count == 1 { "entry that cannot" } else { "entries that cannot" };
        held = format!("; it has {count} {entries} be used, such as {path} ({reason}: {detail})");
    }
    if let Some(first) = listing.aside.ours.first() {
        held.push_str(&format!(
            "; it has folders that dcpipe wrote ({OURS} is in each), such as {first}: name one to read it"
        ));
    }
    let others: u64 = listing.aside.others.values().sum();
    if let Some((ending, most)) = listing.aside.others.iter().max_by_key(|(_, count)| **count) {
        let files = if others == 1 { "file" } else { "files" };
        let what = if ending.is_empty() { "have no ending".to_owned() } else { format!("end in {ending}") };
        held.push_str(&format!("; it has {others} other {files}, {most} of which {what}"));
    }
    held
}

/// Lists the images under `root`, following symbolic links but never into a folder that they come from.
pub fn list(root: &Path) -> Result<Listing, ListError> {
    let refuse = |error| ListError::Root { root: root.to_owned(), error };
    let metadata = fs::metadata(root).map_err(refuse)?;
    if !metadata.is_dir() {
        return Err(ListError::NotAFolder { root: root.to_owned() });
    }
    read_dir(root).map_err(refuse)?;
    let mut top = Walk { root, label: None, listing: Listing::default(), found: Vec::new() };
    let start = Folder { path: String::new(), real: None, ancestors: vec![identity(&metadata)] };
    let classes = top.folder(&start)?;
    top.settle();
    let mut listing = Listing::default();
    let trees = classes.into_par_iter().map(|class| {
        let mut walk = Walk { root, label: Some(class.path.clone()), listing: Listing::default(), found: Vec::new() };
        walk.tree(class)?;
        Ok(walk.listing)
    });
    let trees = trees.collect::<Result<Vec<_>, ListError>>()?;
    for tree in trees.into_iter().chain([top.listing]) {
        listing.images.extend(tree.images);
        listing.problems.extend(tree.problems);
        listing.aside.add(tree.aside);
    }
    listing.problems.sort();
    if listing.images.is_empty() {
        return Err(ListError::NoImages { root: root.to_owned(), listing: Box::new(listing) });
    }
    Ok(listing)
}

/// A folder to be read.
struct Folder {
    /// Below the root, as it is shown.
    path: String,
    /// The same as it is, where it is not UTF-8.
    real: Option<PathBuf>,
    /// Device and inode of every folder on the way to it, itself the last.
    ancestors: Vec<(u64, u64)>,
}

/// A walk through one class.
struct Walk<'a> {
    root: &'a Path,
    label: Option<String>,
    listing: Listing,
    /// Folder and name of each image, to be sorted by both.
    found: Vec<(String, String, Metadata)>,
}

impl Walk<'_> {
    fn tree(&mut self, start: Folder) -> Result<(), ListError> {
        let mut waiting = vec![start];
        while let Some(folder) = waiting.pop() {
            waiting.extend(self.folder(&folder)?);
        }
        self.settle();
        Ok(())
    }

    /// Notes the images of one folder and returns the folders in it, sorted by name.
    fn folder(&mut self, folder: &Folder) -> Result<Vec<Folder>, ListError> {
        let mut folders = Vec::new();
        let real = self.root.join(folder.real.as_deref().unwrap_or(Path::new(&folder.path)));
        let entries = match read_dir(&real) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable(folder.path.clone(), UNREADABLE_FOLDER, error)?;
                return Ok(folders);
            }
        };
        let entries: Vec<_> = entries.collect();
        let is_mark = |entry: &io::Result<fs::DirEntry>| entry.as_ref().is_ok_and(|entry| entry.file_name() == OURS);
        // A person who names such a folder means it; below another it holds copies.
        if !folder.path.is_empty() && entries.iter().any(is_mark) {
            self.listing.aside.ours.insert(folder.path.clone());
            return Ok(folders);
        }
        for entry in entries {
            match entry {
                Ok(entry) => folders.extend(self.entry(folder, &entry)?),
                Err(error) => self.unreadable(folder.path.clone(), UNREADABLE_FOLDER, error)?,
            }
        }
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(folders)
    }

    /// Notes an image or a problem, or returns a folder to go into.
    fn entry(&mut self, folder: &Folder, entry: &fs::DirEntry) -> Result<Option<Folder>, ListError> {
        let name = entry.file_name();
        let text = name.to_str();
        let shown = shown(&name);
        let named = Named::of(&shown);
        if let Named::LeftBehind(rule) = named {
            *self.listing.aside.left_behind.entry(rule).or_default() += 1;
            return Ok(None);
        }
        let path = || if folder.path.is_empty() { shown.to_string() } else { format!("{}/{shown}", folder.path) };
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) => {
                let kind = entry.file_type().ok();
                let how = match (&named, kind) {
                    (Named::Image, Some(kind)) if kind.is_symlink() => BROKEN_LINK,
                    (named, Some(kind)) if kind.is_symlink() && named.may_be_a_folder() => BROKEN_FOLDER_LINK,
                    (_, kind) if kind.is_none_or(|kind| kind.is_dir()) => UNREADABLE_FOLDER,
                    (Named::Image, _) => UNREADABLE,
                    _ => return Ok(self.aside(path(), named)),
                };
                self.unreadable(path(), how, error)?;
                return Ok(None);
            }
        };
        if metadata.is_dir() {
            let own = identity(&metadata);
            if folder.ancestors.contains(&own) {
                self.problem(path(), LINK_LOOP);
                return Ok(None);
            }
            let is_text = folder.real.is_none() && text.is_some();
            let real = || folder.real.as_deref().unwrap_or(Path::new(&folder.path)).join(&name);
            let real = (!is_text).then(real);
            return Ok(Some(Folder { path: path(), real, ancestors: [&folder.ancestors[..], &[own]].concat() }));
        }
        match named {
            Named::Image if !metadata.is_file() => self.problem(path(), NOT_A_FILE),
            Named::Image if folder.real.is_some() => self.problem(path(), IN_NOT_UTF8),
            Named::Image if text.is_none() => self.problem(path(), NOT_UTF8),
            Named::Image => self.found.push((folder.path.clone(), shown.into_owned(), metadata)),
            other => return Ok(self.aside(path(), other)),
        }
        Ok(None)
    }

    /// Counts what is no image. Returns no folder.
    fn aside(&mut self, path: String, named: Named) -> Option<Folder> {
        let aside = &mut self.listing.aside;
        match named {
            Named::Unread(kind) => {
                *aside.unread.entry(kind.name).or_default() += 1;
                let detail = format!("files of the kind {} are not read; {}", kind.name, kind.advice);
                self.listing.problems.push(Problem { path, reason: "not_read", detail, lacks: Lacks::Nothing });
            }
            Named::Other(ending) => *aside.others.entry(ending).or_default() += 1,
            Named::Image | Named::LeftBehind(_) => {}
        }
        None
    }

    /// Notes what cannot be read because of what it is, such as a folder of somebody else's. Anything else passes, as a
    /// lack of descriptors does, and must not be taken for a fact about the folder.
    fn unreadable(&mut self, path: String, how: How, error: io::Error) -> Result<(), ListError> {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EACCES | libc::EPERM | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
                let detail = format!("{error}; {}", how.2);
                self.listing.problems.push(Problem { path, reason: how.0, detail, lacks: how.1 });
                Ok(())
            }
            _ => Err(ListError::Below { path: self.root.join(path), error }),
        }
    }

    /// Puts what was found in order.
    fn settle(&mut self) {
        self.found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        for (folder, name, metadata) in self.found.drain(..) {
            self.listing.images.push(Listed {
                path: if folder.is_empty() { name } else { format!("{folder}/{name}") },
                label: self.label.clone(),
                bytes: metadata.len(),
                mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
                ctime_ns: i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()),
                inode: metadata.ino(),
            });
        }
    }

    fn problem(&mut self, path: String, (reason, lacks, detail): How) {
        self.listing.problems.push(Problem { path, reason, detail: detail.to_owned(), lacks });
    }
}

/// A reason, what is missing for it, and what to do.
type How = (&'static str, Lacks, &'static str);
const BROKEN_LINK: How = ("broken_link", Lacks::Image, "restore what the link leads to, or delete the link");
const BROKEN_FOLDER_LINK: How = (
    "broken_folder_link",
    Lacks::Folder,
    "it may have led to a folder of images: restore what the link leads to, or delete the link",
);
const UNREADABLE: How = ("unreadable", Lacks::Image, "make it readable, or take it out of the data set's folder");
const UNREADABLE_FOLDER: How =
    ("unreadable_folder", Lacks::Folder, "make the folder readable, or take it out of the data set's folder");
const LINK_LOOP: How =
    ("link_loop", Lacks::Nothing, "a link back to a folder that it lies in; nothing is missing for it");
const NOT_A_FILE: How = ("not_a_file", Lacks::Image, "a pipe, socket or device by an image's name; delete it");
const NOT_UTF8: How = ("not_utf8", Lacks::Image, "the name is not UTF-8; rename the file");
const IN_NOT_UTF8: How = ("not_utf8", Lacks::Image, "the name of a folder above it is not UTF-8; rename the folder");

/// A name as text; bytes that are not UTF-8 are spelled out, so that two names stay two.
fn shown(name: &OsStr) -> Cow<'_, str> {
    if let Some(text) = name.to_str() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    Cow::Owned(shown)
}

/// As [`fs::read_dir`], which on a network's file system a signal may interrupt.
fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    loop {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
