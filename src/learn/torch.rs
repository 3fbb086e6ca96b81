//! torch: which libtorch is loaded, and what its results' bits depend on.

use super::gpu;
use std::ffi::{CStr, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The libtorch that dcpipe is built for, and no other: its C++ interface changes with every minor version.
pub const TORCH: &str = "2.11.0";

/// Environment variables that lower the precision of matrix products, whatever a program asks for.
///
/// The certificate of `assign` counts on single precision: under these, clusters would be wrong under a key that
/// promises exactness. Whoever starts a process that runs stages takes them out of its environment.
pub const VOIDING: [&str; 3] =
    ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE"];

/// Environment variables under which a matrix product's bits do not depend on the number of threads. MKL, which is in
/// libtorch, reads this one at its first product. On processors that are not Intel's it knows no faster path that would
/// differ, and takes a slow one when told this.
pub fn reproducible() -> &'static [(&'static str, &'static str)] {
    #[cfg(target_arch = "x86_64")]
    {
        let leaf = std::arch::x86_64::__cpuid(0);
        if [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel" {
            return &[("MKL_CBWR", "AUTO,STRICT")];
        }
    }
    &[]
}

#[expect(unsafe_code, reason = "two symbols of the native libraries, one asked only for its address")]
unsafe extern "C" {
    /// BLAS; whichever library of the process answers to the name first.
    fn sgemm_();
    /// Part of libtorch's stable C interface: major, minor and patch in the three highest bytes.
    safe fn aoti_torch_abi_version() -> u64;
}

/// What the bits of a network's output depend on at the device `name` (`cpu` or `cuda:N`), for a key.
///
/// `torch VERSION cpu` asks no library: a key can be made where none is loaded, and `device::open` insists on this version
/// before any is used. A GPU's text names the GPU too, as `device::open` found it, such as
/// `torch VERSION cuda 13.0 sm_90 cudnn 9.15.1`. A GPU that was not opened gives a text that no result stands under.
pub fn numerics_of(name: &str) -> String {
    let Some(number) = name.strip_prefix("cuda") else { return format!("torch {TORCH} cpu") };
    let number = number.strip_prefix(':').and_then(|number| number.parse().ok()).unwrap_or(0);
    match gpu::known(number) {
        Some(numerics) => format!("torch {TORCH} {numerics}"),
        None => format!("torch {TORCH} cuda, not opened"),
    }
}

/// Version of the libtorch that is loaded: three numbers with dots.
pub fn torch_version() -> String {
    let packed = aoti_torch_abi_version();
    format!("{}.{}.{}", packed >> 56, packed >> 48 & 0xff, packed >> 40 & 0xff)
}

/// File of the library that answers this binary's BLAS calls (`sgemm_`), faiss's among them.
pub fn sgemm_library() -> Option<PathBuf> {
    file_of(sgemm_ as *const c_void)
}

/// File of the libtorch_cpu.so that is loaded, links followed.
pub fn torch_library() -> Option<PathBuf> {
    file_of(aoti_torch_abi_version as *const c_void)
}

fn file_of(symbol: *const c_void) -> Option<PathBuf> {
    #[expect(unsafe_code, reason = "only the dynamic linker knows which file a symbol came from")]
    // SAFETY: dladdr reads its own tables and fills `info`; the name it gives lives as long as the library.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(symbol, &raw mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname)
    };
    std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::gpu::GpuNumerics;

    #[test]
    fn the_libtorch_that_is_loaded_is_the_one_that_keys_name() {
        assert_eq!(torch_version(), TORCH);
    }

    #[test]
    fn libtorch_itself_answers_blas() {
        assert_eq!(sgemm_library().unwrap(), torch_library().unwrap());
    }

    #[test]
    fn keys_of_the_cpu_stay_and_keys_of_a_gpu_name_it() {
        assert_eq!(numerics_of("cpu"), format!("torch {TORCH} cpu"));
        let told = GpuNumerics { capability: (8, 0), cuda: (13, 0), cudnn: (9, 15, 1) };
        assert_eq!(numerics_of("cuda:4000"), format!("torch {TORCH} cuda, not opened"));
        gpu::tell(4000, told);
        assert_eq!(numerics_of("cuda:4000"), format!("torch {TORCH} {told}"));
    }
}
