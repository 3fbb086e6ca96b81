//! activations: the maps of a network's layers over many images, pooled and in half precision: what probes read.

use super::arch::{Map, NetShape};
use super::net::Net;
use super::probe;
use anyhow::{Context, Result, ensure};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Numbers of an image that a probe of a map reads, at most; the published probe reads 9,216 or 9,600.
const MOST: i64 = 9600;

/// A layer that can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Its place among the layers of the network.
    pub at: usize,
    /// Such as `conv5`; the feature has the name of the layer that makes it.
    pub name: String,
    /// Channels.
    pub width: i64,
    /// Side of the map.
    pub side: i64,
    /// Side of the map that is left of it by average pooling.
    pub pooled: i64,
    /// (kernel, stride, padding) of the published pooling, where it leaves a map of that side.
    window: Option<(i64, i64, i64)>,
}

impl Tap {
    /// Numbers of an image.
    pub fn dims(&self) -> usize {
        (self.width * self.pooled * self.pooled) as usize
    }

    /// [n, width, side, side] or [n, width] to [n, dims], in half precision on the CPU.
    fn pool(&self, map: &Tensor) -> Result<Tensor> {
        Ok(self.pooled(map)?.f_to_kind(Kind::Half)?.f_to_device(Device::Cpu)?.f_contiguous()?)
    }

    /// The same as it is, where it is.
    pub(super) fn pooled(&self, map: &Tensor) -> Result<Tensor> {
        let pooled = match self.window {
            _ if self.pooled == self.side => map.shallow_clone(),
            Some((kernel, stride, padding)) => map.f_avg_pool2d(kernel, stride, padding, false, true, None::<i64>)?,
            None => map.f_adaptive_avg_pool2d([self.pooled, self.pooled])?,
        };
        Ok(pooled.f_flatten(1, -1)?)
    }
}

/// The layers of a network: the maps of [`NetShape::maps`], and last the feature. At AlexNet's published input the
/// pooling is the published one. Elsewhere it leaves the largest square of at most 9,600 numbers.
pub fn taps(shape: &NetShape) -> Vec<Tap> {
    let map = |(at, Map { name, channels: width, side }): (usize, Map)| {
        let pooled = (MOST / width).isqrt().clamp(1, side);
        let window = probe::pool(shape, at + 1).ok().filter(|_| pooled < side);
        let window =
            window.filter(|(kernel, stride, padding)| (side + 2 * padding - kernel).div_euclid(*stride) + 1 == pooled);
        Tap { at, name, width, side, pooled, window }
    };
    let mut taps: Vec<_> = shape.maps().into_iter().enumerate().map(map).collect();
    let width = shape.feature_dims() as i64;
    taps.push(Tap { at: taps.len(), name: shape.feature_name(), width, side: 1, pooled: 1, window: None });
    taps
}

/// What one layer answers to many images: a row for each.
pub struct Activations {
    /// The layer's name.
    pub name: String,
    dims: usize,
    numbers: Vec<f16>,
}

impl Activations {
    /// Wraps rows of `dims` numbers.
    pub fn of(name: &str, dims: usize, numbers: Vec<f16>) -> Result<Self> {
        ensure!(dims > 0 && numbers.len().is_multiple_of(dims), "{} numbers are no rows of {dims}", numbers.len());
        Ok(Self { name: name.to_owned(), dims, numbers })
    }

    /// Numbers of an image.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// How many images.
    pub fn rows(&self) -> usize {
        self.numbers.len() / self.dims
    }

    /// The numbers of an image, in single precision.
    pub fn row(&self, row: usize) -> Vec<f32> {
        self.numbers[row * self.dims..(row + 1) * self.dims].to_f32_vec()
    }

    /// Some rows as a tensor in single precision.
    pub(super) fn tensor(&self, rows: Range<usize>, device: Device) -> Result<Tensor> {
        let numbers = &self.numbers[rows.start * self.dims..rows.end * self.dims];
        let halves = Tensor::f_from_slice(numbers)?.f_view([rows.len() as i64, self.dims as i64])?;
        Ok(halves.f_to_device(device)?.f_to_kind(Kind::Float)?)
    }

    /// The same with every row of length 1; a row of zeroes stays one.
    pub(super) fn unit(&self, rows: Range<usize>, device: Device) -> Result<Tensor> {
        let rows = self.tensor(rows, device)?;
        let lengths = rows.f_norm_scalaropt_dim(2, [1i64], true)?.f_clamp_min(1e-12)?;
        Ok(rows.f_div(&lengths)?)
    }
}

/// Appends the pixels of a range of images.
pub type Next<'n> = dyn FnMut(Range<usize>, &mut Vec<u8>) -> Result<()> + 'n;

/// The activations of some layers over `images` images, of which `next` appends the pixels of a range. Images pass the
/// network once, and each map is pooled as soon as it is there. A layer is `None` if one of its numbers is not finite or beyond half precision: it cannot be measured, and
/// the others can.
///
/// # Errors
/// If the device or `next` fails.
pub fn collect(net: &Net, taps: &[Tap], images: usize, next: &mut Next<'_>) -> Result<Vec<Option<Activations>>> {
    let room = |tap: &Tap| vec![f16::ZERO; images * tap.dims()];
    let mut rooms: Vec<_> = taps.iter().map(|tap| Some(room(tap))).collect();
    let Some(last) = taps.iter().map(|tap| tap.at).max() else { return Ok(Vec::new()) };
    let mut pixels = Vec::new();
    for start in (0..images).step_by(TOGETHER) {
        let range = start..(start + TOGETHER).min(images);
        pixels.clear();
        next(range.clone(), &mut pixels)?;
        net.layers(&pixels, range.len(), last, &mut |at, map| {
            let Some((tap, place)) = taps.iter().zip(&mut rooms).find(|(tap, _)| tap.at == at) else { return Ok(()) };
            let Some(room) = place else { return Ok(()) };
            let pooled = tap.pool(map)?;
            if pooled.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
                *place = None;
                return Ok(());
            }
            let room = &mut room[range.start * tap.dims()..range.end * tap.dims()];
            pooled.f_copy_data(room, room.len()).context("BUG: a pooled map of another size")
        })?;
    }
    let layer = |(tap, room): (&Tap, Option<Vec<f16>>)| room.map(|room| Activations::of(&tap.name, tap.dims(), room));
    taps.iter().zip(rooms).map(|pair| layer(pair).transpose()).collect()
}

/// Images that pass the network together; no result depends on it.
const TOGETHER: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seed;
    use crate::learn::arch::Arch;
    use crate::learn::initial::initial_trunk;

    #[test]
    fn a_layer_beyond_half_precision_is_left_out_and_those_before_it_are_there() {
        let shape = NetShape::new(Arch::Alexnet, true, 64);
        let mut state = initial_trunk(&shape, &Seed::of_node(0, "test")).unwrap();
        let mut convs = shape
            .trunk()
            .into_iter()
            .filter(|(name, sides)| name.starts_with("features.") && sides.len() == 4)
            .map(|(name, _)| name);
        let last = convs.next_back().unwrap();
        let large = state[&last].f_mul_scalar(1e12).unwrap();
        state.insert(last, large);
        let net = Net::load(&shape, &state, Device::Cpu).unwrap();
        let mut next = |range: Range<usize>, pixels: &mut Vec<u8>| {
            pixels.extend((0..range.len() * 64 * 64 * 3).map(|at| (at * at % 251) as u8));
            Ok(())
        };
        // The images pass in two batches.
        let found = collect(&net, &taps(&shape), 70, &mut next).unwrap();
        let rows: Vec<_> = found.iter().map(|layer| layer.as_ref().map(Activations::rows)).collect();
        assert_eq!(rows[..5], [Some(70), Some(70), Some(70), Some(70), None]);
    }

    /// Rows of some layers, found by keeping every whole map first.
    fn from_whole_maps(net: &Net, taps: &[Tap], pixels: &[u8], n: usize) -> Vec<Vec<f16>> {
        let _guard = tch::no_grad_guard();
        let mut layers = net.activations(pixels, n).unwrap();
        layers.push(net.features_on_device(pixels, n).unwrap());
        let rows = |tap: &Tap| {
            let pooled = tap.pool(&layers[tap.at]).unwrap();
            let mut rows = vec![f16::ZERO; pooled.numel()];
            pooled.copy_data(&mut rows, pooled.numel());
            rows
        };
        taps.iter().map(rows).collect()
    }

    #[test]
    fn any_choice_of_layers_has_the_bits_of_pooling_whole_maps() {
        let cifar = NetShape { stem: crate::learn::arch::Stem::Cifar, ..NetShape::new(Arch::Resnet18, false, 32) };
        for shape in [NetShape::new(Arch::AlexnetSmall, true, 32), NetShape::new(Arch::Vgg16, true, 32), cifar] {
            let net =
                Net::load(&shape, &initial_trunk(&shape, &Seed::of_node(0, "test")).unwrap(), Device::Cpu).unwrap();
            let all: Vec<u8> = (0..3 * 32 * 32 * 3).map(|at| (at * at % 251) as u8).collect();
            let mut next = |range: Range<usize>, pixels: &mut Vec<u8>| {
                let bytes = 32 * 32 * 3;
                pixels.extend_from_slice(&all[range.start * bytes..range.end * bytes]);
                Ok(())
            };
            let taps = taps(&shape);
            let due = from_whole_maps(&net, &taps, &all, 3);
            let last = taps.len() - 1;
            for choice in [vec![0], vec![last], vec![1, last - 1], (0..taps.len()).collect()] {
                let some: Vec<_> = choice.iter().map(|at| taps[*at].clone()).collect();
                let found = collect(&net, &some, 3, &mut next).unwrap();
                for (at, layer) in choice.iter().zip(found) {
                    assert!(layer.unwrap().numbers == due[*at], "{shape:?} {}", taps[*at].name);
                }
            }
        }
    }

    #[test]
    fn at_the_published_input_the_layers_have_the_published_numbers() {
        let shape = NetShape::new(Arch::Alexnet, true, 224);
        let dims: Vec<_> = taps(&shape).iter().map(Tap::dims).collect();
        assert_eq!(dims, [9600, 9216, 9600, 9600, 9216, 4096]);
        for (tap, conv) in taps(&shape).iter().zip(1..=5) {
            assert_eq!(tap.window, Some(probe::pool(&shape, conv).unwrap()), "{}", tap.name);
            assert_eq!(tap.dims(), probe::pooled_dims(&shape, conv).unwrap());
        }
    }

    #[test]
    fn at_any_input_a_layer_has_at_most_as_many_numbers_and_none_is_empty() {
        for arch in Arch::ALL {
            for input in (63..300).step_by(7) {
                for tap in taps(&NetShape::new(*arch, true, input)) {
                    assert!((1..=9600).contains(&tap.dims()), "{arch:?} {input}: {tap:?}");
                    assert!(tap.pooled <= tap.side);
                }
            }
        }
    }
}
