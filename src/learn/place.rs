//! place: devices by the name that they have on the command line and in a key: `cpu`, `cuda:0`.

use super::assign::Assigner;
use super::cuda;
use super::device::{DeviceChoice, open};
use super::search::{FaissAssigner, TorchAssigner};
use anyhow::Result;
use tch::Device;

/// The libtorch that dcpipe is built for, and no other: its C++ interface changes with every minor version.
pub const TORCH: &str = "2.11.0";

/// Opens what `text` asks for (`auto`, `cpu`, `cuda`, `cuda:N`) and names what was opened.
pub fn resolve(text: &str) -> Result<String> {
    Ok(match open(text.parse::<DeviceChoice>()?)? {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => "cpu".to_owned(),
    })
}

/// Whether there is a driver for a GPU; asks nothing of libtorch.
pub fn has_driver() -> bool {
    cuda::driver().is_ok()
}

/// What the bits of a network's output depend on there, for a key, such as `torch VERSION cpu`. No library is asked: a key
/// can be made where none is loaded, and [`open`] insists on this version before any is used.
pub fn numerics_of(name: &str) -> String {
    format!("torch {TORCH} {}", if name.starts_with("cuda") { "cuda" } else { "cpu" })
}

/// The search that is fastest there. All give the same clusters, so it is no part of a key.
pub fn assigner_on(name: &str) -> Result<Box<dyn Assigner>> {
    Ok(match open(name.parse()?)? {
        Device::Cpu => Box::new(FaissAssigner),
        device => Box::new(TorchAssigner::new(device)),
    })
}
