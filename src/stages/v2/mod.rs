//! v2: the stages of DeepCluster-v2 (Caron et al. 2020), which clusters what training itself saw.

pub mod bank;
pub mod begin;
mod crops;
mod held;
pub mod train;
