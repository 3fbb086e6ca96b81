//! generate: a seed -> dataset of drawn images in ten kinds, as real JPEG files that the dataset carries along.

use crate::base::{Digest, ImageId};
use crate::engine::{Before, Context, Device, Facts, InputSizes, Keep, Noun, Pool, Port, Sizes, Stage};
use crate::format::dataset::{BAD, BadImage, IMAGES, Image, PACK, write_bad, write_images};
use crate::image::demo::kinds;
use crate::image::{JPEG_LIBRARY, encode_jpeg};
use crate::stages::DATASET;
use anyhow::ensure;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws images to try dcpipe on: ten kinds of shapes and textures, as many of each.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How many images in all.
    #[serde(default = "default_images")]
    #[schemars(range(min = 10, max = 1_000_000))]
    pub images: u32,
    /// Side of the square images, in pixels.
    #[serde(default = "default_size")]
    #[schemars(range(min = 16, max = 1024))]
    pub size: u32,
    /// JPEG quality.
    #[serde(default = "default_quality")]
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
}

fn default_images() -> u32 {
    1000
}

fn default_size() -> u32 {
    96
}

fn default_quality() -> u8 {
    90
}

impl Stage for Generate {
    const VERB: &'static str = "generate";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = DATASET;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const DRAWS: bool = true;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(JPEG_LIBRARY.to_owned())
    }

    fn before(&self, _: &Device) -> Before {
        let numerics = Some("libjpeg-turbo".to_owned());
        Before { version: Self::VERSION, format: Self::OUTPUT.format, numerics, by_parts: false }
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!((10..=1_000_000).contains(&self.images), "images is {}, not between 10 and 1000000", self.images);
        ensure!((16..=1024).contains(&self.size), "size is {}, not between 16 and 1024 pixels", self.size);
        ensure!((1..=100).contains(&self.quality), "quality is {}, not between 1 and 100", self.quality);
        Ok(())
    }

    fn sizes(&self, _: &InputSizes<'_>) -> Sizes {
        vec![("images", self.images.into())]
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let seed = cx.seed()?.clone();
        let kind_of = |id: u32| (u64::from(id) * kinds::NAMES.len() as u64 / u64::from(self.images)) as usize;
        let files: Vec<Vec<u8>> = (0..self.images)
            .into_par_iter()
            .map(|id| {
                let mut stream = seed.stream("image", u64::from(ImageId(id).0));
                encode_jpeg(&kinds::draw(kind_of(id), self.size, &mut stream), self.quality)
            })
            .collect();
        let paths: Vec<String> =
            (0..self.images).map(|id| format!("{}/{id:06}.jpg", kinds::NAMES[kind_of(id)])).collect();
        let mut offset = 0;
        let mut images = Vec::with_capacity(files.len());
        for ((file, path), id) in files.iter().zip(&paths).zip(0..) {
            let (digest, bytes, label) = (Digest::of(file), file.len() as u64, kinds::NAMES[kind_of(id)]);
            let size = self.size;
            images.push(Image {
                path,
                digest,
                bytes,
                width: size,
                height: size,
                split: "",
                label,
                offset: Some(offset),
            });
            offset += bytes;
        }
        cx.write_part(IMAGES.file, |out| write_images(out, images.iter().copied()).map(drop))?;
        cx.write_part(BAD.file, |out| write_bad(out, &[] as &[BadImage]).map(drop))?;
        cx.write_part(PACK, |out| files.iter().try_for_each(|file| out.write_all(file)))?;
        cx.fact("images", u64::from(self.images));
        Ok(())
    }
}
