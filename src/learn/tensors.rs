//! tensors: tensors by name, how they are checked, and how they become safetensors bytes.

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Tensors by the names PyTorch's `state_dict` gives them.
pub type StateDict = BTreeMap<String, Tensor>;

/// The tensor of that name; the error names it, the shape it has and the shape the network expects.
pub fn named<'a>(state: &'a StateDict, name: &str, shape: &[i64]) -> Result<&'a Tensor> {
    let tensor = state.get(name).with_context(|| format!("tensor {name} is missing (expected shape {shape:?})"))?;
    ensure!(tensor.size() == shape, "tensor {name} has shape {:?}, expected {shape:?}", tensor.size());
    Ok(tensor)
}

/// Refuses names that are neither the trunk's nor the head's: weights of another network.
pub fn only(state: &StateDict, trunk: &[(String, Vec<i64>)]) -> Result<()> {
    for name in state.keys() {
        let known = name.starts_with("top_layer.") || trunk.iter().any(|(other, _)| other == name);
        ensure!(known, "tensor {name} belongs to another network: this one has no tensor of that name");
    }
    Ok(())
}

/// A copy of its own, on the CPU, row-major, without a gradient.
pub fn plain(tensor: &Tensor) -> Result<Tensor> {
    let here = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let mut copy = here.f_empty_like()?;
    copy.f_copy_(&here)?;
    Ok(copy)
}

/// One tensor as `safetensors::serialize` and `serialize_to_file` take it; bytes are copied out one tensor at a time.
pub struct TensorBytes {
    tensor: Tensor,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl TensorBytes {
    /// Accepts f32, f64, i64 and u8 tensors on any device.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let dtype = match tensor.kind() {
            Kind::Float => Dtype::F32,
            Kind::Double => Dtype::F64,
            Kind::Int64 => Dtype::I64,
            Kind::Uint8 => Dtype::U8,
            other => bail!("a tensor of {other:?} is not stored"),
        };
        let shape = tensor.size().iter().map(|side| *side as usize).collect();
        Ok(Self { tensor, shape, dtype })
    }
}

impl View for TensorBytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        self.tensor.copy_data_u8(&mut bytes, self.tensor.numel());
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * self.tensor.kind().elt_size_in_bytes()
    }
}

/// The safetensors file's bytes: equal tensors give equal bytes.
pub fn encode(state: &StateDict) -> Result<Vec<u8>> {
    let views = state
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), TensorBytes::of(tensor).with_context(|| format!("tensor {name}"))?)))
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).context("safetensors: the state could not be written")
}

/// Reads every tensor of a safetensors file's bytes, onto the CPU; 16-bit floats become f32.
pub fn decode(bytes: &[u8]) -> Result<StateDict> {
    let file = SafeTensors::deserialize(bytes).context("not a safetensors file, or a damaged one")?;
    file.iter()
        .map(|(name, view)| Ok((name.to_owned(), tensor_of(&view).with_context(|| format!("tensor {name}"))?)))
        .collect()
}

fn tensor_of(view: &safetensors::tensor::TensorView<'_>) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        other => bail!("values of type {other:?} are not read"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|side| *side as i64).collect();
    let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
    Ok(if matches!(kind, Kind::Half | Kind::BFloat16) { tensor.f_to_kind(Kind::Float)? } else { tensor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_its_bytes() {
        let state: StateDict = [
            ("b.weight".to_owned(), Tensor::from_slice(&[1f32, -2., 3., 4., 5., 6.]).view([2, 3]).tr()),
            ("a.count".to_owned(), Tensor::from(7i64)),
        ]
        .into();
        let bytes = encode(&state).unwrap();
        let back = decode(&bytes).unwrap();
        assert_eq!(back["b.weight"], state["b.weight"]);
        assert_eq!((back["a.count"].int64_value(&[]), back["a.count"].dim()), (7, 0));
        assert_eq!(encode(&back).unwrap(), bytes);
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
