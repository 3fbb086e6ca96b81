//! bombs: little files that unpack to much, and files that are not what they are taken for.

use super::harm::with_checksums;
use super::memory::most_held;
use crate::space::Space;
use dcpipe::image::{Limits, decode, probe};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use std::fs;
use std::ops::Range;

fn png(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let black = vec![0; (side * side) as usize];
    PngEncoder::new(&mut bytes).write_image(&black, side, side, ExtendedColorType::L8).unwrap();
    bytes
}

/// The chunks of a PNG: name, and where its data are.
fn chunks(png: &[u8]) -> Vec<([u8; 4], Range<usize>)> {
    let (mut at, mut found) = (8, Vec::new());
    while at + 12 <= png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        found.push((png[at + 4..at + 8].try_into().unwrap(), at + 8..at + 8 + length));
        at += 12 + length;
    }
    found
}

/// The picture with a chunk `name` before its pixels that unpacks to 256 MiB of zeros.
fn with_packed(png_of_little: &[u8], zeros: &[u8], name: [u8; 4]) -> Vec<u8> {
    let data = [b"x\0\0", zeros].concat();
    let chunk = [&(data.len() as u32).to_be_bytes()[..], &name, &data, &[0; 4]].concat();
    let pixels = chunks(png_of_little).into_iter().find(|(name, _)| name == b"IDAT").unwrap().1.start - 8;
    let mut bytes = png_of_little.to_vec();
    bytes.splice(pixels..pixels, chunk);
    with_checksums(bytes)
}

#[test]
fn a_packed_colour_profile_or_text_gets_no_more_room_than_any_picture_has() {
    let many = png(1 << 14);
    let zeros: Vec<u8> = chunks(&many)
        .into_iter()
        .filter(|(name, _)| name == b"IDAT")
        .flat_map(|(_, data)| many[data].to_vec())
        .collect();
    assert!(zeros.len() < 2 << 20, "{} bytes of pixels", zeros.len());
    for name in [*b"iCCP", *b"zTXt"] {
        let bomb = with_packed(&png(8), &zeros, name);
        let (decoded, most) = most_held(|| (probe(&bomb, &Limits::default()), decode(&bomb, &Limits::default())));
        assert!(most < 80 << 20, "{most} bytes for {name:?}");
        let (Ok(_), Ok(picture)) = decoded else { panic!("{decoded:?}") };
        assert!(picture.rgb.iter().all(|value| *value == 0) && picture.rgb.len() == 192);
    }
}

#[test]
fn files_of_a_terabyte_of_nothing_are_refused_where_a_few_bytes_are_expected() {
    let space = Space::after_a_run();
    let key = space.store().node_keys("tiny")["crops@0"].to_string();
    let record = format!(".dcpipe/records/{}/{key}", &key[..2]);
    let huge = |path: &str| {
        let _ = fs::remove_file(space.path(path));
        fs::File::create(space.path(path)).unwrap().set_len(1 << 40).unwrap();
    };
    for file in ["state.json", "nodes.json", "before.json", "pipeline.yaml"].map(|f| format!(".dcpipe/runs/tiny/{f}")) {
        huge(&file);
        space.run(&["run", "tiny.yaml"]).ok();
    }
    huge(&record);
    assert!(space.run(&["verify"]).ended(5).stdout.contains(&key));
    space.run(&["run", "tiny.yaml"]).ok();
    for file in ["runs/tiny/.index.json", ".dcpipe/runs/last.json"] {
        huge(file);
        space.run(&["run", "tiny.yaml"]).ok();
    }
}

#[test]
fn pipes_are_not_waited_for_where_a_file_is_expected() {
    let space = Space::after_a_run();
    let pipe = |path: &str| {
        let _ = fs::remove_file(space.path(path));
        assert!(std::process::Command::new("mkfifo").arg(space.path(path)).status().unwrap().success());
    };
    pipe(".dcpipe/runs/last.json");
    space.run(&["why", "crops@0"]).ended(2).complains_of(&["last.json cannot be read", "name a pipeline"]);
    pipe(".dcpipe/runs/tiny/pipeline.yaml");
    space.run(&["log", "tiny"]);
    for file in ["runs/tiny/.index.json", ".dcpipe/runs/tiny/nodes.json", ".dcpipe/runs/tiny/state.json"] {
        pipe(file);
    }
    space.run(&["run", "tiny.yaml"]).ok();
    space.run(&["run", "tiny.yaml"]).ok();
}

#[test]
fn results_delete_no_file_that_is_not_below_their_folder() {
    let space = Space::after_a_run();
    space.write("mine.txt", "mine");
    let index = space.path("runs/tiny/.index.json");
    let text = fs::read_to_string(&index).unwrap();
    for victim in ["../../mine.txt".to_owned(), space.path("mine.txt").display().to_string()] {
        let mut page: serde_json::Value = serde_json::from_str(&text).unwrap();
        page["nodes"]["manifest@1"]["files"] = serde_json::json!([victim]);
        fs::write(&index, page.to_string()).unwrap();
        space.run(&["run", "tiny.yaml", "--to", "clusters@1", "--set", "clusters.k=5"]).ok();
        assert!(space.path("mine.txt").exists(), "{victim}");
    }
}
