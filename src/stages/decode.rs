//! decode: dataset -> crops: the deterministic view that is clustered, reused by every epoch.

use crate::base::{Digest, ImageId};
use crate::engine::{
    Before, Context, Device, Facts, InputSizes, Inputs, Keep, Noun, Pool, Port, Shard, Sizes, Stage, Work,
};
use crate::format::rows::part_name;
use crate::format::{Dataset, RowsWriter, crops, dataset};
use crate::image::{CentreView, JPEG_LIBRARY};
use crate::stages::cuts::cut;
use crate::stages::originals::{IMAGES, Originals};
use crate::stages::{CROPS, DATASET};
use anyhow::ensure;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Images decoded between two writes.
const CHUNK: usize = 128;

/// Resizes every image and cuts out its centre, to the byte as torchvision's Resize and CenterCrop on Pillow images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decode {
    /// Length of the shorter side after resizing, in pixels; 256 is published.
    #[serde(default = "default_short_side")]
    #[schemars(range(min = 1, max = 4096))]
    pub short_side: u32,
    /// Side of the square that is cut out of the middle, in pixels; 224 is published.
    #[serde(default = "default_crop")]
    #[schemars(range(min = 1, max = 4096))]
    pub crop: u32,
}

fn default_short_side() -> u32 {
    256
}

fn default_crop() -> u32 {
    224
}

impl Stage for Decode {
    const VERB: &'static str = "decode";
    const VERSION: u32 = 2;
    const INPUTS: &'static [Port] = &[Port::required("dataset", DATASET.name).reading(IMAGES)];
    const OUTPUT: Noun = CROPS;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(JPEG_LIBRARY.to_owned())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        for (name, value) in [("short_side", self.short_side), ("crop", self.crop)] {
            ensure!((1..=4096).contains(&value), "{name} is {value}, not between 1 and 4096 pixels");
        }
        Ok(())
    }

    fn sizes(&self, inputs: &InputSizes<'_>) -> Sizes {
        let images = inputs.handed_on("dataset", "images");
        images.into_iter().chain([("side", self.crop.into())]).collect()
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        facts.get("images").map(|images| images * self.view().bytes() as u64)
    }

    fn before(&self, _: &Device) -> Before {
        Before { version: 1, format: 1, numerics: Some("libjpeg-turbo".to_owned()), by_parts: false }
    }

    fn work(&self, inputs: &Inputs<'_>) -> anyhow::Result<Work> {
        let dataset = Dataset::open(&inputs.at("dataset")?.part(dataset::IMAGES.file)?)?;
        let images: Vec<Digest> = dataset.iter().map(|image| image.digest).collect();
        let shard = |(at, rows): (usize, Range<usize>)| {
            let content: Vec<u8> = images[rows.clone()].iter().flat_map(|image| *image.as_bytes()).collect();
            let shard = Shard::new(part_name(at), rows.start as u64..rows.end as u64);
            shard.reading_rows("dataset", Digest::of(&content))
        };
        Ok(Work::Shards(cut(&images).into_iter().enumerate().map(shard).collect()))
    }

    fn run_shard(&self, shard: &Shard, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let originals = cx.shared(|cx| Originals::open(cx.input("dataset")?))?;
        let (view, rows) = (self.view(), shard.rows.start as usize..shard.rows.end as usize);
        let mut writer = RowsWriter::<u8, _>::create(cx.output().create()?, crops::plan(self.crop, rows.len()))?;
        let mut pixels = vec![0; CHUNK.min(rows.len()) * view.bytes()];
        for from in rows.clone().step_by(CHUNK) {
            cx.checkpoint()?;
            let chunk = from..(from + CHUNK).min(rows.end);
            render(&originals, &view, chunk.clone(), &mut pixels)?;
            writer.push(&pixels[..chunk.len() * view.bytes()])?;
            cx.progress((chunk.end - rows.start) as u64, rows.len() as u64, "images");
        }
        let out = writer.finish()?;
        cx.output().finish(out, &shard.part)?;
        cx.share(originals);
        Ok(())
    }
}

impl Decode {
    fn view(&self) -> CentreView {
        CentreView { short_side: self.short_side, crop: self.crop }
    }
}

fn render(originals: &Originals, view: &CentreView, ids: Range<usize>, pixels: &mut [u8]) -> anyhow::Result<()> {
    let rows = ids.into_par_iter().zip(pixels.par_chunks_exact_mut(view.bytes()));
    rows.try_for_each(|(id, out)| {
        view.render(&originals.picture(ImageId(id as u32))?, out);
        Ok(())
    })
}
