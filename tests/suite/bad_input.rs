//! bad_input: what the program says to what cannot work: a sentence, the right exit code, and a store as good as before.

use crate::space::{DCPIPE, IMAGES, Output, Space, TINY, image, start};
use dcpipe::base::Artifact;
use dcpipe::format::dataset::open_bad;
use dcpipe::store::Record;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Images that cannot be used, with the reason.
const BAD: [(&str, &str); 6] = [
    ("images/odd/bomb.jpg", "too_large"),
    ("images/odd/bomb.ppm", "too_large"),
    ("images/odd/empty.png", "empty"),
    ("images/odd/lost.jpg", "broken_link"),
    ("images/odd/text.jpg", "unknown_format"),
    ("images/odd/truncated.jpg", "truncated"),
];
/// Images that are odd and can be used.
const ODD: [&str; 6] = ["1x1.png", "animated.gif", "cmyk.jpg", "grey16.png", "palette.png", "rotated_by_exif.jpg"];

/// Tiny images, and among them every bad and every odd one.
fn spoilt() -> Space {
    let space = Space::filled();
    let whole = image(0).1;
    space.write("images/odd/truncated.jpg", &whole[..whole.len() / 2]);
    space.write("images/odd/empty.png", "");
    space.write("images/odd/text.jpg", "<html>404 not found</html>");
    space.write("images/odd/bomb.ppm", "P6 65535 65535 255\n");
    let mut bomb = whole;
    let frame = bomb.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bomb[frame + 5..frame + 9].fill(0xff);
    space.write("images/odd/bomb.jpg", bomb);
    std::os::unix::fs::symlink("nowhere.jpg", space.path("images/odd/lost.jpg")).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/image/files");
    for name in ODD {
        space.write(&format!("images/odd/{name}"), fs::read(golden.join(name)).unwrap());
    }
    space
}

#[test]
fn scan_never_waits_for_its_cache_file() {
    let space = Space::after_a_run();
    space.own_images();
    for entry in fs::read_dir(space.path(".dcpipe/stat")).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    }
    assert!(space.run(&["run", "tiny.yaml", "--to", "dataset", "--json"]).ok().ran().contains(&"dataset@0".to_owned()));
}

#[test]
fn bad_images_are_left_out_and_listed_with_their_reasons() {
    let space = spoilt();
    let run = space
        .run(&["run", "tiny.yaml", "--to", "clusters@1"])
        .ok()
        .complains_of(&["6 images are left out", "bad.parquet"]);
    assert!(run.peak_kb < 2_000_000, "a bomb's 12 GB were asked for: {} kB", run.peak_kb);
    let listed = open_bad(&fs::read(space.path("runs/tiny/bad.parquet")).unwrap().into()).unwrap();
    let listed: Vec<_> = listed.iter().map(|bad| (format!("images/{}", bad.path), bad.reason.as_str())).collect();
    assert_eq!(listed, BAD.map(|(path, reason)| (path.to_owned(), reason)));
    assert_eq!(space.record("dataset@0").facts["images"], (IMAGES + ODD.len()) as u64);
}

#[test]
fn bad_images_fail_the_scan_on_request() {
    let space = spoilt();
    let fail = ["run", "tiny.yaml", "--json", "--set", "dataset.on_bad_image=fail"];
    let failed = space.run(&fail).ended(1).complains_of(&[
        "6 of 72 images cannot be used",
        "on_bad_image is fail",
        "--set dataset.on_bad_image=skip",
        "odd/bomb.jpg",
        "and 1 more",
    ]);
    assert_eq!(failed.ran(), [""; 0]);
    let share = ["run", "tiny.yaml", "--json", "--set", "dataset.max_bad_share=0.05"];
    space.run(&share).ended(1).complains_of(&["6 of 72 images", "max_bad_share = 0.05"]);
    for (path, _) in BAD {
        fs::remove_file(space.path(path)).unwrap();
    }
    space.run(&[&fail[..], &["--to", "crops"]].concat()).ok();
}

#[test]
fn nothing_but_bad_images_is_an_error_that_names_some() {
    let space = Space::empty();
    space.write("tiny.yaml", TINY);
    space.write("images/a/one.jpg", "nothing");
    space.run(&["run", "tiny.yaml"]).ended(1).complains_of(&["no image file in images can be used", "a/one.jpg"]);
}

#[test]
fn a_folder_that_is_empty_or_missing_or_a_file_is_named() {
    let space = Space::empty();
    space.write("tiny.yaml", TINY);
    for command in ["run", "plan"] {
        let _ = fs::remove_dir_all(space.path("images"));
        space.run(&[command, "tiny.yaml"]).ended(1).complains_of(&["images", "No such file", "vars.images"]);
        fs::create_dir(space.path("images")).unwrap();
        space.run(&[command, "tiny.yaml"]).ended(1).complains_of(&["no images under", "jpg jpeg png"]);
        space.run(&[command, "tiny.yaml", "--set", "vars.images=tiny.yaml"]).ended(1).complains_of(&["is a file"]);
    }
}

#[test]
fn too_few_images_are_refused_before_anything_is_computed() {
    let space = Space::filled();
    for (set, words) in [
        ("vectors.dims=61", ["60 images", "dims = 61", "60 at most"]),
        ("clusters.k=61", ["60 images", "k = 61", "60 at most"]),
    ] {
        let refused = space.run(&["run", "tiny.yaml", "--json", "--set", set]).ended(3).complains_of(&words);
        assert!(refused.ran().iter().all(|node| node == "dataset@0"), "{:?}", refused.ran());
        // The data set is known by now, so a plan knows as well.
        space.run(&["plan", "tiny.yaml", "--set", set]).ended(3).complains_of(&words);
    }
    space
        .run(&["run", "tiny.yaml", "-q", "--to", "clusters@1", "--set", "vectors.dims=60", "--set", "clusters.k=60"])
        .ok();
}

#[test]
fn pipeline_errors_name_the_line_and_suggest_a_name() {
    let space = Space::empty();
    let cases: [(&str, &str, &[&str]); 12] = [
        ("k: 7", "kk: 7", &["tiny.yaml:16:", "kk", "did you mean", "k: 7"]),
        ("k: 7", "k: seven", &["tiny.yaml:16:", "seven", "whole number"]),
        ("k: 7", "k: 7, k: 8", &["tiny.yaml:16:", "k"]),
        ("k: 7", "k: 0", &["tiny.yaml:16:", "k"]),
        (
            "weights: weights@prev }, with: { batch: 25 }",
            "weights: weights }, with: { batch: 25 }",
            &["tiny.yaml:", "wait for each other", "weights@prev"],
        ),
        ("\"${images}\"", "\"${image}\"", &["tiny.yaml:9:", "image", "did you mean", "images"]),
        ("stage: cluster", "stage: clusters", &["tiny.yaml:16:", "clusters", "did you mean", "cluster"]),
        ("arch: alexnet", "arch: alexnt", &["tiny.yaml:11:", "alexnt", "did you mean", "alexnet"]),
        ("epochs: 2", "epochs: two", &["tiny.yaml:4:", "epochs"]),
        ("epochs: 2", "epoch: 2", &["tiny.yaml:4:", "epoch", "did you mean", "epochs"]),
        ("features: features }", "features: feature }", &["tiny.yaml:15:", "feature", "did you mean", "features"]),
        ("each_epoch:\n", "each_epoch: [\n", &["tiny.yaml:"]),
    ];
    for (right, wrong, words) in cases {
        assert!(TINY.contains(right), "{right}");
        space.write("tiny.yaml", TINY.replace(right, wrong));
        space.run(&["plan", "tiny.yaml"]).ended(3).complains_of(words);
    }
    space.run(&["run", "tiny.yaml"]).ended(3).complains_of(&["tiny.yaml:"]);
    let bomb: String =
        (1..10).map(|n| format!("  b{n}: &b{n} [{}]\n", vec![format!("*b{}", n - 1); 9].join(", "))).collect();
    space.write(
        "tiny.yaml",
        TINY.replace("vars: { images: \"images\" }", &format!("vars:\n  b0: &b0 [x]\n{bomb}  images: images")),
    );
    space.run(&["plan", "tiny.yaml"]).ended(3).complains_of(&["tiny.yaml:", "alias"]);
    space.run(&["plan", "absent.yaml"]).ended(3).complains_of(&["absent.yaml", "No such file"]);
    assert!(!space.path(".dcpipe").exists(), "a store was made for a pipeline that cannot run");
}

#[test]
fn unknown_overrides_suggest_a_name() {
    let space = Space::filled();
    let cases: [(&str, &[&str]); 5] = [
        ("cluster.k=3", &["cluster", "did you mean", "clusters"]),
        ("clusters.kk=3", &["kk", "did you mean"]),
        ("clusters.k", &["KEY=VALUE"]),
        ("clusters.k=many", &["many", "whole number"]),
        ("vars.image=x", &["image", "did you mean", "images"]),
    ];
    for (set, words) in cases {
        space.run(&["plan", "tiny.yaml", "--set", set]).ended(3).complains_of(words);
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let space = Space::filled();
    for args in
        [["--store", "/proc/nowhere"], ["--store", "tiny.yaml"], ["--out", "/proc/nowhere"], ["--out", "tiny.yaml"]]
    {
        let run = space.run(&[&["run", "tiny.yaml"], &args[..]].concat());
        assert!([1, 5, 6].contains(&run.code.unwrap()), "{run:?}");
        run.complains_of(&[args[1]]);
    }
    space.run(&["run", "tiny.yaml", "--name", "../up"]).ended(3).complains_of(&["../up"]);
    space.run(&["run", "tiny.yaml", "--threads", "0"]).ended(2).complains_of(&["--threads"]);
    space.run(&["run", "tiny.yaml", "--device", "gpu"]).ended(2).complains_of(&["--device", "gpu"]);
    space.run(&["run", "tiny.yaml", "--device", "cuda:7"]).ended(6).complains_of(&["cuda:7"]);
}

#[test]
fn a_store_of_another_format_is_left_alone() {
    let space = Space::filled();
    space.write(".dcpipe/FORMAT", "dcpipe-store 2 blake4\n");
    space.run(&["run", "tiny.yaml"]).ended(5).complains_of(&["dcpipe-store 2 blake4"]);
}

#[test]
fn a_file_where_a_folder_is_needed_is_named_with_the_option_that_names_another() {
    let space = Space::after_a_run();
    let is_a_file = "tiny.yaml is a file";
    for store in ["tiny.yaml", "tiny.yaml/store"] {
        let refused = space.run(&["run", "tiny.yaml", "--store", store]).ended(5);
        refused.complains_of(&[&format!("the store {store} cannot be a folder"), is_a_file, "--store"]);
        space.run(&["verify", "--store", store]).ended(2).complains_of(&[store, is_a_file, "--store"]);
    }
    let assign = ["assign", "tiny", "--images", "images", "-o", "tiny.yaml/a.csv"];
    for (command, code, option) in [
        (&["run", "tiny.yaml", "--out", "tiny.yaml"][..], 1, "--out"),
        (&["report", "-o", "tiny.yaml/report.html"], 1, "-o"),
        (&["export", "csv", "-o", "tiny.yaml/a/b"], 1, "-o"),
        (&["log", "--trace", "tiny.yaml/trace.json"], 1, "--trace"),
        (&assign, 1, "-o"),
    ] {
        let refused = space.run(command).ended(code).complains_of(&[is_a_file, option]);
        assert!(!refused.stderr.contains("os error"), "{}", refused.stderr);
    }
    assert_eq!(fs::read_to_string(space.path("tiny.yaml")).unwrap(), TINY);
}

#[test]
fn a_diverging_training_fails_and_says_so() {
    let space = Space::after_a_run();
    let wild = ["run", "tiny.yaml", "--json", "--set", "weights.lr=1e30"];
    let run = space.run(&wild).ended(1).complains_of(&["weights@1", "step"]);
    assert!(
        run.stderr.contains("NaN") || run.stderr.contains("not finite") || run.stderr.contains("not a number"),
        "{}",
        run.stderr
    );
    space.run(&["run", "tiny.yaml", "--json"]).ok();
}

#[test]
fn weights_that_are_not_numbers_are_refused_where_they_are_read() {
    let space = Space::filled();
    space.run(&["run", "tiny.yaml", "-q", "--to", "weights@0"]).ok();
    let store = space.store();
    let record = space.record("weights@0");
    let part = record.artifact.part("weights.safetensors").unwrap();
    let mut bytes = fs::read(store.path_of(part)).unwrap();
    let end = bytes.len();
    bytes[end - 4096..].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&f32::NAN.to_le_bytes()));
    let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[head..head + 4096].chunks_exact_mut(4).for_each(|number| number.copy_from_slice(&f32::NAN.to_le_bytes()));
    let mut writer = store.create().unwrap();
    std::io::Write::write_all(&mut writer, &bytes).unwrap();
    let part = writer.finish(&part.name).unwrap();
    let artifact = Artifact { parts: vec![part], ..record.artifact.clone() };
    store.remove_record(record.key());
    store.commit(&Record::new(&record.node, &record.key_text, artifact, record.facts, 1)).unwrap();
    drop(store);
    let run = space.run(&["run", "tiny.yaml", "--json"]).ended(1).complains_of(&["features@1"]);
    assert!(run.stderr.contains("NaN") || run.stderr.contains("finite"), "{}", run.stderr);
}

/// Runs a script with mounts of its own, which only a machine that lets us has.
pub fn with_mounts(space: &Space, script: &str) -> Option<Output> {
    let flags = if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" { "-m" } else { "-rm" };
    let may = space.command("unshare").args([flags, "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        return None;
    }
    let mut command = space.command("unshare");
    command.args([flags, "sh", "-c", script]).env("DCPIPE", DCPIPE);
    command.env("NATIVE", Path::new(env!("CARGO_MANIFEST_DIR")).join(".native"));
    Some(start(command).wait())
}

#[test]
fn a_full_disk_fails_the_node_and_free_space_lets_the_run_resume() {
    let space = Space::filled();
    let script = "mkdir .dcpipe && mount -t tmpfs -o size=150m none .dcpipe && $DCPIPE run tiny.yaml --json > full.jsonl; \
                  echo first $? >&2; ls .dcpipe/tmp >&2; $DCPIPE ls tiny.yaml >&2; \
                  mount -o remount,size=2g .dcpipe && $DCPIPE run tiny.yaml --json > roomy.jsonl; echo second $? >&2";
    let Some(run) = with_mounts(&space, script) else { return };
    let run = run.complains_of(&["first 1", "second 0", "weights@1", "No space left"]);
    let events = |name: &str| fs::read_to_string(space.path(name)).unwrap();
    assert!(events("full.jsonl").contains("\"failed\":1"), "{run:?}");
    assert!(events("roomy.jsonl").contains("\"node_hit\",\"node\":\"features@1\""), "{}", events("roomy.jsonl"));
}

#[test]
fn without_libtorch_the_launcher_says_where_it_looked() {
    let space = Space::filled();
    let Some(run) = with_mounts(&space, "mount -t tmpfs none $NATIVE && exec $DCPIPE run tiny.yaml") else { return };
    run.ended(6).complains_of(&[
        "libtorch_cpu.so is not to be found",
        "Looked in",
        ".native/torch/lib",
        "scripts/setup",
    ]);
    let script = "mount -t tmpfs none $NATIVE && $DCPIPE --version && exec $DCPIPE doctor";
    let run = with_mounts(&space, script).unwrap().ended(6);
    assert!(run.stdout.starts_with("dcpipe "), "{run:?}");
}

#[test]
fn another_libtorch_is_refused_by_its_version() {
    let space = Space::filled();
    let script = "mount -t tmpfs none $NATIVE && mkdir -p $NATIVE/torch/lib && touch $NATIVE/torch/lib/libtorch_cpu.so && \
                  echo \"__version__ = '2.12.1+cpu'\" > $NATIVE/torch/version.py && exec $DCPIPE run tiny.yaml";
    let Some(run) = with_mounts(&space, script) else { return };
    run.ended(6).complains_of(&["2.12.1", "2.11.0", "scripts/setup"]);
}

#[test]
fn without_the_program_beside_it_the_launcher_says_so() {
    let space = Space::filled();
    let lonely = space.path("dcpipe");
    fs::copy(DCPIPE, &lonely).unwrap();
    let mut command = space.command(&lonely);
    command.args(["run", "tiny.yaml"]);
    start(command).wait().ended(6).complains_of(&["dcpipe-native", "make"]);
}
