//! native: where `dcpipe-native` and its libtorch are, and how dcpipe starts them.

use crate::cli::error::CliError;
use crate::cli::threads;
use crate::engine::Device;
use crate::learn::torch::{TORCH, VOIDING, reproducible};
use std::path::{Path, PathBuf};
use std::process::Command;

const CPU_PART: &str = "libtorch_cpu.so";
const TEAM: &str = "OMP_NUM_THREADS";
const GPU_PART: &str = "libtorch_cuda.so";

/// The command of the other program, with `threads` threads.
///
/// # Errors
/// If the program or a matching libtorch is missing; the error says what to do.
pub fn command(threads: Option<usize>) -> Result<Command, CliError> {
    let native = native().and_then(|native| right_torch(&native).map(|()| native)).map_err(CliError::Environment)?;
    let mut command = Command::new(&native);
    if std::env::var_os("OMP_WAIT_POLICY").is_none() {
        // libgomp's idle threads would spin on the cores of the other thread pool.
        command.env("OMP_WAIT_POLICY", "passive");
    }
    // Libraries ask libgomp, each on its own threads; it knows the cores, but not a container's limit.
    if let Ok(count) = threads::count(threads)
        && (threads.is_some() || std::env::var_os(TEAM).is_none())
    {
        command.env(TEAM, count.to_string());
    }
    Ok(command)
}

/// The command of a worker. Its environment has no variable that lowers the precision of libraries below the key's.
/// None changes their number of threads either.
///
/// # Errors
/// As [`command`].
pub fn worker(threads: Option<usize>) -> Result<Command, CliError> {
    let mut command = command(threads)?;
    VOIDING.iter().for_each(|name| _ = command.env_remove(name));
    let unset = reproducible().iter().filter(|(name, _)| std::env::var_os(name).is_none());
    unset.for_each(|(name, value)| _ = command.env(name, value));
    Ok(command)
}

/// Runs the other program with this one's arguments, and ends with its exit code.
pub fn instead() -> Result<(), CliError> {
    let mut command = command(None)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.args(std::env::args_os().skip(1)).status();
    let status = status.map_err(|error| CliError::Environment(format!("could not start {program}: {error}")))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(CliError::Said { code: code as u8 }),
        None => Err(CliError::Environment(format!("{program} was ended: {status}"))),
    }
}

/// Asks the other program for a device.
pub fn device(text: &str) -> Result<Device, CliError> {
    let mut command = worker(None)?;
    let asked = command.args(["device", text]).output();
    let asked = asked.map_err(|error| CliError::Environment(format!("could not ask for the device: {error}")))?;
    let words = String::from_utf8_lossy(&asked.stderr).trim().trim_start_matches("dcpipe: error: ").to_owned();
    serde_json::from_slice(&asked.stdout).map_err(|_| CliError::Environment(words))
}

/// Whether the libtorch that the other program would load supports GPUs.
pub fn has_gpu_part() -> bool {
    let Ok(native) = native() else { return false };
    let folders = folders(&native);
    let beside = torch_in(&folders).and_then(|found| std::fs::canonicalize(found.join(CPU_PART)).ok());
    let along = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    beside.into_iter().chain(std::env::split_paths(&along)).any(|folder| folder.join(GPU_PART).exists())
}

fn native() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|error| format!("could not find out where dcpipe is: {error}"))?;
    let native = me.with_file_name("dcpipe-native");
    if native.is_file() {
        return Ok(native);
    }
    Err(format!(
        "{} is missing; it is built together with dcpipe: run make, or cargo build --release",
        native.display()
    ))
}

/// Where the dynamic loader will search: the run path of `dcpipe-native` first, then `LD_LIBRARY_PATH`.
fn folders(native: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(target) = native.parent().and_then(Path::parent).and_then(Path::parent) {
        folders.push(target.join(".native/torch/lib"));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".native/torch/lib"));
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&paths));
    }
    folders
}

fn torch_in(folders: &[PathBuf]) -> Option<&PathBuf> {
    folders.iter().find(|folder| folder.join(CPU_PART).exists())
}

/// Without this check, the dynamic loader would report a missing or different libtorch in its own words.
fn right_torch(native: &Path) -> Result<(), String> {
    let folders = folders(native);
    let Some(found) = torch_in(&folders) else {
        let looked: Vec<_> = folders.iter().map(|folder| format!("  {}", folder.display())).collect();
        return Err(format!(
            "{CPU_PART} is not to be found. Looked in\n{}\nRun scripts/setup in dcpipe's folder (or make), or point \
             LD_LIBRARY_PATH at the lib folder of a torch {TORCH}.",
            looked.join("\n")
        ));
    };
    match version_beside(found) {
        Some(version) if version.split('+').next() != Some(TORCH) => Err(format!(
            "the libtorch in {} is {version}; this dcpipe is built for {TORCH} and works with no other. Run scripts/setup \
             in dcpipe's folder, or point LD_LIBRARY_PATH at a torch {TORCH}.",
            found.display()
        )),
        _ => Ok(()),
    }
}

/// The version that a torch wheel says in version.py, or a libtorch archive in build-version.
fn version_beside(lib: &Path) -> Option<String> {
    let home = lib.parent()?;
    if let Ok(text) = std::fs::read_to_string(home.join("version.py")) {
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        return line.split(['\'', '"']).nth(1).map(str::to_owned);
    }
    std::fs::read_to_string(home.join("build-version")).ok().map(|text| text.trim().to_owned())
}
