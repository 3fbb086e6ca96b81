//! load: the way from a file to a plan, one step after the other.

use crate::engine::{Plan, Registry};
use crate::pipeline::error::{Fault, PipelineError};
use crate::pipeline::resolve::resolve;
use crate::pipeline::source::Source;
use crate::pipeline::spec::Spec;
use crate::pipeline::template::Resolved;
use crate::pipeline::vars::Environment;
use crate::pipeline::yaml::{self, MAX_BYTES};
use crate::pipeline::{resolved, set, unroll};
use std::io::{self, Read};
use std::path::Path;

/// A pipeline, ready to run.
pub struct Loaded {
    /// What a run would do.
    pub plan: Plan,
    /// The pipeline with overrides applied and variables replaced, as YAML that loads to the same plan.
    pub resolved: String,
}

/// Reads a pipeline file, applies `sets` (each `PATH=VALUE`, the value in YAML) and makes its plan. `environment`
/// answers for variables that the file does not define.
///
/// # Errors
/// If the file is unreadable, or anything in it or in `sets` is wrong: the place and what to do.
pub fn load(
    path: &Path,
    sets: &[String],
    registry: Registry,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, PipelineError> {
    let text = read(path).map_err(|error| PipelineError::Read { path: path.to_owned(), error })?;
    load_text(&path.to_string_lossy(), &text, sets, registry, environment)
}

/// As [`load`], from text; `name` is the file's name in complaints, and its stem names a pipeline without a name.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    name: &str,
    text: &str,
    sets: &[String],
    registry: Registry,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, PipelineError> {
    // A byte order mark is no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let pipeline = understand(text, &stem, sets, registry, environment).map_err(|fault| {
        let file = Source { name: name.to_owned(), text: text.to_owned() };
        let sets = sets.iter().map(|set| Source { name: "--set".to_owned(), text: set.clone() });
        fault.at(&std::iter::once(file).chain(sets).collect::<Vec<_>>())
    })?;
    let resolved = resolved::text(&pipeline);
    let nodes = unroll::unroll(&pipeline);
    let plan = Plan::new(pipeline.name, pipeline.seed, pipeline.epochs, nodes);
    let plan = plan.map_err(|error| PipelineError::Plan { file: name.to_owned(), error: Box::new(error) })?;
    Ok(Loaded { plan, resolved })
}

fn understand(
    text: &str,
    stem: &str,
    sets: &[String],
    registry: Registry,
    environment: Environment<'_>,
) -> Result<Resolved, Fault> {
    let mut spec = Spec::of(yaml::parse(text, 0, 1)?)?;
    set::apply(&mut spec, sets, registry)?;
    resolve(&spec, stem, registry, environment)
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than 1 MiB, the limit for a pipeline",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} is not UTF-8; a pipeline is UTF-8 text"))
    })
}
