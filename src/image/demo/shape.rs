//! shape: how much of each pixel is ink, for each kind of drawing.

use crate::base::Stream;
use crate::base::draw::{between, unit};
use std::f64::consts::FRAC_1_SQRT_2;

/// Row by row, 0 for paper to 1 for ink; lengths are in pixels, scaled with the size.
pub(super) fn draw(kind: usize, size: u32, stream: &mut Stream) -> Vec<f64> {
    let side = f64::from(size);
    let (turn, cross) = tilt(stream);
    let centre = (side * between(stream, 0.4, 0.6), side * between(stream, 0.4, 0.6));
    let scale = side * between(stream, 0.85, 1.15);
    let place = |x: f64, y: f64| (x - centre.0, y - centre.1);
    let bars = |x: f64, y: f64, period: f64| stripe(x * turn + y * cross, period);
    let slant = |x: f64, y: f64| bars((x + y) * FRAC_1_SQRT_2, (y - x) * FRAC_1_SQRT_2, scale / 6.0);
    match kind {
        0 => each(size, |x, y| bars(place(x, y).1, x, scale / 6.0)),
        1 => each(size, |x, y| bars(place(x, y).0, y, scale / 6.0)),
        2 => each(size, |x, y| slant(place(x, y).0, place(x, y).1)),
        3 => each(size, |x, y| {
            let (a, b) = (bars(place(x, y).0, y, scale / 3.0), bars(place(x, y).1, -x, scale / 3.0));
            a + b - 2.0 * a * b
        }),
        4 => each(size, |x, y| {
            let (a, b) = (nearest(place(x, y).0, scale / 5.0), nearest(place(x, y).1, scale / 5.0));
            edge(scale / 16.0 - length(a, b))
        }),
        5 => each(size, |x, y| stripe(length(place(x, y).0, place(x, y).1), scale / 5.0)),
        6 => each(size, |x, y| triangle(place(x, y), scale * 0.36)),
        7 => each(size, |x, y| {
            let (x, y) = (place(x, y).0.abs(), place(x, y).1.abs());
            edge((scale * 0.07 - x.min(y)).min(scale * 0.38 - x.max(y)))
        }),
        8 => (0..size * size).map(|_| unit(stream)).collect(),
        _ => each(size, |x, y| {
            let far = length(place(x, y).0, place(x, y).1) / (scale * 0.45);
            let fall = (1.0 - far * far).max(0.0);
            fall * fall
        }),
    }
}

fn each(size: u32, cover: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let centres = || (0..size).map(|at| f64::from(at) + 0.5);
    centres().flat_map(|y| centres().map(move |x| (x, y))).map(|(x, y)| cover(x, y)).collect()
}

/// Cosine and sine of a small random angle, by the rational half-angle form.
fn tilt(stream: &mut Stream) -> (f64, f64) {
    let half = between(stream, -0.04, 0.04);
    let norm = 1.0 + half * half;
    ((1.0 - half * half) / norm, 2.0 * half / norm)
}

/// Share of a pixel that lies inside, given its distance to the inside of a border.
fn edge(distance: f64) -> f64 {
    (distance + 0.5).clamp(0.0, 1.0)
}

/// Signed distance to the nearest multiple of `period`.
fn nearest(at: f64, period: f64) -> f64 {
    at - (at / period).round() * period
}

/// Ink on half of every period, around its multiples.
fn stripe(at: f64, period: f64) -> f64 {
    edge(period / 4.0 - nearest(at, period).abs())
}

fn length(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

/// A triangle on its base, of this radius.
fn triangle((x, y): (f64, f64), radius: f64) -> f64 {
    const SIN_60: f64 = 0.866_025_403_784_438_6;
    let side = radius / 2.0 + y * 0.5 - x.abs() * SIN_60;
    edge(side.min(radius / 2.0 - y))
}
