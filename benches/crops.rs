//! crops: how long JPEG files take to their views of u8 pixels, in batches in memory.
//!
//! Targets: the clustering view (row 1) at 2.5 times the speed of torchvision's DataLoader with a worker a core, in 0 differing
//! samples, and at 1.8 times DALI's with a thread a core (row 2). From kept crops (row 4) 20 times. A random crop and its mirror
//! (row 5) twice, exact for the same box.

use crate::side::{Settings, Spent, map, report, timed};
use bytes::Bytes;
use dcpipe::format::{RowsWriter, crops};
use dcpipe::image::{CentreView, Crop, Limits, Picture, decode};
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Images of a batch.
const BATCH: usize = 256;
/// Images that are read before the clock starts.
const WARM: usize = 64;
const SIDE: u32 = 224;
const BYTES: usize = (SIDE * SIDE * 3) as usize;
const VIEW: CentreView = CentreView { short_side: 256, crop: SIDE };

/// One repetition: every batch of the views, one after the other. `of` is centre, boxes or kept.
pub fn one(settings: &Settings) {
    let out = settings.out();
    let spent = match settings.text("of") {
        "centre" => {
            let files = files(settings);
            views(&files, out.as_deref(), |_, picture, out| VIEW.render(picture, out))
        }
        "boxes" => {
            let boxes = boxes(&settings.path("boxes"));
            let crop = |at: usize, picture: &Picture, out: &mut [u8]| boxes[at].render(picture, SIDE, out);
            views(&files(settings), out.as_deref(), crop)
        }
        "keep" => return keep(&files(settings), &settings.path("kept")),
        _ => kept(&settings.path("kept"), out.as_deref()),
    };
    report(&spent, &serde_json::json!({}));
}

fn files(settings: &Settings) -> Vec<PathBuf> {
    std::fs::read_to_string(settings.path("images")).unwrap().lines().map(PathBuf::from).collect()
}

/// A line for each image: top, left, height, width, and 1 if it is mirrored.
fn boxes(path: &Path) -> Vec<Crop> {
    let text = std::fs::read_to_string(path).unwrap();
    let crop = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [top, left, height, width, flip] = *numbers.as_slice() else { panic!("a box has five numbers") };
        Crop { top, left, height, width, flip: flip == 1 }
    };
    text.lines().map(crop).collect()
}

/// Decodes and renders all, batch after batch, into one buffer; with `out` once more, into that file.
fn views(files: &[PathBuf], out: Option<&Path>, render: impl Fn(usize, &Picture, &mut [u8]) + Sync) -> Spent {
    let mut pixels = vec![0; BATCH.min(files.len()) * BYTES];
    let mut pass = |count: usize, see: &mut dyn FnMut(&[u8])| {
        for start in (0..count).step_by(BATCH) {
            let batch = start..(start + BATCH).min(count);
            let rows = batch.clone().into_par_iter().zip(pixels.par_chunks_exact_mut(BYTES));
            rows.for_each(|(at, out)| {
                let picture = decode(&std::fs::read(&files[at]).unwrap(), &Limits::default());
                render(at, &picture.unwrap_or_else(|bad| panic!("{}: {bad}", files[at].display())), out);
            });
            see(&pixels[..batch.len() * BYTES]);
        }
    };
    pass(WARM.min(files.len()), &mut |_| ());
    let ((), spent) = timed(|| pass(files.len(), &mut |_| ()));
    if let Some(out) = out {
        let mut file = create(out);
        pass(files.len(), &mut |pixels| file.write_all(pixels).unwrap());
        file.flush().unwrap();
    }
    spent
}

/// Writes the crops as a run keeps them.
fn keep(files: &[PathBuf], to: &Path) {
    let file = BufWriter::new(File::create(to).unwrap());
    let mut writer = RowsWriter::<u8, _>::create(file, crops::plan(SIDE, files.len())).unwrap();
    let mut row = vec![0; BYTES];
    for file in files {
        VIEW.render(&decode(&std::fs::read(file).unwrap(), &Limits::default()).unwrap(), &mut row);
        writer.push(&row).unwrap();
    }
    writer.finish().unwrap().flush().unwrap();
}

/// Reads kept crops, batch after batch, into the buffer that the network reads from.
fn kept(path: &Path, out: Option<&Path>) -> Spent {
    let mut pixels = Vec::with_capacity(BATCH * BYTES);
    let mut pass = |see: &mut dyn FnMut(&[u8])| {
        let (crops, _) = crops::open(&[Bytes::from_owner(map(path))]).unwrap();
        for start in (0..crops.rows()).step_by(BATCH) {
            pixels.clear();
            crops.pieces(start..(start + BATCH).min(crops.rows())).for_each(|piece| pixels.extend_from_slice(piece));
            see(&pixels);
        }
    };
    pass(&mut |_| ());
    let ((), spent) = timed(|| pass(&mut |_| ()));
    if let Some(out) = out {
        let mut file = create(out);
        pass(&mut |pixels| file.write_all(pixels).unwrap());
        file.flush().unwrap();
    }
    spent
}

fn create(folder: &Path) -> BufWriter<File> {
    std::fs::create_dir_all(folder).unwrap();
    BufWriter::new(File::create(folder.join("pixels.u8")).unwrap())
}
