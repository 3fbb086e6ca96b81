//! readme: the commands of README.md run as they are written, its snippets read their results, and its links lead somewhere.
//!
//! A folder DIR with images and runs called `cifar10-k80` and NAME exist, so the README's own words are commands here.

use crate::readers::script;
use crate::space::{DCPIPE, Output, Space, image, start};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What a line of the README takes for granted: a part of the line, and what runs before it.
const GRANTED: [(&str, &str); 2] = [
    (
        "release/dcpipe run pipelines/cifar10.yaml",
        "dcpipe run pipelines/cifar10.yaml --set vars.images=DIR --name NAME --to dataset",
    ),
    (
        "dcpipe diff ",
        "dcpipe run pipelines/cifar10.yaml --set vars.images=DIR --set clusters.k=80 --name cifar10-k80 --to clusters@1",
    ),
];
/// What a run gets besides what the README says, so that it takes seconds. Later overrides win.
const SMALLER: [(&str, &str); 3] = [
    ("dcpipe run pipelines/demo.yaml", "--set dataset.images=100"),
    ("dcpipe run pipelines/cifar10.yaml", "--set epochs=3 --set 'keep=[features, vectors, crops]'"),
    (
        "dcpipe run pipelines/imagenet.yaml",
        "--set crops.short_side=64 --set crops.crop=64 --set weights.input=64 --set vectors.dims=32 --set clusters.k=50 \
         --set epochs=2 --to clusters",
    ),
];
/// What the README shows and this test does not run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("dcpipe serve", "a command that ends at Ctrl-C; browser.rs has a run of it"),
    ("dcpipe serve --open", "it ends at Ctrl-C; browser.rs has a run of it"),
    ("ssh -L 8471:127.0.0.1:8471 MACHINE", "it needs another machine"),
    ("+---", "a drawing"),
    ("make test", "it runs this test"),
    ("scripts/setup --cuda", "it fetches 5 GB"),
    ("dcpipe why", "a command's name; it stands with a node elsewhere"),
    ("dcpipe assign", "a command's name; it stands with its arguments elsewhere"),
    ("dcpipe export WHAT", "the form of a command; it stands with its arguments elsewhere"),
    ("--copy", "of export; the test of the flags has it"),
    ("--epoch N", "of export; the test of the flags has it"),
    ("--per-cluster N", "of export and of report; the test of the flags has it"),
    ("--clusters N", "of report; the test of the flags has it"),
    ("--naming dcpipe", "of export; outside.rs has it"),
    ("--name", "of assign; the test of the flags has it"),
    ("--set NODE.PARAM=VALUE", "the form of an override; others stand beside it"),
    ("--store DIR", "DIR holds the images here; the test of the flags has it"),
    ("--device cuda:0", "it requires a GPU"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn repository(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The plain blocks of the README, and what it quotes between its blocks. `run_readme.py` has the blocks of a language.
fn blocks_and_quotes(readme: &str) -> (Vec<&str>, Vec<&str>) {
    let between = readme.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    let blocks = readme.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix('\n'));
    (blocks.collect(), between.collect())
}

/// The commands by which a line of a block, or a quotation, runs; none where it is no command. A quoted parameter is tried on
/// `cifar10.yaml`.
fn commands(line: &str) -> Option<Vec<String>> {
    const CIFAR10: &str = "pipelines/cifar10.yaml --set vars.images=DIR";
    let one = |command: String| Some(vec![command]);
    if line == "make demo" {
        let makefile = repository("Makefile");
        let recipe = makefile.split("\ndemo:").nth(1).unwrap().lines().skip(1);
        let recipe = recipe.map_while(|line| line.strip_prefix('\t')).filter(|line| line.contains("dcpipe run"));
        Some(recipe.map(str::to_owned).collect())
    } else if line.starts_with("dcpipe ") || line.starts_with("target/release/dcpipe ") {
        one(line.to_owned())
    } else if let Some(options) = line.strip_prefix("run --") {
        one(format!("dcpipe run {CIFAR10} --{options}"))
    } else if line.starts_with("--") {
        one(format!("dcpipe plan {CIFAR10} {line}"))
    } else {
        let value = line.strip_prefix("keep: ")?;
        one(format!("dcpipe plan {CIFAR10} --set 'keep={value}'"))
    }
}

/// Whether the list of what does not run has this.
fn is_listed(what: &str) -> bool {
    NOT_RUN.iter().any(|(name, _)| what == *name || (*name == "+---" && what.contains(name)))
}

/// The commands of the README's blocks in their order, and those that it quotes besides.
fn readme() -> (Vec<String>, Vec<String>) {
    let readme = repository("README.md");
    let (blocks, quotes) = blocks_and_quotes(&readme);
    let lines = blocks.into_iter().filter(|block| !is_listed(block)).flat_map(str::lines);
    let lines = lines.filter(|line| !is_listed(command_of(line)));
    let how =
        |line| commands(line).unwrap_or_else(|| panic!("README.md: how does {line:?} run? If not, list it in NOT_RUN"));
    let lines: Vec<_> = lines.flat_map(how).collect();
    let seen: BTreeSet<_> = lines.iter().map(|line| command_of(line)).collect();
    let quoted = quotes.into_iter().filter(|quote| !is_listed(quote)).filter_map(commands).flatten();
    let quoted = quoted.filter(|line| !seen.contains(line.as_str())).collect();
    (lines, quoted)
}

/// A line without its comment.
fn command_of(line: &str) -> &str {
    line.split("  #").next().unwrap().trim_end()
}

fn smaller(line: &str) -> String {
    let more = SMALLER.iter().find(|(run, _)| line.contains(run)).map_or("", |(_, more)| more);
    format!("{} {more}", command_of(line))
}

/// A folder as a reader has it: the programs, the pipelines, images in DIR, and the home folder with `pictures #1`.
fn checkout() -> Space {
    let space = Space::empty();
    fs::create_dir(space.path("target")).unwrap();
    symlink(Path::new(DCPIPE).parent().unwrap(), space.path("target/release")).unwrap();
    symlink(root().join("pipelines"), space.path("pipelines")).unwrap();
    // k = 100 and 128 dimensions need as many images.
    for number in 0..130 {
        let (path, bytes) = image(number);
        space.write(&path.replacen("images", "DIR", 1), bytes);
    }
    symlink("DIR", space.path("pictures #1")).unwrap();
    space
}

fn bash(space: &Space, line: &str) -> Output {
    let mut command = space.command("bash");
    let path = format!("{}:{}", space.path("target/release").display(), std::env::var("PATH").unwrap());
    command.args(["-c", line]).env("PATH", path).env("HOME", space.root());
    start(command).wait().ok()
}

/// Runs every command in the README's order, and says what each said.
fn run_all(space: &Space) -> Vec<(String, Output)> {
    let (lines, quoted) = readme();
    let run = |line: String| {
        for (_, granted) in GRANTED.iter().filter(|(before, _)| line.contains(before)) {
            bash(space, &smaller(granted));
        }
        let output = bash(space, &smaller(&line));
        (line, output)
    };
    lines.into_iter().chain(quoted).map(run).collect()
}

#[test]
fn every_command_of_the_readme_runs_and_its_snippets_read_the_results() {
    let space = checkout();
    let said = run_all(&space);
    for (line, output) in &said {
        assert!(!(output.stdout.clone() + &output.stderr).trim().is_empty(), "{line} says nothing");
    }
    for (command, word) in [
        ("show metrics@3", "nmi_label"),
        ("plan pipelines/cifar10.yaml", "param.k"),
        ("show clusters@2", "cluster_id"),
        ("ls pipelines/cifar10.yaml", "clusters@3"),
        ("diff cifar10", "param.k"),
        ("gc --drop NAME", "NAME"),
        ("pin cifar10", "paper"),
    ] {
        let (_, output) = said.iter().find(|(line, _)| line.contains(command)).unwrap();
        assert!(output.stdout.contains(word), "{command} does not say {word}:\n{}", output.stdout);
    }
    let Some(mut command) = script(&space, "run_readme.py") else { return };
    command.arg(root().join("README.md"));
    let told = start(command).wait().ok().stdout;
    for block in ["python: ", "sql: ", "table: "] {
        assert!(told.lines().any(|line| line.starts_with(block)), "{told}");
    }
}

#[test]
fn the_readmes_own_runs_have_a_plan() {
    let space = checkout();
    let (lines, _) = readme();
    let runs: Vec<_> = lines.iter().filter(|line| line.contains("dcpipe run ")).collect();
    assert!(runs.len() >= 3, "{runs:?}");
    for run in runs {
        bash(&space, &run.replacen("dcpipe run ", "dcpipe plan ", 1));
    }
}

#[test]
fn what_the_readme_names_exists_and_so_does_what_is_not_run() {
    let readme = repository("README.md");
    // The help of every command, which `texts` holds to be what the program says.
    let known = repository("tests/data/texts.txt") + &repository("scripts/setup");
    let (blocks, quotes) = blocks_and_quotes(&readme);
    let shown: Vec<_> = blocks.into_iter().chain(quotes).collect();
    let is_of_a_word = |c: char| c.is_ascii_lowercase() || c == '-';
    for flag in shown.iter().flat_map(|text| text.split(|c| !is_of_a_word(c))) {
        let is_flag = flag.starts_with("--") && !flag.ends_with('-');
        let is_known = || known.match_indices(flag).any(|(at, _)| !known[at + flag.len()..].starts_with(is_of_a_word));
        assert!(!is_flag || is_known(), "README.md: no command has {flag}");
    }
    for (name, reason) in NOT_RUN {
        assert!(shown.iter().any(|what| what.contains(name)), "README.md no longer has {name} ({reason})");
    }
    for pipeline in shown.iter().filter(|what| what.ends_with(".yaml") && !what.contains([' ', '\n'])) {
        assert!(root().join("pipelines").join(pipeline).exists(), "README.md: there is no pipelines/{pipeline}");
    }
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(root().join(link).exists(), "README.md: no {link}");
    }
}
