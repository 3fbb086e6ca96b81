//! search: the state of k-means between two iterations, a checkpoint from which an interrupted run resumes.

use super::clusters::Iteration;
use super::element::{Element, bytes_of};
use super::error::{Result, damaged};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::weights::{TensorRef, Tensors, write_tensors};
use crate::base::ClusterId;
use bytes::Bytes;
use std::borrow::Cow;
use std::io::Write;

/// The tensors of the state.
pub static SEARCH: Kind = Kind {
    name: "search",
    version: 1,
    file: "search.safetensors",
    container: Container::Safetensors,
    fields: &[
        field("centroids", Holds::Tensor, "f32 [k, d]: where the next iteration begins"),
        field("previous", Holds::Tensor, "i32 [images]: the cluster of each image in the last iteration"),
        field("objectives", Holds::Tensor, "f64 [iterations]: sum of squared distances"),
        field("counts", Holds::Tensor, "i64 [iterations, 3]: splits, empty clusters, images that moved"),
    ],
    metadata: &[("dcpipe.save", "the key of the node that was at work")],
    rows: "tensors of larger numbers first, then by name; the first byte of data is a multiple of 64",
};

/// K-means between two iterations.
#[derive(Clone, Debug, PartialEq)]
pub struct Search<'a> {
    /// Clusters.
    pub k: usize,
    /// Length of a centroid.
    pub dims: usize,
    /// k x dims.
    pub centroids: Cow<'a, [f32]>,
    /// The cluster of each image in the last iteration.
    pub previous: Cow<'a, [ClusterId]>,
    /// The finished iterations.
    pub iterations: Cow<'a, [Iteration]>,
}

impl Search<'_> {
    /// Writes `search.safetensors`; `owner` is the key of the node.
    pub fn write<W: Write>(&self, out: W, owner: &str) -> Result<W> {
        let previous: Vec<i32> = self.previous.iter().map(|id| id.0 as i32).collect();
        let objectives: Vec<f64> = self.iterations.iter().map(|i| i.objective).collect();
        let counts: Vec<i64> =
            self.iterations.iter().flat_map(|i| [i64::from(i.splits), i64::from(i.empty), i.moved as i64]).collect();
        let tensor = |name, scalar, shape, bytes| TensorRef { name, scalar, shape, bytes };
        let (grid, images, done) = ([self.k, self.dims], [previous.len()], [self.iterations.len(), 3]);
        let tensors = [
            tensor("centroids", Scalar::F32, &grid[..], bytes_of(&self.centroids)),
            tensor("previous", Scalar::I32, &images, bytes_of(&previous)),
            tensor("objectives", Scalar::F64, &done[..1], bytes_of(&objectives)),
            tensor("counts", Scalar::I64, &done, bytes_of(&counts)),
        ];
        let metadata: Metadata = [("dcpipe.save".to_owned(), owner.to_owned())].into();
        write_tensors(out, &SEARCH, &tensors, &metadata)
    }
}

impl Search<'static> {
    /// Reads `search.safetensors`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let file = Tensors::open(&SEARCH, bytes)?;
        let (shape, centroids) = numbers::<f32>(&file, "centroids")?;
        let &[k, dims] = shape else { return Err(damaged(SEARCH.tag(), "centroids that are not k x d")) };
        let (_, previous) = numbers::<i32>(&file, "previous")?;
        let (_, objectives) = numbers::<f64>(&file, "objectives")?;
        let (_, counts) = numbers::<i64>(&file, "counts")?;
        if let Some(odd) = previous.iter().find(|id| usize::try_from(**id).map_or(true, |id| id >= k)) {
            return Err(damaged(SEARCH.tag(), format!("cluster {odd} of {k}")));
        }
        if counts.len() != objectives.len() * 3 || counts.iter().any(|count| *count < 0) {
            return Err(damaged(SEARCH.tag(), "iterations whose counts do not fit"));
        }
        let iterations = objectives.iter().zip(counts.chunks_exact(3)).map(|(objective, counts)| Iteration {
            objective: *objective,
            splits: counts[0] as u32,
            empty: counts[1] as u32,
            moved: counts[2] as u64,
        });
        Ok(Self {
            k,
            dims,
            centroids: Cow::Owned(centroids.to_vec()),
            previous: previous.iter().map(|id| ClusterId(*id as u32)).collect(),
            iterations: iterations.collect(),
        })
    }
}

fn numbers<'a, T: Element>(file: &'a Tensors, name: &str) -> Result<(&'a [usize], &'a [T])> {
    let tensor = file.get(name).ok_or_else(|| damaged(SEARCH.tag(), format!("there is no tensor {name:?}")))?;
    let numbers =
        tensor.numbers().ok_or_else(|| damaged(SEARCH.tag(), format!("tensor {name:?} is of other numbers")))?;
    Ok((tensor.shape(), numbers))
}
