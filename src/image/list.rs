//! list: which files under a folder are images, in the order that makes their ids.
//!
//! The order is torchvision's `ImageFolder`: folders at the top are classes, sorted by name; within a class all its
//! folders sorted by their whole path (so `a/b-c` before `a/b/c`), and in each the files sorted by name. Images that
//! lie at the top itself, which `ImageFolder` does not see, come last and have no label: a stray file shifts no id.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// File name endings that count, in any case: torchvision's IMG_EXTENSIONS and GIF.
const ENDINGS: [&str; 10] = [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif"];

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

/// Something under the root that looked like an image or a folder and could not be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Relative to the root; bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// Stable code: `not_utf8`, `broken_link`, `link_loop`, `unreadable`, `not_a_file`.
    pub reason: String,
    /// What the system said.
    pub detail: String,
}

/// Everything found under a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of ids.
    pub images: Vec<Listed>,
    /// Sorted by path.
    pub problems: Vec<Problem>,
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
    #[error(
        "no images under {root} ({problems} entries could not be read); files must end in jpg jpeg png bmp webp ppm \
         pgm tif tiff or gif"
    )]
    NoImages {
        /// As given.
        root: PathBuf,
        /// How many entries were unusable.
        problems: usize,
    },
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
    let classes = top.folder("", &[identity(&metadata)])?;
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
    }
    listing.problems.sort();
    if listing.images.is_empty() {
        return Err(ListError::NoImages { root: root.to_owned(), problems: listing.problems.len() });
    }
    Ok(listing)
}

/// A folder to be read, and the device and inode of every folder on the way to it, itself the last.
struct Folder {
    path: String,
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
            waiting.extend(self.folder(&folder.path, &folder.ancestors)?);
        }
        self.settle();
        Ok(())
    }

    /// Notes the images of one folder and returns the folders in it, sorted by name.
    fn folder(&mut self, path: &str, ancestors: &[(u64, u64)]) -> Result<Vec<Folder>, ListError> {
        let mut folders = Vec::new();
        let entries = match read_dir(&self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) => {
                self.unread(path.to_owned(), "unreadable", error)?;
                return Ok(folders);
            }
        };
        for entry in entries {
            match entry {
                Ok(entry) => folders.extend(self.entry(path, ancestors, &entry)?),
                Err(error) => self.unread(path.to_owned(), "unreadable", error)?,
            }
        }
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(folders)
    }

    /// Notes an image or a problem, or returns a folder to go into.
    fn entry(
        &mut self,
        folder: &str,
        ancestors: &[(u64, u64)],
        entry: &fs::DirEntry,
    ) -> Result<Option<Folder>, ListError> {
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        let path = if folder.is_empty() { shown.to_string() } else { format!("{folder}/{shown}") };
        let wanted = is_image_name(&shown);
        let metadata = match fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            Err(error) => {
                // A folder that is passed over would take a class with it.
                let kind = entry.file_type().ok();
                let link = kind.is_some_and(|kind| kind.is_symlink());
                if wanted || kind.is_none_or(|kind| !kind.is_file()) {
                    self.unread(path, if link { "broken_link" } else { "unreadable" }, error)?;
                }
                return Ok(None);
            }
        };
        if !wanted && !metadata.is_dir() {
            return Ok(None);
        }
        if name.to_str().is_none() {
            self.problem(path, "not_utf8", &"the name is not UTF-8; rename it");
        } else if metadata.is_dir() {
            let own = identity(&metadata);
            if ancestors.contains(&own) {
                self.problem(path, "link_loop", &"a link back to a folder that it lies in");
                return Ok(None);
            }
            return Ok(Some(Folder { path, ancestors: [ancestors, &[own]].concat() }));
        } else if metadata.is_file() {
            self.found.push((folder.to_owned(), shown.into_owned(), metadata));
        } else {
            self.problem(path, "not_a_file", &"a pipe, socket or device by an image's name");
        }
        Ok(None)
    }

    /// Notes what cannot be read because of what it is, such as a folder of somebody else's. Anything else passes, as a
    /// lack of descriptors does, and must not be taken for a fact about the folder.
    fn unread(&mut self, path: String, reason: &str, error: io::Error) -> Result<(), ListError> {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EACCES | libc::EPERM | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
                self.problem(path, reason, &error);
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

    fn problem(&mut self, path: String, reason: &str, detail: &dyn ToString) {
        self.listing.problems.push(Problem { path, reason: reason.to_owned(), detail: detail.to_string() });
    }
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

fn is_image_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending))
}
