//! outside: a file of weights from outside the store, by any of the known namings.

use crate::base::Digest;
use crate::format::weights::Tensor;
use crate::format::{FormatError, Scalar, Tensors};
use crate::learn::arch::NetShape;
use crate::learn::naming::{check_trunk, ours};
use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use half::f16;
use std::path::Path;

/// A larger file is no network of ours.
const LARGEST: u64 = 8 << 30;

/// The file.
pub struct Outside {
    name: String,
    bytes: Bytes,
    file: Tensors,
}

/// A network's trunk in the file.
pub struct Trunk<'a> {
    /// The tensors by our names.
    pub tensors: Vec<(String, &'a Tensor)>,
    /// What of the file is left out: a head, an optimizer's numbers.
    pub left_out: Vec<&'a str>,
}

impl Outside {
    /// Reads the whole file.
    ///
    /// # Errors
    /// If it is not there, or is no whole file of tensors.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let about = std::fs::metadata(path).with_context(|| {
            format!("no weights at {name}; init's from is a file, relative to the folder of the command")
        })?;
        ensure!(about.is_file(), "{name} is no file; name a file of weights in init's from");
        ensure!(about.len() <= LARGEST, "{name} has {} bytes: no network here has so many", about.len());
        let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("reading {name}"))?);
        // Damage outside the store is no damage to an artifact, which the run would quarantine.
        // The store's advice, to delete the file, would cost a person the only one.
        let file = Tensors::open_any(&name, &bytes).map_err(|error| {
            let reason = if let FormatError::Damaged { reason, .. } = error { reason } else { error.to_string() };
            anyhow!(
                "{name} is no whole safetensors file of 16, 32 or 64-bit floats ({reason}). Copy or download it again, or \
                 convert what torch.save wrote with scripts/import-weights"
            )
        })?;
        Ok(Self { name, bytes, file })
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The trunk of the network in it.
    ///
    /// # Errors
    /// If a tensor is missing, misshapen or of another network, or has a number that no network has. The error names it.
    pub fn trunk(&self, shape: &NetShape) -> anyhow::Result<Trunk<'_>> {
        let (mut trunk, mut found) = (Trunk { tensors: Vec::new(), left_out: Vec::new() }, Vec::new());
        for (theirs, tensor) in self.file.iter() {
            match ours(shape, theirs) {
                None => trunk.left_out.push(theirs),
                Some(name) => {
                    let is_float = matches!(tensor.scalar(), Scalar::F16 | Scalar::F32 | Scalar::F64);
                    ensure!(
                        is_float || name.ends_with("num_batches_tracked"),
                        "{}: tensor {theirs} has whole numbers, and a network needs floats",
                        self.name
                    );
                    let sides = tensor.shape().iter().map(|side| *side as i64).collect();
                    found.push((name.clone(), theirs, sides));
                    trunk.tensors.push((name, tensor));
                }
            }
        }
        if found.is_empty() {
            bail!("{} has no tensors of a network", self.name);
        }
        check_trunk(shape, &found)
            .with_context(|| format!("{} does not fit init's arch, sobel, stem and input", self.name))?;
        for ((_, theirs, _), (_, tensor)) in found.iter().zip(&trunk.tensors) {
            if let Some(fault) = fault(theirs, tensor) {
                bail!(
                    "{}: tensor {theirs} {fault}, which no network has: the training that wrote it diverged, or the file is \
                     damaged. Copy it again, or name another file in init's from",
                    self.name
                );
            }
        }
        Ok(trunk)
    }
}

/// The first number of a tensor that no network has. It is not finite in single precision, or a negative variance.
fn fault(name: &str, tensor: &Tensor) -> Option<String> {
    let bytes = tensor.bytes();
    match tensor.scalar() {
        Scalar::F16 => first_fault(name, bytes, |two| f16::from_le_bytes(two).to_f32()),
        Scalar::F32 => first_fault(name, bytes, f32::from_le_bytes),
        Scalar::F64 => first_fault(name, bytes, |eight| f64::from_le_bytes(eight) as f32),
        _ => None,
    }
}

fn first_fault<const N: usize>(name: &str, bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Option<String> {
    let is_variance = name.ends_with("running_var");
    let is_wrong = |number: f32| !number.is_finite() || is_variance && number < 0.0;
    let (chunks, _) = bytes.as_chunks::<N>();
    let place = chunks.iter().position(|chunk| is_wrong(read(*chunk)))?;
    let number = read(chunks[place]);
    let what = if number.is_finite() { "the variance " } else { "" };
    Some(format!("has {what}{number:.3e} at place {place}"))
}
