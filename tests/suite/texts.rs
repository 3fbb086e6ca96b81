//! texts: every help page and the errors that people commonly meet, as they are told.
//!
//! `DCPIPE_ACCEPT=1` rewrites `tests/data/texts.txt`; its diff is the review of a text.

use crate::space::{DCPIPE, Space};
use std::fmt::Write;
use std::path::Path;

const COMMANDS: &[&str] = &[
    "",
    "run",
    "assign",
    "plan",
    "why",
    "log",
    "diff",
    "show",
    "report",
    "graph",
    "serve",
    "export",
    "ls",
    "verify",
    "gc",
    "pin",
    "doctor",
    "schema",
    "completions",
    "rum",
];

/// What people mistype, forget or ask too early.
const MISTAKES: &[&[&str]] = &[
    &[],
    &["run"],
    &["run", "none.yaml"],
    &["run", "images"],
    &["run", "tiny.yaml", "--stop"],
    &["run", "tiny.yaml", "--device", "tpu"],
    &["run", "tiny.yaml", "--threads", "0"],
    &["run", "tiny.yaml", "--to", "cluster@1"],
    &["run", "tiny.yaml", "--name", "a/b"],
    &["run", "tiny.yaml", "--store", "tiny.yaml"],
    &["plan", "tiny.yaml", "--set", "clusters.k"],
    &["plan", "tiny.yaml", "--set", "clusters.k=many"],
    &["plan", "tiny.yaml", "--set", "clusters.k=0"],
    &["plan", "tiny.yaml", "--set", "clusters.q=5"],
    &["plan", "tiny.yaml", "--set", "cluster.k=5"],
    &["plan", "tiny.yaml", "--set", "clusters.k=[1, 2"],
    &["plan", "tiny.yaml", "--set", "vars.images=x"],
    &["plan", "tiny.yaml", "--set", "dataset.root=none"],
    &["plan", "tiny.yaml", "--set", "dataset.root=a: b: c"],
    &["plan", "tiny.yaml", "--set", "epochs=0"],
    &["plan", "tiny.yaml", "--set", "vectors.dims=100000"],
    &["plan", "tiny.yaml", "--set", "crops.crop=60"],
    &["plan", "bad.yaml"],
    &["plan", "undefined.yaml"],
    &["plan"],
    &["why", "features@1"],
    &["log"],
    &["log", "tiny"],
    &["assign", "tiny"],
    &["assign", "tiny", "--images", "images"],
    &["diff", "one", "other"],
    &["show", "features@1"],
    &["ls", "tiny"],
    &["export"],
    &["export", "atlas"],
    &["export", "excel"],
    &["gc", "--drop", "tiny"],
    &["pin", "tiny"],
    &["serve"],
    &["serve", "tiny", "--address", "8000"],
    &["completions", "sh"],
];

/// What is of this machine and this moment, by a name instead.
fn normal(text: &str, space: &Space) -> String {
    let root = space.root().to_string_lossy().into_owned();
    let real = std::fs::canonicalize(space.root()).unwrap().to_string_lossy().into_owned();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).to_string_lossy().into_owned();
    let text = text.replace(&real, "DIR").replace(&root, "DIR").replace(&home, "HERE").replace(DCPIPE, "dcpipe");
    let mut out = String::new();
    for line in text.replace(env!("CARGO_PKG_VERSION"), "VERSION").lines() {
        let line = match line.find(" cores") {
            Some(_) => line.replace(|c: char| c.is_ascii_digit(), "N"),
            None => line.to_owned(),
        };
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[test]
fn what_people_are_told_is_as_committed() {
    let space = Space::filled();
    space.write("bad.yaml", "name: bad\nepoch: 3\n");
    space.write("undefined.yaml", "name: it\nonce:\n  dataset: { stage: scan, with: { root: \"${NOT_DEFINED}\" } }\n");
    let helps = COMMANDS.iter().map(|command| match *command {
        "" => vec!["--help"],
        command => vec![command, "--help"],
    });
    let mut told = String::new();
    for args in helps.chain(MISTAKES.iter().map(|args| args.to_vec())) {
        let out = space.run(&args);
        let code = out.code.expect("no signal ends it");
        let text = normal(&format!("{}{}", out.stdout, out.stderr), &space);
        let _ = writeln!(told, "$ dcpipe {}\n{text}= {code}\n", args.join(" "));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/texts.txt");
    if std::env::var_os("DCPIPE_ACCEPT").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = told.lines().zip(committed.lines()).find(|(is, was)| is != was);
    let hint = "if that is meant, DCPIPE_ACCEPT=1 rewrites tests/data/texts.txt";
    assert!(told == committed, "the first line that differs is now and was {differs:?}; {hint}");
}
