//! work: a worker of a run, which `dcpipe run` starts and speaks with; nobody else does.

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
use std::io;
use std::path::Path;

/// The arguments of a worker on a store.
pub fn arguments(store: &Path, threads: Option<usize>, closely: Closely) -> Vec<OsString> {
    let closely = match closely {
        Closely::Size => "size",
        Closely::Sample => "sample",
        Closely::Full => "full",
    };
    let mut arguments: Vec<OsString> =
        vec!["work".into(), "--store".into(), store.into(), "--verify".into(), closely.into()];
    arguments.extend(threads.into_iter().flat_map(|count| ["--threads".into(), count.to_string().into()]));
    arguments
}

/// dcpipe-native work
pub fn work(args: &WorkArgs) -> Result<(), CliError> {
    // A signal to the whole group, as Ctrl-C is, is the run's to deal with.
    signals::ignore_all();
    serve(
        io::stdin().lock(),
        io::stdout(),
        |hello| open(args, hello).map_err(|error| error.to_string()),
        || std::process::exit(0),
    );
    Ok(())
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
