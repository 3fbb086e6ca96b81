//! program: what `dcpipe` and `dcpipe-native` do differently; all else they share.

use crate::cli::args::DoctorArgs;
use crate::cli::error::CliError;
use crate::cli::{doctor, native};
use crate::engine::Registry;
use crate::learn::device::{self, DeviceChoice};
use crate::learn::gpu;
use crate::stages;
use std::sync::OnceLock;

/// One of the two. Everything that leads to a native library stands behind one of these pointers, so that the linker
/// leaves out of `dcpipe` what only [`NATIVE`] refers to.
pub struct Program {
    pub(super) stages: fn() -> Registry,
    /// Whether it can run a stage, or only find that none must run.
    pub(super) runs: bool,
    /// Turns `auto` into the device that would be used, and checks that a named one is there.
    pub(super) device: fn(&str) -> Result<String, CliError>,
    pub(super) set_threads: fn(usize),
    pub(super) doctor: fn(&DoctorArgs) -> Result<(), CliError>,
}

/// `dcpipe`: does what needs no libtorch, and becomes the other for the rest.
pub static LIGHT: Program = Program {
    stages: stages::described,
    runs: false,
    device: device_unasked,
    set_threads: |_| {},
    doctor: |_| Err(CliError::NeedsNative),
};

/// `dcpipe-native`: does everything.
pub static NATIVE: Program = Program {
    stages: stages::registry,
    runs: true,
    device: |text| device::resolve(text).map_err(|error| CliError::Environment(format!("{error:#}"))),
    set_threads: device::set_threads,
    doctor: doctor::doctor,
};

static THIS: OnceLock<&Program> = OnceLock::new();

/// The program that this process is.
pub(super) fn this() -> &'static Program {
    THIS.get().expect("BUG: a command before main")
}

/// Says which program this process is.
pub(super) fn become_this(program: &'static Program) {
    let _ = THIS.set(program);
}

/// The device, where that is known without a look at the machine's GPUs.
fn device_unasked(text: &str) -> Result<String, CliError> {
    match text.parse() {
        Ok(DeviceChoice::Cpu) => Ok("cpu".to_owned()),
        // Wheels of torch bring the part for GPUs to machines that have none.
        Ok(DeviceChoice::Auto) if !native::has_gpu_part() || !gpu::has_driver() => Ok("cpu".to_owned()),
        _ => Err(CliError::NeedsNative),
    }
}
