//! map: vectors, neighbors -> map: a place for each image in two dimensions, near its neighbours.

use crate::engine::{Before, Context, Device, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::neighbors::{NEIGHBORS as KIND, Neighbors};
use crate::format::projection::{PROJECTION, write_projection};
use crate::format::rows::PART;
use crate::format::{self, vectors};
use crate::learn::projection::{layout, unit};
use crate::stages::{MAP, NEIGHBORS, VECTORS};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Places the images on a map near their neighbours, as UMAP does. It starts from the first two axes of the vectors.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Passes over the neighbours.
    #[serde(default = "default_passes")]
    #[schemars(range(min = 1, max = 10000))]
    pub passes: u32,
    /// Images that are placed so; of more, every n-th is, and the others lie in the middle of their neighbours.
    #[serde(default = "default_images")]
    #[schemars(range(min = 1))]
    pub images: u32,
}

fn default_passes() -> u32 {
    200
}

fn default_images() -> u32 {
    200_000
}

impl Stage for Map {
    const VERB: &'static str = "map";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Port] = &[
        Port::required("vectors", VECTORS.name).reading(&[PART]),
        Port::required("neighbors", NEIGHBORS.name).reading(KIND.files()),
    ];
    const OUTPUT: Noun = MAP;
    // One thread works, but a second node beside it would only slow the first.
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    /// Some places of version 1 were outside 0 to 1 by a last bit.
    fn before(&self, _: &Device) -> Before {
        Before { version: 1, format: Self::OUTPUT.format, numerics: None, by_parts: true }
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((1..=10_000).contains(&self.passes), "passes is {}, not between 1 and 10000", self.passes);
        ensure!(self.images >= 1, "images is 0; a map shows at least one");
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * 10)
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let vectors = vectors::open(&cx.input("vectors")?.parts(PART)?)?;
        let neighbors = Neighbors::open(&cx.input("neighbors")?.part(KIND.file)?)?;
        let rows = vectors.rows();
        ensure!(neighbors.rows() == rows, "{rows} images have vectors, {} have neighbours", neighbors.rows());
        let start: Vec<[f32; 2]> = (0..rows).map(|row| axes(&vectors, row)).collect();
        let step = rows.div_ceil(self.images as usize).max(1);
        let chosen: Vec<usize> = (0..rows).step_by(step).collect();
        let graph = if step == 1 { neighbors.clone() } else { among(&neighbors, &chosen, step) };
        let distances: Vec<f32> = graph.distances.iter().map(|squared| squared.sqrt()).collect();
        let begin: Vec<[f32; 2]> = chosen.iter().map(|row| start[*row]).collect();
        let mut stream = cx.seed()?.stream("projection", 0);
        let passes = self.passes;
        let places = layout((&graph.ids, &distances, graph.n), &begin, passes, &mut stream, &mut |pass| {
            cx.progress(pass.into(), passes.into(), "passes");
            cx.checkpoint()
        })?;
        let places = if step == 1 { places } else { between(&neighbors, &chosen, &places, &start) };
        cx.write_part(PROJECTION.file, |out| write_projection(out, &places).map(drop))
    }
}

/// The first two axes of a vector, which PCA has put in order of variance.
fn axes(vectors: &format::Rows<f32>, row: usize) -> [f32; 2] {
    let vector = vectors.row(row).unwrap_or_default();
    [0, 1].map(|axis| vector.get(axis).copied().unwrap_or(0.0))
}

/// The neighbours of every `step`-th image among these: its own that are there, or those of its neighbours.
fn among(neighbors: &Neighbors, chosen: &[usize], step: usize) -> Neighbors {
    let n = neighbors.n.min(chosen.len().saturating_sub(1)).max(1);
    let (mut ids, mut distances) = (Vec::with_capacity(chosen.len() * n), Vec::with_capacity(chosen.len() * n));
    for row in chosen {
        let mut near: Vec<(f32, usize)> = Vec::new();
        for (id, far) in neighbors.of(*row) {
            let further = neighbors.of(id).map(|(other, more)| (far + more, other));
            near.extend(std::iter::once((far, id)).chain(further).filter(|(_, id)| id != row && id % step == 0));
        }
        near.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.total_cmp(&b.0)));
        near.dedup_by_key(|(_, id)| *id);
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        // Too few: the next images stand in, as far as the farthest.
        let farthest = near.last().map_or(1.0, |(far, _)| *far);
        let mut next = (row / step + 1..).map(|at| (at % chosen.len()) * step);
        while near.len() < n {
            let Some(id) = next.next() else { break };
            if id != *row && near.iter().all(|(_, known)| *known != id) {
                near.push((farthest, id));
            }
        }
        ids.extend(near.iter().take(n).map(|(_, id)| (id / step) as i32));
        distances.extend(near.iter().take(n).map(|(far, _)| *far));
    }
    Neighbors { n, ids, distances }
}

/// Places for all images. Those that have none yet lie in the middle of their neighbours that have one. An image that no
/// chain of neighbours leads to keeps its place on the first two axes.
fn between(neighbors: &Neighbors, chosen: &[usize], laid: &[[f32; 2]], start: &[[f32; 2]]) -> Vec<[f32; 2]> {
    const ROUNDS: usize = 10;
    let mut places: Vec<Option<[f32; 2]>> = vec![None; start.len()];
    chosen.iter().zip(laid).for_each(|(row, place)| places[*row] = Some(*place));
    for _ in 0..ROUNDS {
        let middle = |row: usize| {
            let near: Vec<[f32; 2]> = neighbors.of(row).filter_map(|(id, _)| places[id]).collect();
            let sum = near.iter().fold([0.0; 2], |sum, place| [sum[0] + place[0], sum[1] + place[1]]);
            (!near.is_empty()).then(|| sum.map(|axis| axis / near.len() as f32))
        };
        let open: Vec<usize> = (0..places.len()).filter(|row| places[*row].is_none()).collect();
        let found: Vec<_> = open.iter().map(|row| middle(*row)).collect();
        if found.iter().all(Option::is_none) {
            break;
        }
        open.into_iter().zip(found).for_each(|(row, place)| places[row] = place);
    }
    let axes = unit(start);
    places.into_iter().zip(axes).map(|(place, axes)| place.unwrap_or(axes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_images_a_part_is_placed_and_the_others_lie_between_their_neighbours() {
        // A ring: each image has the one before and the one after as its neighbours.
        let ids: Vec<i32> = (0..12).flat_map(|row| [(row + 11) % 12, (row + 1) % 12]).collect();
        let ring = Neighbors { n: 2, ids, distances: vec![1.0; 24] };
        let chosen: Vec<usize> = (0..12).step_by(2).collect();
        let graph = among(&ring, &chosen, 2);
        assert_eq!(graph.of(0).map(|(id, _)| id).collect::<Vec<_>>(), [1, 5], "the neighbours of its neighbours");
        let laid: Vec<[f32; 2]> = (0..6_u8).map(|at| [f32::from(at), 0.0]).collect();
        let places = between(&ring, &chosen, &laid, &[[0.0, 0.0]; 12]);
        assert_eq!(places[4], [2.0, 0.0]);
        assert_eq!(places[5], [2.5, 0.0]);
    }
}
