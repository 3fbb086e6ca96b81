//! browser: the report and the live page do in a real browser what a person does there.

use crate::readers::script;
use crate::report::written;
use crate::space::{DCPIPE, Space, image, start};
use dcpipe::views::report::{Asked, Wanted};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

const NODES: &str = "  gallery: { stage: gallery, with: { per_cluster: 5 }, from: { dataset: dataset, crops: crops, clusters: \
                     clusters, before: clusters@prev, vectors: vectors } }\n  neighbors: { stage: neighbors, from: { \
                     vectors: vectors } }\n  map: { stage: map, from: { vectors: vectors, neighbors: neighbors } }\n  \
                     oddities: { stage: oddities, from: { dataset: dataset, clusters: clusters, neighbors: neighbors, crops: \
                     crops } }\n";
/// A copy of an image, under a name that would be markup.
const COPY: &str = "images/<script>alert(1)<!--/<img src=x onerror=alert(2)>.jpg";

#[test]
fn the_pages_sort_search_open_hover_select_and_follow_a_run() {
    let space = Space::filled();
    let pipeline = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("tiny.yaml", pipeline + NODES);
    space.write(COPY, image(3).1);
    space.run(&["run", "tiny.yaml"]).ok();
    let Some(mut command) = script(&space, "browse.py") else { return };
    let must_be = std::env::var_os("DCPIPE_READERS").is_some_and(|value| value == "required");
    let is_there = Path::new("/usr/bin/chromium").exists();
    assert!(is_there || !must_be, "the browser is missing: scripts/setup --readers, or apt-get install chromium");
    if !is_there {
        return;
    }
    // No byte for the page: all of it lies in a folder.
    let asked = Asked { clusters: Some(100), per_cluster: Some(100) };
    written(&space, Wanted { asked, most: 0, ..Wanted::default() }, &space.path("large #1%.html"));
    let mut server = space.command(DCPIPE);
    server.args(["serve", "tiny", "--address", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    command.args([
        "runs/tiny/report.html",
        "large #1%.html",
        url.trim(),
        "--",
        DCPIPE,
        "run",
        "tiny.yaml",
        "--set",
        "epochs=3",
        "--quiet",
    ]);
    let browsed = start(command).wait();
    server.kill().unwrap();
    server.wait().unwrap();
    let browsed = browsed.ok();
    for what in [
        "report, 400 pixels: it asks for nothing else",
        "report with a folder, 1280 pixels: every picture is there",
        "report, 400 pixels: copies are named",
        "serve, 400 pixels: copies are named",
        "serve: a new epoch appears by itself",
    ] {
        assert!(browsed.stdout.contains(what), "{}", browsed.stdout);
    }
}
