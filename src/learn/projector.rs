//! projector: the head of DeepCluster-v2: two linear layers that project a feature, with a batch norm between them.

use super::module::Module;
use super::tensors::StateDict;
use anyhow::{Context, Result, ensure};

/// What the names of its tensors begin with.
pub const HEAD: &str = "projection_head";
pub(super) const FIRST: &str = "projection_head.0.";
pub(super) const NORM: &str = "projection_head.1.";

/// The sizes of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Numbers of a feature.
    pub from: i64,
    /// Numbers between the two layers.
    pub hidden: i64,
    /// Numbers of a projected feature.
    pub to: i64,
}

impl Projection {
    /// The projection among a network's weights. It must fit features of `from` numbers.
    ///
    /// # Errors
    /// If there is none, or it is of another network.
    pub fn of(weights: &StateDict, from: usize) -> Result<Self> {
        let sides = |layer: u32| {
            let name = format!("{HEAD}.{layer}.weight");
            let tensor = weights.get(&name).with_context(|| {
                format!("tensor {name} is missing: these weights have no projection; begin with the stage begin_v2")
            })?;
            <[i64; 2]>::try_from(tensor.size()).ok().with_context(|| format!("tensor {name} is {:?}", tensor.size()))
        };
        let ([hidden, of], [to, between]) = (sides(0)?, sides(3)?);
        ensure!(
            of == from as i64 && between == hidden && to > 0,
            "the projection takes {of} numbers to {hidden}, and {between} to {to}; a feature of this network has {from}"
        );
        Ok(Self { from: of, hidden, to })
    }

    /// The head as a module that is called [`HEAD`].
    pub fn module(&self) -> Module {
        Module::named([
            ("0", Module::Linear(self.from, self.hidden)),
            ("1", Module::Norm(self.hidden)),
            ("", Module::Relu),
            ("3", Module::Linear(self.hidden, self.to)),
        ])
    }

    /// Name and shape of each of its tensors.
    pub fn tensors(&self) -> Vec<(String, Vec<i64>)> {
        let mut tensors = Vec::new();
        self.module().tensors(HEAD, &mut tensors);
        tensors
    }
}
