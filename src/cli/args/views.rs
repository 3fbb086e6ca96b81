//! views: the arguments of the commands that show a run, hand it on, or apply it.

use super::How;
use crate::learn::naming::Naming;
use crate::views::export::What;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// dcpipe assign
#[derive(Args, Debug)]
pub struct AssignArgs {
    /// Name of the finished run
    pub run: String,
    /// Folder of the new images
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// File to write, .parquet or .csv; the default is assignments/assignments.parquet in the results
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Epoch whose clusters are used; the default is the run's last
    #[arg(long, value_name = "N")]
    pub epoch: Option<u32>,
    /// Override a parameter of the scan of the new images, such as dataset.max_bad_share=0.5 (repeatable)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// Name under which the store keeps the work; the default is RUN-assign
    #[arg(long)]
    pub name: Option<String>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Device for the network: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
    #[command(flatten)]
    pub how: How,
}

/// dcpipe report
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Name of the run; the default is the store's last run
    pub run: Option<String>,
    /// Epoch whose clusters to show; the default is the last that has a gallery
    #[arg(long, value_name = "N")]
    pub epoch: Option<u32>,
    /// File to write; the default is report.html in the run's results
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Clusters shown with images, the tightest and the loosest; the default is as many as fit into 15 MB. More than
    /// that lie in a folder beside the file. The table has all clusters
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub clusters: Option<usize>,
    /// Images of each cluster; the default is as many as the gallery has
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub per_cluster: Option<usize>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Folder of the results, as in run: the report is DIR/NAME/report.html
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("no number from 1 on: {error}")),
    }
}

/// dcpipe graph
#[derive(Args, Debug)]
pub struct GraphArgs {
    /// Pipeline file
    pub pipeline: PathBuf,
    /// Override a value of the pipeline (repeatable)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
    /// Print SVG; this is the default
    #[arg(long, conflicts_with = "dot")]
    pub svg: bool,
    /// Print the language of Graphviz
    #[arg(long)]
    pub dot: bool,
}

/// dcpipe serve
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Name of the run; the default is the store's last run
    pub run: Option<String>,
    /// Epoch to show first; the default is the newest that has a gallery
    #[arg(long, value_name = "N")]
    pub epoch: Option<u32>,
    /// Address to listen at; port 0 takes a free one. Whoever reaches it sees the images
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8471")]
    pub address: SocketAddr,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Folder of the results, as in run: progress comes from the journal, DIR/NAME/events.jsonl
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
}

/// dcpipe export
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// What to write
    pub what: What,
    /// Name of the run; the default is the store's last run
    pub run: Option<String>,
    /// Epoch to export; the default is the last one that can be
    #[arg(long, value_name = "N")]
    pub epoch: Option<u32>,
    /// Folder to write, or file of csv, weights and onnx; the default is below DIR/NAME/export
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Copy the image files of folders instead of linking to them
    #[arg(long)]
    pub copy: bool,
    /// Most images of a cluster in folders and labelstudio, the nearest to its centroid
    #[arg(long, value_name = "N")]
    pub per_cluster: Option<usize>,
    /// Side of the thumbnails in atlas, in pixels; the default is 96. Crops are not enlarged
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub side: Option<u32>,
    /// Names of the tensors of weights; the default is dcpipe
    #[arg(long, value_name = "NAMES")]
    pub naming: Option<Naming>,
    /// Folder of the store
    #[arg(long, value_name = "DIR", default_value = ".dcpipe")]
    pub store: PathBuf,
    /// Folder of the results, as in run
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
}
