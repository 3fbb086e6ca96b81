//! arch: the registry of networks, and the shapes and names that follow from a row of it.

mod alexnet;
mod alexnet_small;
mod resnet;
mod row;
mod vgg16;

use super::module::{Module, Size};
use super::sobel;
use anyhow::{Result, ensure};
pub use row::Stem;
use row::{Entry, Row};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! networks {
    ($($(#[doc = $doc:literal])* $name:ident => $row:expr),* $(,)?) => {
        /// Which network.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Arch { $($(#[doc = $doc])* $name),* }

        impl Arch {
            /// Every network there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            fn row(self) -> &'static Row {
                match self { $(Self::$name => &$row),* }
            }

            /// Whether there are published files of it, with DeepCluster's own names.
            pub fn is_published(self) -> bool {
                self.row().published
            }

            /// What torchvision calls the head of the same network, if it has that network.
            pub fn torchvision_head(self) -> Option<&'static str> {
                self.row().torchvision_head
            }
        }
    };
}

// A network has a row here and a `mod` above.
networks! {
    /// AlexNet with batch norm and without groups or LRN: 58,272,480 parameters at 224 pixels.
    Alexnet => alexnet::ALEXNET,
    /// An AlexNet for images of 32 pixels, with features of 1,024 numbers: dcpipe's own.
    AlexnetSmall => alexnet_small::ALEXNET_SMALL,
    /// VGG16 (configuration D) with batch norm: 134,268,416 parameters at 224 pixels.
    Vgg16 => vgg16::VGG16,
    /// ResNet-18 as torchvision has it: 11,176,512 parameters with RGB input, features of 512 numbers.
    Resnet18 => resnet::RESNET18,
    /// ResNet-50 as torchvision has it: 23,508,032 parameters with RGB input, features of 2,048 numbers.
    Resnet50 => resnet::RESNET50,
}

/// The largest side of an input.
const LARGEST: u32 = 4096;

/// A network fixed enough to know every tensor's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetShape {
    /// Which network.
    pub arch: Arch,
    /// Two fixed edge channels instead of RGB.
    pub sobel: bool,
    /// Side of the square input, in pixels.
    pub input: u32,
    /// How it begins, for a network that has the choice.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub stem: Stem,
}

/// Whether a stem is the one that files and keys do not name.
pub fn is_usual(stem: &Stem) -> bool {
    *stem == Stem::default()
}

/// A map that a probe reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// What it is called: `conv3` for the map behind a convolution's ReLU, `layer2` for the one behind a stage.
    pub name: String,
    /// Its channels.
    pub channels: i64,
    /// Its side.
    pub side: i64,
}

impl NetShape {
    /// The network with its usual stem.
    pub const fn new(arch: Arch, sobel: bool, input: u32) -> Self {
        Self { arch, sobel, input, stem: Stem::Imagenet }
    }

    /// Whether the same network, with the same tensors, takes crops of this side as well.
    pub fn takes(&self, side: u32) -> bool {
        let other = Self { input: side, ..*self };
        side == self.input || (side > 0 && other.is_whole() && other.trunk() == self.trunk())
    }

    /// The smallest side that the same network takes; none if it takes no other than its input.
    pub fn smallest(&self) -> Option<u32> {
        self.check().ok()?;
        self.takes(self.input.saturating_mul(2)).then(|| (1..=self.input).find(|side| self.takes(*side))).flatten()
    }

    /// Refuses an input that is too small for the network; the error names the smallest that works.
    pub fn check(&self) -> Result<()> {
        let arch = self.arch;
        ensure!(self.arch.row().has_stems || is_usual(&self.stem), "{arch:?} has no choice of stem; leave it out");
        ensure!(
            self.input <= LARGEST,
            "{} x {} pixels are too many; the largest input is {LARGEST} x {LARGEST}",
            self.input,
            self.input
        );
        if !self.is_whole() {
            let smaller = |input: &u32| Self { input: *input, ..*self }.is_whole();
            let smallest = (self.input..=LARGEST).find(smaller).unwrap_or(LARGEST);
            anyhow::bail!(
                "{arch:?} cannot take {} x {} pixels. The smallest input is {smallest} x {smallest}",
                self.input,
                self.input
            );
        }
        Ok(())
    }

    /// Whether every window fits. Batch norm must see more than one pixel of an image: one has no variance.
    fn is_whole(&self) -> bool {
        let mut whole = true;
        self.module().walk(self.entry().size, &mut |module, size| {
            let least = if matches!(module, Module::Norm(_)) { 2 } else { 1 };
            whole &= size.side >= least && size.channels > 0;
        });
        whole
    }

    fn entry(&self) -> Entry {
        let channels = if self.sobel { 2 } else { 3 };
        Entry { size: Size { channels, side: self.input.into() }, stem: self.stem }
    }

    /// The network itself, from pixels or edges to what the head reads.
    pub fn module(&self) -> Module {
        (self.arch.row().build)(self.entry())
    }

    /// Length of a feature: the width of FC2, or the channels of a ResNet's last map.
    pub fn feature_dims(&self) -> usize {
        let mut dims = 0;
        self.module().walk(self.entry().size, &mut |module, size| {
            if *module == Module::Feature {
                dims = size.channels as usize;
            }
        });
        dims
    }

    /// The layer that makes the feature: `fc2` for the second product, `avgpool` where there is none.
    pub fn feature_name(&self) -> String {
        let (mut products, mut name) = (0, String::new());
        self.module().walk(self.entry().size, &mut |module, _| match module {
            Module::Linear(..) => products += 1,
            Module::Feature if products > 0 => name = format!("fc{products}"),
            Module::Feature => name = "avgpool".to_owned(),
            _ => {}
        });
        name
    }

    /// The maps that a probe reads, first to last: behind each convolution's ReLU, or behind a ResNet's stem and stages.
    pub fn maps(&self) -> Vec<Map> {
        let mut maps = Vec::new();
        self.module().walk(self.entry().size, &mut |module, size| {
            if let Module::Map(name) = module {
                maps.push(Map { name: name.clone(), channels: size.channels, side: size.side });
            }
        });
        maps
    }

    /// Name and shape of every tensor but the head's, in the order of the modules.
    pub fn trunk(&self) -> Vec<(String, Vec<i64>)> {
        let mut trunk = Vec::new();
        self.module().tensors("", &mut trunk);
        if self.sobel {
            trunk.extend(sobel::SHAPES.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
        }
        trunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_parameter_counts_are_met() {
        let count = |arch, sobel, prefix: &str| -> i64 {
            let shape = NetShape::new(arch, sobel, 224);
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
        // torchvision's 11,689,512 and 25,557,032 without a head of 1,000.
        assert_eq!(count(Arch::Resnet18, false, ""), 11_689_512 - 513_000);
        assert_eq!(count(Arch::Resnet50, false, ""), 25_557_032 - 2_049_000);
    }

    #[test]
    fn the_smallest_input_is_the_one_below_which_nothing_works() {
        let stems =
            |arch: &Arch| [Stem::Imagenet, Stem::Cifar].map(|stem| NetShape { stem, ..NetShape::new(*arch, true, 1) });
        let smallest = [
            (Arch::Alexnet, 63),
            (Arch::AlexnetSmall, 8),
            (Arch::Vgg16, 32),
            (Arch::Resnet18, 33),
            (Arch::Resnet50, 33),
        ];
        for shape in Arch::ALL.iter().flat_map(stems) {
            let due = match shape.stem {
                Stem::Imagenet => smallest.iter().find(|(arch, _)| *arch == shape.arch).map(|(_, input)| *input),
                Stem::Cifar => shape.arch.row().has_stems.then_some(9),
            };
            for input in 1..200 {
                let works = due.is_some_and(|due| input >= due);
                assert_eq!(NetShape { input, ..shape }.check().is_ok(), works, "{shape:?} {input}");
            }
        }
    }

    #[test]
    fn only_a_network_that_ends_in_a_mean_takes_crops_of_other_sides() {
        let cifar = NetShape { stem: Stem::Cifar, ..NetShape::new(Arch::Resnet18, false, 32) };
        assert_eq!(cifar.smallest(), Some(9));
        assert_eq!(NetShape::new(Arch::Resnet50, true, 224).smallest(), Some(33));
        for arch in [Arch::Alexnet, Arch::Vgg16, Arch::AlexnetSmall] {
            let shape = NetShape::new(arch, true, 224);
            assert_eq!((shape.smallest(), shape.takes(224), shape.takes(96)), (None, true, false), "{arch:?}");
        }
    }

    #[test]
    fn every_network_has_one_feature_and_maps_of_different_names() {
        for arch in Arch::ALL {
            let shape = NetShape::new(*arch, true, 224);
            let mut features = 0;
            shape.module().walk(shape.entry().size, &mut |module, _| features += u32::from(*module == Module::Feature));
            let mut names: Vec<_> = shape.maps().into_iter().map(|map| map.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert!(features == 1 && count > 0 && names.len() == count, "{arch:?}: {features} {names:?}");
            let is_resnet = matches!(arch, Arch::Resnet18 | Arch::Resnet50);
            assert_eq!(shape.feature_name(), if is_resnet { "avgpool" } else { "fc2" }, "{arch:?}");
        }
    }
}
