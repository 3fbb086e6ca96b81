//! export: hands the clusters of a run to the viewers that people already use.

mod atlas;
mod csv;
mod fiftyone;
mod folders;
mod labelstudio;
mod montage;
mod names;
mod onnx;
mod originals;
mod projector;
mod source;
pub(super) mod target;
mod tensorboard;
mod thumbnails;
mod weights;

use crate::base::shell::shell;
use crate::engine::Plan;
use crate::learn::naming::Naming;
use crate::store::{Record, Store};
use crate::views::made::records;
use anyhow::{bail, ensure};
use source::Source;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use target::Folder;

/// Side of a thumbnail, in pixels.
pub const SIDE: u32 = 96;

/// What to export.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// One table: path, label, cluster, distance and margin of every image
    Csv,
    /// Links to the image files, in a folder for each cluster
    Folders,
    /// Parquet with thumbnails and a map: Embedding Atlas, Spotlight, Hugging Face datasets, pandas
    Atlas,
    /// Table and script for FiftyOne
    Fiftyone,
    /// Tasks for Label Studio, with the clusters as predictions
    Labelstudio,
    /// Metrics of all epochs, pictures of clusters, and the projector's files
    Tensorboard,
    /// A JPEG file of the images of each cluster
    Montage,
    /// The network of an epoch as a safetensors file, by the names of --naming
    Weights,
    /// Images in, features and cluster ids out: network, whitening and centroids of an epoch as one ONNX file
    Onnx,
}

impl What {
    /// Its name on the command line and in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Folders => "folders",
            Self::Atlas => "atlas",
            Self::Fiftyone => "fiftyone",
            Self::Labelstudio => "labelstudio",
            Self::Tensorboard => "tensorboard",
            Self::Montage => "montage",
            Self::Weights => "weights",
            Self::Onnx => "onnx",
        }
    }
}

/// How to export it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder where a relative path of the data set starts; empty: the current one.
    pub started_in: PathBuf,
    /// The epoch; none: the last that can be exported.
    pub epoch: Option<u32>,
    /// Whether [`What::Folders`] copies files.
    pub copy: bool,
    /// Most images of a cluster in folders and tasks, the nearest.
    pub per_cluster: Option<usize>,
    /// Side of thumbnails, in pixels.
    pub side: u32,
    /// Whose names the tensors of [`What::Weights`] have.
    pub naming: Naming,
}

/// Receives how far an export is: done, of how many, of what.
pub type Progress<'a> = dyn Fn(u64, u64, &str) + 'a;

/// What was written.
pub struct Written {
    /// Where.
    pub to: PathBuf,
    /// Of what, such as `clusters@3`.
    pub of: String,
    /// How many files, and the sum of their bytes.
    pub files: (u64, u64),
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// Lines for a shell that open it.
    pub opens: Vec<String>,
}

/// An export at work.
struct Job<'a> {
    source: &'a Source<'a>,
    options: &'a Options,
    /// The folder in which files are written.
    folder: &'a Path,
    /// The same once it is whole.
    to: &'a Path,
    heard: &'a Progress<'a>,
    notes: RefCell<Vec<String>>,
}

impl Job<'_> {
    /// Writes a file of the export.
    fn write(&self, name: &str, fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        target::write(&self.folder.join(name), fill)
    }

    fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }
}

/// What the exports of a network read, and where their one file goes.
struct Network<'a> {
    plan: &'a Plan,
    records: &'a [Option<Record>],
    store: &'a Store,
    options: &'a Options,
    /// The file that a person named.
    to: Option<&'a Path>,
    results: &'a Path,
}

impl Network<'_> {
    /// Writes the named file, which it replaces, or `below` the results. Tells where it is and its bytes.
    fn write(
        &self,
        below: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>,
    ) -> anyhow::Result<(PathBuf, u64)> {
        let to = self.to.map_or_else(|| self.results.join("export").join(below), Path::to_owned);
        target::make_parent(&to)?;
        let bytes = target::write(&to, fill)?;
        Ok((to, bytes))
    }
}

/// Exports a clustering of a plan's last run to the folder `to`, or below `results` if none is named. One table,
/// and a network, go to the file `to`, which they replace.
///
/// # Errors
/// If the run has no such clustering, or its place has files that no export wrote.
pub fn export(
    what: What,
    plan: &Plan,
    store: &Store,
    options: &Options,
    to: Option<&Path>,
    results: &Path,
    heard: &Progress<'_>,
) -> anyhow::Result<Written> {
    let records = records(plan, store)?;
    to.map_or(Ok(()), |to| apart_of_plan(plan, &options.started_in, to))?;
    let network = Network { plan, records: &records, store, options, to, results };
    match what {
        What::Weights => return weights::write(&network),
        What::Onnx => return onnx::write(&network),
        _ => {}
    }
    let source = Source::open(plan, &records, store, options, what == What::Montage)?;
    let of = source.name.clone();
    if let (What::Csv, Some(file)) = (what, to) {
        ensure!(!file.is_dir(), "{} is a folder; name the file", file.display());
        target::make_parent(file)?;
        let bytes = target::write(file, |out| csv::write(&source, out))?;
        return Ok(Written {
            to: file.to_owned(),
            of,
            files: (1, bytes),
            notes: Vec::new(),
            opens: vec![pandas(file)],
        });
    }
    let place = || match what {
        What::Tensorboard => results.join("export").join(what.name()),
        _ => results.join("export").join(what.name()).join(format!("epoch={:04}", source.epoch.0)),
    };
    let to = to.map_or_else(place, Path::to_owned);
    let folder = Folder::begin(&to)?;
    let job = Job { source: &source, options, folder: folder.path(), to: &to, heard, notes: RefCell::default() };
    let opens = match what {
        What::Csv => {
            job.write("clusters.csv", |out| csv::write(&source, out))?;
            vec![pandas(&to.join("clusters.csv"))]
        }
        What::Folders => folders::write(&job)?,
        What::Atlas => atlas::write(&job)?,
        What::Fiftyone => fiftyone::write(&job)?,
        What::Labelstudio => labelstudio::write(&job)?,
        What::Tensorboard => tensorboard::write(&job)?,
        What::Montage => montage::write(&job)?,
        What::Weights | What::Onnx => bail!("BUG: a network is no table of clusters"),
    };
    let notes = job.notes.take();
    let files = folder.finish(&format!("{} of {of} of run {}", what.name(), plan.name))?;
    Ok(Written { to, of, files, notes, opens })
}

/// Refuses a place among the images of a plan, or in place of a file that a node reads. Relative paths of the pipeline
/// begin in the folder `started_in`.
///
/// # Errors
/// If it is there.
pub fn apart_of_plan(plan: &Plan, started_in: &Path, to: &Path) -> anyhow::Result<()> {
    let sources: BTreeSet<PathBuf> = plan.order().iter().filter_map(|id| plan.node(*id).stage.source()).collect();
    sources.iter().try_for_each(|source| apart(to, Some(&started_in.join(source))))
}

/// Refuses a place among the images: nothing there is to be replaced.
fn apart(to: &Path, images: Option<&Path>) -> anyhow::Result<()> {
    let there = names::absolute(to).ancestors().find_map(|above| above.canonicalize().ok());
    let images = images.and_then(|images| images.canonicalize().ok());
    let is_among = there.zip(images).is_some_and(|(there, images)| there.starts_with(images));
    ensure!(!is_among, "{} is among the images: leave -o out, or name a place elsewhere", to.display());
    Ok(())
}

fn pandas(file: &Path) -> String {
    python(&format!("import pandas; print(pandas.read_csv({:?}))", file.display().to_string()))
}

/// A line for a shell that runs a script.
fn python(script: &str) -> String {
    format!("python3 -c {}", shell(script))
}
