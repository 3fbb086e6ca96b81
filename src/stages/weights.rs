//! weights: a network's tensors, between the artifact's files and the learning room.

use crate::engine::{Input, Output};
use crate::format::kind::Metadata;
use crate::format::weights::{MOMENTUM, WEIGHTS, write_tensors};
use crate::format::{Kind, Scalar, TensorRef, Tensors};
use crate::learn::arch::NetShape;
use crate::learn::tensors::{StateDict, TensorBytes, decode};
use anyhow::{Context as _, bail};
use safetensors::tensor::{Dtype, View};

const SHAPE_KEY: &str = "dcpipe.net";

/// The part with the tensors that PyTorch's `load_state_dict` takes.
pub const WEIGHTS_PART: &str = "weights.safetensors";
/// The part with the momentum of the body.
pub const MOMENTUM_PART: &str = "momentum.safetensors";

/// Reads the network's shape and tensors.
pub fn read(input: &Input<'_>) -> anyhow::Result<(NetShape, StateDict)> {
    let bytes = input.part(WEIGHTS_PART)?;
    let file = Tensors::open(&WEIGHTS, &bytes)?;
    let text = file
        .metadata()
        .get(SHAPE_KEY)
        .with_context(|| format!("{WEIGHTS_PART} does not say which network it is for"))?;
    let shape: NetShape = serde_json::from_str(text).with_context(|| format!("{WEIGHTS_PART}: {SHAPE_KEY}"))?;
    Ok((shape, decode(&bytes)?))
}

/// Reads the body's momentum; empty before the first step.
pub fn read_momentum(input: &Input<'_>) -> anyhow::Result<StateDict> {
    input.part_if_any(MOMENTUM_PART)?.map_or_else(|| Ok(StateDict::new()), |bytes| decode(&bytes))
}

/// Writes the tensors of a network, and after the first step the body's momentum. `metadata` is what else the files say.
pub fn write(
    out: &mut Output<'_>,
    shape: &NetShape,
    weights: &StateDict,
    momentum: Option<&StateDict>,
    metadata: &Metadata,
) -> anyhow::Result<()> {
    let mut metadata = metadata.clone();
    metadata.insert(SHAPE_KEY.to_owned(), serde_json::to_string(shape)?);
    write_part(out, WEIGHTS_PART, &WEIGHTS, weights, &metadata)?;
    momentum.map_or(Ok(()), |momentum| write_part(out, MOMENTUM_PART, &MOMENTUM, momentum, &metadata))
}

fn write_part(
    out: &mut Output<'_>,
    name: &str,
    kind: &Kind,
    state: &StateDict,
    metadata: &Metadata,
) -> anyhow::Result<()> {
    let views: Vec<(&str, TensorBytes)> = state
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), TensorBytes::of(tensor)?)))
        .collect::<anyhow::Result<_>>()?;
    let bytes: Vec<_> = views.iter().map(|(_, view)| view.data()).collect();
    let shapes: Vec<Vec<usize>> = views.iter().map(|(_, view)| view.shape().to_vec()).collect();
    let mut tensors = Vec::with_capacity(views.len());
    for (((name, view), bytes), shape) in views.iter().zip(&bytes).zip(&shapes) {
        tensors.push(TensorRef { name, scalar: scalar(view.dtype())?, shape, bytes });
    }
    out.write_part(name, |out| write_tensors(out, kind, &tensors, metadata).map(drop))
}

fn scalar(dtype: Dtype) -> anyhow::Result<Scalar> {
    Ok(match dtype {
        Dtype::F32 => Scalar::F32,
        Dtype::F64 => Scalar::F64,
        Dtype::I64 => Scalar::I64,
        Dtype::U8 => Scalar::U8,
        other => bail!("BUG: a tensor of {other:?} is to be written"),
    })
}
