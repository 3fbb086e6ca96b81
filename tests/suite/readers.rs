//! readers: other programs read the results: pandas, pyarrow, DuckDB and DataFusion agree on every table.

use crate::space::{Space, start};
use std::path::Path;

#[test]
fn four_readers_agree_on_every_file_of_a_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".native/readers/bin/python");
    // `make test` installs them; whoever calls cargo alone may not have them.
    if !root.join(".native/readers/stamp").exists() {
        return;
    }
    let space = Space::after_a_run();
    let mut command = space.command(python);
    command.arg(root.join("tests/readers/read_formats.py")).arg("runs/tiny");
    let read = start(command).wait().ok();
    for table in ["clusters", "manifest", "metrics", "steps", "iterations"] {
        assert!(read.stdout.contains(&format!("ok   {table}/ (partitioned)")), "{}", read.stdout);
    }
    for file in ["crops/part-00000.arrow", "features/epoch=0002/part-00000.arrow", "weights/epoch=0001.safetensors"] {
        assert!(read.stdout.contains(&format!("ok   {file}")), "{}", read.stdout);
    }
}
