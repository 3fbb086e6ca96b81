//! graph: prints a pipeline as a picture, one epoch of it.

use crate::cli::args::GraphArgs;
use crate::cli::error::CliError;
use crate::cli::program::this;
use crate::cli::text;
use crate::pipeline;
use crate::views::graph::graph;

/// dcpipe graph
pub fn print(args: &GraphArgs) -> Result<(), CliError> {
    // Values from the environment change no edge, so a picture needs none of them.
    let environment = |name: &str| Some(std::env::var(name).unwrap_or_else(|_| name.to_owned()));
    let loaded = pipeline::load(&args.pipeline, &args.sets, (this().stages)(), &environment)?;
    let graph = graph(&loaded.plan);
    text::out(&if args.dot { graph.dot() } else { graph.svg() })
}
