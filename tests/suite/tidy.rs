//! tidy: the rules of the house, held by tests: floors, first lines, file and test lists, the one word for a thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floor of every room. A file may use only rooms on lower floors, and its own.
const FLOORS: [(&str, u32); 11] = [
    ("base", 0),
    ("store", 1),
    ("format", 1),
    ("image", 1),
    ("learn", 1),
    ("engine", 2),
    ("stages", 3),
    ("pipeline", 4),
    ("views", 4),
    ("cli", 5),
    ("native", 6),
];
/// Native libraries and the rooms that may name them.
const NATIVE: [(&str, &[&str]); 5] = [
    ("tch::", &["learn"]),
    ("torch_sys::", &["learn"]),
    ("faiss::", &["learn"]),
    ("arrow::", &["format"]),
    ("parquet::", &["format"]),
];
const LONGEST_FILE: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

/// The room a file of src/ stands in: its folder, or for a file at the top its own name.
fn room(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without comments and without in-file tests, which may look wherever they like.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every room that a file names after `crate::`, also within braces.
fn rooms_used(code: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => used.push(word(after)),
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => used.push(word(&std::mem::take(&mut item))),
                        _ => {}
                    }
                    if depth == 0 && c != ',' {
                        item.push(c);
                    }
                }
                used.push(word(&item));
            }
        }
    }
    used.into_iter().filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_arrow_runs_up_or_sideways() {
    let floors: BTreeMap<_, _> = FLOORS.into();
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in rust_files("src").iter().filter(|file| !["lib", "main"].contains(&room(file).as_str())) {
        let here = room(file);
        let floor = *floors.get(here.as_str()).unwrap_or_else(|| panic!("{} stands on no floor", file.display()));
        for used in rooms_used(&code(file)).iter().filter(|used| **used != here) {
            let below = floors.get(used.as_str()).unwrap_or_else(|| panic!("{}: crate::{used}?", file.display()));
            arrows += 1;
            if *below >= floor {
                wrong.push(format!("{}: {here} uses {used}", file.display()));
            }
        }
    }
    assert!(arrows > 50, "only {arrows} arrows were seen: the test no longer reads the code");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_test_of_the_floors_sees_arrows_in_every_form() {
    let code = "use crate::{base::Digest, store::{Store, io::Disk}, engine}; crate::views::x(); use crate::learn;";
    assert_eq!(rooms_used(code), ["base", "store", "engine", "views", "learn"]);
}

#[test]
fn native_libraries_stay_in_their_room() {
    for file in rust_files("src") {
        let code = code(&file);
        for (library, rooms) in NATIVE {
            let named = code.match_indices(library).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            });
            assert!(!named || rooms.contains(&room(&file).as_str()), "{} names {library}", file.display());
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is() {
    for file in ["src", "tests/suite", "benches"].iter().flat_map(|folder| rust_files(folder)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let first = text.lines().next().unwrap_or_default().to_owned();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = file.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let names = match stem.as_str() {
            "mod" => vec![folder],
            "lib" => vec!["dcpipe".to_owned()],
            "main" => vec!["main".to_owned(), folder],
            _ => vec![stem],
        };
        let sound = names.iter().any(|name| first.starts_with(&format!("//! {name}: ")));
        assert!(sound, "{} opens with {first:?}, not with what it is", file.display());
    }
}

#[test]
fn files_stay_small_enough_to_read() {
    for file in rust_files("src") {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", file.display());
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let suite = root().join("tests/suite");
    for file in rust_files("tests/suite").iter().filter(|file| !file.ends_with("main.rs")) {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        // A file in a folder is listed by the file that the folder belongs to.
        let folder = file.parent().unwrap();
        let lister = if folder == suite { suite.join("main.rs") } else { folder.with_extension("rs") };
        let list = std::fs::read_to_string(&lister).unwrap();
        assert!(list.contains(&format!("mod {stem};")), "{} does not list {stem}", lister.display());
    }
}

#[test]
fn every_divergence_is_listed_in_the_docs() {
    let doc = std::fs::read_to_string(root().join("docs/deepcluster.md")).unwrap();
    for file in rust_files("src") {
        let text = std::fs::read_to_string(&file).unwrap();
        let inside = file.strip_prefix(root()).unwrap().display().to_string();
        let count = text.matches("DIVERGES:").count();
        let listed = doc.matches(&format!("`{inside}`")).count();
        assert!(listed >= count, "{inside} diverges {count} times, docs/deepcluster.md lists {listed}");
    }
}

#[test]
fn stages_are_sorted_and_each_verb_is_there_once() {
    let verbs: Vec<_> = dcpipe::stages::registry().iter().map(|def| def.verb).collect();
    let mut sorted = verbs.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(verbs, sorted);
}

#[test]
fn every_test_that_the_docs_name_is_there() {
    let files = [rust_files("tests/suite"), rust_files("src")].concat();
    let stem = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().into_owned();
    let files: Vec<_> = files.iter().map(|file| (stem(file), std::fs::read_to_string(file).unwrap())).collect();
    for doc in ["docs/format.md", "docs/faults.md"] {
        let text = std::fs::read_to_string(root().join(doc)).unwrap();
        let named: Vec<_> = text.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::")).collect();
        assert!(named.len() > 20, "{doc}: {named:?}");
        for (file, test) in named {
            let is_there = files.iter().any(|(stem, code)| stem == file && code.contains(&format!("fn {test}(")));
            assert!(is_there, "{doc}: there is no {file}::{test}");
        }
    }
}
