//! main: the launcher. It links no native library, so that it can say what is wrong with one, and then becomes
//! `dcpipe-native`, which stands beside it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The libtorch that the program is built for, and no other: its C++ interface changes with every minor version.
const TORCH: &str = "2.11.0";
/// Exit code for an environment that cannot run dcpipe.
const ENVIRONMENT: u8 = 6;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.len() == 1 && (args[0] == "--version" || args[0] == "-V") {
        say(&format!("dcpipe {}\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    match native().and_then(|native| find_torch(&native).map(|()| native)) {
        Ok(native) => {
            let mut command = Command::new(&native);
            command.args(args);
            if std::env::var_os("OMP_WAIT_POLICY").is_none() {
                // libgomp's idle threads would spin on the cores that the other pool of threads works on.
                command.env("OMP_WAIT_POLICY", "passive");
            }
            let error = command.exec();
            complain(&format!("could not start {}: {error}", native.display()))
        }
        Err(problem) => complain(&problem),
    }
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

/// Looks where the dynamic loader will look: the run path of `dcpipe-native` first, then `LD_LIBRARY_PATH`.
fn find_torch(native: &Path) -> Result<(), String> {
    let mut folders = Vec::new();
    if let Some(target) = native.parent().and_then(Path::parent).and_then(Path::parent) {
        folders.push(target.join(".native/torch/lib"));
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join(".native/torch/lib"));
    if let Some(paths) = std::env::var_os("LD_LIBRARY_PATH") {
        folders.extend(std::env::split_paths(&paths));
    }
    let Some(found) = folders.iter().find(|folder| folder.join("libtorch_cpu.so").exists()) else {
        let looked: Vec<_> = folders.iter().map(|folder| format!("  {}", folder.display())).collect();
        return Err(format!(
            "libtorch_cpu.so is not to be found. Looked in\n{}\nRun scripts/setup in dcpipe's folder (or make), or point \
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

fn say(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(problem: &str) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "dcpipe: {problem}");
    ExitCode::from(ENVIRONMENT)
}
