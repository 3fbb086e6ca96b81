//! bombs: little files that unpack to much.

use super::harm::with_checksums;
use super::memory::most_held;
use dcpipe::image::{Limits, decode, probe};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
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
