//! stages: the verbs, the only floor where bytes, columns, pixels and numbers meet.

pub mod assign;
pub mod batches;
pub mod cluster;
pub mod compare;
mod cuts;
pub mod decode;
mod described;
pub mod export;
pub mod extract;
pub mod gallery;
pub mod generate;
pub mod init;
pub mod map;
pub mod neighbors;
pub mod oddities;
pub mod originals;
pub mod outside;
pub mod pic;
pub mod probe;
pub mod recall;
pub mod sample;
mod saves;
pub mod scan;
pub mod train;
pub mod v2;
pub mod voc;
pub mod weights;
pub mod whiten;

use crate::engine::Registry;
use crate::engine::stage::Registered;
pub use crate::format::noun::*;
use described::Described;

/// Whether a parameter has its default. One that came after a stage's first release is left out of keys then, so that
/// stores stay valid.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

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

// A stage has a line here and a `pub mod` above.
verbs![
    assign::Assign,
    v2::bank::Bank,
    v2::begin::BeginV2,
    cluster::Cluster,
    compare::Compare,
    decode::Decode,
    export::Export,
    extract::Extract,
    gallery::Gallery,
    generate::Generate,
    init::Init,
    probe::published::LinearProbe,
    map::Map,
    neighbors::Neighbors,
    oddities::Oddities,
    pic::Pic,
    probe::Probe,
    recall::RecallClusters,
    recall::RecallVectors,
    recall::RecallWeights,
    sample::Sample,
    scan::Scan,
    probe::svm::Svm,
    train::Train,
    v2::train::TrainV2,
    voc::Voc,
    whiten::Whiten,
];
