//! learn: numbers: the networks and their training, whitening, clustering, sampling, agreement.

pub mod agreement;
mod alexnet;
pub mod arch;
pub mod assign;
mod cuda;
pub mod device;
mod dropout;
mod eigen;
mod empty_clusters;
pub mod gpu;
pub mod initial;
pub mod kmeans;
pub mod layer;
pub mod nearest;
pub mod net;
pub mod order;
pub mod pca;
pub mod probe;
pub mod sampler;
pub mod sgd;
mod sobel;
pub mod sums;
pub mod tensors;
pub mod torch;
pub mod train;
mod vgg16;
