//! readers: other programs read the results: pandas, pyarrow, DuckDB and DataFusion every table, Pillow crops, torch weights.

use crate::space::{Space, start};
use std::path::Path;
use std::process::Command;

/// A script of tests/readers, where its readers are.
pub fn script(space: &Space, name: &str) -> Option<Command> {
    script_at(space, &format!("tests/readers/{name}"))
}

/// A script of this repository for the readers' Python. `make test` installs them, and sets DCPIPE_READERS so that their
/// absence is a failure; a caller of cargo alone may not have them.
pub fn script_at(space: &Space, path: &str) -> Option<Command> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = space.command(root.join(".native/readers/bin/python"));
    command.env("RUST_BACKTRACE", "0").arg("-B").arg(root.join(path));
    let are_there = root.join(".native/readers/stamp").exists();
    let must_be = std::env::var_os("DCPIPE_READERS").is_some_and(|value| value == "required");
    assert!(are_there || !must_be, "the readers are missing: scripts/setup --readers");
    are_there.then_some(command)
}

#[test]
fn four_readers_agree_on_every_file_of_a_run() {
    let space = Space::after_a_run();
    let Some(mut command) = script(&space, "read_formats.py") else { return };
    command.arg("runs/tiny");
    let read = start(command).wait().ok();
    for table in ["clusters", "manifest", "metrics", "steps", "iterations"] {
        assert!(read.stdout.contains(&format!("ok   {table}/ (partitioned)")), "{}", read.stdout);
    }
    for file in ["crops/part-00000.arrow", "features/epoch=0002/part-00000.arrow", "weights/epoch=0001.safetensors"] {
        assert!(read.stdout.contains(&format!("ok   {file}")), "{}", read.stdout);
    }
}

#[test]
fn crops_equal_pillow_sample_by_sample() {
    let space = Space::after_a_run();
    let Some(mut command) = script(&space, "check_crops.py") else { return };
    command.args(["runs/tiny", "images", "--short-side", "64", "--crop", "64"]);
    let read = start(command).wait().ok();
    assert!(read.stdout.starts_with("60 crops, 0 of 737,280 samples differ"), "{}", read.stdout);
}

#[test]
fn torch_loads_the_weights_strictly_and_computes_the_features() {
    let space = Space::after_a_run();
    let check = |features: &str| {
        let mut command = script(&space, "load_weights.py")?;
        command.args(["runs/tiny/weights/epoch=0001.safetensors", "--arch", "alexnet", "--sobel", "--input", "64"]);
        command.args(["--crops", "runs/tiny/crops/part-00000.arrow", "--features"]);
        command.arg(format!("runs/tiny/features/{features}/part-00000.arrow"));
        Some(start(command).wait())
    };
    let Some(read) = check("epoch=0002") else { return };
    let told = read.ok().stdout;
    assert!(told.contains(": 45 tensors, strict=True, k = 7\n60 images: ") && told.ends_with(": equal\n"), "{told}");
    // Those are of the weights before.
    let told = check("epoch=0001").unwrap().ended(1).stdout;
    assert!(told.ends_with(": DIFFERENT\n"), "{told}");
}

#[test]
fn torchvision_loads_the_convolutions_of_vgg16_strictly() {
    let space = Space::filled();
    let vgg16 = ["tiny.yaml", "--set", "once.weights.with.arch=vgg16"];
    space.run(&[&["run", "-q", "--to", "weights@0"], &vgg16[..]].concat()).ok();
    let paths = space.run(&[&["show", "weights@0", "--paths"], &vgg16[..]].concat()).ok().stdout;
    let Some(mut command) = script(&space, "load_weights.py") else { return };
    command.arg(paths.lines().next().unwrap()).args(["--arch", "vgg16", "--sobel", "--input", "64"]);
    let told = start(command).wait().ok().stdout;
    assert!(told.ends_with("91 of them in torchvision's vgg16_bn, strict=True\n"), "{told}");
}

#[test]
fn four_readers_refuse_a_table_that_is_cut_and_live_through_a_damaged_foot() {
    let space = Space::after_a_run();
    let Some(mut command) = script(&space, "read_damaged.py") else { return };
    for table in ["clusters/epoch=0002", "manifest/epoch=0001", "metrics/epoch=0002", "steps/epoch=0001"] {
        command.arg(format!("runs/tiny/{table}/part-0.parquet"));
    }
    command.arg("runs/tiny/images.parquet");
    let read = start(command).wait().ok();
    for reader in ["pandas", "pyarrow", "duckdb", "datafusion"] {
        let cut = |line: &str| line.starts_with(&format!("{reader}: ")) && line.ends_with(" cut files, raised");
        assert!(read.stdout.lines().any(cut), "{}", read.stdout);
    }
}
