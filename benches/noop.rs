//! noop: what dcpipe itself costs: a run of a long pipeline that has nothing to do, and the commands that only look.
//!
//! `cargo bench --bench noop -- [epochs] [DCPIPE]` (500, the one just built). A store is made as after a run of
//! `pipelines/demo.yaml` with so many epochs, with artifacts of a few bytes; nothing is trained. Wall time is the median
//! of twenty runs, CPU time the mean of user and system time, memory the largest VmHWM that was seen in twenty more.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark speaks to a person and may stop")]

#[path = "../tests/suite/made.rs"]
mod made;

use dcpipe::base::clock::Stopwatch;
use std::path::Path;
use std::process::{Command, Stdio};

const PIPELINE: &str = include_str!("../pipelines/demo.yaml");
const RUNS: usize = 20;
const LOOKS: usize = 20;
/// A tick of /proc's times, in milliseconds.
const TICK_MS: f64 = 10.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let epochs = arguments.first().map_or("500", String::as_str);
    let program = arguments.get(1).map_or(env!("CARGO_BIN_EXE_dcpipe"), String::as_str);
    let program = std::fs::canonicalize(program).unwrap();
    // In memory where that is offered: what is measured is dcpipe, not how fast a disk syncs.
    let memory = Path::new("/dev/shm");
    let folder = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(folder.path().join("demo.yaml"), PIPELINE).unwrap();
    let set = format!("epochs={epochs}");
    let plan = made::make(&folder.path().join("store"), PIPELINE, std::slice::from_ref(&set));
    println!("{} nodes, {}", plan.len(), program.display());
    let (pipeline, store, out) = (at("demo.yaml"), at("store"), at("runs"));
    let place = [pipeline.as_str(), "--set", &set, "--store", &store];
    let run = [&["run"], &place[..], &["--out", &out, "--quiet"]].concat();
    // The first run lays out the results.
    assert!(Command::new(&program).args(&run).status().unwrap().success());
    println!("{:12} {:>8} {:>8} {:>8}", "", "wall ms", "CPU ms", "peak MB");
    for (name, arguments) in [
        ("run", &run),
        ("plan", &[&["plan"], &place[..]].concat()),
        ("ls PIPELINE", &[&["ls"], &place[..]].concat()),
        ("ls", &vec!["ls", "--store", &store]),
        ("--version", &vec!["--version"]),
    ] {
        measure(name, &program, arguments);
    }
}

fn measure(name: &str, program: &Path, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null());
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
    let peak = (0..LOOKS).map(|_| peak_kb(&mut command)).max().unwrap_or(0);
    println!("{name:12} {:8.1} {cpu:8.1} {:8.1}", walls[RUNS / 2], peak as f64 / 1024.0);
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
