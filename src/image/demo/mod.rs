//! demo: drawn pictures, to try dcpipe on without a data set.

pub mod kinds;
mod shape;
