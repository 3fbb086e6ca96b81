//! graph: one epoch of a plan as a picture: nodes in layers, edges around them.
//!
//! The layers are those of the longest path. An edge that passes layers has a place in each, so that it crosses no node.
//! A few sweeps put everything near its neighbours. The same plan gives the same picture.

use crate::base::Epoch;
use crate::engine::{NodeId, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const WIDTH: f64 = 104.0;
const HEIGHT: f64 = 38.0;
/// From a layer to the next, and from a row to the next.
const STEP: (f64, f64) = (150.0, 58.0);
const MARGIN: f64 = 12.0;
const SWEEPS: usize = 8;

/// A node of the picture: a node of the pipeline, for all epochs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spot {
    /// Its name without the epoch.
    pub name: String,
    /// Its stage.
    pub verb: &'static str,
    /// Whether each epoch has one.
    pub is_of_epoch: bool,
    /// The middle, in pixels from the upper left corner.
    pub at: (f64, f64),
}

/// An edge of the picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Indices of the spots.
    pub ends: (usize, usize),
    /// Whether it leads to the next epoch.
    pub is_to_next_epoch: bool,
    /// Where it passes, from its beginning to its end, in pixels.
    pub points: Vec<(f64, f64)>,
}

/// The picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Graph {
    /// The nodes: those of before the first epoch, then those of an epoch.
    pub spots: Vec<Spot>,
    /// The edges.
    pub lines: Vec<Line>,
    /// Width and height in pixels.
    pub size: (f64, f64),
}

/// Draws a plan: the nodes before the epochs, and those of one epoch. Nodes that dcpipe adds for tables are left out.
pub fn graph(plan: &Plan) -> Graph {
    // The last epoch has every node; what comes before it is read off the first.
    let (first, last) = (Epoch(plan.epochs.min(1)), Epoch(plan.epochs));
    let is_drawn = |id: &&NodeId| {
        let node = plan.node(**id);
        !node.is_implied && (node.epoch == Epoch(0) || node.epoch == last)
    };
    let drawn: Vec<NodeId> = plan.order().iter().filter(is_drawn).copied().collect();
    let spot = |noun: &str, is_of_epoch: bool| {
        drawn.iter().position(|id| {
            let node = plan.node(*id);
            node.noun == noun && (node.epoch > Epoch(0)) == is_of_epoch
        })
    };
    let (mut now, mut next) = (Vec::new(), Vec::new());
    for id in plan.order().iter().filter(|id| !plan.node(**id).is_implied) {
        let node = plan.node(*id);
        if ![Epoch(0), first, last].contains(&node.epoch) {
            continue;
        }
        let Some(to) = spot(&node.noun, node.epoch > Epoch(0)) else { continue };
        for (_, from) in &node.inputs {
            let source = plan.node(*from);
            let Some(from) = spot(&source.noun, source.epoch > Epoch(0)) else { continue };
            let is_to_next = source.epoch > Epoch(0) && source.epoch < node.epoch;
            let edges = if is_to_next { &mut next } else { &mut now };
            if !edges.contains(&(from, to)) {
                edges.push((from, to));
            }
        }
    }
    let mut spots: Vec<Spot> = drawn
        .iter()
        .map(|id| {
            let node = plan.node(*id);
            let (name, verb) = (node.noun.clone(), node.stage.def().verb);
            Spot { name, verb, is_of_epoch: node.epoch > Epoch(0), at: (0.0, 0.0) }
        })
        .collect();
    let places = Layers::of(spots.len(), &now).places();
    for (spot, at) in spots.iter_mut().zip(&places.spots) {
        spot.at = *at;
    }
    let mut lines: Vec<Line> = now
        .iter()
        .zip(places.edges)
        .map(|(ends, points)| Line { ends: *ends, is_to_next_epoch: false, points })
        .collect();
    let (width, mut height) = places.size;
    // Edges to the next epoch run below everything, one under the other.
    for (from, to) in next {
        height += 14.0;
        let (x, y) = (spots[from].at, spots[to].at);
        let (right, left) = (x.0 + WIDTH / 2.0 + 14.0, y.0 - WIDTH / 2.0 - 14.0);
        let points = vec![
            (x.0 + WIDTH / 2.0, x.1),
            (right, x.1),
            (right, height),
            (left, height),
            (left, y.1 + 8.0),
            (y.0 - WIDTH / 2.0, y.1 + 8.0),
        ];
        lines.push(Line { ends: (from, to), is_to_next_epoch: true, points });
    }
    Graph { spots, lines, size: (width + 28.0, height + MARGIN) }
}

/// Vertices in layers: the spots, and a place for each edge in each layer that it passes.
struct Layers {
    layer: Vec<usize>,
    /// The vertices of each layer, from top to bottom.
    rows: Vec<Vec<usize>>,
    /// The vertices of each edge, from its beginning to its end.
    ways: Vec<Vec<usize>>,
    spots: usize,
}

struct Places {
    spots: Vec<(f64, f64)>,
    edges: Vec<Vec<(f64, f64)>>,
    size: (f64, f64),
}

impl Layers {
    /// `edges` lead from earlier spots to later ones.
    fn of(spots: usize, edges: &[(usize, usize)]) -> Self {
        let mut layer = vec![0usize; spots];
        // Sources move as far to the right as their first reader allows.
        for _ in 0..spots {
            for (from, to) in edges {
                layer[*to] = layer[*to].max(layer[*from] + 1);
            }
        }
        for spot in (0..spots).filter(|spot| edges.iter().all(|(_, to)| to != spot)) {
            let first = edges.iter().filter(|(from, _)| *from == spot).map(|(_, to)| layer[*to]).min();
            layer[spot] = first.map_or(layer[spot], |first| first.saturating_sub(1));
        }
        // Edges of one spot share their places, so that they run together as long as they can.
        let mut passes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        let mut ways = Vec::new();
        for (from, to) in edges {
            let mut way = vec![*from];
            for passed in layer[*from] + 1..layer[*to] {
                way.push(*passes.entry((*from, passed)).or_insert_with(|| {
                    layer.push(passed);
                    layer.len() - 1
                }));
            }
            way.push(*to);
            ways.push(way);
        }
        let mut rows = vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)];
        for (vertex, layer) in layer.iter().enumerate() {
            rows[*layer].push(vertex);
        }
        let mut layers = Self { layer, rows, ways, spots };
        layers.sweep();
        layers
    }

    /// Sorts each layer by where the neighbours of its vertices are, to and fro.
    fn sweep(&mut self) {
        let mut neighbours: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
        let pairs: BTreeSet<(usize, usize)> =
            self.ways.iter().flat_map(|way| way.windows(2)).map(|pair| (pair[0], pair[1])).collect();
        for (from, to) in pairs {
            neighbours.entry((to, true)).or_default().push(from);
            neighbours.entry((from, false)).or_default().push(to);
        }
        for sweep in 0..SWEEPS {
            let mut row = vec![0.0; self.layer.len()];
            for vertices in &self.rows {
                let middle = (vertices.len() as f64 - 1.0) / 2.0;
                vertices.iter().enumerate().for_each(|(at, vertex)| row[*vertex] = at as f64 - middle);
            }
            let is_forward = sweep % 2 == 0;
            for vertices in &mut self.rows {
                let mean = |vertex: &usize| {
                    let near = neighbours.get(&(*vertex, is_forward)).map_or(&[][..], Vec::as_slice);
                    let sum: f64 = near.iter().map(|other| row[*other]).sum();
                    if near.is_empty() { row[*vertex] } else { sum / near.len() as f64 }
                };
                vertices.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
            }
        }
    }

    fn places(&self) -> Places {
        let tallest = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut at = vec![(0.0, 0.0); self.layer.len()];
        for (layer, vertices) in self.rows.iter().enumerate() {
            let above = (tallest - vertices.len()) as f64 / 2.0;
            for (row, vertex) in vertices.iter().enumerate() {
                let x = MARGIN + 28.0 + WIDTH / 2.0 + layer as f64 * STEP.0;
                at[*vertex] = (x, MARGIN + HEIGHT / 2.0 + (above + row as f64) * STEP.1);
            }
        }
        let edge = |way: &Vec<usize>| {
            let inner = way[1..way.len() - 1].iter().flat_map(|vertex| {
                let (x, y) = at[*vertex];
                [(x - WIDTH / 2.0, y), (x + WIDTH / 2.0, y)]
            });
            let (from, to) = (at[way[0]], at[way[way.len() - 1]]);
            let ends = ((from.0 + WIDTH / 2.0, from.1), (to.0 - WIDTH / 2.0, to.1));
            std::iter::once(ends.0).chain(inner).chain([ends.1]).collect()
        };
        let size = (self.rows.len() as f64 * STEP.0 + 2.0 * MARGIN, tallest as f64 * STEP.1);
        Places { spots: at[..self.spots].to_vec(), edges: self.ways.iter().map(edge).collect(), size }
    }
}

impl Graph {
    /// An SVG file. Its colours follow the viewer's dark or light mode.
    pub fn svg(&self) -> String {
        let (width, height) = self.size;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\" aria-label=\"One epoch\">\n<style>{STYLE}</style>\n<defs><marker id=\"tip\" \
             viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path \
             d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
        );
        for line in &self.lines {
            let class = if line.is_to_next_epoch { "next" } else { "now" };
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"{}\" marker-end=\"url(#tip)\"/>", line.path());
        }
        for spot in &self.spots {
            let (x, y) = spot.at;
            let class = if spot.is_of_epoch { "epoch" } else { "once" };
            let (left, top) = (x - WIDTH / 2.0, y - HEIGHT / 2.0);
            let _ = writeln!(
                svg,
                "<g class=\"{class}\"><rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
                 rx=\"6\"/><text x=\"{x:.0}\" y=\"{:.0}\">{}</text><text class=\"verb\" x=\"{x:.0}\" y=\"{:.0}\">{}</text></g>",
                y - 2.0,
                escaped(&spot.name),
                y + 12.0,
                spot.verb
            );
        }
        svg + "</svg>\n"
    }

    /// A file for Graphviz.
    pub fn dot(&self) -> String {
        let mut dot = "digraph epoch {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n".to_owned();
        for (nth, spot) in self.spots.iter().enumerate() {
            let style = if spot.is_of_epoch { "" } else { ", style=\"rounded,dashed\"" };
            let name = spot.name.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(dot, "  n{nth} [label=\"{name}\\n{}\"{style}];", spot.verb);
        }
        for line in &self.lines {
            let style = if line.is_to_next_epoch { " [style=dashed, constraint=false]" } else { "" };
            let _ = writeln!(dot, "  n{} -> n{}{style};", line.ends.0, line.ends.1);
        }
        dot + "}\n"
    }
}

impl Line {
    /// The way as an SVG path: curves between layers, straight under everything.
    pub fn path(&self) -> String {
        let mut path = format!("M{:.0} {:.0}", self.points[0].0, self.points[0].1);
        for pair in self.points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let _ = if self.is_to_next_epoch {
                write!(path, "L{x1:.0} {y1:.0}")
            } else {
                let middle = f64::midpoint(x0, x1);
                write!(path, "C{middle:.0} {y0:.0} {middle:.0} {y1:.0} {x1:.0} {y1:.0}")
            };
        }
        path
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "svg{color-scheme:light dark;font:13px system-ui,sans-serif}\
path{fill:none;stroke:#6b7280;stroke-width:1.4}marker path{fill:#6b7280;stroke:none}.next{stroke-dasharray:5 4}\
rect{fill:#f3f4f6;stroke:#6b7280}.epoch rect{fill:#e0ecff;stroke:#2f5fb3}text{text-anchor:middle;fill:#111827}\
.verb{font-size:10px;fill:#4b5563}\
@media(prefers-color-scheme:dark){rect{fill:#1f2937}.epoch rect{fill:#1e3254;stroke:#7aa7f0}text{fill:#f3f4f6}\
.verb{fill:#c3c9d4}}";
