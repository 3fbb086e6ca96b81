//! image: the room of pixels against Pillow and torchvision (oracles 1, 2 and 19), and against hostile bytes.

use dcpipe::base::Seed;
use dcpipe::image::demo::kinds;
use dcpipe::image::{
    Augment, CentreView, Crop, Format, JPEG_LIBRARY, Limits, Picture, Tone, blur, decode, encode_jpeg, list, probe,
};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Golden {
    formula_37x23: String,
    views: Vec<View>,
    crops: Vec<Boxed>,
    tones: Vec<Toned>,
    every_colour_turned: String,
    blurs: Vec<Blurred>,
    folder_order: Vec<(String, String)>,
}

#[derive(Deserialize, Debug)]
struct Toned {
    tone: String,
    factor: f64,
    width: u32,
    height: u32,
    fnv: String,
}

#[derive(Deserialize, Debug)]
struct Blurred {
    width: u32,
    height: u32,
    radius: f64,
    fnv: String,
}

#[derive(Deserialize, Debug)]
struct View {
    width: u32,
    height: u32,
    short_side: u32,
    crop: u32,
    fnv: String,
}

#[derive(Deserialize, Debug)]
struct Boxed {
    width: u32,
    height: u32,
    top: u32,
    left: u32,
    h: u32,
    w: u32,
    size: u32,
    flip: bool,
    fnv: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/image")
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(folder().join("golden.json")).unwrap()).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join("files").join(name)).unwrap()
}

fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder().join("files")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), file(&name))).collect()
}

/// The golden script's picture by formula.
fn formula(width: u32, height: u32) -> Picture {
    let mut rgb = Vec::new();
    for (y, x) in (0..u64::from(height)).flat_map(|y| (0..u64::from(width)).map(move |x| (y, x))) {
        for c in 0..3 {
            let noisy = x * 40_503 + y * 30_011 + c * 10_007 + (x / 5) * (y / 7) * 977;
            let mixed = (noisy * 2_654_435_761 % (1 << 32)) >> 24;
            rgb.push(if (x / 16 + y / 16) % 2 == 0 { mixed } else { (x * 3 + y * 2 + c * 40) % 256 } as u8);
        }
    }
    Picture { width, height, rgb }
}

/// The golden script's FNV-1a over 8-byte words.
fn fnv(bytes: &[u8]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3);
    }
    format!("{hash:016x}")
}

fn reason(bytes: &[u8]) -> &'static str {
    decode(bytes, &Limits::default()).map_or_else(|bad| bad.reason(), |_| "decoded")
}

#[test]
fn every_format_decodes_to_pillows_rgb() {
    let raw = std::fs::read(folder().join("decoded.safetensors")).unwrap();
    let decoded = SafeTensors::deserialize(&raw).unwrap();
    let mut wrong = Vec::new();
    for (name, bytes) in files() {
        let expected = decoded.tensor(&name).unwrap();
        let picture = match decode(&bytes, &Limits::default()) {
            Ok(picture) => picture,
            Err(bad) => {
                wrong.push(format!("{name}: {bad}"));
                continue;
            }
        };
        let size = [picture.height as usize, picture.width as usize, 3];
        let apart = picture.rgb.iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        if size != expected.shape() || apart > 0 {
            wrong.push(format!("{name}: {size:?} for {:?}, largest difference {apart}", expected.shape()));
        }
        let head = probe(&bytes, &Limits::default()).unwrap();
        assert_eq!((head.width, head.height), (picture.width, picture.height), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn centre_views_equal_torchvisions_to_the_byte() {
    let golden = golden();
    assert_eq!(fnv(&formula(37, 23).rgb), golden.formula_37x23);
    for case in golden.views {
        let view = CentreView { short_side: case.short_side, crop: case.crop };
        let mut out = vec![7; view.bytes()];
        view.render(&formula(case.width, case.height), &mut out);
        assert_eq!(fnv(&out), case.fnv, "{case:?}");
    }
}

#[test]
fn random_crops_equal_pillows_crop_resize_and_flip_to_the_byte() {
    for case in golden().crops {
        let Boxed { top, left, h: height, w: width, flip, size, .. } = case;
        let mut out = vec![7; (size * size * 3) as usize];
        Crop { top, left, height, width, flip }.render(&formula(case.width, case.height), size, &mut out);
        assert_eq!(fnv(&out), case.fnv, "{case:?}");
    }
}

#[test]
fn colours_change_as_torchvision_changes_them_to_the_byte() {
    for case in golden().tones {
        let factor = case.factor as f32;
        let tone = match case.tone.as_str() {
            "brightness" => Tone::Brightness(factor),
            "contrast" => Tone::Contrast(factor),
            "saturation" => Tone::Saturation(factor),
            "hue" => Tone::Hue(case.factor),
            "grey" => Tone::Grey,
            other => panic!("{other}"),
        };
        let mut picture = formula(case.width, case.height);
        tone.apply(&mut picture.rgb);
        assert_eq!(fnv(&picture.rgb), case.fnv, "{case:?}");
    }
}

#[test]
fn every_colour_there_is_turns_its_hue_as_pillow_turns_it() {
    let mut colours: Vec<u8> = (0_u32..1 << 24).flat_map(|colour| colour.to_be_bytes().into_iter().skip(1)).collect();
    Tone::Hue(0.1).apply(&mut colours);
    assert_eq!(fnv(&colours), golden().every_colour_turned);
}

#[test]
fn a_blur_equals_pillows_to_the_byte() {
    for case in golden().blurs {
        let mut picture = formula(case.width, case.height);
        blur(&mut picture.rgb, case.width as usize, case.radius as f32);
        assert_eq!(fnv(&picture.rgb), case.fnv, "{case:?}");
    }
}

#[test]
fn each_change_of_a_crop_comes_as_often_as_asked() {
    let picture = formula(9, 7);
    let share = |augment: Augment| {
        let changed = |number: &u64| {
            let mut rgb = picture.rgb.clone();
            augment.apply(&mut Seed::of_node(31, "weights@1").stream("colours", *number), &mut rgb, 9);
            rgb != picture.rgb
        };
        (0..2000).filter(changed).count()
    };
    let none = Augment::default();
    assert!(none.keeps_colours() && share(none) == 0);
    for some in [Augment { jitter: 0.8, ..none }, Augment { grey: 0.8, ..none }, Augment { blur: 0.8, ..none }] {
        // 1,600 expected, standard deviation 18; a blur of a tenth of a pixel may change nothing.
        assert!(!some.keeps_colours() && (1450..1690).contains(&share(some)), "{some:?}: {}", share(some));
    }
    assert_eq!(share(Augment { jitter: 1.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, ..none }), 0);
}

/// Two-sample Kolmogorov-Smirnov: the largest distance between the two empirical distributions.
fn distance(mut a: Vec<f64>, mut b: Vec<f64>) -> f64 {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let share = |sorted: &[f64], x: f64| sorted.partition_point(|&y| y <= x) as f64 / sorted.len() as f64;
    a.iter().chain(&b).map(|&x| (share(&a, x) - share(&b, x)).abs()).fold(0.0, f64::max)
}

#[test]
fn drawn_crops_are_distributed_as_torchvisions() {
    let raw = std::fs::read(folder().join("draws.safetensors")).unwrap();
    let mut stream = Seed::of_node(31, "weights@1").stream("crop", 0);
    for (name, tensor) in SafeTensors::deserialize(&raw).unwrap().tensors() {
        let (width, height) = name.split_once('x').unwrap();
        let (width, height): (u32, u32) = (width.parse().unwrap(), height.parse().unwrap());
        let numbers: Vec<u32> =
            tensor.data().chunks_exact(2).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
        let theirs: Vec<[u32; 4]> = numbers.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]).collect();
        let drawn: Vec<Crop> = (0..theirs.len() * 4).map(|_| Crop::draw(&mut stream, 0.08, width, height)).collect();
        let ours: Vec<[u32; 4]> = drawn.iter().map(|c| [c.top, c.left, c.height, c.width]).collect();
        let area = |b: &[u32; 4]| f64::from(b[2] * b[3]);
        let ratio = |b: &[u32; 4]| f64::from(b[3]) / f64::from(b[2]);
        let down = |b: &[u32; 4]| f64::from(b[0]) / f64::from(height - b[2] + 1);
        let across = |b: &[u32; 4]| f64::from(b[1]) / f64::from(width - b[3] + 1);
        // p > 0.01: 1.63 * sqrt((n + m) / (n m)). Ties make the test milder, never harsher.
        let limit = 1.63 * ((1.0 / theirs.len() as f64) + (1.0 / ours.len() as f64)).sqrt();
        for (what, measure) in
            [("area", &area as &dyn Fn(&[u32; 4]) -> f64), ("ratio", &ratio), ("top", &down), ("left", &across)]
        {
            let apart = distance(ours.iter().map(measure).collect(), theirs.iter().map(measure).collect());
            assert!(apart < limit, "{what} of {name}: {apart} is above {limit}");
        }
        let flips = drawn.iter().filter(|crop| crop.flip).count() as f64 / drawn.len() as f64;
        assert!((flips - 0.5).abs() < 0.03, "{flips} of the crops of {name} are mirrored");
    }
}

#[test]
fn an_image_too_long_for_any_draw_falls_back_to_its_middle() {
    let mut stream = Seed::of_node(31, "weights@1").stream("crop", 1);
    for _ in 0..50 {
        let wide = Crop::draw(&mut stream, 0.08, 1000, 1);
        assert_eq!((wide.top, wide.height), (0, 1));
        let tall = Crop::draw(&mut stream, 0.08, 3, 4000);
        assert!(tall.width <= 3 && tall.top + tall.height <= 4000);
    }
    let crops: Vec<_> = (0..200).map(|_| Crop::draw(&mut stream, 0.08, 2, 1000)).collect();
    assert!(crops.iter().any(|crop| (crop.left, crop.width, crop.height, crop.top) == (0, 2, 3, 498)));
}

#[test]
fn a_crop_shows_a_share_between_the_smallest_and_the_largest() {
    let mut stream = Seed::of_node(31, "weights@1").stream("crop", 2);
    let areas = (0..2000).map(|_| {
        let crop = Crop::draw_between(&mut stream, 0.05, 0.14, 500, 400);
        f64::from(crop.width) * f64::from(crop.height) / 200_000.0
    });
    let areas: Vec<f64> = areas.collect();
    let (least, most) = (areas.iter().copied().fold(1.0, f64::min), areas.iter().copied().fold(0.0, f64::max));
    // Whole pixels move an area by about one in a hundred.
    assert!((0.049..0.052).contains(&least) && (0.138..0.142).contains(&most), "{least} {most}");
    let mean = areas.iter().sum::<f64>() / 2000.0;
    assert!((mean - 0.095).abs() < 0.003, "{mean}"); // five deviations of 2,000 draws
}

#[test]
fn bad_files_name_their_reason() {
    let jpeg = file("420.jpg");
    assert_eq!(reason(b""), "empty");
    assert_eq!(reason(b"hello, I am a text"), "unknown_format");
    assert_eq!(reason(&jpeg[..3]), "truncated");
    for name in ["420.jpg", "progressive.jpg", "cmyk.jpg", "grey.jpg", "rgb.png", "rgb.bmp", "rgb.ppm", "lossless.webp"]
    {
        let bytes = file(name);
        for share in [2, 4, 8] {
            assert_eq!(
                reason(&bytes[..bytes.len() - bytes.len() / share]),
                "truncated",
                "{name} without its last 1/{share}"
            );
        }
    }
    for name in ["rgb.gif", "rgb.tif"] {
        let bytes = file(name);
        assert_ne!(reason(&bytes[..bytes.len() / 2]), "decoded", "{name}");
    }
    // A whole picture whose end marker is missing is whole; a progressive one lacks detail.
    assert_eq!(reason(&jpeg[..jpeg.len() - 2]), "decoded");
    let progressive = file("progressive.jpg");
    assert_eq!(reason(&progressive[..progressive.len() - 2]), "truncated");
    let mut twelve_bits = jpeg.clone();
    let frame = twelve_bits.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    twelve_bits[frame + 4] = 12;
    assert_eq!(reason(&twelve_bits), "unsupported");
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    let mut jpeg = file("420.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    let mut png = file("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let ppm = b"P6 65535 65535 255\n".to_vec();
    for bytes in [jpeg, ppm] {
        assert_eq!(reason(&bytes), "too_large");
        assert_eq!(probe(&bytes, &Limits::default()).unwrap_err().reason(), "too_large");
    }
    // The header's checksum no longer holds, so it is refused as corrupt, before memory is taken too.
    assert!(["too_large", "corrupt", "checksum"].contains(&reason(&png)));
    let small = Limits { max_pixels: 100 };
    for (name, bytes) in files() {
        let picture = decode(&bytes, &Limits::default()).unwrap();
        if picture.width * picture.height > 100 {
            assert_eq!(decode(&bytes, &small).unwrap_err().reason(), "too_large", "{name}");
            assert_eq!(probe(&bytes, &small).unwrap_err().reason(), "too_large", "{name}");
        }
    }
}

#[test]
fn a_frame_beyond_its_picture_is_refused_at_the_first_look_as_at_every_later_one() {
    let side = 4200_u16.to_le_bytes();
    let mut gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00".to_vec();
    gif.extend_from_slice(&[side, side].concat());
    gif.extend_from_slice(b"\x00\x02\x02\x44\x01\x00;");
    for limits in [Limits::default(), Limits { max_pixels: 1 }] {
        let error = decode(&gif, &limits).unwrap_err();
        assert!(
            error.reason() == "unsupported" && error.to_string().contains("first frame is not exactly its screen"),
            "{error}"
        );
    }
}

#[test]
fn a_progressive_file_of_endless_scans_is_refused() {
    let bytes = file("progressive_grey.jpg");
    let scans: Vec<usize> = (0..bytes.len() - 1).filter(|&at| bytes[at..at + 2] == [0xff, 0xda]).collect();
    let first = bytes[scans[0]..scans[1]].to_vec();
    let mut bomb = bytes[..bytes.len() - 2].to_vec();
    for _ in 0..5000 {
        bomb.extend_from_slice(&first);
    }
    bomb.extend_from_slice(&[0xff, 0xd9]);
    assert_eq!(reason(&bomb), "unsupported");
}

#[test]
fn what_is_encoded_comes_back_alike() {
    let mut stream = Seed::of_node(31, "images@0").stream("image", 0);
    for kind in 0..10 {
        let drawn = kinds::draw(kind, 65, &mut stream);
        let bytes = encode_jpeg(&drawn, 95);
        assert_eq!(Format::of(&bytes), Ok(Format::Jpeg));
        assert_eq!(encode_jpeg(&drawn, 95), bytes);
        let back = decode(&bytes, &Limits::default()).unwrap();
        let grey = |p: &Picture| -> Vec<i32> {
            p.rgb.chunks_exact(3).map(|c| c.iter().map(|&s| i32::from(s)).sum()).collect()
        };
        let apart: i32 = grey(&drawn).iter().zip(grey(&back)).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart / (65 * 65) < 3 * 8, "{}: {}", kinds::NAMES[kind], apart / (65 * 65));
    }
    assert!(encode_jpeg(&Picture { width: 0, height: 0, rgb: Vec::new() }, 90).is_empty());
}

#[test]
fn ids_are_those_of_image_folder_and_stray_files_come_last() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    let order = golden().folder_order;
    for (path, _) in order.iter().rev() {
        write(path);
    }
    ["a/notes.txt", "top.jpg", "another.GIF", "z/jpg"].iter().for_each(|path| write(path));
    let listing = list(root.path()).unwrap();
    let mut expected: Vec<(String, Option<String>)> =
        order.into_iter().map(|(path, label)| (path, Some(label))).collect();
    expected.extend([("another.GIF".to_owned(), None), ("top.jpg".to_owned(), None)]);
    let found: Vec<_> = listing.images.iter().map(|image| (image.path.clone(), image.label.clone())).collect();
    assert_eq!(found, expected);
    assert!(listing.problems.is_empty());
    assert!(listing.images.iter().all(|image| image.bytes == 1 && image.inode > 0 && image.mtime_ns > 0));
}

#[test]
fn links_are_followed_but_not_in_circles_and_odd_entries_are_reported() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("far.jpg"), "x").unwrap();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("a/deep")).unwrap();
    std::fs::write(at("a/near.jpg"), "x").unwrap();
    symlink(outside.path(), at("b")).unwrap();
    symlink(root.path(), at("a/deep/up")).unwrap();
    symlink(at("a"), at("a/deep/up2")).unwrap();
    symlink("nowhere", at("a/gone.jpg")).unwrap();
    symlink("self.jpg", at("a/self.jpg")).unwrap();
    std::fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"a/\xff.jpg")), "x").unwrap();
    let listing = list(root.path()).unwrap();
    let found: Vec<_> = listing.images.iter().map(|image| image.path.as_str()).collect();
    assert_eq!(found, ["a/near.jpg", "b/far.jpg"]);
    let problems: Vec<_> = listing.problems.iter().map(|p| (p.path.as_str(), p.reason)).collect();
    let expected = [
        ("a/\\xff.jpg", "not_utf8"),
        ("a/deep/up", "link_loop"),
        ("a/deep/up2", "link_loop"),
        ("a/gone.jpg", "broken_link"),
        ("a/self.jpg", "broken_link"),
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_root_without_images_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let text = |path: &Path| list(path).unwrap_err().to_string();
    assert!(text(root.path()).contains("no images under"));
    assert!(text(&root.path().join("missing")).contains("check the path"));
    std::fs::write(root.path().join("file"), "x").unwrap();
    assert!(text(&root.path().join("file")).contains("is a file"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
                                 flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12)) {
        let all = files();
        let mut bytes = all[which.index(all.len())].1.clone();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if flips.len() % 2 == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let limits = Limits { max_pixels: 1 << 20 };
        let _ = probe(&bytes, &limits);
        if let Ok(picture) = decode(&bytes, &limits) {
            prop_assert_eq!(picture.rgb.len(), picture.width as usize * picture.height as usize * 3);
        }
    }

    #[test]
    fn random_bytes_behind_a_known_beginning_never_panic(which in 0_usize..9, tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let starts: [&[u8]; 9] = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x10\0\0\0WEBPVP8 ", b"P6 4 4 255\n",
            b"II*\0\x08\0\0\0", b"GIF89a", b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda"];
        let bytes = [starts[which], &tail].concat();
        let _ = decode(&bytes, &Limits { max_pixels: 1 << 20 });
    }

    #[test]
    fn any_view_and_any_crop_fill_their_buffer(width in 1_u32..60, height in 1_u32..60, short_side in 1_u32..70, crop in 1_u32..70, seed in any::<u64>()) {
        let picture = Picture { width, height, rgb: vec![200; (width * height * 3) as usize] };
        let view = CentreView { short_side, crop };
        let mut out = vec![9; view.bytes()];
        view.render(&picture, &mut out);
        prop_assert!(out.iter().all(|&sample| sample == 200 || sample == 0 && crop > short_side));
        let crop_drawn = Crop::draw(&mut Seed::of_node(seed, "weights@1").stream("crop", 0), 0.08, width, height);
        crop_drawn.render(&picture, crop, &mut out);
        prop_assert!(out.iter().all(|&sample| sample == 200));
    }
}

#[test]
fn the_jpeg_library_states_its_version() {
    let version = JPEG_LIBRARY.strip_prefix("libjpeg-turbo ").unwrap();
    assert!(version.split('.').count() >= 2 && version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
}
