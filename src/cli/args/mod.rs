//! args: the arguments exactly as written.

mod views;

use crate::store::policy::Policy;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
pub use views::*;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a stage failed, 2 usage, 3 pipeline file, \
4 in use by another process, 5 damaged or missing artifact, 6 environment, 75 interrupted (the same command resumes), \
130 ended by a second signal.";

/// DeepCluster as a pipeline of cached stages.
#[derive(Parser, Debug)]
#[command(name = "dcpipe", bin_name = "dcpipe", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a pipeline; results that the store has are not computed again
    Run(RunArgs),
    /// Assign new images to the clusters of a finished run, through its network, its whitening and its centroids
    Assign(AssignArgs),
    /// Show what a run would do and why, without doing it
    Plan(PlanArgs),
    /// Explain why a node would run, down to the root cause
    Why(NodeArgs),
    /// Show what a run did: which nodes ran and why, how long each took, and the slowest path
    Log(LogArgs),
    /// Compare two runs of a store: where they differ, and why
    Diff(DiffArgs),
    /// Show a node's output: columns, first rows, statistics
    Show(ShowArgs),
    /// Write report.html: curves, clusters with their images, a map, in one file
    Report(ReportArgs),
    /// Draw one epoch of a pipeline, as SVG or for Graphviz
    Graph(GraphArgs),
    /// Show a run in a browser: the report's page, live, with every image of every cluster
    Serve(ServeArgs),
    /// Hand the clusters of a run to other programs, such as Embedding Atlas or FiftyOne
    Export(ExportArgs),
    /// List the nodes of a run, or the runs of a store
    Ls(LsArgs),
    /// Check every file of a store and name what is damaged
    Verify(VerifyArgs),
    /// Delete records and objects that no run or pin references
    Gc(GcArgs),
    /// Protect a run's artifacts from gc and from later runs of the same name; without RUN, list pins
    Pin(PinArgs),
    /// Check this machine: libraries, threads, device, disk
    Doctor(DoctorArgs),
    /// Do the actions of a run, which sends them on standard input
    #[command(hide = true)]
    Work(WorkArgs),
    /// Print a device and what keys hold of it, as JSON
    #[command(hide = true)]
    Device {
        /// auto, cpu, cuda or cuda:N
        name: String,
    },
    /// Print the JSON Schema of a pipeline file
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where things are and what is different from the file.
#[derive(Args, Debug, Clone)]
pub struct Place {
    /// Override a value of the pipeline, such as clusters.k=3000 or vars.images=DIR (repeatable)
    ///
    /// The value of vars.NAME is text, as given; a leading ~/ is the home folder. Where a parameter takes no text, the
    /// text is read as YAML. Every other value is YAML: --set 'NODE.PARAM="a: b"' quotes a text.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Name of the run, instead of the pipeline's
    #[arg(long)]
    pub name: Option<String>,
    /// Device for the networks: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
}

/// dcpipe run
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    #[command(flatten)]
    pub place: Place,
    /// Stop when NODE (such as features@3), or that node of every epoch, is done (repeatable)
    #[arg(long, value_name = "NODE")]
    pub to: Vec<String>,
    #[command(flatten)]
    pub how: How,
}

/// How a run works and speaks, whatever it runs.
#[derive(Args, Debug, Clone)]
pub struct How {
    /// Folder for the results: they go to DIR/NAME/
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// Print less
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: hits, and why each node runs
    #[arg(short, long)]
    pub verbose: bool,
    /// What to check before an object is used: its size, the bytes of one in twenty, or all bytes
    #[arg(long, value_name = "HOW", default_value = "size")]
    pub verify: Closely,
    /// Threads for computing; the default is all cores. Their number changes results only by rounding in networks and
    /// whitening
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// dcpipe-native work
#[derive(Args, Debug)]
pub struct WorkArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// What to check of an object before its use
    #[arg(long, value_name = "HOW", default_value = "size")]
    pub verify: Closely,
    /// Threads for computing
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// How closely a command checks objects.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closely {
    /// Its size
    Size,
    /// The bytes of one in twenty
    Sample,
    /// All bytes
    Full,
}

impl Closely {
    /// As the store knows it.
    pub fn policy(self) -> Policy {
        match self {
            Self::Size => Policy::Size,
            Self::Sample => Policy::Sample,
            Self::Full => Policy::Full,
        }
    }
}

/// dcpipe verify
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Read only this share of the objects, such as 5%; each call reads others
    #[arg(long, value_name = "SHARE", default_value = "100%")]
    pub sample: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// dcpipe gc
#[derive(Args, Debug)]
pub struct GcArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Keep only the N newest runs, unfinished runs and pins; without it, every run
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Discard this run, finished or not (repeatable)
    #[arg(long, value_name = "RUN")]
    pub drop: Vec<String>,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also delete damaged files that were moved to quarantine
    #[arg(long)]
    pub quarantine: bool,
    /// Wait until no other process uses the store
    #[arg(long)]
    pub wait: bool,
}

/// dcpipe pin
#[derive(Args, Debug)]
pub struct PinArgs {
    /// Run to pin, as it is now
    pub run: Option<String>,
    /// Name of the pin, instead of the run's
    #[arg(long = "as", value_name = "PIN", requires = "run")]
    pub name: Option<String>,
    /// Remove this pin
    #[arg(long, value_name = "PIN", conflicts_with = "run")]
    pub remove: Option<String>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
}

/// dcpipe plan
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    #[command(flatten)]
    pub place: Place,
    /// Print one JSON object per node
    #[arg(long)]
    pub json: bool,
}

/// dcpipe why
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// The node, such as clusters@2
    pub node: String,
    /// Pipeline file; the default is that of the store's last run
    pub pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

/// dcpipe log
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Name of the run; the default is the store's last run
    pub name: Option<String>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Folder of the results, as in run: the journal is DIR/NAME/events.jsonl
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// List all runs of that name instead of showing the last
    #[arg(long)]
    pub all: bool,
    /// Write the last run as a Chrome trace, which ui.perfetto.dev and chrome://tracing open
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "json"])]
    pub trace: Option<PathBuf>,
    /// Print one JSON object per run
    #[arg(long)]
    pub json: bool,
}

/// dcpipe diff
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Name of the first run
    #[arg(value_name = "RUN")]
    pub one: String,
    /// Name of the second run
    #[arg(value_name = "RUN")]
    pub other: String,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
}

/// dcpipe show
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The node, such as clusters@2
    pub node: String,
    /// Pipeline file; the default is that of the store's last run
    pub pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
    /// How many rows to print; long rows are cut
    #[arg(long, default_value_t = 20)]
    pub rows: usize,
    /// Print only the paths of the node's files
    #[arg(long)]
    pub paths: bool,
}

/// dcpipe ls
#[derive(Args, Debug)]
pub struct LsArgs {
    /// Pipeline file; without one, list the store's runs
    pub pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

/// dcpipe doctor
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Device to check: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Print one JSON object per check
    #[arg(long)]
    pub json: bool,
}
