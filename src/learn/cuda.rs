//! cuda: the GPU part of libtorch, loaded into a binary that was linked with the CPU part alone.

use super::gpu;
use super::torch::{TORCH, torch_library};
use anyhow::{Context, Result, bail, ensure};
use libloading::os::unix::Library;
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Mutex;
use tch::{Cuda, Device};

const PART: &str = "libtorch_cuda.so";

/// Whether the GPU part was loaded. A failed attempt is tried again: nothing is remembered of it.
static LOADED: Mutex<bool> = Mutex::new(false);

// DIVERGES: the published code lets cuDNN choose its kernels by timing them, so no two runs need agree.

/// Opens GPU `number`: cuDNN deterministic and unbenchmarked, TF32 off.
pub(super) fn open(number: usize) -> Result<Device> {
    load()?;
    let devices = Cuda::device_count().max(0) as usize;
    ensure!(
        devices > 0,
        "{PART} is loaded, but it finds no GPU: is one visible (CUDA_VISIBLE_DEVICES), is its driver new enough?"
    );
    ensure!(number < devices, "there are {devices} GPUs; the last is cuda:{}", devices - 1);
    Cuda::cudnn_set_benchmark(false);
    settle()?;
    gpu::ask(number).context("keys must name what decides the bits of a GPU")?;
    Ok(Device::Cuda(number))
}

fn load() -> Result<()> {
    let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *loaded {
        return Ok(());
    }
    // The driver first: a machine without it is spared a half-gigabyte library.
    gpu::driver()?;
    let mut refusals = Vec::new();
    for candidate in candidates() {
        match gpu::open_library(candidate.clone()) {
            Ok(()) => {
                *loaded = true;
                return Ok(());
            }
            Err(error) => refusals.push(format!("{}: {error:#}", candidate.display())),
        }
    }
    bail!(
        "{PART} could not be loaded; run scripts/setup --cuda, which fetches torch {TORCH} with its CUDA libraries. Tried:\n  {}",
        refusals.join("\n  ")
    )
}

/// Beside the libtorch_cpu.so that runs, then along LD_LIBRARY_PATH.
fn candidates() -> Vec<PathBuf> {
    let beside = torch_library().and_then(|file| Some(file.parent()?.join(PART)));
    let along = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let along: Vec<PathBuf> =
        std::env::split_paths(&along).map(|folder| folder.join(PART)).filter(|file| file.exists()).collect();
    beside.into_iter().chain(along).collect()
}

/// tch has no word for these two settings, so they are set through libtorch's C++ functions.
#[expect(unsafe_code, reason = "C++ member functions have no safe declaration")]
fn settle() -> Result<()> {
    type Context_ = unsafe extern "C" fn() -> *mut c_void;
    type Set = unsafe extern "C" fn(*mut c_void, bool);
    let other = || format!("this libtorch is not the {TORCH} that dcpipe is built for");
    let here = Library::this();
    // SAFETY: the mangled names say the signatures: `at::Context& at::globalContext()` and
    // `void at::Context::set..(bool)`; a member function takes its object as first argument on this platform.
    unsafe {
        let context = here.get::<Context_>(c"_ZN2at13globalContextEv").with_context(other)?();
        for (name, value) in [
            (c"_ZN2at7Context21setDeterministicCuDNNEb", true),
            (c"_ZN2at7Context17setAllowTF32CuDNNEb", false),
            (c"_ZN2at7Context18setAllowTF32CuBLASEb", false),
        ] {
            here.get::<Set>(name).with_context(other)?(context, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_setting_that_a_gpu_needs_can_be_made() {
        super::settle().unwrap();
    }
}
