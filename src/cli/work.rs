//! work: a worker of a run; only `dcpipe run` starts it and talks to it.

use crate::base::clock::unix_ms;
use crate::cli::args::{Closely, WorkArgs};
use crate::cli::error::CliError;
use crate::cli::program::this;
use crate::cli::{signals, text, threads};
use crate::engine::crew::serve::{Workplace, serve};
use crate::engine::crew::wire::Hello;
use crate::pipeline;
use crate::store::Store;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::path::Path;

/// The arguments of a worker on a store.
pub fn arguments(store: &Path, threads: Option<usize>, closely: Closely) -> Vec<OsString> {
    let closely = match closely {
        Closely::Size => "size",
        Closely::Sample => "sample",
        Closely::Full => "full",
    };
    let mut at = OsString::from("--store=");
    at.push(store);
    let mut arguments: Vec<OsString> = vec!["work".into(), at, "--verify".into(), closely.into()];
    arguments.extend(threads.into_iter().flat_map(|count| ["--threads".into(), count.to_string().into()]));
    arguments
}

/// dcpipe-native work
pub fn work(args: &WorkArgs) -> Result<(), CliError> {
    // The run handles signals to the whole group, such as Ctrl-C.
    signals::ignore_all();
    let answers = answers().map_err(|error| CliError::Environment(format!("could not open the answers: {error}")))?;
    serve(io::stdin().lock(), answers, |hello| open(args, hello).map_err(|error| error.to_string()), leave);
    Ok(())
}

/// Moves standard output to another number: what a library prints goes to standard error, and into no answer.
#[expect(unsafe_code, reason = "std does not duplicate descriptors")]
fn answers() -> io::Result<File> {
    // SAFETY: both are open, and nothing else owns the new one.
    unsafe {
        let answers = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if answers < 0 || libc::dup2(2, 1) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(answers))
    }
}

/// Ends at once: a library's cleanup may never end while other threads of the library work.
#[expect(unsafe_code, reason = "std runs what was registered for the exit")]
fn leave() -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(0) }
}

fn open(args: &WorkArgs, hello: &Hello) -> Result<Workplace, CliError> {
    threads::start(args.threads, true)?;
    (this().set_threads)(threads::count(args.threads)?);
    let loaded = pipeline::load_text(&hello.run, &hello.pipeline, &[], (this().stages)(), &|_| None)?;
    let mut store = Store::open(&args.store)?;
    store.look_closely(args.verify.policy(), unix_ms());
    let device = (this().device)(&hello.device.name)?;
    if device != hello.device {
        let (here, there) = (&device.numerics, &hello.device.numerics);
        return Err(CliError::Environment(format!("this worker computes with {here}, and the run's keys say {there}")));
    }
    Ok(Workplace { plan: loaded.plan, store, device })
}

/// dcpipe-native device
pub fn device(name: &str) -> Result<(), CliError> {
    let device = (this().device)(name)?;
    text::out(&serde_json::to_string(&device).expect("BUG: a device is plain data"))
}
