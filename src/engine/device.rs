//! device: what networks run on: its name, and what decides the bits of a network's output there.

use serde::{Deserialize, Serialize};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Such as `cpu` or `cuda:0`.
    pub name: String,
    /// Libraries and hardware that decide a network's bits there; part of keys.
    pub numerics: String,
}
