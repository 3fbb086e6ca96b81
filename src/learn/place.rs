//! place: devices by the name that they have on the command line and in a key: `cpu`, `cuda:0`.

use super::assign::Assigner;
use super::device::{DeviceChoice, numerics, open};
use super::search::{FaissAssigner, TorchAssigner};
use anyhow::Result;
use tch::Device;

/// Opens what `text` asks for (`auto`, `cpu`, `cuda`, `cuda:N`) and names what was opened.
pub fn resolve(text: &str) -> Result<String> {
    Ok(match open(text.parse::<DeviceChoice>()?)? {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => "cpu".to_owned(),
    })
}

/// What the bits of a network's output depend on there, for a key; opens nothing.
pub fn numerics_of(name: &str) -> String {
    numerics(if name.starts_with("cuda") { Device::Cuda(0) } else { Device::Cpu })
}

/// The search that is fastest there. All give the same clusters, so it is no part of a key.
pub fn assigner_on(name: &str) -> Result<Box<dyn Assigner>> {
    Ok(match open(name.parse()?)? {
        Device::Cpu => Box::new(FaissAssigner),
        device => Box::new(TorchAssigner::new(device)),
    })
}
