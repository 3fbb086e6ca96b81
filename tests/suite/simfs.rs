//! simfs: a file system in memory that knows what a power cut would leave of it.
//!
//! Two views are kept: what programs see, and what is durable. A file's bytes become durable by its sync, a name by the
//! sync of its folder. A crash keeps what is durable, and any part of the rest.

use bytes::Bytes;
use dcpipe::store::StoreIo;
use dcpipe::store::io::{Found, Lock, StoreFile};
use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Arc<Vec<u8>>,
    synced: Option<Arc<Vec<u8>>>,
}

/// By text: comparing paths would take apart each of them every time.
type Names = BTreeMap<String, Entry>;

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: Names,
    durable: Names,
    operations: usize,
    limit: Option<usize>,
}

/// What a crash makes of bytes that were written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Empty,
    Torn,
    Garbage,
    Whole,
}

pub const ALL_UNSYNCED: [Unsynced; 4] = [Unsynced::Empty, Unsynced::Torn, Unsynced::Garbage, Unsynced::Whole];

/// The file system; clones share it.
#[derive(Clone, Default)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
    locks: Locks,
}

/// By path how many share the lock; ALONE where one has it for itself.
type Locks = Arc<Mutex<BTreeMap<String, usize>>>;
const ALONE: usize = usize::MAX;

impl SimFs {
    pub fn new() -> Self {
        let fs = Self::default();
        fs.lock().names.insert("/".to_owned(), Entry::Dir);
        fs.lock().durable.insert("/".to_owned(), Entry::Dir);
        fs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// How many operations have changed something so far.
    pub fn operations(&self) -> usize {
        self.lock().operations
    }

    /// From now on the process is as good as dead after `limit` more operations: every further one fails and does nothing.
    pub fn die_after(&self, limit: usize) {
        let mut state = self.lock();
        state.limit = Some(state.operations + limit);
    }

    /// The same machine with the process killed: everything that was seen is still there.
    pub fn after_kill(&self) -> Self {
        let mut state = self.lock().clone();
        state.limit = None;
        Self { state: Arc::new(Mutex::new(state)), locks: Arc::default() }
    }

    /// Names that a crash may lose, or bring back.
    pub fn undecided(&self) -> Vec<PathBuf> {
        let state = self.lock();
        let all = state.names.keys().chain(state.durable.keys().filter(|path| !state.names.contains_key(*path)));
        all.filter(|path| state.names.get(*path) != state.durable.get(*path)).map(PathBuf::from).collect()
    }

    /// Whether any reachable file has bytes that were not synced.
    pub fn has_unsynced_bytes(&self) -> bool {
        let state = self.lock();
        state.names.values().any(|entry| match entry {
            Entry::File(at) => state.inodes[*at].synced.as_ref() != Some(&state.inodes[*at].bytes),
            Entry::Dir => false,
        })
    }

    /// The machine after a power cut: of the undecided names, those that `kept` accepts went through.
    pub fn after_crash(&self, kept: impl Fn(&Path) -> bool, unsynced: Unsynced) -> Self {
        let old = self.lock();
        let mut names = old.durable.clone();
        for path in old.names.keys().chain(old.durable.keys()).filter(|path| kept(Path::new(path))) {
            match old.names.get(path) {
                Some(entry) => names.insert(path.clone(), *entry),
                None => names.remove(path),
            };
        }
        let reachable: Names = names
            .iter()
            .filter(|(path, _)| {
                Path::new(path).ancestors().skip(1).all(|above| names.get(text(above)) == Some(&Entry::Dir))
            })
            .map(|(path, entry)| (path.clone(), *entry))
            .collect();
        let inodes = old.inodes.iter().map(|inode| inode.after_crash(unsynced)).collect();
        let state = State { inodes, durable: reachable.clone(), names: reachable, operations: 0, limit: None };
        Self { state: Arc::new(Mutex::new(state)), locks: Arc::default() }
    }

    /// Every regular file, with its bytes.
    pub fn files(&self) -> Vec<(PathBuf, Arc<Vec<u8>>)> {
        let state = self.lock();
        let file = |(path, entry): (&String, &Entry)| match entry {
            Entry::File(at) => Some((PathBuf::from(path), Arc::clone(&state.inodes[*at].bytes))),
            Entry::Dir => None,
        };
        state.names.iter().filter_map(file).collect()
    }
}

impl Inode {
    fn after_crash(&self, unsynced: Unsynced) -> Self {
        let bytes = match &self.synced {
            Some(synced) if *synced == self.bytes => Arc::clone(synced),
            synced => match unsynced {
                Unsynced::Empty => synced.clone().unwrap_or_default(),
                Unsynced::Torn => Arc::new(self.bytes[..self.bytes.len() / 2].to_vec()),
                Unsynced::Garbage => Arc::new(self.bytes.iter().map(|byte| byte ^ 0x55).collect()),
                Unsynced::Whole => Arc::clone(&self.bytes),
            },
        };
        Self { synced: Some(Arc::clone(&bytes)), bytes }
    }
}

impl State {
    /// Counts an operation, or refuses it where the process is dead.
    fn operate(&mut self) -> io::Result<()> {
        if self.limit.is_some_and(|limit| self.operations >= limit) {
            return Err(io::Error::other("the process is dead"));
        }
        self.operations += 1;
        Ok(())
    }

    fn get(&self, path: &Path) -> io::Result<Entry> {
        self.names.get(text(path)).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Vec<u8>>> {
        match self.get(path)? {
            Entry::File(at) => Ok(Arc::clone(&self.inodes[at].bytes)),
            Entry::Dir => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn needs_folder_of(&self, path: &Path) -> io::Result<()> {
        match self.get(path.parent().unwrap_or(Path::new("/")))? {
            Entry::Dir => Ok(()),
            Entry::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn below<'a>(names: &'a Names, folder: &Path) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        let prefix = if folder == Path::new("/") { "/".to_owned() } else { format!("{}/", text(folder)) };
        let below = names.range(prefix.clone()..).map(move |(path, entry)| (path.strip_prefix(&prefix), path, entry));
        let children = below.take_while(|(rest, ..)| rest.is_some());
        children
            .filter(|(rest, ..)| rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/')))
            .map(|(_, p, e)| (p, e))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

struct Held(Locks, String);

impl Drop for Held {
    fn drop(&mut self) {
        let mut locks = self.0.lock().expect("no panic while it is held");
        match locks.remove(&self.1) {
            None | Some(1 | ALONE) => {}
            Some(shared) => drop(locks.insert(self.1.clone(), shared - 1)),
        }
    }
}

struct SimFile {
    fs: SimFs,
    at: usize,
}

impl Write for SimFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.fs.lock();
        state.operate()?;
        Arc::make_mut(&mut state.inodes[self.at].bytes).extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.fs.lock();
        state.operate()?;
        let inode = &mut state.inodes[self.at];
        inode.synced = Some(Arc::clone(&inode.bytes));
        Ok(())
    }
}

impl StoreIo for SimFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.names.get(text(path)) == Some(&Entry::Dir) {
            return Ok(());
        }
        let above: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        for folder in above.into_iter().rev() {
            match state.names.get(text(&folder)) {
                Some(Entry::Dir) => {}
                Some(Entry::File(_)) => return Err(ErrorKind::AlreadyExists.into()),
                None => {
                    state.operate()?;
                    state.names.insert(text(&folder).to_owned(), Entry::Dir);
                }
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoreFile>> {
        let mut state = self.lock();
        state.operate()?;
        state.needs_folder_of(path)?;
        if state.names.contains_key(text(path)) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let at = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(text(path).to_owned(), Entry::File(at));
        Ok(Box::new(SimFile { fs: self.clone(), at }))
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.get(path).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        let entry = state.get(from)?;
        state.needs_folder_of(to)?;
        state.names.remove(text(from));
        state.names.insert(text(to).to_owned(), entry);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.lock().names.contains_key(text(to)) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.operate()?;
        state.get(path)?;
        let gone: Vec<String> = State::below(&state.durable, path).map(|(path, _)| path.clone()).collect();
        let there: Vec<_> = State::below(&state.names, path).map(|(path, entry)| (path.clone(), *entry)).collect();
        for path in gone {
            state.durable.remove(&path);
        }
        state.durable.extend(there);
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.lock().file(path)?.to_vec())
    }

    fn map(&self, path: &Path, len: u64) -> io::Result<Bytes> {
        let bytes = self.lock().file(path)?;
        if bytes.len() as u64 != len {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Bytes::from(bytes.to_vec()))
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(self.map(path, len)?)))
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        let state = self.lock();
        Ok(match state.names.get(text(path)) {
            Some(Entry::File(at)) => Found::File(state.inodes[*at].bytes.len() as u64),
            Some(Entry::Dir) => Found::Other,
            None => Found::Nothing,
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let entry = state.get(path)?; // Where there is nothing, nothing is done.
        state.operate()?;
        match entry {
            Entry::File(_) => {
                state.names.remove(text(path));
                Ok(())
            }
            Entry::Dir => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn changed(&self, _: &Path) -> io::Result<SystemTime> {
        Err(ErrorKind::Unsupported.into()) // It has no clock.
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        state.get(path)?;
        Ok(State::below(&state.names, path).map(|(path, _)| PathBuf::from(path)).collect())
    }

    fn try_lock_alone(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut locks = self.locks.lock().expect("no panic while it is held");
        if locks.contains_key(text(path)) {
            return Ok(None);
        }
        locks.insert(text(path).to_owned(), ALONE);
        Ok(Some(Lock::new(Held(Arc::clone(&self.locks), text(path).to_owned()))))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut locks = self.locks.lock().expect("no panic while it is held");
        let shared = locks.entry(text(path).to_owned()).or_default();
        assert_ne!(*shared, ALONE, "a test would wait for ever");
        *shared += 1;
        Ok(Some(Lock::new(Held(Arc::clone(&self.locks), text(path).to_owned()))))
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        None
    }
}
