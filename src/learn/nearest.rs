//! nearest: the nearest centroids by the fastest search of a device, among them those of faiss and of torch.

use super::assign::{Assigner, Candidates, keep_least};
use super::coarse::CoarseAssigner;
use super::device::open;
use super::fused::FusedAssigner;
use anyhow::{Context, Result, ensure};
use faiss::Index;
use faiss::index::flat::FlatIndex;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// The search that is fastest on the device `name` (`cpu`, `cuda:N`). All give the same clusters, so it is no part of a key.
pub fn assigner_on(name: &str) -> Result<Box<dyn Assigner>> {
    Ok(match open(name.parse()?)? {
        Device::Cpu => match (CoarseAssigner::new(), FusedAssigner::new()) {
            (Some(coarse), _) => Box::new(coarse),
            (None, Some(fused)) => Box::new(fused),
            (None, None) => Box::new(FaissAssigner::default()),
        },
        device => Box::new(TorchAssigner::new(device)),
    })
}

/// Rows that faiss searches at a time; of a last chunk, fewer.
const FAISS_ROWS: usize = 16_384;

/// faiss's exhaustive L2 search on the CPU.
#[derive(Default)]
pub struct FaissAssigner {
    dims: usize,
    k: usize,
    index: Option<FlatIndex>,
}

impl Assigner for FaissAssigner {
    fn take(&mut self, centroids: &[f32], dims: usize) -> Result<()> {
        let mut index = FlatIndex::new_l2(u32::try_from(dims)?).context("faiss made no index")?;
        index.add(centroids).context("faiss took no centroids")?;
        *self = Self { dims, k: centroids.len() / dims, index: Some(index) };
        Ok(())
    }

    fn nearest(&mut self, vectors: &[f32], out: &mut Candidates) -> Result<()> {
        let index = self.index.as_mut().context("BUG: a search before its centroids")?;
        out.reset(vectors.len() / self.dims, self.k);
        let chunks = out.ids.chunks_mut(FAISS_ROWS * out.near).zip(out.scores.chunks_mut(FAISS_ROWS * out.near));
        for (vectors, (ids, scores)) in vectors.chunks(FAISS_ROWS * self.dims).zip(chunks) {
            let found = index.search(vectors, out.near).context("faiss's search failed")?;
            let pairs = found.labels.iter().zip(&found.distances);
            for ((id, score), (label, distance)) in ids.iter_mut().zip(scores).zip(pairs) {
                // A vector that is not finite has no nearest.
                if let Some(label) = label.get() {
                    (*id, *score) = (label as u32, *distance);
                }
            }
        }
        out.end_with_the_last(self.k);
        Ok(())
    }
}

/// Torch's matrix product and a search through it, on the CPU or an NVIDIA GPU.
#[derive(Debug)]
pub struct TorchAssigner {
    device: Device,
    /// Whether torch searches through the products too; on a CPU that is done here, while they are in its cache.
    by_torch: bool,
    taken: Option<Taken>,
}

/// Centroids as the product needs them.
#[derive(Debug)]
struct Taken {
    k: usize,
    dims: usize,
    /// dims x k: the centroids times -2, which rounds nothing.
    across: Tensor,
    /// Squared length of each.
    norms: Tensor,
    host_norms: Vec<f32>,
    /// Products of one tile, on the CPU.
    tile: Vec<f32>,
}

impl TorchAssigner {
    /// Searches on `device`.
    pub fn new(device: Device) -> Self {
        Self { device, by_torch: device.is_cuda(), taken: None }
    }

    /// Rows per product: a tile of scores that stays in a CPU's cache, or that is worth a GPU's while.
    fn rows(&self, k: usize) -> usize {
        let scores = if self.by_torch { 1 << 27 } else { 1 << 19 };
        (scores / k).clamp(64, 65_536)
    }
}

impl Assigner for TorchAssigner {
    fn take(&mut self, centroids: &[f32], dims: usize) -> Result<()> {
        let k = centroids.len() / dims;
        let centroids = Tensor::f_from_slice(centroids)?.f_view([k as i64, dims as i64])?.f_to_device(self.device)?;
        let norms = centroids.f_square()?.f_sum_dim_intlist(1, false, Kind::Float)?;
        let across = centroids.f_mul_scalar(-2.0)?.f_tr()?;
        let host_norms = if self.by_torch { Vec::new() } else { Vec::<f32>::try_from(&norms)? };
        let tile = vec![0.0; if self.by_torch { 0 } else { self.rows(k) * k }];
        self.taken = Some(Taken { k, dims, across, norms, host_norms, tile });
        Ok(())
    }

    fn nearest(&mut self, vectors: &[f32], out: &mut Candidates) -> Result<()> {
        let rows = self.taken.as_ref().map_or(1, |taken| self.rows(taken.k));
        let taken = self.taken.as_mut().context("BUG: a search before its centroids")?;
        out.reset(vectors.len() / taken.dims, taken.k);
        let near = out.near;
        let chunks = out.ids.chunks_mut(rows * near).zip(out.scores.chunks_mut(rows * near));
        for (vectors, (ids, scores)) in vectors.chunks(rows * taken.dims).zip(chunks) {
            let shape = [(vectors.len() / taken.dims) as i64, taken.dims as i64];
            let vectors = Tensor::f_from_slice(vectors)?.f_view(shape)?.f_to_device(self.device)?;
            if self.by_torch {
                let found = taken.norms.f_addmm(&vectors, &taken.across)?.f_topk(near as i64, 1, false, true)?;
                take_found(found, ids, scores)?;
            } else {
                let products = vectors.f_matmul(&taken.across)?;
                let tile = &mut taken.tile[..shape[0] as usize * taken.k];
                products.f_copy_data(tile, tile.len())?;
                let found = ids.par_chunks_mut(near).zip(scores.par_chunks_mut(near));
                let rows = tile.par_chunks(taken.k).zip(found).with_min_len(16);
                rows.for_each(|(products, (ids, scores))| least(&taken.host_norms, products, ids, scores));
            }
        }
        out.end_with_the_last(taken.k);
        Ok(())
    }
}

fn take_found((values, found): (Tensor, Tensor), ids: &mut [u32], scores: &mut [f32]) -> Result<()> {
    let found = Vec::<i64>::try_from(found.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
    let values = Vec::<f32>::try_from(values.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
    ensure!(found.len() == ids.len() && values.len() == ids.len(), "BUG: {} found of {}", found.len(), ids.len());
    ids.iter_mut().zip(found).for_each(|(id, found)| *id = found as u32);
    scores.copy_from_slice(&values);
    Ok(())
}

/// Scores that are looked at together: most groups hold none of the least, and are passed over at once.
const LANES: usize = 16;

/// The least of `norms` + `products` and where they are, the least first; as many as `scores` has room for.
fn least(norms: &[f32], products: &[f32], ids: &mut [u32], scores: &mut [f32]) {
    scores.fill(f32::INFINITY);
    let last = scores.len() - 1;
    let mut group = [f32::INFINITY; LANES];
    for (at, (norms, products)) in norms.chunks(LANES).zip(products.chunks(LANES)).enumerate() {
        group.iter_mut().zip(norms.iter().zip(products)).for_each(|(score, (norm, product))| *score = norm + product);
        let group = &group[..norms.len()];
        // Written as selections, which become vector instructions.
        if group.iter().fold(f32::INFINITY, |least, &score| if score < least { score } else { least }) >= scores[last] {
            continue;
        }
        for (lane, &score) in group.iter().enumerate() {
            keep_least(ids, scores, (at * LANES + lane) as u32, score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, draw};
    use crate::learn::assign::NEAR;

    /// What a GPU does, done by the CPU: the two ways through torch find the same.
    #[test]
    fn torch_finds_the_same_by_its_own_search_and_by_ours() {
        let mut stream = Seed::of_node(31, "test").stream("nearest", 0);
        for (rows, dims, k) in [(70, 5, 1), (70, 5, 3), (70, 5, 8), (100, 7, 9), (300, 24, 200), (65, 3, 17)] {
            let mut some = |rows: usize| -> Vec<f32> {
                (0..rows * dims).map(|_| draw::between(&mut stream, -1.0, 1.0) as f32).collect()
            };
            let (vectors, centroids) = (some(rows), some(k));
            let [by_torch, by_us] = [true, false].map(|by_torch| {
                let mut assigner = TorchAssigner { device: Device::Cpu, by_torch, taken: None };
                let mut found = Candidates::default();
                assigner.take(&centroids, dims).unwrap();
                assigner.nearest(&vectors, &mut found).unwrap();
                found
            });
            assert_eq!(by_torch.ids.len(), rows * k.min(NEAR));
            let apart = by_torch.scores.iter().zip(&by_us.scores).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5);
            let same = by_torch.ids.iter().zip(&by_us.ids).filter(|(a, b)| a == b).count();
            assert!(same * 100 >= by_us.ids.len() * 99, "{same} of {}", by_us.ids.len());
        }
    }

    #[test]
    fn the_least_are_found_in_their_order() {
        let products = [3.0, 1.0, 2.0, f32::NAN, 1.0, 0.5];
        let (mut ids, mut scores) = ([0; 4], [0.0; 4]);
        least(&[0.0; 6], &products, &mut ids, &mut scores);
        assert_eq!((ids, scores), ([5, 1, 4, 2], [0.5, 1.0, 1.0, 2.0]));
    }
}
