//! outside: a file of weights from outside the store, by any of the known namings.

use crate::base::Digest;
use crate::format::weights::Tensor;
use crate::format::{FormatError, Scalar, Tensors};
use crate::learn::arch::NetShape;
use crate::learn::naming::{check_trunk, ours};
use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
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
    /// If a tensor is missing, misshapen or of another network; the error names it.
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
        Ok(trunk)
    }
}
