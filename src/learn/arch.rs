//! arch: the two published networks as lists of layers, and the shapes and names that follow from them.

use super::layer::Layer;
use super::{alexnet, sobel, vgg16};
use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// AlexNet with batch norm and without groups or LRN: 58,272,480 parameters at 224 pixels.
    Alexnet,
    /// VGG16 (configuration D) with batch norm: 134,268,416 parameters at 224 pixels.
    Vgg16,
}

/// A network fixed enough to know every tensor's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetShape {
    /// Which network.
    pub arch: Arch,
    /// Two fixed edge channels instead of RGB.
    pub sobel: bool,
    /// Side of the square input, in pixels.
    pub input: u32,
}

impl NetShape {
    /// Refuses an input that a pooling layer would shrink to nothing; the error names the smallest that works.
    pub fn check(&self) -> Result<()> {
        let smallest = match self.arch {
            Arch::Alexnet => alexnet::SMALLEST_INPUT,
            Arch::Vgg16 => vgg16::SMALLEST_INPUT,
        };
        ensure!(
            self.input >= smallest,
            "{:?} cannot take {} x {} pixels: pooling leaves nothing; the smallest input is {smallest} x {smallest}",
            self.arch,
            self.input,
            self.input
        );
        ensure!(
            self.input <= 4096,
            "{} x {} pixels are too many; the largest input is 4096 x 4096",
            self.input,
            self.input
        );
        Ok(())
    }

    /// Length of a feature: FC2's width, 4096.
    pub fn feature_dims(&self) -> usize {
        4096
    }

    /// The convolutional part, from pixels or edges to the last pooled map.
    pub fn features(&self) -> Vec<Layer> {
        let channels = if self.sobel { 2 } else { 3 };
        match self.arch {
            Arch::Alexnet => alexnet::features(channels),
            Arch::Vgg16 => vgg16::features(channels),
        }
    }

    /// The fully connected part, up to and with FC2's ReLU.
    pub fn classifier(&self) -> Vec<Layer> {
        match self.arch {
            Arch::Alexnet => alexnet::classifier(self.flat()),
            Arch::Vgg16 => vgg16::classifier(self.flat()),
        }
    }

    /// (channels, side) of the map behind each convolution's ReLU, first convolution first.
    pub fn maps(&self) -> Vec<(i64, i64)> {
        let mut side = i64::from(self.input);
        let mut maps = Vec::new();
        for layer in self.features() {
            match layer {
                Layer::Conv { to, kernel, stride, padding, .. } => {
                    side = shrunk(side + 2 * padding, kernel, stride);
                    maps.push((to, side));
                }
                Layer::Pool { kernel, stride } => side = shrunk(side, kernel, stride),
                _ => {}
            }
        }
        maps
    }

    /// Values per image that enter FC1 (9216 for AlexNet, 25088 for VGG16 at 224 pixels).
    fn flat(&self) -> i64 {
        let (width, side) = self.maps().last().copied().unwrap_or((0, 0));
        let side = match self.features().last() {
            Some(Layer::Pool { kernel, stride }) => shrunk(side, *kernel, *stride),
            _ => side,
        };
        width * side * side
    }

    /// Name and shape of every tensor but the head's, in the order of the modules.
    pub fn trunk(&self) -> Vec<(String, Vec<i64>)> {
        let mut trunk = Vec::new();
        for (sequence, layers) in [("features", self.features()), ("classifier", self.classifier())] {
            for layer in layers {
                layer.tensors(sequence, &mut trunk);
            }
        }
        if self.sobel {
            trunk.extend(sobel::SHAPES.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
        }
        trunk
    }
}

/// Places where a window of `kernel` fits, by `stride`; not positive where none does.
fn shrunk(side: i64, kernel: i64, stride: i64) -> i64 {
    (side - kernel).div_euclid(stride) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_parameter_counts_are_met() {
        let count = |arch, sobel, prefix: &str| -> i64 {
            let shape = NetShape { arch, sobel, input: 224 };
            let parameters = shape
                .trunk()
                .into_iter()
                .filter(|(name, _)| name.starts_with(prefix) && (name.ends_with("weight") || name.ends_with("bias")));
            parameters.map(|(_, shape)| shape.iter().product::<i64>()).sum()
        };
        assert_eq!(count(Arch::Alexnet, true, "features"), 3_738_336);
        assert_eq!(count(Arch::Alexnet, false, "features"), 3_749_952);
        assert_eq!(count(Arch::Alexnet, true, "classifier"), 54_534_144);
        assert_eq!(count(Arch::Alexnet, true, "sobel"), 24);
        let vgg = count(Arch::Vgg16, true, "features") + count(Arch::Vgg16, true, "classifier");
        assert_eq!(vgg, 134_268_416);
    }

    #[test]
    fn the_smallest_input_is_exactly_the_one_that_pooling_allows() {
        for arch in [Arch::Alexnet, Arch::Vgg16] {
            for input in 1..200 {
                let shape = NetShape { arch, sobel: true, input };
                let whole = shape.maps().iter().all(|(_, side)| *side > 0) && shape.flat() > 0;
                assert_eq!(shape.check().is_ok(), whole && input > 10, "{arch:?} {input}");
            }
        }
    }
}
