//! cli: what a person is told: help, the plan and its reasons, what a node made, what the machine is like.

use crate::space::{DCPIPE, NODES, Space, finished, start};
use std::path::Path;
use std::process::Command;

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let space = Space::empty();
    let help = space.run(&["--help"]).ok().stdout;
    for word in [
        "Usage: dcpipe <COMMAND>",
        "run",
        "plan",
        "why",
        "log",
        "diff",
        "show",
        "ls",
        "doctor",
        "schema",
        "completions",
        "75 interrupted",
    ] {
        assert!(help.contains(word), "{word:?} is not in\n{help}");
    }
    let help = space.run(&["run", "--help"]).ok().stdout;
    for word in [
        "Usage: dcpipe run",
        "--set",
        "--to",
        "--store",
        "--out",
        "--name",
        "--device",
        "--json",
        "--quiet",
        "--verbose",
        "--threads",
    ] {
        assert!(help.contains(word), "{word:?} is not in\n{help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    space.run(&["rum"]).ended(2).complains_of(&["rum", "run"]);
    space.run(&[]).ended(2);
    assert_eq!(space.run(&["--version"]).ok().stdout, format!("dcpipe {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_plan_tells_hits_runs_and_what_is_open() {
    let space = Space::filled();
    let table = |args: &[&str]| -> Vec<Vec<String>> {
        let plan = space.run(&[&["plan", "tiny.yaml"], args].concat()).ok().stdout;
        plan.lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
            .collect()
    };
    let row = |table: &[Vec<String>], node: &str| {
        table.iter().find(|row| row.first().is_some_and(|cell| cell == node)).unwrap().clone()
    };
    let fresh = table(&[]);
    assert_eq!(fresh[0], ["node", "what", "bytes", "why"]);
    assert_eq!(row(&fresh, "dataset@0")[1], "run");
    assert_eq!(row(&fresh, "dataset@0").last().unwrap(), "it has not run before");
    assert_eq!(row(&fresh, "crops@0").last().unwrap(), "its key depends on the output of dataset@0");
    assert!(!space.path("runs").exists(), "a plan made results");

    space.run(&["run", "tiny.yaml", "-q", "--to", "metrics@1"]).ok();
    let later = table(&["--set", "clusters.k=5"]);
    assert_eq!(row(&later, "vectors@1")[1], "hit");
    assert_eq!(row(&later, "clusters@1")[1], "run");
    assert_eq!(row(&later, "clusters@1").last().unwrap(), "- param.k = 7, + param.k = 5");
    assert_eq!(row(&later, "manifest@1").last().unwrap(), "its key depends on the output of clusters@1");
    // 60 images of 4096 numbers of 4 bytes.
    assert_eq!(row(&later, "features@2")[2], "~983.0 kB");
    let last = later.last().unwrap().join(" ");
    assert!(last.contains("hit, ") && last.contains(" run, ") && last.contains(" pending; about "), "{last}");

    let json = space.run(&["plan", "tiny.yaml", "--json"]).ok().stdout;
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut nodes: Vec<_> = lines.iter().map(|line| line["node"].as_str().unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, NODES);
    assert!(lines.iter().any(|line| line["node"] == "clusters@1" && line["what"] == "hit" && line["key"].is_string()));
}

#[test]
fn why_follows_a_change_to_its_root() {
    let space = Space::after_a_run();
    let why = |args: &[&str]| space.run(&[&["why"], args].concat()).ok().stdout;
    let hit = why(&["clusters@2"]);
    assert!(hit.starts_with("clusters@2 would not run: its key has a record (made by dcpipe "), "{hit}");
    for line in ["dcpipe-key 1", "stage cluster 1", "param.iterations = 6", "param.k = 7"] {
        assert!(hit.contains(&format!("    {line}\n")), "{line:?} is not in\n{hit}");
    }
    let changed = why(&["metrics@2", "tiny.yaml", "--set", "vectors.dims=9"]);
    in_order(
        &changed,
        &[
            "metrics@2 has no key yet: it depends on the output of vectors@1, by way of clusters@2, vectors@2, ",
            "manifest@1, clusters@1\n",
            "because vectors@1 would run",
            "- param.dims = 8",
            "+ param.dims = 9",
        ],
    );
    let far = why(&["metrics@4", "tiny.yaml", "--set", "vectors.dims=9", "--set", "epochs=4"]);
    in_order(&far, &["the output of vectors@1, by way of ", " and 10 more\nbecause vectors@1 would run"]);
    space.run(&["why", "cluster@2"]).ended(2).complains_of(&["cluster@2", "clusters"]);
    let empty = Space::filled();
    empty.run(&["why", "clusters@2"]).ended(2).complains_of(&["name a pipeline file"]);
    in_order(
        &empty.run(&["why", "clusters@2", "tiny.yaml"]).ok().stdout,
        &["dataset@0 would run: it has not run before"],
    );
}

/// Insists on words in a text, in this order.
fn in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word:?} is not where it should be in\n{text}"));
        rest = &rest[at + word.len()..];
    }
}

#[test]
fn show_tells_schema_rows_head_and_statistics_of_every_node() {
    let space = Space::after_a_run();
    for node in NODES.iter().filter(|node| !node.ends_with("@1")) {
        let shown = space.run(&["show", node]).ok().stdout;
        assert!(shown.starts_with(&format!("{node}: ")), "{shown}");
    }
    let shown = space.run(&["show", "clusters@2", "--rows", "3"]).ok().stdout;
    in_order(
        &shown,
        &[
            "clusters v1",
            "clusters.parquet",
            "60 rows",
            "cluster_id",
            "centroids.arrow",
            "iterations.parquet",
            "6 rows",
        ],
    );
    let shown = space.run(&["show", "weights@0"]).ok().stdout;
    assert!(shown.contains("evicted"), "{shown}");
    let latest = space.run(&["show", "metrics"]).ok().stdout;
    assert!(latest.starts_with("metrics@2: ") && latest.contains("nmi_previous"), "{latest}");
    let paths = space.run(&["show", "weights@2", "--paths"]).ok().stdout;
    assert!(paths.lines().count() == 3 && paths.lines().all(|path| space.path(path).exists()), "{paths}");
    let many = space.run(&["show", "dataset", "--rows", "60"]).ok().stdout;
    assert!(many.contains("/00.jpg") && many.contains("/19.jpg") && many.lines().count() > 60, "{many}");
    space.run(&["show", "metrics@2", "tiny.yaml", "--set", "clusters.k=5"]).ended(5).complains_of(&["has not run"]);
}

#[test]
fn why_and_show_use_the_environment_of_the_run() {
    let space = Space::filled();
    let text = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("told.yaml", text.replace("vars: { images: \"images\" }\n", "").replace("${images}", "${WHERE}"));
    space.run(&["run", "told.yaml", "--to", "dataset"]).ended(3).complains_of(&["WHERE"]);
    let told = |args: &[&str]| {
        let mut command = space.command(DCPIPE);
        command.args(args).env("WHERE", "images");
        start(command)
    };
    let mut run = told(&["run", "told.yaml", "--json"]);
    assert!(run.until(|events| !finished(events).is_empty()));
    run.signal(15);
    run.wait().ended(75).complains_of(&["WHERE=images ", "run told.yaml --json"]);
    told(&["run", "told.yaml", "--to", "crops"]).wait().ok();
    space.run(&["why", "crops@0"]).ok();
    space.run(&["show", "dataset"]).ok();
}

#[test]
fn show_shows_the_run_that_is_named_and_what_was_there_before_a_mistake() {
    let space = Space::after_a_run();
    space.run(&["run", "tiny.yaml", "--name", "other", "--set", "clusters.k=5", "--to", "clusters@1", "-q"]).ok();
    let k = |args: &[&str]| {
        let told = space.run(args).ok().stdout;
        told.lines().find(|line| line.contains("centroids/v1")).unwrap_or(&told).to_owned()
    };
    assert!(k(&["show", "clusters@1"]).contains("5 rows"), "the last run's");
    assert!(k(&["show", "clusters@1", "--name", "tiny"]).contains("7 rows"));
    space.run(&["run", "tiny.yaml", "--name", "other", "--set", "clusters.k=500", "-q"]).ended(3);
    assert!(k(&["show", "clusters@1", "--name", "tiny"]).contains("7 rows"));
    assert!(k(&["show", "clusters@1"]).contains("5 rows"), "a refused parameter hides nothing");
}

#[test]
fn show_needs_no_images() {
    let space = Space::after_a_run();
    std::fs::remove_file(space.path("images")).unwrap();
    let shown = space.run(&["show", "features"]).ok().stdout;
    assert!(shown.starts_with("features@2: "), "{shown}");
}

#[test]
fn ls_lists_runs_and_nodes() {
    let space = Space::after_a_run();
    in_order(&space.run(&["ls"]).ok().stdout, &["run", "nodes", "pipeline", "tiny", "23", "pipeline.yaml"]);
    let nodes = space.run(&["ls", "tiny.yaml"]).ok().stdout;
    assert_eq!(nodes.lines().count(), 16, "{nodes}");
    let line = |node: &str| nodes.lines().find(|line| line.starts_with(node)).unwrap();
    assert!(line("weights@2").contains(" yes "), "{nodes}");
    assert!(line("weights@0").contains("evicted"), "{nodes}");
}

#[test]
fn the_pipeline_that_ls_names_is_all_hits() {
    let space = Space::after_a_run();
    let again = space.run(&["run", ".dcpipe/runs/tiny/pipeline.yaml", "--json"]).ok();
    assert_eq!(again.ran(), [""; 0]);
}

#[test]
fn doctor_looks_at_everything_and_says_where_libraries_are() {
    let space = Space::empty();
    let told = space.run(&["doctor"]).ok().stdout;
    in_order(
        &told,
        &[
            "libtorch",
            "2.11.0",
            "libtorch_cpu.so",
            "blas",
            "precision",
            "faiss",
            "jpeg",
            "simd",
            "threads",
            "device",
            "store",
            "disk",
        ],
    );
    let json = space.run(&["doctor", "--json"]).ok().stdout;
    for line in json.lines() {
        let check: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(["OK", "WARN"].contains(&check["verdict"].as_str().unwrap()), "{line}");
    }
    space.run(&["doctor", "--device", "cuda:7"]).ended(6);
    let mut command = space.command(Path::new(DCPIPE).with_file_name("dcpipe-native"));
    command.arg("doctor").env("NVIDIA_TF32_OVERRIDE", "1");
    let told = start(command).wait().ok().stdout;
    assert!(told.contains("NVIDIA_TF32_OVERRIDE would silently void exact labels"), "{told}");
}

#[test]
fn schema_and_completions_are_printed() {
    let space = Space::empty();
    let schema: serde_json::Value = serde_json::from_str(&space.run(&["schema"]).ok().stdout).unwrap();
    assert!(schema.is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(space.run(&["completions", shell]).ok().stdout.contains("dcpipe"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let space = Space::after_a_run();
    for command in [
        "plan tiny.yaml",
        "plan tiny.yaml --json",
        "show dataset@0 --rows 60",
        "schema",
        "completions bash",
        "run tiny.yaml --json",
    ] {
        let script = format!("{DCPIPE} {command} | head -n 1; exit ${{PIPESTATUS[0]}}");
        let piped = Command::new("bash").args(["-c", &script]).current_dir(space.root()).output().unwrap();
        assert!(
            piped.status.success() && piped.stderr.is_empty() || command.starts_with("run"),
            "{command}: {piped:?}"
        );
        assert!(!String::from_utf8_lossy(&piped.stderr).contains("panicked"), "{command}: {piped:?}");
    }
}

#[test]
fn a_run_prints_plain_lines_without_a_terminal_and_nothing_when_quiet() {
    let space = Space::after_a_run();
    let plain = space.run(&["run", "tiny.yaml"]).ok();
    assert_eq!(plain.stdout, "");
    assert!(plain.stderr.contains("0 ran, 23 hit in ") && !plain.stderr.contains('\u{1b}'), "{}", plain.stderr);
    let verbose =
        space.run(&["run", "tiny.yaml", "-v", "--set", "clusters.iterations=7", "--to", "clusters@1"]).ok().stderr;
    in_order(
        &verbose,
        &["vectors@1: hit", "clusters@1: runs, - param.iterations = 6, + param.iterations = 7", "objective"],
    );
    let quiet = space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}
