//! projector: vectors, names and thumbnails for TensorBoard's projector, within what it can show.

use super::Job;
use super::originals::Lost;
use super::source::{NO_VECTORS, cluster_name};
use super::thumbnails::{QUALITY, Thumbnails};
use crate::base::ImageId;
use crate::image::{Picture, encode_jpeg};
use rayon::prelude::*;
use std::io::Write;

/// Most images: its t-SNE reads no more, and it loads but the first 100,000 without a word.
const MOST: usize = 10_000;
/// Most pixels of a side of the sprite: a larger one ends the tab.
const SPRITE: usize = 8192;
/// Side of a thumbnail.
const TILE: u32 = 48;
const CONFIG: &str = "embeddings {\n  tensor_name: \"vectors\"\n  tensor_path: \"vectors.tsv\"\n  \
                      metadata_path: \"metadata.tsv\"\n  sprite {\n    image_path: \"sprite.jpg\"\n    \
                      single_image_dim: SIDE\n    single_image_dim: SIDE\n  }\n}\n";

/// Writes `vectors.tsv`, `metadata.tsv`, `sprite.jpg` and `projector_config.pbtxt`, if the vectors are there.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<()> {
    let source = job.source;
    let Some(vectors) = source.vectors()? else {
        job.note(format!("there is no projector: {NO_VECTORS}"));
        return Ok(());
    };
    let step = source.images().div_ceil(MOST).max(1);
    let shown: Vec<ImageId> = source.ids().step_by(step).collect();
    if step > 1 {
        job.note(format!("the projector shows every {step}th image, {} of {}", shown.len(), source.images()));
    }
    job.write("vectors.tsv", |out| {
        for image in &shown {
            let row = vectors.image(*image).unwrap_or_default();
            let cells: Vec<String> = row.iter().map(f32::to_string).collect();
            writeln!(out, "{}", cells.join("\t"))?;
        }
        Ok(())
    })?;
    job.write("metadata.tsv", |out| {
        writeln!(out, "cluster\tlabel\timage_id\tdistance\tpath")?;
        for image in &shown {
            let (known, at) = (source.originals.dataset.image(*image), image.index());
            let cluster = cluster_name(source.clusters.cluster_id[at]);
            let (label, path) = (one_line(known.label), one_line(known.path));
            writeln!(out, "{cluster}\t{label}\t{image}\t{}\t{path}", source.clusters.distance[at])?;
        }
        Ok(())
    })?;
    let side = sprite(job, &shown)?;
    job.write(
        "projector_config.pbtxt",
        |out| Ok(out.write_all(CONFIG.replace("SIDE", &side.to_string()).as_bytes())?),
    )?;
    Ok(())
}

/// Writes all thumbnails in one picture, row by row, and returns the side of each.
fn sprite(job: &Job<'_>, shown: &[ImageId]) -> anyhow::Result<u32> {
    let thumbnails = Thumbnails::open(job.source, TILE)?;
    let side = thumbnails.side() as usize;
    let across = (1..).find(|across| across * across >= shown.len()).unwrap_or(1);
    debug_assert!(across * side <= SPRITE);
    let (stride, lost) = (across * side * 3, Lost::default());
    let mut rgb = vec![255; stride * across * side];
    for (row, images) in rgb.chunks_exact_mut(stride * side).zip(shown.chunks(across)) {
        let tiles: Vec<_> = images.par_iter().map(|image| lost.count(*image, thumbnails.of(*image))).collect();
        for (at, tile) in tiles.iter().enumerate() {
            let lines = tile.iter().flat_map(|tile| tile.rgb.chunks_exact(side * 3));
            for (line, pixels) in lines.enumerate() {
                let from = line * stride + at * side * 3;
                row[from..from + pixels.len()].copy_from_slice(pixels);
            }
        }
    }
    lost.told("are white in the projector", shown.len())?.into_iter().for_each(|text| job.note(text));
    let (width, height) = ((across * side) as u32, (across * side) as u32);
    let jpeg = encode_jpeg(&Picture { width, height, rgb }, QUALITY);
    job.write("sprite.jpg", |out| Ok(out.write_all(&jpeg)?))?;
    Ok(thumbnails.side())
}

/// A text in a table of lines and tabs.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
