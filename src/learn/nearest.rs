//! nearest: the nearest two centroids by faiss on the CPU, and by torch on any device.

use super::assign::{Assigner, Candidates};
use super::device::open;
use anyhow::{Context, Result, ensure};
use faiss::Index;
use faiss::index::flat::FlatIndex;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// The search that is fastest on the device `name` (`cpu`, `cuda:N`). All give the same clusters, so it is no part of a key.
pub fn assigner_on(name: &str) -> Result<Box<dyn Assigner>> {
    Ok(match open(name.parse()?)? {
        Device::Cpu => Box::new(FaissAssigner),
        device => Box::new(TorchAssigner::new(device)),
    })
}

/// Rows searched at a time; of a last chunk, fewer.
const FAISS_ROWS: usize = 16_384;

/// faiss's exhaustive L2 search on the CPU.
#[derive(Debug, Default)]
pub struct FaissAssigner;

impl Assigner for FaissAssigner {
    fn nearest_two(&mut self, vectors: &[f32], centroids: &[f32], dims: usize, out: &mut Candidates) -> Result<()> {
        let k = centroids.len() / dims;
        let mut index = FlatIndex::new_l2(u32::try_from(dims)?).context("faiss made no index")?;
        index.add(centroids).context("faiss took no centroids")?;
        out.reset(vectors.len() / dims);
        let wanted = k.min(2);
        for (chunk, vectors) in vectors.chunks(FAISS_ROWS * dims).enumerate() {
            let found = index.search(vectors, wanted).context("faiss's search failed")?;
            let pairs = found.labels.chunks_exact(wanted).zip(found.distances.chunks_exact(wanted));
            for (row, (ids, distances)) in pairs.enumerate() {
                let row = chunk * FAISS_ROWS + row;
                // A vector that is not finite has no nearest: the gap of 0 hands it on as undecided.
                if let (Some(first), Some(second)) = (ids[0].get(), ids[wanted - 1].get()) {
                    (out.first[row], out.second[row]) = (first as u32, second as u32);
                    out.gap[row] = if k == 1 { f32::INFINITY } else { distances[1] - distances[0] };
                }
            }
        }
        Ok(())
    }
}

/// Torch's matrix product and a search through it, on the CPU or an NVIDIA GPU.
#[derive(Debug)]
pub struct TorchAssigner {
    device: Device,
}

impl TorchAssigner {
    /// Searches on `device`.
    pub fn new(device: Device) -> Self {
        Self { device }
    }

    /// Rows per product: a tile of scores that stays in a CPU's cache, or that is worth a GPU's while.
    fn rows(&self, k: usize) -> usize {
        let scores = if self.device.is_cuda() { 1 << 27 } else { 1 << 19 };
        (scores / k).clamp(64, 65_536)
    }
}

impl Assigner for TorchAssigner {
    fn nearest_two(&mut self, vectors: &[f32], centroids: &[f32], dims: usize, out: &mut Candidates) -> Result<()> {
        let k = centroids.len() / dims;
        out.reset(vectors.len() / dims);
        if k == 1 {
            out.gap.fill(f32::INFINITY);
            return Ok(());
        }
        let rows = self.rows(k);
        let centroids = Tensor::f_from_slice(centroids)?.f_view([k as i64, dims as i64])?.f_to_device(self.device)?;
        let norms = centroids.f_square()?.f_sum_dim_intlist(1, false, Kind::Float)?;
        let across = centroids.f_tr()?;
        let host_norms = if self.device.is_cuda() { Vec::new() } else { Vec::<f32>::try_from(&norms)? };
        let mut scores = vec![0.0_f32; if self.device.is_cuda() { 0 } else { rows * k }];
        for (chunk, vectors) in vectors.chunks(rows * dims).enumerate() {
            let count = vectors.len() / dims;
            let part = chunk * rows..chunk * rows + count;
            let vectors =
                Tensor::f_from_slice(vectors)?.f_view([count as i64, dims as i64])?.f_to_device(self.device)?;
            let dots = vectors.f_matmul(&across)?;
            let mut found = Found {
                first: &mut out.first[part.clone()],
                second: &mut out.second[part.clone()],
                gap: &mut out.gap[part],
            };
            if self.device.is_cuda() {
                search_on_device(&norms, &dots, &mut found)?;
            } else {
                dots.f_copy_data(&mut scores, count * k)?;
                search_on_host(&host_norms, &scores[..count * k], found);
            }
        }
        Ok(())
    }
}

/// The part of the candidates that one tile decides.
struct Found<'a> {
    first: &'a mut [u32],
    second: &'a mut [u32],
    gap: &'a mut [f32],
}

fn search_on_device(norms: &Tensor, dots: &Tensor, found: &mut Found) -> Result<()> {
    let (values, ids) = (norms - dots * 2.0).f_topk(2, 1, false, true)?;
    let ids = Vec::<i64>::try_from(ids.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
    let values = Vec::<f32>::try_from(values.f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
    ensure!(ids.len() == 2 * found.gap.len(), "BUG: {} nearest for {} rows", ids.len(), found.gap.len());
    for (row, (ids, values)) in ids.chunks_exact(2).zip(values.chunks_exact(2)).enumerate() {
        (found.first[row], found.second[row]) = (ids[0] as u32, ids[1] as u32);
        found.gap[row] = values[1] - values[0];
    }
    Ok(())
}

fn search_on_host(norms: &[f32], dots: &[f32], found: Found) {
    let results = found.first.par_iter_mut().zip(found.second).zip(found.gap);
    dots.par_chunks(norms.len()).zip(results).with_min_len(16).for_each(|(dots, ((first, second), gap))| {
        (*first, *second, *gap) = two_least(norms, dots);
    });
}

/// Scores kept side by side, so that the processor compares as many at once.
const LANES: usize = 16;

/// Ids of the two least of |c|^2 - 2xc, and their difference.
fn two_least(norms: &[f32], dots: &[f32]) -> (u32, u32, f32) {
    let (mut near, mut next) = ([f32::INFINITY; LANES], [f32::INFINITY; LANES]);
    let (mut first, mut second) = ([0_u32; LANES], [0_u32; LANES]);
    let mut consider = |lane: usize, id: u32, norm: f32, dot: f32| {
        let score = norm - 2.0 * dot;
        // Selections without a branch, which the compiler turns into vector instructions.
        let (nearer, nexter) = (score < near[lane], score < next[lane]);
        let (behind, behind_id) = if nearer { (near[lane], first[lane]) } else { (score, id) };
        let second_changes = nearer | nexter;
        next[lane] = if second_changes { behind } else { next[lane] };
        second[lane] = if second_changes { behind_id } else { second[lane] };
        first[lane] = if nearer { id } else { first[lane] };
        near[lane] = if nearer { score } else { near[lane] };
    };
    let whole = dots.len() / LANES * LANES;
    for (group, (norms, dots)) in norms.chunks_exact(LANES).zip(dots.chunks_exact(LANES)).enumerate() {
        for lane in 0..LANES {
            consider(lane, (group * LANES + lane) as u32, norms[lane], dots[lane]);
        }
    }
    for id in whole..dots.len() {
        consider(id - whole, id as u32, norms[id], dots[id]);
    }
    let mut all: Vec<(f32, u32)> = near.into_iter().zip(first).chain(next.into_iter().zip(second)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    (all[0].1, all[1].1, all[1].0 - all[0].0)
}
