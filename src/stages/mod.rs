//! stages: the verbs, the only floor where bytes, columns, pixels and numbers meet.

pub mod batches;
pub mod cluster;
pub mod compare;
mod cuts;
pub mod decode;
mod described;
pub mod extract;
pub mod generate;
pub mod init;
pub mod originals;
pub mod sample;
pub mod scan;
pub mod train;
pub mod weights;
pub mod whiten;

use crate::engine::stage::Registered;
use crate::engine::{Noun, Registry};
use described::Described;

/// Image list of a dataset, and what of it could not be used.
pub const DATASET: Noun = Noun { name: "dataset", format: 1 };
/// Deterministic centre crops, u8 RGB.
pub const CROPS: Noun = Noun { name: "crops", format: 2 };
/// A network's parameters and its momentum.
pub const WEIGHTS: Noun = Noun { name: "weights", format: 1 };
/// Raw network outputs.
pub const FEATURES: Noun = Noun { name: "features", format: 2 };
/// Whitened, L2-normalised features, and the whitening.
pub const VECTORS: Noun = Noun { name: "vectors", format: 1 };
/// Which image is in which cluster, and the centroids.
pub const CLUSTERS: Noun = Noun { name: "clusters", format: 1 };
/// The epoch's reading order.
pub const MANIFEST: Noun = Noun { name: "manifest", format: 1 };
/// Numbers about a clustering.
pub const METRICS: Noun = Noun { name: "metrics", format: 1 };

macro_rules! verbs {
    ($($stage:ty),* $(,)?) => {
        /// Every verb there is, sorted by name.
        pub fn registry() -> Registry {
            &[$(<$stage>::LINE),*]
        }

        /// The same verbs for a program without libtorch: they plan, and make the same keys, and do not run.
        pub fn described() -> Registry {
            &[$(Described::<$stage>::LINE),*]
        }
    };
}

verbs![
    cluster::Cluster,
    compare::Compare,
    decode::Decode,
    extract::Extract,
    generate::Generate,
    init::Init,
    sample::Sample,
    scan::Scan,
    train::Train,
    whiten::Whiten,
];
