//! gpu: what decides the bits of a GPU's results, asked of the driver and the loaded libraries without libtorch.

use anyhow::{Context, Result, ensure};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const DRIVER: &str = "libcuda.so.1";
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `.._MINOR` of cuda.h.
const CAPABILITY: [c_int; 2] = [75, 76];

/// What this process knows of its GPUs. Keys take a GPU's text from here, so that a key can be made without a library.
static KNOWN: Mutex<BTreeMap<usize, GpuNumerics>> = Mutex::new(BTreeMap::new());

/// Hardware and libraries that choose a GPU's kernels, and so decide the bits of what they compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuNumerics {
    /// Compute capability, major and minor: 9, 0 for an H100.
    pub capability: (u32, u32),
    /// Version of the CUDA runtime, major and minor; cuBLAS comes with it.
    pub cuda: (u32, u32),
    /// Version of cuDNN: major, minor, patch.
    pub cudnn: (u32, u32, u32),
}

impl fmt::Display for GpuNumerics {
    /// As it stands in a key: `cuda 13.0 sm_90 cudnn 9.15.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((major, minor), (cuda, point)) = (self.capability, self.cuda);
        let (cudnn, minor_cudnn, patch) = self.cudnn;
        write!(f, "cuda {cuda}.{point} sm_{major}{minor} cudnn {cudnn}.{minor_cudnn}.{patch}")
    }
}

/// Loads the driver's library: without it there is no GPU, whatever parts libtorch has.
pub(super) fn driver() -> Result<()> {
    open_library(DRIVER.into()).context("no NVIDIA driver")
}

/// Whether there is a driver for a GPU; asks nothing of libtorch.
pub fn has_driver() -> bool {
    driver().is_ok()
}

/// What was found out about GPU `number` when it was opened; `None` before that.
pub fn known(number: usize) -> Option<GpuNumerics> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
}

/// Tells this process about GPU `number`: its keys then name that GPU, also where another process opened it.
pub fn tell(number: usize, numerics: GpuNumerics) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(number, numerics);
}

/// Asks the driver and the libraries that are loaded about GPU `number`, and remembers the answer for keys.
///
/// Call it once libtorch's part for GPUs is loaded, which brings the CUDA runtime and cuDNN. The error names what did not
/// answer: without it, keys would promise bits that another GPU does not give.
pub(super) fn ask(number: usize) -> Result<GpuNumerics> {
    let numerics = GpuNumerics {
        capability: capability(number).with_context(|| format!("the compute capability of cuda:{number}"))?,
        cuda: of_cuda(cuda_version().context("the version of the CUDA runtime")?),
        cudnn: of_cudnn(cudnn_version().context("the version of cuDNN")?),
    };
    tell(number, numerics);
    Ok(numerics)
}

/// 13000 is 13.0, and 12080 is 12.8.
fn of_cuda(version: c_int) -> (u32, u32) {
    let version = version.unsigned_abs();
    (version / 1000, version % 1000 / 10)
}

/// From cuDNN 9 on, 91501 is 9.15.1; before, 8902 is 8.9.2.
fn of_cudnn(version: usize) -> (u32, u32, u32) {
    let version = version as u32;
    let thousand = if version >= 90_000 { 10_000 } else { 1000 };
    (version / thousand, version % thousand / 100, version % 100)
}

#[expect(unsafe_code, reason = "loading a library runs its initialisers")]
pub(super) fn open_library(path: PathBuf) -> Result<()> {
    // SAFETY: libtorch_cuda's initialisers register its kernels, which is what they are loaded for; libcuda has none
    // that concern us. The handle is leaked, so neither is ever unloaded.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    std::mem::forget(library);
    Ok(())
}

fn missing(symbol: &CStr) -> String {
    format!("no loaded library has {}; update the NVIDIA driver or reinstall torch", symbol.to_string_lossy())
}

#[expect(unsafe_code, reason = "the driver is a C library")]
fn capability(number: usize) -> Result<(u32, u32)> {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let all = Library::this();
    let [init, get, attribute] = [c"cuInit", c"cuDeviceGet", c"cuDeviceGetAttribute"];
    let sound = |call: &CStr, code: c_int| {
        ensure!(code == 0, "the NVIDIA driver answers {} with error {code}", call.to_string_lossy());
        Ok(())
    };
    let (mut device, mut found) = (0, [0; 2]);
    // SAFETY: the signatures are those of cuda.h, unchanged since CUDA 2; every pointer is to a live integer.
    unsafe {
        sound(init, all.get::<Init>(init).with_context(|| missing(init))?(0))?;
        let code = all.get::<DeviceGet>(get).with_context(|| missing(get))?(&raw mut device, c_int::try_from(number)?);
        sound(get, code)?;
        let ask = all.get::<Attribute>(attribute).with_context(|| missing(attribute))?;
        for (value, which) in found.iter_mut().zip(CAPABILITY) {
            sound(attribute, ask(std::ptr::from_mut(value), which, device))?;
        }
    }
    Ok((found[0].unsigned_abs(), found[1].unsigned_abs()))
}

#[expect(unsafe_code, reason = "the CUDA runtime is a C library")]
fn cuda_version() -> Result<c_int> {
    let (name, mut version) = (c"cudaRuntimeGetVersion", 0);
    // SAFETY: `cudaError_t cudaRuntimeGetVersion(int *)`; the pointer is to a live integer.
    let code = unsafe {
        let ask = Library::this().get::<unsafe extern "C" fn(*mut c_int) -> c_int>(name);
        ask.with_context(|| missing(name))?(&raw mut version)
    };
    ensure!(code == 0, "the CUDA runtime answers {} with error {code}", name.to_string_lossy());
    Ok(version)
}

#[expect(unsafe_code, reason = "cuDNN is a C library")]
fn cudnn_version() -> Result<usize> {
    let name = c"cudnnGetVersion";
    // SAFETY: `size_t cudnnGetVersion(void)`, which reads a constant.
    unsafe {
        let ask = Library::this().get::<unsafe extern "C" fn() -> usize>(name);
        Ok(ask.with_context(|| missing(name))?())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_their_libraries_write_them() {
        assert_eq!([13_000, 12_080, 11_040].map(of_cuda), [(13, 0), (12, 8), (11, 4)]);
        assert_eq!([91_501, 90_100, 8902].map(of_cudnn), [(9, 15, 1), (9, 1, 0), (8, 9, 2)]);
    }

    #[test]
    fn a_key_names_the_gpu_and_its_libraries() {
        let numerics = GpuNumerics { capability: (9, 0), cuda: (13, 0), cudnn: (9, 15, 1) };
        assert_eq!(numerics.to_string(), "cuda 13.0 sm_90 cudnn 9.15.1");
    }

    #[test]
    fn a_library_that_is_not_loaded_is_an_error_that_names_its_function() {
        if has_driver() {
            return;
        }
        let refusal = format!("{:#}", ask(0).unwrap_err());
        assert!(refusal.starts_with("the compute capability of cuda:0: no loaded library has cuInit"), "{refusal}");
        assert_eq!(known(0), None);
    }
}
