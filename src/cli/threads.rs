//! threads: how many a command computes with, and whether this machine gives as many as it takes.

use crate::cli::error::CliError;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

/// More threads than this for each core only wait for each other.
const MOST: usize = 8;
/// Pools of as many threads each that a run may have at a time: rayon's, libtorch's, and libgomp's for two nodes.
const POOLS: usize = 4;
/// Threads of a run besides those: nodes that run at a time, readers ahead, who listens for signals.
const BESIDE: usize = 16;
/// Bytes of the stack of a thread that only waits.
const STACK: usize = 1 << 16;

/// Starts rayon's; `asked` of them, or as many as there are cores. With `runs`, sees whether a run's others would be given
/// as well.
///
/// # Errors
/// Where they are not: libraries would panic, end the process or wait for ever, in the middle of a run.
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

/// Starts as many threads at a time, and lets them go.
fn are_given(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        let _shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = || drop(gate.lock());
        (0..count).try_for_each(|_| Builder::new().stack_size(STACK).spawn_scoped(scope, waits).map(drop))
    })
}
