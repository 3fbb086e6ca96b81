//! weights: the network of an epoch as one file, with the names of another program.

use super::{Network, Written, python};
use crate::format::weights::{WEIGHTS, write_foreign, write_tensors};
use crate::format::{Metadata, TensorRef, Tensors, noun};
use crate::learn::naming::Naming;
use crate::learn::projector::HEAD;
use crate::learn::tensors::HEADS;
use crate::stages::weights::{SHAPE_KEY, shape_of};
use crate::views::made::made;
use anyhow::{Context, bail, ensure};

/// Writes the file.
pub(super) fn write(network: &Network<'_>) -> anyhow::Result<Written> {
    let Network { plan, records, store, options, .. } = *network;
    let all: Vec<_> = made(plan, records).into_iter().filter(|made| made.is(&noun::WEIGHTS)).collect();
    let mut whole = Vec::new();
    for made in &all {
        if let Some(bytes) = made.part(store, WEIGHTS.file)? {
            whole.push((made.node, bytes));
        }
    }
    let epochs: Vec<_> = whole.iter().map(|(node, _)| node.epoch.0.to_string()).collect();
    let there = || match epochs.as_slice() {
        [] => "the store has the bytes of none. keep: { weights: all } in the pipeline retains them".to_owned(),
        epochs => format!("the store has the bytes of epochs {}", epochs.join(", ")),
    };
    ensure!(!all.is_empty(), "run {} has no weights yet", plan.name);
    let found = match options.epoch {
        Some(epoch) => whole.iter().rev().find(|(node, _)| node.epoch.0 == epoch),
        None => whole.last(),
    };
    let Some((node, bytes)) = found else {
        let which = options.epoch.map_or_else(String::new, |epoch| format!(" of epoch {epoch}"));
        bail!("run {} has no weights{which} to export: {}", plan.name, there());
    };
    let (file, naming) = (Tensors::open(&WEIGHTS, bytes)?, options.naming);
    let shape = shape_of(&file)?;
    naming.check(&shape)?;
    let is_projection = |name: &str| name.starts_with(HEAD) && naming != Naming::Dcpipe;
    let kept = file.iter().filter(|(name, _)| !is_projection(name));
    let named: Vec<_> = kept.map(|(name, tensor)| (naming.theirs(&shape, name), tensor)).collect();
    let tensors: Vec<_> = named
        .iter()
        .map(|(name, tensor)| TensorRef { name, scalar: tensor.scalar(), shape: tensor.shape(), bytes: tensor.bytes() })
        .collect();
    let mut metadata = Metadata::new();
    metadata.insert(SHAPE_KEY.to_owned(), serde_json::to_string(&shape)?);
    let below = format!("weights/epoch={:04}.{}.safetensors", node.epoch.0, naming.word());
    let fill = network.write(&below, |out| {
        match naming {
            Naming::Dcpipe => write_tensors(out, &WEIGHTS, &tensors, &metadata)?,
            _ => write_foreign(out, &node.name(), &tensors, &metadata)?,
        };
        Ok(())
    });
    let (to, bytes) = fill.context("the weights")?;
    let mut notes = Vec::new();
    if file.iter().any(|(name, _)| is_projection(name)) {
        let word = naming.word();
        notes.push(format!(
            "left out: {HEAD}, the head of DeepCluster-v2, for {word} names have none; the file has no head"
        ));
    } else if !file.iter().any(|(name, _)| HEADS.iter().any(|head| name.starts_with(head))) {
        notes.push("these weights have no head: no epoch has trained one".to_owned());
    }
    let script = format!("import safetensors.torch as s; print(*s.load_file({:?}))", to.display().to_string());
    Ok(Written { to, of: node.name(), files: (1, bytes), notes, opens: vec![python(&script)] })
}
