//! device: where tensors live: the CPU, or a GPU whose part of libtorch is loaded when first asked for.

use super::cuda;
use super::torch::{TORCH, torch_version};
use anyhow::{Context, Result, bail, ensure};
use std::str::FromStr;
use tch::Device;

/// What a person asks for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where one can be had, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(Self::Cuda(number)),
                _ => bail!("not a device: {text:?} (auto, cpu, cuda or cuda:N was expected)"),
            },
        }
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Opens the device, with settings under which one machine gives the same bits again. Call it before any other use of
/// torch: libtorch asks for its GPU part once and remembers the answer.
pub fn open(choice: DeviceChoice) -> Result<Device> {
    let loaded = torch_version();
    ensure!(
        loaded == TORCH,
        "the loaded libtorch is {loaded}, but this dcpipe is built for {TORCH}; run scripts/setup"
    );
    match choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Auto => Ok(cuda::open(0).unwrap_or(Device::Cpu)),
        DeviceChoice::Cuda(number) => cuda::open(number).with_context(|| format!("device {choice} is not available")),
    }
}

/// Sets torch's threads inside one operation, for the whole process.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads.clamp(1, 1024) as i32);
}

/// Opens what `text` asks for (`auto`, `cpu`, `cuda`, `cuda:N`) and names what was opened: `cpu` or `cuda:N`.
pub fn resolve(text: &str) -> Result<String> {
    Ok(match open(text.parse::<DeviceChoice>()?)? {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_words_are_read_and_written_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for text in ["", "CPU", "cuda:", "cuda:-1", "gpu", "cuda:x"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_gpu_that_cannot_be_had_is_an_error_and_auto_goes_on_without() {
        open(DeviceChoice::Auto).unwrap();
        let refusal = format!("{:#}", open(DeviceChoice::Cuda(4095)).unwrap_err());
        assert!(refusal.starts_with("device cuda:4095 is not available: "), "{refusal}");
    }
}
