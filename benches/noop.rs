//! noop: what dcpipe itself costs: a run of a long pipeline that has nothing to do, and the commands that only look.
//!
//! Target (row 13): a run of 500 epochs with nothing to do ends within 0.1 s.
//!
//! `cargo bench --locked --bench bench -- noop [epochs] [DCPIPE]` (500, the one just built). A store is made as after a run of
//! `pipelines/demo.yaml` with so many epochs, with artifacts of a few bytes; nothing is trained. Wall time is the median
//! of twenty runs, CPU time the mean of user and system time, memory the largest VmHWM that was seen in twenty more.

#[path = "../tests/suite/made.rs"]
mod made;

use crate::side::Settings;
use dcpipe::base::clock::Stopwatch;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const PIPELINE: &str = include_str!("../pipelines/demo.yaml");
const RUNS: usize = 20;
const LOOKS: usize = 20;
/// A tick of /proc's times, in milliseconds.
const TICK_MS: f64 = 10.0;

/// A store as after a long run.
struct Made {
    program: PathBuf,
    folder: TempDir,
    nodes: usize,
    set: String,
}

impl Made {
    /// Makes it, with the results of a first run.
    fn of(epochs: &str, program: &Path) -> Self {
        // In memory where that is offered: what is measured is dcpipe, not how fast a disk syncs.
        let memory = Path::new("/dev/shm");
        let folder = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        std::fs::write(folder.path().join("demo.yaml"), PIPELINE).unwrap();
        let set = format!("epochs={epochs}");
        let nodes = made::make(&folder.path().join("store"), PIPELINE, std::slice::from_ref(&set)).len();
        let made = Self { program: std::fs::canonicalize(program).unwrap(), folder, nodes, set };
        assert!(made.command(&made.run()).status().unwrap().success());
        made
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn place(&self, command: &str) -> Vec<String> {
        [command, &self.at("demo.yaml"), "--set", &self.set, "--store", &self.at("store")].map(str::to_owned).into()
    }

    fn run(&self) -> Vec<String> {
        [self.place("run"), vec!["--out".to_owned(), self.at("runs"), "--quiet".to_owned()]].concat()
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdout(Stdio::null());
        command
    }
}

/// One repetition: the median of some runs.
pub fn one(settings: &Settings) {
    let made = Made::of(settings.text("epochs"), &settings.path("dcpipe"));
    let (wall, cpu) = times(&mut made.command(&made.run()));
    let check = serde_json::json!({ "nodes": made.nodes });
    println!("{}", serde_json::json!({ "wall_s": wall / 1e3, "cpu_s": cpu / 1e3, "check": check }));
}

/// Measures alone.
pub fn alone(arguments: &[&str]) {
    let epochs = arguments.first().copied().unwrap_or("500");
    let program = arguments.get(1).copied().unwrap_or(env!("CARGO_BIN_EXE_dcpipe"));
    let made = Made::of(epochs, Path::new(program));
    println!("{} nodes, {}", made.nodes, made.program.display());
    println!("{:12} {:>8} {:>8} {:>8}", "", "wall ms", "CPU ms", "peak MB");
    for (name, arguments) in [
        ("run", made.run()),
        ("plan", made.place("plan")),
        ("ls PIPELINE", made.place("ls")),
        ("ls", vec!["ls".to_owned(), "--store".to_owned(), made.at("store")]),
        ("--version", vec!["--version".to_owned()]),
    ] {
        let mut command = made.command(&arguments);
        let (wall, cpu) = times(&mut command);
        let peak = (0..LOOKS).map(|_| peak_kb(&mut command)).max().unwrap_or(0);
        println!("{name:12} {wall:8.1} {cpu:8.1} {:8.1}", peak as f64 / 1024.0);
    }
}

/// The median of wall time and the mean of processor time, in milliseconds.
fn times(command: &mut Command) -> (f64, f64) {
    let before = ticks_of_children();
    let mut walls: Vec<f64> = (0..RUNS)
        .map(|_| {
            let watch = Stopwatch::new();
            assert!(command.status().unwrap().success());
            watch.seconds() * 1e3
        })
        .collect();
    let cpu = (ticks_of_children() - before) as f64 * TICK_MS / RUNS as f64;
    walls.sort_by(f64::total_cmp);
    (walls[RUNS / 2], cpu)
}

/// User and system time of all children that have ended.
fn ticks_of_children() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which may hold anything: field 3 of proc(5) is the first, cutime and cstime are 16 and 17.
    let (_, after) = stat.rsplit_once(')').unwrap();
    after.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

fn peak_kb(command: &mut Command) -> u64 {
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
    }
    peak
}
