//! flavours: every flavour of a format equals Pillow, or is refused by name, as the table of docs/images.md says.

use crate::space::{IMAGES, Space};
use dcpipe::format::dataset::open_bad;
use dcpipe::image::{BadImage, Limits, OnDamage, Picture, decode_or_take, encode_jpeg};
use safetensors::SafeTensors;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("tests/golden/flavours")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder().join("files")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn look(name: &str, on_damage: OnDamage) -> Result<Picture, BadImage> {
    decode_or_take(&std::fs::read(folder().join("files").join(name)).unwrap(), &Limits::default(), on_damage)
}

/// The verdict as the table words it: what is taken is compared with Pillow's samples.
fn verdict(name: &str, on_damage: OnDamage, pillow: Option<&[u8]>) -> String {
    match (look(name, on_damage), pillow) {
        (Err(bad), _) => bad.reason().to_owned(),
        (Ok(_), None) => "takes".to_owned(),
        (Ok(picture), Some(theirs)) if picture.rgb == theirs => "equal".to_owned(),
        (Ok(picture), Some(theirs)) => {
            let apart = picture.rgb.iter().zip(theirs).filter(|(a, b)| a != b).count();
            format!("differs in {apart} of {} samples", theirs.len())
        }
    }
}

#[test]
fn every_flavour_is_pillows_or_refused_as_the_table_says() {
    let raw = std::fs::read(folder().join("decoded.safetensors")).unwrap();
    let decoded = SafeTensors::deserialize(&raw).unwrap();
    let doc = std::fs::read_to_string(root().join("docs/images.md")).unwrap();
    let row = |name: &String| {
        let tensor = decoded.tensor(name).ok();
        let pillow = tensor.as_ref().map(safetensors::tensor::TensorView::data);
        let theirs = if pillow.is_some() { "takes" } else { "refuses" };
        let [refuse, take] = [OnDamage::Refuse, OnDamage::Take].map(|policy| verdict(name, policy, pillow));
        assert!(!refuse.starts_with("differs") && !take.starts_with("differs"), "{name}: {refuse}, {take}");
        format!("| `{name}` | {theirs} | {refuse} | {take} |")
    };
    let rows: Vec<String> = names().iter().map(row).collect();
    let written: Vec<&str> = doc.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows == written, "the table of docs/images.md should be\n{}", rows.join("\n"));
}

#[test]
fn a_reason_says_what_is_so_once() {
    for (name, text) in [
        ("jpeg_restart_byte_lost.jpg", "damaged inside: Corrupt JPEG data"),
        ("jpeg_cut_half.jpg", "ends early: the file ends before the picture does"),
        ("png_wrong_checksum_of_pixels.png", "checksum wrong: the checksum of the pixels"),
        ("tiff_big.tif", "another format: the file is BigTIFF, which is not read; convert it to JPEG or PNG"),
        ("other_avif.jpg", "another format: the file is AVIF"),
        ("other_heic.jpg", "another format: the file is HEIC"),
        ("other_jpeg2000.jpg", "another format: the file is JPEG 2000"),
        ("other_jpegxl.jpg", "another format: the file is JPEG XL"),
        ("tiff_palette.tif", "unsupported flavour: a TIFF of 1 palette samples of 8 bits (not packed)"),
        ("gif_frame_inside_screen.gif", "unsupported flavour: a GIF whose first frame is not exactly its screen"),
        ("tiff_rgb_planar_tiled.tif", "unsupported flavour: a TIFF in planes and tiles"),
    ] {
        let bad = look(name, OnDamage::Refuse).unwrap_err();
        assert!(bad.to_string().starts_with(text), "{name}: {bad}");
        assert!(!bad.detail().starts_with(bad.reason()), "{name}: {bad}");
    }
}

#[test]
fn an_unknown_jpeg_marker_is_damage_and_a_hierarchical_jpeg_another_flavour() {
    let picture = Picture { width: 8, height: 8, rgb: vec![100; 192] };
    let whole = encode_jpeg(&picture, 90);
    for (marker, text) in [(0x02, "damaged inside"), (0xde, "unsupported flavour")] {
        let harmed = [&whole[..2], &[0xff, marker], &whole[2..]].concat();
        let bad = decode_or_take(&harmed, &Limits::default(), OnDamage::Refuse).unwrap_err();
        assert!(bad.to_string().starts_with(text), "{marker:#x}: {bad}");
    }
}

#[test]
fn what_pillow_takes_of_damaged_pictures_is_taken_when_asked_for() {
    for name in ["jpeg_restart_byte_lost.jpg", "jpeg_end_marker_inside.jpg", "png_wrong_checksum_of_pixels.png"] {
        assert!(look(name, OnDamage::Refuse).is_err(), "{name}");
        assert!(look(name, OnDamage::Take).is_ok(), "{name}");
    }
    // A whole picture without its end marker is whole; one that ends early is refused in either case.
    for policy in [OnDamage::Refuse, OnDamage::Take] {
        assert!(look("jpeg_no_end_marker.jpg", policy).is_ok() && look("png_no_end_marker.png", policy).is_ok());
        assert!(look("jpeg_cut_half.jpg", policy).is_err() && look("png_cut.png", policy).is_err());
    }
}

#[test]
fn a_damaged_picture_is_listed_or_carried_through_as_the_scan_is_told() {
    let space = Space::filled();
    let damaged = folder().join("files/jpeg_restart_byte_lost.jpg");
    space.write("images/odd/damaged.jpg", std::fs::read(damaged).unwrap());
    let run = ["run", "tiny.yaml", "--to", "crops"];
    space.run(&run).ok().complains_of(&["odd/damaged.jpg: Corrupt JPEG data: premature end of data segment"]);
    let listed = open_bad(&std::fs::read(space.path("runs/tiny/bad.parquet")).unwrap().into()).unwrap();
    assert_eq!(listed.iter().map(|bad| bad.reason.as_str()).collect::<Vec<_>>(), ["corrupt"]);
    let taken = space.run(&[&run[..], &["--json", "--set", "dataset.on_damage=take"]].concat()).ok();
    assert!(taken.ran().contains(&"crops@0".to_owned()), "{:?}", taken.ran());
    assert_eq!(space.record("dataset@0").facts["images"], IMAGES as u64 + 1);
    // What one rule remembers of a file is not what the other says.
    space.run(&run).ok();
    assert_eq!(space.record("dataset@0").facts["images"], IMAGES as u64);
}
