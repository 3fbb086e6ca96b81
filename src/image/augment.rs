//! augment: the random changes of a training crop beyond its place: colours, grey, blur.

use crate::base::Stream;
use crate::base::draw::{below_as_torchvision, between, unit};
use crate::image::blur::blur;
use crate::image::tone::Tone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a training crop is drawn and what becomes of its colours. The default is as published: the place and the mirror
/// are drawn, and no colour changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Smallest share of the image's area that a crop shows; 0.08 is published.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub scale: f64,
    /// Share of the crops whose brightness, contrast, saturation and hue change, in random order.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// Brightness changes by a factor that is at most so far from 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub brightness: f64,
    /// Contrast: the same.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub contrast: f64,
    /// Saturation: the same.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub saturation: f64,
    /// Hue turns by at most this share of the circle.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub hue: f64,
    /// Share of the crops that become grey.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub grey: f64,
    /// Share of the crops that a Gaussian blurs, whose radius is 0.1 to 2 pixels.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub blur: f64,
}

/// Smallest and largest radius of a blur, in pixels: DeepCluster-v2's.
const RADIUS: (f64, f64) = (0.1, 2.0);

impl Default for Augment {
    /// The strengths are those that MoCo v2 has (Chen et al. 2020); with no jitter they have no effect.
    fn default() -> Self {
        let (jitter, grey, blur) = (0.0, 0.0, 0.0);
        Self { scale: 0.08, jitter, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, grey, blur }
    }
}

impl Augment {
    /// Says which parameter is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let shares = [
            ("scale", self.scale, 0.001, 1.0),
            ("jitter", self.jitter, 0.0, 1.0),
            ("brightness", self.brightness, 0.0, 1.0),
            ("contrast", self.contrast, 0.0, 1.0),
            ("saturation", self.saturation, 0.0, 1.0),
            ("hue", self.hue, 0.0, 0.5),
            ("grey", self.grey, 0.0, 1.0),
            ("blur", self.blur, 0.0, 1.0),
        ];
        match shares.into_iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            Some((name, value, low, high)) => Err(format!("augment's {name} is {value}, not between {low} and {high}")),
            None => Ok(()),
        }
    }

    /// Whether nothing but a crop's place and mirror is drawn.
    pub fn keeps_colours(&self) -> bool {
        self.jitter == 0.0 && self.grey == 0.0 && self.blur == 0.0
    }

    /// Changes the rows x `width` x 3 bytes of a crop: jitter, then grey, then blur. They are torchvision's `ColorJitter`
    /// and `RandomGrayscale`, and Pillow's `GaussianBlur`.
    pub fn apply(&self, stream: &mut Stream, rgb: &mut [u8], width: usize) {
        if unit(stream) < self.jitter {
            for tone in self.tones(stream) {
                tone.apply(rgb);
            }
        }
        if unit(stream) < self.grey {
            Tone::Grey.apply(rgb);
        }
        if unit(stream) < self.blur {
            blur(rgb, width, between(stream, RADIUS.0, RADIUS.1) as f32);
        }
    }

    /// Brightness, contrast, saturation and hue in random order, each by a factor of its own. torchvision leaves out one
    /// of strength 0. So does this: even a hue that does not turn would lose a little in bytes of HSV.
    fn tones(&self, stream: &mut Stream) -> impl Iterator<Item = Tone> + use<> {
        let mut factor = |strength: f64| between(stream, 1.0 - strength, 1.0 + strength) as f32;
        let mut tones = [
            (self.brightness, Tone::Brightness(factor(self.brightness))),
            (self.contrast, Tone::Contrast(factor(self.contrast))),
            (self.saturation, Tone::Saturation(factor(self.saturation))),
            (self.hue, Tone::Hue(between(stream, -self.hue, self.hue))),
        ];
        for last in (1..tones.len()).rev() {
            tones.swap(last, below_as_torchvision(stream, last as u32 + 1) as usize);
        }
        tones.into_iter().filter(|(strength, _)| *strength > 0.0).map(|(_, tone)| tone)
    }
}
