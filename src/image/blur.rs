//! blur: Pillow's Gaussian blur, to the byte: three box blurs along each axis, in fixed point.

/// Box blurs that make one Gaussian: Pillow's `GaussianBlur`.
const PASSES: usize = 3;
/// Bits of the weights behind the point.
const BITS: u32 = 24;

/// Blurs the rows x `width` x 3 bytes of `rgb` by a Gaussian of standard deviation `radius`, in pixels.
pub fn blur(rgb: &mut [u8], width: usize, radius: f32) {
    if radius == 0.0 || width == 0 || rgb.is_empty() {
        return;
    }
    let edge = Edge::of(radius);
    let height = rgb.len() / (width * 3);
    let mut lines = [vec![0; width.max(height)], vec![0; width.max(height)]];
    // Pillow makes all passes along the rows first, then all along the columns.
    let rows = (0..height).flat_map(|row| (0..3).map(move |channel| (row * width * 3 + channel, 3, width)));
    let columns = (0..width).flat_map(|column| (0..3).map(move |channel| (column * 3 + channel, width * 3, height)));
    for (first, step, count) in rows.chain(columns) {
        let [line, next] = &mut lines;
        line.truncate(0);
        line.extend((0..count).map(|at| rgb[first + at * step]));
        next.resize(count, 0);
        for _ in 0..PASSES {
            edge.pass(line, next);
            std::mem::swap(line, next);
        }
        for (at, sample) in line.iter().enumerate() {
            rgb[first + at * step] = *sample;
        }
    }
}

/// A box of whole samples, and how much of the sample beyond either end it takes.
struct Edge {
    whole: usize,
    inside: u32,
    beyond: u32,
}

impl Edge {
    /// The box whose three passes have the Gaussian's variance (Gwosdek et al. 2011, as Pillow has it).
    fn of(radius: f32) -> Self {
        let variance = radius * radius / PASSES as f32;
        // Pillow's constants are double, its variables single.
        let length = ((12.0 * f64::from(variance) + 1.0).sqrt()) as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let over = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        let part = over / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        let radius = whole + part;
        let whole = radius as usize;
        let inside = ((1_u32 << BITS) as f32 / (radius * 2.0 + 1.0)) as u32;
        Self { whole, inside, beyond: ((1 << BITS) - (2 * whole as u32 + 1) * inside) / 2 }
    }

    /// One pass. Beyond its ends the line has its first and last sample again and again.
    fn pass(&self, line: &[u8], out: &mut [u8]) {
        let last = line.len() as isize - 1;
        let sample = |at: isize| u32::from(line[at.clamp(0, last) as usize]);
        let reach = self.whole as isize;
        let mut sum: u32 = (-reach..=reach).map(sample).sum();
        for (at, out) in (0..).zip(out) {
            let ends = sample(at - reach - 1) + sample(at + reach + 1);
            *out = ((sum * self.inside + ends * self.beyond + (1 << (BITS - 1))) >> BITS) as u8;
            sum = sum + sample(at + reach + 1) - sample(at - reach);
        }
    }
}
