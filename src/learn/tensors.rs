//! tensors: tensors by name, how they are checked, and the bytes that they are made of.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Tensors by the names PyTorch's `state_dict` gives them.
pub type StateDict = BTreeMap<String, Tensor>;

/// A tensor in torch's hands.
pub type Value = Tensor;

/// The tensor of that name; the error names it, the shape it has and the shape the network expects.
pub fn named<'a>(state: &'a StateDict, name: &str, shape: &[i64]) -> Result<&'a Tensor> {
    let tensor = state.get(name).with_context(|| format!("tensor {name} is missing (expected shape {shape:?})"))?;
    ensure!(tensor.size() == shape, "tensor {name} has shape {:?}, expected {shape:?}", tensor.size());
    Ok(tensor)
}

/// What the names of heads begin with: that of DeepCluster, and the projection of DeepCluster-v2.
pub const HEADS: [&str; 2] = ["top_layer.", "projection_head."];

/// Refuses names that are neither the trunk's nor a head's: weights of another network.
pub fn only(state: &StateDict, trunk: &[(String, Vec<i64>)]) -> Result<()> {
    for name in state.keys() {
        let known = HEADS.iter().any(|head| name.starts_with(head)) || trunk.iter().any(|(other, _)| other == name);
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

/// The same numbers as f32; refuses one that is not finite. Counters stay integers.
pub fn single(tensor: &Tensor) -> Result<Tensor> {
    if !matches!(tensor.kind(), Kind::Float | Kind::Double) {
        return Ok(tensor.f_to_kind(Kind::Int64)?);
    }
    let single = tensor.f_to_kind(Kind::Float)?;
    ensure!(single.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0, "it has a number that is not finite");
    Ok(single)
}

/// A counter that stands at 0.
pub fn counter() -> Result<Tensor> {
    Ok(Tensor::f_zeros([0; 0], (Kind::Int64, Device::Cpu))?)
}

/// The type of a tensor's numbers, as files have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// 8 bits, 0..=255.
    U8,
    /// 64 bits, signed.
    I64,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
}

/// A tensor's numbers outside torch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Their type.
    pub number: Number,
    /// The tensor's sizes; none for a single number.
    pub shape: Vec<usize>,
    /// The numbers, little endian, the last dimension running fastest.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// Copies a tensor from any device; refuses other numbers than f32, f64, i64 and u8.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let number = match tensor.kind() {
            Kind::Float => Number::F32,
            Kind::Double => Number::F64,
            Kind::Int64 => Number::I64,
            Kind::Uint8 => Number::U8,
            other => bail!("a tensor of {other:?} is not stored: f32, f64, i64 and u8 are"),
        };
        let shape = tensor.size().iter().map(|side| *side as usize).collect();
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        Ok(Self { number, shape, bytes })
    }
}

/// A tensor on the CPU of these numbers, which are copied (see [`Raw`]); halves become f32. Refuses bytes that are not as
/// many as the shape needs.
pub fn tensor_of(number: Number, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
    let kind = match number {
        Number::U8 => Kind::Uint8,
        Number::I64 => Kind::Int64,
        Number::F16 => Kind::Half,
        Number::F32 => Kind::Float,
        Number::F64 => Kind::Double,
    };
    let due = shape.iter().try_fold(kind.elt_size_in_bytes(), |bytes, side| bytes.checked_mul(*side));
    ensure!(due == Some(bytes.len()), "{} bytes for a tensor of {shape:?} {number:?}", bytes.len());
    let shape: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
    let tensor = Tensor::f_from_data_size(bytes, &shape, kind)?;
    Ok(if kind == Kind::Half { tensor.f_to_kind(Kind::Float)? } else { tensor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_survives_its_bytes() {
        let turned = Tensor::from_slice(&[1f32, -2., 3., 4., 5., 6.]).view([2, 3]).tr();
        for tensor in [turned, Tensor::from(7i64), Tensor::from_slice(&[0.1f64]), Tensor::from_slice(&[3u8, 4])] {
            let raw = Raw::of(&tensor).unwrap();
            let back = tensor_of(raw.number, &raw.shape, &raw.bytes).unwrap();
            assert_eq!((back.kind(), back.size()), (tensor.kind(), tensor.size()));
            assert_eq!(back, tensor);
            assert_eq!(Raw::of(&back).unwrap(), raw);
            assert!(tensor_of(raw.number, &raw.shape, &raw.bytes[1..]).is_err());
        }
        let half = tensor_of(Number::F16, &[1], &[0x00, 0xc0]).unwrap();
        assert_eq!((half.kind(), half.double_value(&[0])), (Kind::Float, -2.0));
        assert!(Raw::of(&Tensor::from(true)).is_err());
    }
}
