//! open: opens a store, makes one where there is none, and refuses what is not one.

use crate::store::blocked::in_the_way;
use crate::store::durable::Settled;
use crate::store::io::Lock;
use crate::store::policy::Checks;
use crate::store::{Disk, Store, StoreError, StoreIo};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const FORMAT: &str = "dcpipe-store 1 blake3\n";
/// How long to wait before trying again to open a store that a gc holds.
const LOOK: Duration = Duration::from_millis(10);
const FOLDERS: [&str; 8] = ["objects", "records", "runs", "stat", "tmp", "quarantine", "locks", "pins"];

/// How one process shares a store with others.
enum Company<'a> {
    /// Others may have it open too. If one of them has it alone, this process waits while the function says so. The
    /// function hears how often this process has tried.
    Others(&'a mut dyn FnMut(u32) -> bool),
    /// No other process has it open.
    Nobody,
}

impl Store {
    /// Opens the store at `root`, or makes one if there is none. Empties `tmp/` of what dead processes left.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_on(root, Arc::new(Disk))
    }

    /// The same. If a gc has the store, waits while `waits` says so; `waits` hears how often this process has tried.
    pub fn open_or_wait(root: &Path, mut waits: impl FnMut(u32) -> bool) -> Result<Self, StoreError> {
        Self::open_as(root, Arc::new(Disk), Company::Others(&mut waits))
    }

    /// Opens the store with all its I/O going through `io`.
    pub fn open_on(root: &Path, io: Arc<dyn StoreIo>) -> Result<Self, StoreError> {
        Self::open_as(root, io, Company::Others(&mut |_| true))
    }

    /// Opens the store exclusively, until it is closed; [`StoreError::InUse`] if another process has it open.
    pub fn open_alone(root: &Path) -> Result<Self, StoreError> {
        Self::open_as(root, Arc::new(Disk), Company::Nobody)
    }

    fn open_as(root: &Path, io: Arc<dyn StoreIo>, company: Company<'_>) -> Result<Self, StoreError> {
        let known = knows_format(&*io, root)?;
        for folder in FOLDERS {
            let path = root.join(folder);
            match io.create_dir(&path) {
                // A read-only store can be read, even one from before this folder existed.
                Err(error) if known && is_forbidden(&error) => {}
                made => made.map_err(|error| StoreError::io("create", &path, error))?,
            }
        }
        let lock_path = root.join("locks/store");
        let held = sweep(&*io, root, &lock_path);
        let locked = match company {
            Company::Nobody => held,
            Company::Others(waits) => {
                drop(held);
                lock_shared(&*io, &lock_path, waits)
            }
        };
        let lock = match locked {
            Ok(None) => return Err(StoreError::InUse { root: root.to_owned() }),
            Ok(Some(lock)) => Some(lock),
            // No process can write here, so there is nothing to guard: plan, why, show and ls work.
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(StoreError::io("lock", &lock_path, error)),
        };
        let store = Self {
            root: root.to_owned(),
            io,
            next_tmp: AtomicU64::new(0),
            settled: Settled::default(),
            reports: Mutex::default(),
            stuck: Mutex::default(),
            checks: Checks::default(),
            wrong: Mutex::default(),
            _held: lock,
        };
        if !known {
            store.write_format()?;
        }
        Ok(store)
    }

    fn write_format(&self) -> Result<(), StoreError> {
        let path = self.root.join("FORMAT");
        self.put(&path, FORMAT.as_bytes()).map_err(|error| StoreError::io("write", &path, error))
    }
}

impl Store {
    /// Closes the store. The last process to do so empties `tmp/`: a killed worker may have left something there.
    pub fn close(self) {
        let (io, root) = (Arc::clone(&self.io), self.root.clone());
        drop(self);
        drop(sweep(&*io, &root, &root.join("locks/store")));
    }
}

/// Takes the store alone, and empties `tmp/` if no other process has it open. Everything there, and every lock of a
/// key, then belongs to dead processes.
fn sweep(io: &dyn StoreIo, root: &Path, lock_path: &Path) -> std::io::Result<Option<Lock>> {
    let held = io.try_lock_alone(lock_path);
    if matches!(held, Ok(Some(_))) {
        let list = |folder| io.list(&root.join(folder)).unwrap_or_default();
        let unfinished = list("stat").into_iter().filter(|path| path.extension().is_some_and(|end| end == "tmp"));
        let left = list("tmp").into_iter().chain(list("locks")).chain(unfinished);
        for path in left.filter(|path| path != lock_path) {
            let _ = io.remove(&path);
        }
    }
    held
}

fn lock_shared(io: &dyn StoreIo, path: &Path, waits: &mut dyn FnMut(u32) -> bool) -> std::io::Result<Option<Lock>> {
    let mut looks = 1;
    loop {
        match io.try_lock_shared(path) {
            Ok(None) if waits(looks) => std::thread::sleep(LOOK),
            done => return done,
        }
        looks = looks.saturating_add(1);
    }
}

fn is_forbidden(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether the folder is a store of this format; `false` if a store may be made there.
fn knows_format(io: &dyn StoreIo, root: &Path) -> Result<bool, StoreError> {
    let path = root.join("FORMAT");
    let unknown = |found: String| StoreError::UnknownFormat { root: root.to_owned(), found };
    match io.read(&path) {
        Ok(text) if text == FORMAT.as_bytes() => return Ok(true),
        Ok(text) if text.is_empty() => {}
        Ok(text) => return Err(unknown(String::from_utf8_lossy(&text).trim().chars().take(80).collect())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let file = in_the_way(root).unwrap_or_else(|| root.to_owned());
            return Err(StoreError::NotAFolder { root: root.to_owned(), file });
        }
        Err(error) => return Err(StoreError::io("read", &path, error)),
    }
    // Never turn an existing folder into a store by accident.
    for entry in io.list(root).unwrap_or_default() {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name != "FORMAT" && !FOLDERS.contains(&name.as_str()) {
            return Err(StoreError::NotAStore { root: root.to_owned(), entry: name });
        }
    }
    Ok(false)
}
