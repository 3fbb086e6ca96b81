//! assign: dataset, features, vectors, clusters -> assignments: the nearest clusters of a finished run.

use crate::base::ImageId;
use crate::engine::{Context, Device, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::assignments::ASSIGNMENTS as TABLE;
use crate::format::centroids::CENTROIDS;
use crate::format::dataset::IMAGES;
use crate::format::rows::PART;
use crate::format::whitening::{MEAN, WHITENING, open_mean};
use crate::format::{self, Assigned, AssignmentsWriter, Centroids, Dataset, Features};
use crate::learn::assign::{Assigner, assign};
use crate::learn::nearest::assigner_on;
use crate::learn::pca::Whitening;
use crate::stages::{ASSIGNMENTS, CLUSTERS, DATASET, FEATURES, VECTORS};
use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the nearest cluster of each image, by the whitening and the centroids that a run has found for others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {}

const OF_VECTORS: &[&str] = &[WHITENING.file, MEAN.file];
/// Numbers of vectors that are assigned together: 64 MiB of them.
const TOGETHER: usize = 1 << 24;

impl Stage for Assign {
    const VERB: &'static str = "assign";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("features", FEATURES.name),
        Port::required("vectors", VECTORS.name).reading(OF_VECTORS),
        Port::required("clusters", CLUSTERS.name).reading(CENTROIDS.files()),
    ];
    const OUTPUT: Noun = ASSIGNMENTS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(crate::learn::torch::numerics_of("cpu"))
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 20)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let dataset = Dataset::open(&cx.input("dataset")?.part(IMAGES.file)?)?;
        let whitening = whitening(cx)?;
        let (dims, total) = (whitening.dims_out(), cx.input("features")?.artifact.parts.len() as u64);
        let mut nearest = Nearest::open(cx, dims)?;
        let mut writer = AssignmentsWriter::create(cx.output().create()?);
        let (mut vectors, mut images) = (Vec::new(), 0..0);
        for (at, part) in (1..).zip(cx.input("features")?.each(PART)) {
            let features = Features::open(&[part?])?;
            let (found, fitted) = (features.dims(), whitening.mean.len());
            ensure!(found == fitted, "features have {found} numbers, and the whitening is for {fitted}");
            for batch in 0..features.batches() {
                cx.checkpoint()?;
                let (rows, numbers) = features.batch(batch);
                let from = vectors.len();
                vectors.resize(from + rows.len() * dims, 0.0);
                whitening.apply(&numbers, &mut vectors[from..])?;
            }
            images.end += features.rows();
            ensure!(images.end <= dataset.len(), "there are features of more than {} images", dataset.len());
            if vectors.len() >= TOGETHER || at == total {
                let which = || format!("images {} to {}", images.start, images.end.saturating_sub(1));
                let paths = images.clone().map(|image| dataset.image(ImageId(image as u32)).path);
                writer.push(paths, &nearest.of(&vectors).with_context(which)?)?;
                (vectors, images) = (Vec::new(), images.end..images.end);
            }
            cx.progress(at, total, "parts");
        }
        ensure!(images.end == dataset.len(), "{} images have features, not {}", images.end, dataset.len());
        let out = writer.finish()?;
        cx.output().finish(out, TABLE.file)
    }
}

/// The whitening as the run applied it.
fn whitening(cx: &Context<'_>) -> anyhow::Result<Whitening> {
    let input = cx.input("vectors")?;
    let format::Whitening { dims, eigenvalues, components } = format::Whitening::open(&input.part(WHITENING.file)?)?;
    let mean = open_mean(&input.part(MEAN.file)?)?;
    ensure!(mean.len() == dims, "the mean has {} numbers, and the components {dims}", mean.len());
    Ok(Whitening { mean, components, eigenvalues })
}

/// The centroids, and a search among them.
struct Nearest {
    centroids: Vec<f32>,
    dims: usize,
    assigner: Box<dyn Assigner>,
}

impl Nearest {
    fn open(cx: &Context<'_>, dims: usize) -> anyhow::Result<Self> {
        let found = Centroids::open(&cx.input("clusters")?.part(CENTROIDS.file)?)?;
        ensure!(found.dims == dims, "centroids have {} numbers, and vectors {dims}", found.dims);
        Ok(Self { centroids: found.centroids, dims, assigner: assigner_on(cx.device())? })
    }

    /// The nearest centroids of vectors, exactly as `cluster` finds them.
    fn of(&mut self, vectors: &[f32]) -> anyhow::Result<Assigned> {
        let vectors = [vectors];
        let found = assign(&vectors, &self.centroids, self.dims, &mut *self.assigner)?;
        let margin = found.margins(&vectors, &self.centroids, self.dims)?;
        Ok(Assigned { cluster_id: found.clusters, distance: found.distances, margin, second_cluster_id: found.seconds })
    }
}
