//! row: what the registry holds of a network.

use crate::learn::module::{Module, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a ResNet begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 7 x 7 convolution by stride 2 and a max pooling by stride 2, for photographs.
    #[default]
    Imagenet,
    /// A 3 x 3 convolution by stride 1 and no pooling, as is usual for images of 32 pixels.
    Cifar,
}

impl Stem {
    /// Every stem there is.
    pub const ALL: [Self; 2] = [Self::Imagenet, Self::Cifar];
}

/// What a network is built for.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the first convolution reads.
    pub size: Size,
    /// How it begins, for a network that has the choice.
    pub stem: Stem,
}

/// Convolutions, a row of numbers of their last map, and a classifier of so many. The names are those of torchvision's AlexNet
/// and VGG16.
pub(super) fn flat(entry: Entry, features: Module, classifier: impl FnOnce(i64) -> Module) -> Module {
    let size = [&features, &Module::Flatten].into_iter().fold(entry.size, |size, part| part.walk(size, &mut |_, _| {}));
    Module::named([("features", features), ("", Module::Flatten), ("classifier", classifier(size.channels))])
}

/// A network.
pub struct Row {
    /// Makes its tree, with one mark for the feature and at least one for a map.
    pub build: fn(Entry) -> Module,
    /// Whether it has a choice of stems.
    pub has_stems: bool,
    /// Whether there are published files of it, with DeepCluster's own names.
    pub published: bool,
    /// What torchvision calls the head of the same network, if it has that network.
    pub torchvision_head: Option<&'static str>,
}
