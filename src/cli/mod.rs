//! cli: speaks to people: arguments, progress, exit codes.

mod args;
mod assign;
mod changes;
mod diff;
mod doctor;
mod error;
mod eta;
mod export;
mod gc;
mod graph;
mod listeners;
mod log;
mod ls;
mod native;
mod plan;
mod program;
mod report;
mod run;
mod runs;
mod serve;
mod show;
mod signals;
mod terminal;
mod text;
mod threads;
mod trace;
mod verify;
mod why;
mod work;
mod workspace;

pub use program::{LIGHT, NATIVE, Program};

use crate::engine::panics;
use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use error::CliError;
use std::io::Write;
use std::process::ExitCode;

/// Parses the process's arguments, does what they say, and returns an exit code.
pub fn main(program: &'static Program) -> ExitCode {
    program::become_this(program);
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    // A panic is caught and reported like any other error; its trace would tear the progress bars.
    std::panic::set_hook(Box::new(panics::remember));
    signals::tame();
    let start = || match &arguments.command {
        Command::Run(args) => threads::start(args.how.threads, program.runs),
        Command::Assign(args) => threads::start(args.how.threads, program.runs),
        _ => Ok(()), // Few of them need any.
    };
    let outcome = panics::caught(|| start().and_then(|()| dispatch(&arguments)))
        .unwrap_or_else(|panic| Err(CliError::Panicked(panic)));
    match outcome {
        Ok(()) | Err(CliError::Pipe) => ExitCode::SUCCESS,
        Err(CliError::Said { code }) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", text::complaint(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        Command::Run(args) => run::run(args),
        Command::Assign(args) => assign::assign(args),
        Command::Plan(args) => plan::plan(args),
        Command::Why(args) => why::why(args),
        Command::Log(args) => log::log(args),
        Command::Diff(args) => diff::diff(args),
        Command::Show(args) => show::show(args),
        Command::Report(args) => report::report(args),
        Command::Graph(args) => graph::print(args),
        Command::Serve(args) => serve::serve(args),
        Command::Export(args) => export::export(args),
        Command::Ls(args) => ls::ls(args),
        Command::Verify(args) => verify::verify(args),
        Command::Gc(args) => gc::gc(args),
        Command::Pin(args) => gc::pin(args),
        Command::Doctor(args) => (program::this().doctor)(args),
        Command::Work(_) | Command::Device { .. } if !program::this().runs => {
            Err(CliError::Usage("only dcpipe-native does this".to_owned()))
        }
        Command::Work(args) => work::work(args),
        Command::Device { name } => work::device(name),
        Command::Schema => {
            let schema = crate::pipeline::schema((program::this().stages)());
            text::out(&format!("{schema:#}\n"))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "dcpipe", &mut script);
            text::out(&String::from_utf8_lossy(&script))
        }
    }
}
