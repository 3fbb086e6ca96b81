//! tensorboard: the numbers of every epoch, the largest clusters as pictures, and the projector's files.

use super::montage::montages;
use super::{Job, projector};
use crate::base::shell::shell;
use crate::format::noun::GALLERY;
use crate::format::tfevents::EventWriter;
use crate::image::{Limits, Picture, decode, encode_jpeg};
use crate::views::made::numbers;
use std::cmp::Reverse;

/// TensorBoard finds event files by this word; the rest is the same for the same run.
const EVENTS: &str = "events.out.tfevents.0.dcpipe";
/// Montages on a sheet, and how many in a row. TensorBoard shows few pictures of a tag, so an epoch has one.
const SHEET: usize = 12;
const ACROSS: usize = 3;
const QUALITY: u8 = 80;
/// Pixels that a montage may have.
const LIMITS: Limits = Limits { max_pixels: 1 << 26 };

/// Writes the events of all epochs, and the projector's files of one.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let source = job.source;
    let mut has_sheet = false;
    job.write(EVENTS, |out| {
        let mut events = EventWriter::create(out)?;
        for (epoch, numbers) in numbers(source.store, &source.made)? {
            for (name, value) in numbers.iter().filter(|(name, _)| *name != "steps") {
                let group = if name == "loss" { "train" } else { "clusters" };
                events.scalar(&format!("{group}/{name}"), epoch.0.into(), *value as f32)?;
            }
        }
        for gallery in source.made.iter().filter(|made| made.is(&GALLERY) && made.is_whole(source.store)) {
            let mut largest = montages(source, gallery)?;
            largest.sort_by_key(|(cluster, size, _)| (Reverse(*size), *cluster));
            largest.truncate(SHEET);
            let pictures = largest.iter().map(|(.., jpeg)| decode(jpeg, &LIMITS)).collect::<Result<Vec<_>, _>>()?;
            if let Some(sheet) = sheet(&pictures) {
                let jpeg = encode_jpeg(&sheet, QUALITY);
                let epoch = gallery.node.epoch.0.into();
                events.picture("largest clusters", epoch, sheet.width, sheet.height, &jpeg)?;
                has_sheet = true;
            }
        }
        events.finish()?;
        Ok(())
    })?;
    if !has_sheet {
        job.note("there are no pictures of clusters: no epoch of the run has a gallery with its bytes");
    }
    projector::write(job)?;
    Ok(vec![format!("tensorboard --logdir {}", shell(&job.to.display().to_string()))])
}

/// The pictures in rows on a grey sheet, each from its left upper corner; none of no pictures.
fn sheet(pictures: &[Picture]) -> Option<Picture> {
    let wide = pictures.iter().map(|picture| picture.width).max()? as usize;
    let high = pictures.iter().map(|picture| picture.height).max()? as usize;
    let (across, down) = (pictures.len().min(ACROSS), pictures.len().div_ceil(ACROSS));
    let gap = 8;
    let (width, height) = (across * (wide + gap), down * (high + gap));
    let mut rgb = vec![128; width * height * 3];
    for (at, picture) in pictures.iter().enumerate() {
        let (left, top) = (at % ACROSS * (wide + gap), at / ACROSS * (high + gap));
        let stride = picture.width as usize * 3;
        for (line, row) in picture.rgb.chunks_exact(stride).enumerate() {
            let from = ((top + line) * width + left) * 3;
            rgb[from..from + stride].copy_from_slice(row);
        }
    }
    Some(Picture { width: width as u32, height: height as u32, rgb })
}
