//! side: what one repetition of our side needs: its settings, its clocks, its files, and the line of JSON that it prints.

use dcpipe::base::clock::Stopwatch;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A tick of /proc's times, in seconds.
const TICK: f64 = 0.01;

/// `key=value` of the command line.
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Reads the arguments.
    pub fn of(arguments: &[&str]) -> Self {
        let pair = |argument: &&str| {
            let (key, value) = argument.split_once('=').unwrap_or_else(|| panic!("{argument} is no key=value"));
            (key.to_owned(), value.to_owned())
        };
        Self(arguments.iter().map(pair).collect())
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("{key}= is missing"))
    }

    /// A number that must be there.
    pub fn number(&self, key: &str) -> usize {
        self.text(key).parse().unwrap()
    }

    /// A path that must be there.
    pub fn path(&self, key: &str) -> PathBuf {
        self.text(key).into()
    }

    /// Where what the other side is compared with is written to, in a repetition that is checked.
    pub fn out(&self) -> Option<PathBuf> {
        self.0.get("out").map(PathBuf::from)
    }
}

/// What a step took.
pub struct Spent {
    wall_s: f64,
    cpu_s: f64,
}

/// Does `work` and says what it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let (watch, before) = (Stopwatch::new(), cpu_seconds());
    let done = work();
    (done, Spent { wall_s: watch.seconds(), cpu_s: cpu_seconds() - before })
}

/// Prints the repetition's line.
pub fn report(spent: &Spent, check: &serde_json::Value) {
    println!("{}", serde_json::json!({ "wall_s": spent.wall_s, "cpu_s": spent.cpu_s, "check": check }));
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything: field 3 of proc(5) is the first; utime and stime are 14 and 15.
    let (_, after) = stat.rsplit_once(')').unwrap();
    after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() * TICK
}

/// A file's single-precision numbers.
pub fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Writes single-precision numbers to a file of a folder, which is made.
pub fn write_floats(folder: &Path, name: &str, numbers: &[f32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    write_bytes(folder, name, &bytes);
}

/// Writes bytes to a file of a folder, which is made.
pub fn write_bytes(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// A file in memory, mapped.
#[expect(unsafe_code, reason = "a scratch file of a benchmark is mapped")]
pub fn map(path: &Path) -> Mmap {
    // SAFETY: benches/run.py wrote the file, and nothing changes it while this process runs.
    unsafe { Mmap::map(&File::open(path).unwrap()).unwrap() }
}
