//! weights: a network's tensors, between the artifact's files and the learning room.

use crate::engine::{Input, InputSizes, Output, Sizes};
use crate::format::kind::Metadata;
use crate::format::weights::{MOMENTUM, Tensor, WEIGHTS, write_tensors};
use crate::format::{Kind, Scalar, TensorRef, Tensors};
use crate::learn::arch::{Arch, NetShape, Stem};
use crate::learn::tensors::{Number, Raw, StateDict, Value, counter, single, tensor_of};
use crate::stages::outside::Trunk;
use anyhow::{Context as _, bail};
use std::collections::btree_map::Entry;

/// What of the metadata is the network's shape.
pub const SHAPE_KEY: &str = "dcpipe.net";

/// The part with the tensors that PyTorch's `load_state_dict` takes.
pub const WEIGHTS_PART: &str = WEIGHTS.file;
/// The part with the momentum of the body.
pub const MOMENTUM_PART: &str = MOMENTUM.file;

/// Reads the network's shape and tensors.
pub fn read(input: &Input<'_>) -> anyhow::Result<(NetShape, StateDict)> {
    let bytes = input.part(WEIGHTS_PART)?;
    let file = Tensors::open(&WEIGHTS, &bytes)?;
    Ok((shape_of(&file)?, state_of(&file)?))
}

/// Which network a file is for.
pub fn shape_of(file: &Tensors) -> anyhow::Result<NetShape> {
    let text = file
        .metadata()
        .get(SHAPE_KEY)
        .with_context(|| format!("{WEIGHTS_PART} does not say which network it is for"))?;
    serde_json::from_str(text).with_context(|| format!("{WEIGHTS_PART}: {SHAPE_KEY}"))
}

/// Reads the body's momentum; empty before the first step.
pub fn read_momentum(input: &Input<'_>) -> anyhow::Result<StateDict> {
    let Some(bytes) = input.part_if_any(MOMENTUM_PART)? else { return Ok(StateDict::new()) };
    state_of(&Tensors::open(&MOMENTUM, &bytes)?)
}

/// What a plan says of weights before anything runs: the sizes, and which network they are of.
pub fn sizes_of(shape: &NetShape) -> Sizes {
    let (arch, stem) = (place(Arch::ALL, &shape.arch), place(&Stem::ALL, &shape.stem));
    let (input, dims) = (shape.input.into(), shape.feature_dims() as u64);
    vec![("input", input), ("dims", dims), ("arch", arch), ("sobel", shape.sobel.into()), ("stem", stem)]
}

/// The same of weights that are of the network of those before.
pub fn sizes_of_same(inputs: &InputSizes<'_>) -> Sizes {
    let same = ["input", "dims", "arch", "sobel", "stem"];
    same.into_iter().filter_map(|size| inputs.handed_on("weights", size)).collect()
}

/// The same, trained.
pub fn sizes_of_trained(inputs: &InputSizes<'_>) -> Sizes {
    let mut sizes = sizes_of_same(inputs);
    sizes.push((TRAINED, 1));
    sizes
}

/// The network at the port `weights`, as far as the plan knows it.
pub fn planned(inputs: &InputSizes<'_>) -> Option<NetShape> {
    let size = |name| inputs.get("weights", name);
    let at = |name| usize::try_from(size(name)?).ok();
    let (arch, stem) = (*Arch::ALL.get(at("arch")?)?, *Stem::ALL.get(at("stem")?)?);
    let input = u32::try_from(size("input")?).ok()?;
    Some(NetShape { stem, ..NetShape::new(arch, size("sobel")? != 0, input) })
}

/// Whether the plan knows that the weights at the port of that name are trained.
pub fn are_trained(inputs: &InputSizes<'_>) -> bool {
    inputs.get("weights", TRAINED) == Some(1)
}

const TRAINED: &str = "trained";

fn place<T: PartialEq>(all: &[T], one: &T) -> u64 {
    all.iter().position(|other| other == one).unwrap_or(all.len()) as u64
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
    let raw = |(name, tensor)| Ok((name, Raw::of(tensor).with_context(|| format!("tensor {name}"))?));
    let raws: Vec<(&String, Raw)> = state.iter().map(raw).collect::<anyhow::Result<_>>()?;
    let tensors: Vec<_> = raws
        .iter()
        .map(|(name, raw)| TensorRef { name, scalar: scalar(raw.number), shape: &raw.shape, bytes: &raw.bytes })
        .collect();
    out.write_part(name, |out| write_tensors(out, kind, &tensors, metadata).map(drop))
}

/// Every tensor of a file, on the CPU.
fn state_of(file: &Tensors) -> anyhow::Result<StateDict> {
    file.iter().map(|(name, tensor)| Ok((name.to_owned(), read_tensor(name, tensor)?))).collect()
}

/// The trunk of a network in a file from outside, in single precision.
pub fn read_outside(trunk: &Trunk<'_>, shape: &NetShape) -> anyhow::Result<StateDict> {
    let mut state = StateDict::new();
    for (name, tensor) in &trunk.tensors {
        let tensor = single(&read_tensor(name, tensor)?).with_context(|| format!("tensor {name}"))?;
        state.insert(name.clone(), tensor);
    }
    for (name, _) in shape.trunk() {
        if let Entry::Vacant(place) = state.entry(name) {
            place.insert(counter()?); // `Outside::trunk` lets nothing else be missing.
        }
    }
    Ok(state)
}

fn read_tensor(name: &str, tensor: &Tensor) -> anyhow::Result<Value> {
    let read = || tensor_of(number(tensor.scalar())?, tensor.shape(), tensor.bytes());
    read().with_context(|| format!("tensor {name}"))
}

fn scalar(number: Number) -> Scalar {
    match number {
        Number::U8 => Scalar::U8,
        Number::I64 => Scalar::I64,
        Number::F16 => Scalar::F16,
        Number::F32 => Scalar::F32,
        Number::F64 => Scalar::F64,
    }
}

fn number(scalar: Scalar) -> anyhow::Result<Number> {
    Ok(match scalar {
        Scalar::U8 => Number::U8,
        Scalar::I64 => Number::I64,
        Scalar::F16 => Number::F16,
        Scalar::F32 => Number::F32,
        Scalar::F64 => Number::F64,
        Scalar::I32 => bail!("numbers of type {scalar} are not read: no network has them"),
    })
}
