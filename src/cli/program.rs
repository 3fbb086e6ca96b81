//! program: what `dcpipe` and `dcpipe-native` do differently; they share all else.

use crate::cli::args::DoctorArgs;
use crate::cli::error::CliError;
use crate::cli::{doctor, native};
use crate::engine::{Device, Registry};
use crate::learn::device::{self, DeviceChoice};
use crate::learn::{gpu, torch};
use crate::stages;
use std::sync::OnceLock;

/// One of the two. Only these pointers lead to native libraries. So the linker leaves out of `dcpipe` what only
/// [`NATIVE`] refers to.
pub struct Program {
    pub(super) stages: fn() -> Registry,
    /// Whether stages run in this process, or only in workers.
    pub(super) runs: bool,
    /// Turns `auto` into the device that would be used, and checks that a named one exists.
    pub(super) device: fn(&str) -> Result<Device, CliError>,
    pub(super) set_threads: fn(usize),
    pub(super) doctor: fn(&DoctorArgs) -> Result<(), CliError>,
}

/// `dcpipe`: drives runs, and does all that needs no libtorch. Its workers run the other program.
pub static LIGHT: Program = Program {
    stages: stages::described,
    runs: false,
    device: device_unasked,
    set_threads: |_| {},
    doctor: |_| native::instead(),
};

/// `dcpipe-native`: runs stages.
pub static NATIVE: Program = Program {
    stages: stages::registry,
    runs: true,
    device: |text| {
        let name = device::resolve(text).map_err(|error| CliError::Environment(format!("{error:#}")))?;
        Ok(Device { numerics: torch::numerics_of(&name), name })
    },
    set_threads: device::set_threads,
    doctor: doctor::doctor,
};

static THIS: OnceLock<&Program> = OnceLock::new();

/// The program of this process.
pub(super) fn this() -> &'static Program {
    THIS.get().expect("BUG: a command before main")
}

/// Says which program this process is.
pub(super) fn become_this(program: &'static Program) {
    let _ = THIS.set(program);
}

/// The device, if it is known without a look at the machine's GPUs; otherwise the other program is asked.
fn device_unasked(text: &str) -> Result<Device, CliError> {
    let is_cpu = match text.parse() {
        Ok(DeviceChoice::Cpu) => true,
        // Torch wheels with GPU support are also installed on machines without GPUs.
        Ok(DeviceChoice::Auto) => !native::has_gpu_part() || !gpu::has_driver(),
        _ => false,
    };
    if is_cpu {
        return Ok(Device { name: "cpu".to_owned(), numerics: torch::numerics_of("cpu") });
    }
    native::device(text)
}
