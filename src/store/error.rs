//! error: what can go wrong with the store, and what to do about it.

use crate::base::{ObjectId, StageKey};
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("could not {action} {path}: {error}{}", advice(.action, .error))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it answered.
        error: io::Error,
    },
    /// The folder is a store of another format, or no store.
    #[error(
        "{root} is not a store that this dcpipe knows (its FORMAT says {found:?}); use another --store, or the dcpipe that made it"
    )]
    UnknownFormat {
        /// The store's folder.
        root: PathBuf,
        /// What FORMAT held.
        found: String,
    },
    /// A folder that holds other files than a store's.
    #[error(
        "{root} is not a store, and has other files in it, such as {entry}; nothing was changed there. Name a new or empty \
         folder with --store"
    )]
    NotAStore {
        /// The folder.
        root: PathBuf,
        /// One of its files.
        entry: String,
    },
    /// A file where the store's folder is wanted.
    #[error(
        "the store {root} cannot be a folder: {file} is a file. Name another folder with --store, or move that file away"
    )]
    NotAFolder {
        /// The store's folder.
        root: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// A gc that would delete everything.
    #[error(
        "refusing to empty {root}: it has no runs and no pins. Run the pipelines that you want to keep, or delete the \
         folder"
    )]
    NoRoots {
        /// The store's folder.
        root: PathBuf,
    },
    /// What a run or a pin references is unknown, so gc deletes nothing.
    #[error(
        "could not read {path}: {error}; {}",
        match run {
            Some(run) => format!("run {run} again, which rewrites the file, or discard the run with dcpipe gc --drop {run}"),
            None => "delete that file to discard the pin".to_owned(),
        }
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The run; none of a pin.
        run: Option<String>,
        /// What is wrong with it.
        error: io::Error,
    },
    /// Another process has the store open, and this command must be alone.
    #[error("another dcpipe uses the store {root}; wait until it ends, or run gc with --wait")]
    InUse {
        /// The store's folder.
        root: PathBuf,
    },
    /// An object was evicted, or never existed.
    #[error("object {object} ({name}) is not in the store; run the pipeline again to rebuild it")]
    Missing {
        /// Its name.
        object: ObjectId,
        /// The part that wanted it.
        name: String,
    },
    /// The file under an object's name is not that object or cannot be read, and it blocks the right one.
    #[error(
        "{path} {why} and blocks its rebuild. Move the file away, or make its folder and the store's quarantine/ \
         writable, then run the same command again"
    )]
    Stuck {
        /// The object's path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A record is damaged.
    #[error("record {key} is damaged ({why}); its node runs again")]
    DamagedRecord {
        /// Its name.
        key: StageKey,
        /// How the damage shows.
        why: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    /// Whether the file system was full or over quota.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { error, .. } if is_full(error))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn advice(action: &str, error: &io::Error) -> &'static str {
    let looked = matches!(action, "read" | "list" | "map");
    if looked && error.kind() == io::ErrorKind::PermissionDenied {
        "; give this user the right to read it"
    } else if looked && error.raw_os_error() == Some(libc::EIO) {
        "; if it fails again, move the file away: a run rebuilds its content. dcpipe verify names every unreadable file"
    } else if is_full(error) {
        "; free some space or name another folder with --store, then run the same command: finished work is kept"
    } else if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        "; give this user the right to write there, or name another store with --store"
    } else if action == "create" && matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory)
    {
        "; a file has the name of this folder or of one above it. Move it away, then run the same command"
    } else if matches!(error.raw_os_error(), Some(libc::ENOLCK | libc::EOPNOTSUPP)) {
        "; the store's file system has no locks: name a store on another one with --store"
    } else if error.raw_os_error() == Some(libc::EFBIG) {
        "; ulimit -f or the file system limits the size of files. Raise it, or name another store with --store, then run \
         the same command"
    } else if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        "; raise the limit of open files (ulimit -n), then run the same command"
    } else {
        ""
    }
}
