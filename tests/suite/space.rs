//! space: a folder of its own for a test, tiny images to fill it with, and the real program to run in it.

use dcpipe::base::clock::Stopwatch;
use dcpipe::base::{Digest, Seed};
use dcpipe::engine::Event;
use dcpipe::image::demo::kinds;
use dcpipe::image::encode_jpeg;
use dcpipe::store::{Disk, Record, Store, StoreIo};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;

/// The launcher; the program itself stands beside it.
pub const DCPIPE: &str = env!("CARGO_BIN_EXE_dcpipe");
/// Images of a space that was filled.
pub const IMAGES: usize = 60;
/// The pipeline of a space that was filled.
pub const TINY: &str = include_str!("../data/walk/tiny.yaml");
/// The nodes of `tiny.yaml`, sorted.
pub const NODES: [&str; 23] = [
    "clusters.tables@1",
    "clusters.tables@2",
    "clusters@1",
    "clusters@2",
    "crops@0",
    "dataset@0",
    "features@1",
    "features@2",
    "manifest.tables@1",
    "manifest.tables@2",
    "manifest@1",
    "manifest@2",
    "metrics.tables@1",
    "metrics.tables@2",
    "metrics@1",
    "metrics@2",
    "vectors@1",
    "vectors@2",
    "weights.tables@1",
    "weights.tables@2",
    "weights@0",
    "weights@1",
    "weights@2",
];
/// Longer than any tiny run takes on a busy machine: who is still running then hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// Memory that must be free for a space to be made in it.
const ROOMY: u64 = 6_000_000_000;

/// A folder that vanishes with the test. Commands run in it, with the store and the results in their default places.
pub struct Space {
    folder: TempDir,
}

impl Space {
    /// An empty one.
    pub fn empty() -> Self {
        static ALL: LazyLock<All> = LazyLock::new(All::new);
        Self { folder: TempDir::new_in(&ALL.folder).unwrap() }
    }

    /// One with `tiny.yaml` and sixty images in three folders.
    pub fn filled() -> Self {
        let space = Self::empty();
        space.write("tiny.yaml", TINY);
        for number in 0..IMAGES {
            let (path, bytes) = image(number);
            space.write(&path, bytes);
        }
        space
    }

    /// One in which `tiny.yaml` has run to its end. The run itself is done once for the whole binary; this is a copy
    /// whose store shares its (immutable) files.
    pub fn after_a_run() -> Self {
        static FIRST: LazyLock<Space> = LazyLock::new(|| {
            let space = Space::filled();
            fs::write(space.path("first.jsonl"), space.run(&["run", "tiny.yaml", "--json"]).ok().stdout).unwrap();
            space
        });
        let space = Self::empty();
        copy(FIRST.folder.path(), space.folder.path());
        space
    }

    /// Gives the space images that are its own, to change something about them: they are new files to it.
    pub fn own_images(&self) {
        let path = self.path("images");
        if let Ok(shared) = fs::read_link(&path) {
            fs::remove_file(&path).unwrap();
            copy_files(&shared, &path);
        }
    }

    /// The events of the run that [`Space::after_a_run`] is after.
    pub fn first_events(&self) -> Vec<Event> {
        events(&fs::read_to_string(self.path("first.jsonl")).unwrap())
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file anew (a copied space shares the old one), and the folders that it needs.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    /// Writes a program that can be started at once. Another process writes it: what this one has open, a command that
    /// another test begins at that moment inherits. A file that is open for writing cannot be started.
    pub fn write_program(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let _ = fs::remove_file(self.path(name));
        let mut writer = self.command("sh");
        writer.args(["-c", r#"cat > "$0" && chmod 755 "$0""#, name]).stdin(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        writer.stdin.take().unwrap().write_all(bytes.as_ref()).unwrap();
        assert!(writer.wait().unwrap().success(), "{name} was not written");
    }

    /// The program with these arguments, in this folder, to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.start(args).wait()
    }

    /// A command in this folder; the program of [`Space::run`] or another.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.root()).stdin(Stdio::null());
        for name in ["IMAGENET", "CIFAR10", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command
    }

    /// The program with these arguments, in this folder, begun.
    pub fn start(&self, args: &[&str]) -> Started {
        let mut command = self.command(DCPIPE);
        command.args(args);
        start(command)
    }

    /// The digest of what every node of the last run called `name` made, from the store's own records.
    pub fn digests_of(&self, name: &str) -> BTreeMap<String, Digest> {
        let store = self.store();
        let keys = store.node_keys(name);
        assert!(!keys.is_empty(), "no run is called {name}");
        let digest = |key| store.record(key).unwrap().unwrap().artifact.digest();
        keys.into_iter().map(|(node, key)| (node, digest(key))).collect()
    }

    pub fn digests(&self) -> BTreeMap<String, Digest> {
        self.digests_of("tiny")
    }

    /// What a node of the last run made.
    pub fn record(&self, node: &str) -> Record {
        let store = self.store();
        store.record(store.node_keys("tiny")[node]).unwrap().unwrap()
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path(".dcpipe")).unwrap()
    }
}

/// The folder of all spaces. It must go even if the tests are stopped, and statics are never dropped, so a shell waits
/// for the end of this process, which closes its standard input, and removes the folder then.
struct All {
    folder: PathBuf,
    _reaper: Child,
}

impl All {
    /// In memory where there is plenty, as a tiny run writes half a gigabyte of weights and syncs it all.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let roomy = StoreIo::free_bytes(&Disk, memory).is_some_and(|free| free > ROOMY);
        let folder = if roomy { TempDir::new_in(memory) } else { TempDir::new() }.unwrap().keep();
        let script = r#"trap "" INT TERM HUP; cat; chmod -R u+w "$0"; rm -rf "$0""#;
        let mut reaper = Command::new("sh");
        reaper.args(["-c", script]).arg(&folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { _reaper: reaper.spawn().unwrap(), folder }
    }
}

/// A program that runs. What it says goes to files, so that it never waits for a reader.
pub struct Started {
    pub child: Child,
    said: TempDir,
    what: String,
}

/// Starts any command as [`Space::start`] does.
pub fn start(mut command: Command) -> Started {
    let said = tempfile::tempdir().unwrap();
    let file = |name: &str| File::create(said.path().join(name)).unwrap();
    let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
    Started { child, said, what: format!("{command:?}") }
}

impl Started {
    /// The events so far, of a run with --json.
    pub fn events(&self) -> Vec<Event> {
        events(&self.read("out"))
    }

    /// Standard output so far.
    pub fn told(&self) -> String {
        self.read("out")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.said.path().join(name)).unwrap()).into_owned()
    }

    /// Waits until `wanted` holds for the events so far. False where the program ended before.
    pub fn until(&mut self, wanted: impl Fn(&[Event]) -> bool) -> bool {
        let mut met = false;
        self.poll(|started| {
            met = wanted(&started.events());
            met
        });
        met
    }

    /// Waits until it has said `words` to a person. False where the program ended before.
    pub fn until_said(&mut self, words: &str) -> bool {
        let mut said = false;
        self.poll(|started| {
            said = started.read("err").contains(words);
            said
        });
        said
    }

    /// Looks again and again until `enough` says so, or until the program has ended and been looked at once more.
    fn poll(&mut self, mut enough: impl FnMut(&Self) -> bool) {
        let begun = Stopwatch::new();
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            if enough(self) || ended {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("{} hangs:\n{}\n{}", self.what, self.read("out"), self.read("err"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Most memory that it has held so far.
    pub fn peak_kb(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end. Whatever the program was told, it must not hang and must not panic.
    pub fn wait(mut self) -> Output {
        let mut peak_kb = 0;
        self.poll(|started| {
            peak_kb = peak_kb.max(started.peak_kb().unwrap_or(0));
            false
        });
        let status = self.child.wait().unwrap();
        let output = Output {
            code: status.code(),
            signal: status.signal(),
            stdout: self.read("out"),
            stderr: self.read("err"),
            what: self.what,
            peak_kb,
        };
        assert!(!output.stderr.contains("panicked") && !output.stderr.contains("BUG"), "{output:?}");
        output
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub what: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Most memory that it was seen to hold.
    pub peak_kb: u64,
}

impl Output {
    /// Insists that it went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ended(0)
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// Insists on words in what it complained of.
    #[track_caller]
    pub fn complains_of(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in what {} said:\n{}", self.what, self.stderr);
        }
        self
    }

    /// The events of a run with --json.
    pub fn events(&self) -> Vec<Event> {
        events(&self.stdout)
    }

    /// Nodes that ran, sorted.
    pub fn ran(&self) -> Vec<String> {
        finished(&self.events())
    }

    /// Nodes that began, sorted.
    pub fn began(&self) -> Vec<String> {
        let began = |event: Event| if let Event::NodeStarted { node, .. } = event { Some(node) } else { None };
        sorted(self.events().into_iter().filter_map(began))
    }

    /// Nodes that were hits, sorted.
    pub fn hits(&self) -> Vec<String> {
        let hit = |event: Event| if let Event::NodeHit { node, .. } = event { Some(node) } else { None };
        sorted(self.events().into_iter().filter_map(hit))
    }
}

/// Nodes whose end was seen, sorted.
pub fn finished(events: &[Event]) -> Vec<String> {
    sorted(events.iter().filter_map(|event| match event {
        Event::NodeFinished { node, .. } => Some(node.clone()),
        _ => None,
    }))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Every whole line; a killed program may have left half of one.
fn events(text: &str) -> Vec<Event> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Path and bytes of one of the sixty images: three kinds of drawing, twenty of each, of various sizes. Further numbers draw
/// twenty of a further kind, up to two hundred.
pub fn image(number: usize) -> (String, Vec<u8>) {
    let (kind, of_kind) = (number / 20, number % 20);
    let mut stream = Seed::of_node(7, "tests").stream("image", number as u64);
    let picture = kinds::draw(kind * 3, 64 + of_kind as u32, &mut stream);
    (format!("images/{}/{of_kind:02}.jpg", kinds::NAMES[kind * 3 % kinds::NAMES.len()]), encode_jpeg(&picture, 90))
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() { copy_files(&entry, &target) } else { fs::copy(&entry, &target).map(drop).unwrap() }
    }
}

/// Copies a folder. What never changes in place is shared: the store's files by name, and the images as a whole, since
/// another name of a file changes its ctime.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.ends_with("images") {
            std::os::unix::fs::symlink(&entry, &target).unwrap();
        } else if entry.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry, &target);
        } else if entry.extension().is_some_and(|ending| ending == "parquet")
            || fs::metadata(&entry).unwrap().permissions().readonly()
        {
            fs::hard_link(&entry, &target).unwrap();
        } else {
            fs::copy(&entry, &target).unwrap();
        }
    }
}
