//! learn: numbers: the networks and their training, whitening, clustering, sampling, agreement.

pub mod agreement;
mod alexnet;
pub mod arch;
pub mod assign;
mod cuda;
pub mod device;
mod dropout;
mod eigen;
pub mod initial;
pub mod kmeans;
pub mod net;
pub mod order;
pub mod pca;
pub mod place;
pub mod probe;
pub mod sampler;
pub mod search;
pub mod sgd;
mod sobel;
mod split;
pub mod state;
pub mod sums;
pub mod train;
mod vgg16;
