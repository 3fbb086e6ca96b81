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
const NATIVE: [(&str, &[&str]); 11] = [
    ("tch::", &["learn"]),
    ("torch_sys::", &["learn"]),
    ("faiss::", &["learn"]),
    ("arrow::", &["format"]),
    ("parquet::", &["format"]),
    ("safetensors::", &["format"]),
    ("libloading::", &["learn"]),
    ("memmap2::", &["store"]),
    ("image::", &["image"]),
    ("hyper::", &["views"]),
    ("tokio::", &["views"]),
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

/// Reads the use tree that `text` opens with, and adds every path in it to `found`, each behind `before`.
/// Returns what follows the tree. A name given by `as` is passed over.
fn paths<'a>(text: &'a str, before: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.trim_start().starts_with('}') && !rest.trim_start().is_empty() {
            rest = paths(rest, before, found).trim_start().trim_start_matches(',');
        }
        return rest.trim_start().strip_prefix('}').unwrap_or(rest);
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let path = [before, &[text[..end].to_owned()]].concat();
    match text[end..].strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => {
            paths(rest, &path, found)
        }
        _ => {
            found.push(path);
            let rest = text[end..].trim_start_matches("::*").trim_start();
            let alias =
                rest.strip_prefix("as ").map(|rest| rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'));
            // A character that no use tree holds must not hold the reader up.
            alias.unwrap_or_else(|| if end == 0 { rest.get(1..).unwrap_or_default() } else { rest })
        }
    }
}

/// Every path from the crate's root that `code`, which is the module `at`, names after `crate::` or `super::`.
fn paths_used(code: &str, at: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (word, before) in [("crate::", &[][..]), ("super::", &at[..at.len() - 1])] {
        for (start, _) in code.match_indices(word) {
            if !code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                paths(&code[start + word.len()..], before, &mut found);
            }
        }
    }
    // Each further `super` takes a module away.
    for path in &mut found {
        while let Some(up) = path.iter().position(|segment| segment == "super").filter(|up| *up > 0) {
            path.drain(up - 1..=up);
        }
    }
    found
}

/// The files of the house as modules: `learn::assign` is `[learn, assign]`. A folder is the module of its mod.rs.
struct Modules(BTreeMap<Vec<String>, String>);

impl Modules {
    fn read() -> Self {
        let module = |file: &PathBuf| {
            let inside = file.strip_prefix(root().join("src")).unwrap().with_extension("");
            let mut module: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            module.pop_if(|last| last == "mod");
            module
        };
        Self(rust_files("src").iter().map(|file| (module(file), code(file))).collect())
    }

    fn is_folder(&self, module: &[String]) -> bool {
        self.0.keys().any(|other| other.len() > module.len() && other.starts_with(module))
    }

    /// The file that defines what the path names: through folders, and through the `pub use` of their mod.rs.
    fn file_of(&self, path: &[String]) -> Option<Vec<String>> {
        let mut at = path.get(..1)?.to_vec();
        for segment in &path[1..] {
            if !self.is_folder(&at) {
                break;
            }
            let below = [at.as_slice(), std::slice::from_ref(segment)].concat();
            if self.0.contains_key(&below) {
                at = below;
                continue;
            }
            let mut shown = Vec::new();
            for (start, word) in self.0.get(&at)?.match_indices("pub use ") {
                paths(&self.0[&at][start + word.len()..], &at, &mut shown);
            }
            at = self.file_of(shown.iter().find(|path| path.last() == Some(segment))?)?;
        }
        (!self.is_folder(&at)).then_some(at)
    }

    /// Files of one room that lead back to their first, each using the next.
    fn circle(&self, room: &str) -> Option<Vec<String>> {
        let of_room = |module: &[String]| module[0] == room && !self.is_folder(module);
        let arrows: BTreeMap<_, Vec<_>> = (self.0.iter())
            .filter(|(module, _)| of_room(module))
            .map(|(module, code)| {
                let used = paths_used(code, module).into_iter().filter_map(|path| self.file_of(&path));
                (module.clone(), used.filter(|used| of_room(used) && used != module).collect())
            })
            .collect();
        let mut sound = Vec::new();
        let walk = arrows.keys().find_map(|module| walk(module, &arrows, &mut Vec::new(), &mut sound));
        walk.map(|walk| walk.iter().map(|module| module.join("::")).collect())
    }
}

/// Follows the arrows from `at` until a file comes again that is on the way; what leads into no circle becomes `sound`.
fn walk(
    at: &Vec<String>,
    arrows: &BTreeMap<Vec<String>, Vec<Vec<String>>>,
    way: &mut Vec<Vec<String>>,
    sound: &mut Vec<Vec<String>>,
) -> Option<Vec<Vec<String>>> {
    if let Some(from) = way.iter().position(|module| module == at) {
        return Some([&way[from..], std::slice::from_ref(at)].concat());
    }
    if sound.contains(at) {
        return None;
    }
    way.push(at.clone());
    let found = arrows[at].iter().find_map(|next| walk(next, arrows, way, sound));
    way.pop();
    sound.push(at.clone());
    found
}

#[test]
fn no_files_of_a_room_form_a_circle() {
    let modules = Modules::read();
    let circles = FLOORS.iter().filter_map(|(room, _)| Some((*room, modules.circle(room)?)));
    let told: Vec<_> = circles.map(|(_, circle)| circle.join(" -> ")).collect();
    assert!(told.is_empty(), "files that use each other in a circle:\n{}", told.join("\n"));
}

#[test]
fn the_test_of_the_circles_sees_paths_in_every_form() {
    let words = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let module = |name: &str, code: &str| (words(name), code.to_owned());
    let mut modules = Modules(BTreeMap::from([
        module("a", "pub mod b; pub use c::{self, D, d::{F, G}}; mod deep;"),
        module("a::b", "use crate::a::{D, c::{X as Y, Z}, G};"),
        module("a::c", "fn f() { super::deep::e::g(); }"),
        module("a::deep", "pub use e::H;"),
        module("a::deep::e", "use super::super::b::I; use super::H;"),
    ]));
    let b = &words("a::b");
    let used = paths_used(&modules.0[b], b);
    assert_eq!(used, ["a::D", "a::c::X", "a::c::Z", "a::G"].map(words));
    assert_eq!(modules.file_of(&words("a::G")), Some(words("a::c")));
    assert_eq!(modules.file_of(&words("a::deep::H")), Some(words("a::deep::e")));
    let circle = ["a::b", "a::c", "a::deep::e", "a::b"].map(str::to_owned).to_vec();
    assert_eq!(modules.circle("a"), Some(circle));
    modules.0.insert(words("a::deep::e"), String::new());
    assert_eq!(modules.circle("a"), None);
}

/// Whether code names a library: not a module of ours that ends alike, and not our room of the same name.
fn names(code: &str, library: &str) -> bool {
    let ours = library.trim_end_matches("::");
    let binds = [format!("crate::{ours}::{{self"), format!("use crate::{ours};"), format!("use super::{ours};")];
    let is_ours = binds.iter().any(|bind| code.contains(bind));
    code.match_indices(library).any(|(at, _)| {
        let is_part = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>');
        match code[..at].strip_suffix("::") {
            Some(before) => !is_part(before),
            None => !is_part(&code[..at]) && !is_ours,
        }
    })
}

#[test]
fn native_libraries_stay_in_their_room() {
    for file in rust_files("src") {
        let code = code(&file);
        for (library, rooms) in NATIVE {
            let here = room(&file);
            assert!(!names(&code, library) || rooms.contains(&&*here), "{} names {library}", file.display());
        }
    }
}

#[test]
fn the_test_of_the_libraries_tells_a_library_from_a_room() {
    for (code, named) in [
        ("use image::open;", true),
        ("let x = ::image::open(path);", true),
        ("use crate::image::{self, List}; let x = ::image::open(path);", true),
        ("use crate::image::{self, List}; image::list(root);", false),
        ("use crate::image::Format; f(crate::image::probe(x));", false),
        ("let x = webimage::open(path);", false),
    ] {
        assert_eq!(names(code, "image::"), named, "{code}");
    }
}

/// Files that may start a program: the one beside them.
const STARTERS: [&str; 5] = [
    "src/cli/native.rs",
    "src/cli/run.rs",
    "src/cli/serve.rs",
    "src/engine/crew/process.rs",
    "src/engine/crew/worker.rs",
];
/// What starts a program, and what reads files that can carry code: TorchScript and pickles.
const CARRIERS: [&str; 8] =
    ["process::Command", "execv", "libc::system", "CModule", "VarStore", "load_multi", "pickle", ".pth"];

#[test]
fn no_source_starts_a_program_or_names_a_format_that_carries_code() {
    for file in rust_files("src").iter().filter(|file| !STARTERS.iter().any(|starter| file.ends_with(starter))) {
        let code = std::fs::read_to_string(file).unwrap();
        let imports = |line: &&str| line.starts_with("use std::process") && line.contains("Command");
        let found = CARRIERS.into_iter().find(|word| code.contains(word)).or(code.lines().find(imports));
        assert!(found.is_none(), "{} has {found:?}", file.display());
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
    let suite: Vec<_> = rust_files("tests/suite").iter().map(stem).collect();
    let files: Vec<_> = files.iter().map(|file| (stem(file), std::fs::read_to_string(file).unwrap())).collect();
    for doc in ["ARCHITECTURE.md", "docs/format.md", "docs/faults.md"] {
        let text = std::fs::read_to_string(root().join(doc)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::"));
        // ARCHITECTURE.md also names modules and types.
        let named: Vec<_> =
            quoted.filter(|(file, _)| doc != "ARCHITECTURE.md" || suite.contains(&(*file).to_owned())).collect();
        assert!(named.len() > 20, "{doc}: {named:?}");
        for (file, test) in named {
            let test = test.rsplit("::").next().unwrap_or(test);
            let is_there = files.iter().any(|(stem, code)| stem == file && code.contains(&format!("fn {test}(")));
            let is_below = || {
                suite.iter().any(|at| at == file) && files.iter().any(|(_, code)| code.contains(&format!("fn {test}(")))
            };
            assert!(is_there || is_below(), "{doc}: there is no {file}::{test}");
        }
    }
}
