//! id: the four index spaces as four types, and the epoch.
//!
//! The published sampler draws dataset indices and looks them up as positions in a cluster-ordered list, which undoes
//! its balancing. Here the compiler keeps an image, a cluster, a pseudo-label and a position apart.

use std::fmt;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into a table of its own space.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(
    /// Rank of an image in the dataset, 0..N, in the order of torchvision's `ImageFolder`.
    ImageId
);
index!(
    /// Which centroid is nearest, 0..k. A cluster may be empty.
    ClusterId
);
index!(
    /// Training target, 0..C: the cluster ids of non-empty clusters, closed up in their order.
    PseudoLabel
);
index!(
    /// Place in the epoch's reading order, 0..M.
    Position
);
index!(
    /// 0 is the time before the first epoch (`once:` in a pipeline); training epochs count from 1.
    Epoch
);
