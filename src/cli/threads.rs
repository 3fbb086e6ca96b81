//! threads: how many a command computes with, and whether this machine allows the threads of a run.

use crate::cli::error::CliError;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// More threads than this per core only wait for each other.
const MOST: usize = 8;
/// The most pools of that many threads in a run: rayon's, libtorch's, and libgomp's for two nodes.
const POOLS: usize = 4;
/// Further threads of a run: for nodes that run at a time, readers ahead, and the listener for signals.
const BESIDE: usize = 16;
/// Bytes of the stack of a thread that only waits.
const STACK: usize = 1 << 16;

/// Starts rayon's threads: `asked` of them, or one for each core. With `runs`, checks that the machine also allows a
/// run's other threads.
///
/// # Errors
/// If it does not. In the middle of a run, libraries would panic, end the process or hang.
pub fn start(asked: Option<usize>, runs: bool) -> Result<(), CliError> {
    let threads = count(asked)?;
    let few = |error: String| {
        CliError::Environment(format!(
            "could not start {threads} threads to compute with: {error}. ulimit -u, or a container's pids.max, limits them: \
             raise it, or give a smaller --threads"
        ))
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(asked.unwrap_or_default());
    pool.build_global().map_err(|error| few(error.to_string()))?;
    if runs {
        are_given((POOLS - 1) * threads + BESIDE).map_err(|error| few(error.to_string()))?;
    }
    Ok(())
}

/// How many threads compute.
pub fn count(asked: Option<usize>) -> Result<usize, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match asked {
        Some(n) if n == 0 || n > MOST * cores => {
            Err(CliError::Usage(format!("--threads {n} is out of range: 1 to {} on {cores} cores", MOST * cores)))
        }
        asked => Ok(asked.unwrap_or(cores)),
    }
}

/// Starts that many threads at a time, and ends them.
fn are_given(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        let _shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = || drop(gate.lock());
        (0..count).try_for_each(|_| Builder::new().stack_size(STACK).spawn_scoped(scope, waits).map(drop))
    })
}
