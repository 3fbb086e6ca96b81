//! hostile: whatever a file holds, its reader refuses it or reads it: no panic, no memory for what is not there.

mod bombs;
mod harm;
mod memory;

use crate::formats::quietly;
use crate::formats::samples::{open, samples};
use crate::hookfs::HookFs;
use crate::pipelines::{is_fit_to_read, slipped, slips};
use crate::space::{DCPIPE, Space, image, start};
use bytes::Bytes;
use dcpipe::base::{Artifact, ClusterId, Digest, ImageId};
use dcpipe::engine::Input;
use dcpipe::format::dataset::write_images;
use dcpipe::format::{Clusters, Column, Image, Manifest, Metadata, write_table};
use dcpipe::image::{Format, Limits, decode, probe};
use dcpipe::pipeline::load_text;
use dcpipe::stages::originals::Originals;
use dcpipe::store::{Disk, Record, Store, StoreError};
use harm::{harmed, harms, with_checksums};
use memory::most_held;
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The most that a reader of columns may hold for a file of a few kilobytes, whatever its lengths say.
const COLUMNS_BYTES: usize = 1 << 20;
/// The reader of Parquet believes a page's header how large the page is unpacked, and a page has 31 bits for that.
const PAGE_BYTES: usize = 2 << 30;
/// The most that the loader of pipelines may hold for a text that it refuses.
const PIPELINE_BYTES: usize = 64 << 20;
/// Pixels that the images here may have.
const LIMITS: Limits = Limits { max_pixels: 1 << 20 };
/// The most that decoding may hold: eight bytes a pixel within the decoder and eight handed over, six for two pictures
/// of RGB, and 64 MiB.
const PIXEL_BYTES: usize = (8 + 8 + 6) * LIMITS.max_pixels as usize + (64 << 20);
/// The reader of TIFF allows itself as much more for the lists in a header, before it can be told to keep within less.
const TIFF_BYTES: usize = 256 << 20;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What YAML is made of and what a pipeline is made of, piece by piece.
const YAML: &str = "name~seed~epochs~keep~vars~once~each_epoch~stage~with~from~: ~:~\n~\n  ~\n    ~- ~{ ~ }~[~]~, ~\"~'~#~&a ~*a~\
    <<: ~!!binary ~!!python/object:os.system ~| ~> ~? ~---\n~...\n~%YAML 1.1\n~\t~${a}~@prev~1e999~0x7fffffffffffffff~.inf~null~\
    \u{feff}~\u{85}";

/// Name and bytes of every image there is to spoil, one of each format and variant.
static IMAGES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let entries = fs::read_dir(root().join("tests/golden/image/files")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
});

static SHIPPED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let entries = fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| fs::read_to_string(path).unwrap()).collect()
});

/// A record in a store of its own, and the file that it is in.
fn record_in(folder: &Path) -> (Store, Record, PathBuf) {
    let store = Store::open_on(folder, Arc::new(HookFs::unsynced(Disk))).unwrap();
    let mut writer = store.create().unwrap();
    writer.write_all(b"bytes").unwrap();
    let parts = vec![writer.finish("part-00000.arrow").unwrap()];
    let artifact = Artifact { kind: "features".into(), format: 1, parts };
    let text = "dcpipe-key 1\nstage extract 1\noutput features 1\nparam.batch = 25\n";
    let record = Record::new("features@1", text, artifact, [("images".to_owned(), 60)].into(), 5);
    store.commit(&record).unwrap();
    let hex = record.key().to_string();
    (store, record, folder.join("records").join(&hex[..2]).join(&hex))
}

/// One that lasts for all cases, with its bytes.
static RECORD: LazyLock<(Store, Record, PathBuf, Vec<u8>)> = LazyLock::new(|| {
    static SPACE: LazyLock<Space> = LazyLock::new(Space::empty);
    let (store, record, path) = record_in(&SPACE.path("store"));
    let bytes = fs::read(&path).unwrap();
    (store, record, path, bytes)
});

/// A data set of one image file, below `folder`, as an input of a stage.
fn dataset(folder: &Path, path: &str, file: &[u8]) -> anyhow::Result<Originals> {
    let picture = decode(file, &Limits::default())?;
    let (digest, bytes) = (Digest::of(file), file.len() as u64);
    let (width, height) = (picture.width, picture.height);
    let row = Image { path, digest, bytes, width, height, split: "", label: "", offset: None };
    let store = Store::open(&folder.join("store"))?;
    let mut writer = store.create()?;
    writer.write_all(&write_images(Vec::new(), std::iter::once(row))?)?;
    let artifact = Artifact { kind: "dataset".into(), format: 1, parts: vec![writer.finish("images.parquet")?] };
    Originals::open(&Input::new(&store, "dataset@0".into(), &artifact, Some(folder.join("images"))))
}

#[test]
fn a_path_that_leads_out_of_the_data_set_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = image(0).1;
    fs::create_dir_all(folder.path().join("images/a")).unwrap();
    fs::write(folder.path().join("secret.jpg"), &file).unwrap();
    let absolute = folder.path().join("secret.jpg").display().to_string();
    for path in ["../secret.jpg", "a/../../secret.jpg", &absolute, "..", "", "a/", "./a.jpg", "a//b.jpg", "a\0.jpg"] {
        let refused =
            dataset(folder.path(), path, &file).err().unwrap_or_else(|| panic!("{path:?} is read")).to_string();
        for word in ["image 0", "images.parquet", &format!("{path:?}"), "below the data set's folder"] {
            assert!(refused.contains(word), "{word} is not in {refused}");
        }
    }
    for path in ["a/b.jpg", "..a/b..jpg", "a/...", "a\\..\\b.jpg", "~/.x.jpg"] {
        dataset(folder.path(), path, &file).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[test]
fn links_are_followed_as_scanned_and_bring_only_scanned_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("images"), folder.path().join("elsewhere"));
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let file = image(0).1;
    fs::write(outside.join("a.jpg"), &file).unwrap();
    std::os::unix::fs::symlink(outside.join("a.jpg"), inside.join("one.jpg")).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("folder")).unwrap();
    for path in ["one.jpg", "folder/a.jpg"] {
        let originals = dataset(folder.path(), path, &file).unwrap();
        assert_eq!(originals.picture(ImageId(0)).unwrap(), decode(&file, &Limits::default()).unwrap());
        assert!(originals.picture(ImageId(1)).unwrap_err().to_string().contains("the dataset has 1"));
    }
    let originals = dataset(folder.path(), "one.jpg", &file).unwrap();
    let refusal = || {
        let (picture, most) = most_held(|| originals.picture(ImageId(0)));
        assert!(most < 1 << 20, "{most} bytes were held for a file that is not the one that was scanned");
        format!("{:#}", picture.unwrap_err())
    };
    fs::write(outside.join("a.jpg"), image(1).1).unwrap();
    assert!(refusal().contains("is not the file that was scanned"), "{}", refusal());
    let large = fs::File::create(outside.join("a.jpg")).unwrap();
    large.set_len(1 << 40).unwrap();
    assert!(refusal().contains("is not the file that was scanned"), "{}", refusal());
    for device in ["/dev/zero", "/dev/null"] {
        fs::remove_file(inside.join("one.jpg")).unwrap();
        std::os::unix::fs::symlink(device, inside.join("one.jpg")).unwrap();
        assert!(refusal().contains("no regular file"), "{}", refusal());
    }
    fs::remove_file(inside.join("one.jpg")).unwrap();
    let gone = refusal();
    assert!(
        ["one.jpg", "No such file", "put it back", "run the same command again"].iter().all(|word| gone.contains(word)),
        "{gone}"
    );
    assert!(std::process::Command::new("mkfifo").arg(inside.join("one.jpg")).status().unwrap().success());
    assert!(refusal().contains("no regular file"), "{}", refusal());
}

#[test]
fn a_file_larger_than_any_image_may_be_is_listed_and_not_read() {
    let space = Space::filled();
    fs::File::create(space.path(&image(0).0).with_file_name("huge.jpg")).unwrap().set_len(1 << 40).unwrap();
    let run = space
        .run(&["run", "tiny.yaml", "--to", "dataset"])
        .ok()
        .complains_of(&["1 image is left out: 1 too large", "huge.jpg"]);
    assert!(run.peak_kb < 1_000_000, "{} kB", run.peak_kb);
}

#[test]
fn a_scan_that_lacks_descriptors_fails_and_leaves_no_image_out() {
    let whole = Space::filled();
    whole.run(&["run", "tiny.yaml", "-q", "--to", "dataset"]).ok();
    let mut failed = 0;
    for limit in 6..14 {
        let space = Space::filled();
        let mut command = space.command("sh");
        command.args(["-c", "ulimit -n $0; exec \"$@\"", &limit.to_string(), DCPIPE]);
        command.args(["run", "tiny.yaml", "-q", "--to", "dataset"]);
        let run = start(command).wait();
        failed += usize::from(run.code != Some(0));
        let said = run.stderr.contains("Too many open files") || !run.stderr.contains("dcpipe: error");
        assert!(said, "with {limit} descriptors: {run:?}");
        space.run(&["run", "tiny.yaml", "-q", "--to", "dataset"]).ok();
        assert_eq!(space.digests(), whole.digests(), "after a run with {limit} descriptors");
    }
    assert!(failed > 0, "none of them had too few");
}

#[test]
fn counts_that_no_rows_can_have_made_are_refused_before_they_take_memory() {
    let clusters = Clusters { k: u32::MAX, cluster_id: vec![], distance: vec![], margin: vec![] };
    let bytes = clusters.write(Vec::new()).unwrap().into();
    assert!(Clusters::open(&bytes).unwrap_err().to_string().contains("4294967295 centroids for 0 images"));
    // As flat as a table can be, and as many rows as ImageNet has; then the same without the column of ids.
    let rows = 1_281_167;
    let flat =
        Clusters { k: 1, cluster_id: vec![ClusterId(0); rows], distance: vec![0.0; rows], margin: vec![0.0; rows] };
    let bytes = flat.write(Vec::new()).unwrap();
    assert_eq!(Clusters::open(&bytes.into()).unwrap(), flat);
    let columns = vec![("cluster_id", Column::i32(vec![0; rows]))];
    let bytes = Bytes::from(write_table(Vec::new(), "clusters/v1", columns, &Metadata::new()).unwrap());
    let (refused, most) = most_held(|| Clusters::open(&bytes));
    assert!(refused.unwrap_err().to_string().contains("1281167 rows, which it is too short for"));
    assert!(most < 1 << 20, "{most} bytes for a file of {}", bytes.len());
    let manifest = Manifest { k: 3, classes: 4, image_id: vec![], cluster_id: vec![], pseudo_label: vec![] };
    let bytes = manifest.write(Vec::new()).unwrap().into();
    assert!(Manifest::open(&bytes).unwrap_err().to_string().contains("4 pseudo-labels for 3 clusters"));
}

#[test]
fn the_scan_cache_is_used_only_as_it_was_written() {
    let space = Space::filled();
    // The scan remembers no file that is younger than two seconds; those of this checkout are not.
    fs::create_dir(space.path("images/old")).unwrap();
    for name in ["420.jpg", "422.jpg", "444.jpg"] {
        let golden = root().join("tests/golden/image/files").join(name);
        std::os::unix::fs::symlink(golden, space.path("images/old").join(name)).unwrap();
    }
    let scan = ["run", "tiny.yaml", "--json", "--to", "dataset"];
    space.run(&scan).ok();
    let digests = space.digests();
    let memory = fs::read_dir(space.path(".dcpipe/stat")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&memory).unwrap();
    let entry =
        bytes.windows(7).position(|name| name == b"images/").or(bytes.windows(4).position(|end| end == b".jpg"));
    let entry = entry.expect("paths stand as they are");
    let changed = |at: usize| {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        wrong
    };
    let wrong = [
        changed(0),
        changed(32),
        changed(entry),
        changed(entry + 60),
        bytes[..bytes.len() / 2].to_owned(),
        [&bytes[..], &bytes[..bytes.len() / 2]].concat(),
        b"[".repeat(100_000),
        Vec::new(),
    ];
    for (at, wrong) in wrong.iter().enumerate() {
        // One file is new, so that the scan runs and asks its memory about the others.
        space.write(&image(0).0, image(0).1);
        fs::write(&memory, wrong).unwrap();
        assert_eq!(space.run(&scan).ok().ran(), ["dataset@0"], "damage {at}");
        assert_eq!(space.digests(), digests, "damage {at}");
    }
}

#[test]
fn control_characters_are_escaped_for_the_terminal() {
    let space = Space::filled();
    let name = "images/ring/\u{1b}]0;owned\u{7}\u{1b}[2J.jpg";
    space.write(name, "nothing");
    space.run(&["run", "tiny.yaml", "-q", "--to", "dataset"]).ok();
    space.write(name, image(3).1);
    for args in [
        &["run", "tiny.yaml", "--to", "dataset", "--set", "dataset.on_bad_image=fail"][..],
        &["run", "tiny.yaml", "--to", "dataset", "-q"],
        &["show", "dataset", "tiny.yaml", "--rows", "100"],
    ] {
        let said = space.run(args);
        let obeyed = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
        assert!(!obeyed(&said.stdout) && !obeyed(&said.stderr), "{args:?}: {said:?}");
    }
    let shown = space.run(&["show", "dataset", "tiny.yaml", "--rows", "100"]).ok().stdout;
    assert!(shown.contains("\\u{1b}[2J.jpg"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn columns_of_any_bytes_are_refused_or_read_within_their_bounds(which in any::<Index>(), harms in harms()) {
        static SAMPLES: LazyLock<Vec<(&str, Bytes)>> = LazyLock::new(samples);
        let all: &[(&str, Bytes)] = &SAMPLES;
        let (name, bytes) = which.get(all);
        let others: Vec<&[u8]> = all.iter().map(|(_, bytes)| bytes.as_ref()).collect();
        let hostile = Bytes::from(harmed(bytes, &harms, &others));
        let (opened, most) = quietly(|| most_held(|| open(name, &hostile).map_err(|error| error.to_string())));
        let more = if name.ends_with(".parquet") { PAGE_BYTES } else { 0 };
        prop_assert!(most < COLUMNS_BYTES + more, "{} of {} bytes took {}", name, hostile.len(), most);
        if let Err(error) = opened {
            let file = name.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap();
            let folder = name.split("-v").next().unwrap();
            let noun = match folder {
                "tables" => &format!("{file}-view"),
                "gallery" if file == "map" => "map-points",
                "gallery" => &file.replace('_', "-"),
                folder if ["part-00000", "half"].contains(&file) => folder,
                _ => file,
            };
            prop_assert!(error.contains(&format!("read {noun}/v")), "{}: {}", name, error);
        }
    }

    #[test]
    fn pictures_of_any_bytes_are_refused_or_decoded_within_their_bounds(which in any::<Index>(), harms in harms()) {
        let all: &[(String, Vec<u8>)] = &IMAGES;
        let (name, bytes) = which.get(all);
        let others: Vec<&[u8]> = all.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let hostile = harmed(bytes, &harms, &others);
        let hostile = if name.ends_with(".png") { with_checksums(hostile) } else { hostile };
        let (decoded, most) = quietly(|| most_held(|| (probe(&hostile, &LIMITS), decode(&hostile, &LIMITS))));
        let more = if Format::of(&hostile) == Ok(Format::Tiff) { TIFF_BYTES } else { 0 };
        prop_assert!(most < PIXEL_BYTES + more, "{} of {} bytes took {}", name, hostile.len(), most);
        match decoded {
            (_, Ok(picture)) => {
                let pixels = u64::from(picture.width) * u64::from(picture.height);
                prop_assert!(pixels <= LIMITS.max_pixels && picture.rgb.len() as u64 == pixels * 3);
            }
            (_, Err(error)) => prop_assert!(error.to_string().len() > 10, "{}: {}", name, error),
        }
    }

    #[test]
    fn a_shipped_pipeline_with_slips_is_refused_with_its_place_or_planned(which in any::<Index>(), slips in slips()) {
        let text = slipped(which.get::<String>(&SHIPPED), &slips);
        let environment = |_: &str| Some("/data".to_owned());
        let sets = ["epochs=3".to_owned()];
        let (loaded, most) =
            most_held(|| load_text("some.yaml", &text, &sets, dcpipe::stages::registry(), &environment).map(drop));
        if let Err(error) = loaded {
            prop_assert!(is_fit_to_read(&error.to_string()), "{}", error);
            prop_assert!(error.to_string().contains("some.yaml"), "{}", error);
            prop_assert!(most < PIPELINE_BYTES, "{} bytes of text took {}", text.len(), most);
        }
    }

    #[test]
    fn any_text_that_looks_like_yaml_is_refused_with_its_place(words in prop::collection::vec(any::<Index>(), 0..60)) {
        let pieces: Vec<_> = YAML.split('~').collect();
        let text: String = words.iter().map(|word| *word.get(&pieces)).collect();
        let (loaded, most) = most_held(|| load_text("some.yaml", &text, &[], dcpipe::stages::registry(), &|_| None).map(drop));
        prop_assert!(most < PIPELINE_BYTES, "{} bytes of text took {}", text.len(), most);
        let error = loaded.expect_err("no such text says which nodes there are").to_string();
        prop_assert!(is_fit_to_read(&error) && error.contains("some.yaml"), "{}", error);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_of_any_bytes_is_refused_by_name_or_is_the_record_of_its_key(harms in harms(), sealed in any::<bool>()) {
        let (store, record, path, good) = &*RECORD;
        let body = &good[..good.len() - 65];
        let mut hostile = harmed(if sealed { body } else { good }, &harms, &[b"{\"version\":18446744073709551616}", b"\\u0000"]);
        if sealed {
            // Who can write a record can write its check line.
            hostile.extend_from_slice(format!("{}\n", Digest::of(&hostile)).as_bytes());
        }
        let _ = fs::remove_file(path);
        fs::write(path, &hostile).unwrap();
        let (found, most) = most_held(|| store.record(record.key()));
        prop_assert!(most < 1 << 20, "{} bytes took {}", hostile.len(), most);
        match found {
            Ok(found) => {
                let found = found.expect("the file is there");
                prop_assert_eq!(found.key(), record.key());
                prop_assert!(sealed || hostile == *good);
                // Whatever it names: asking for it is harmless.
                let there = store.contains_all(&found.artifact);
                prop_assert!(!there || found.artifact.parts.iter().all(|part| store.verify(part).unwrap()));
                let _ = (found.artifact.digest(), store.map(&found.artifact.parts.first().cloned().unwrap_or(record.artifact.parts[0].clone())));
            }
            Err(error @ StoreError::DamagedRecord { .. }) => {
                prop_assert!(error.to_string().contains(&record.key().to_string()), "{}", error);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_damaged_nodes_file_is_read_or_discarded(harms in harms()) {
        let (store, record, ..) = &*RECORD;
        let good = format!("{{\"features@1\":\"{0}\",\"vectors@1\":\"{0}\"}}", record.key());
        let folder = store.run_folder("tiny");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nodes.json"), harmed(good.as_bytes(), &harms, &[b"{\"a\":{}}", b"[[[[[[[["])).unwrap();
        let (keys, most) = most_held(|| store.node_keys("tiny"));
        prop_assert!(keys.len() <= 3 && most < 1 << 20);
    }
}
