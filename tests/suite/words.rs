//! words: how many sentences are too long and how many idioms stand for a glossary word; the first number may only fall.

use std::fs;
use std::path::{Path, PathBuf};

/// Words of a sentence.
const LONGEST_SENTENCE: usize = 20;
/// How many sentences of src/, tests/faults/ and docs/faults.md are longer. Lower it when you mend one; never raise it.
const LONG_SENTENCES: usize = 63;

/// What is written where the glossary has a word: references, retained, evicted, rebuild, checkpoint, resume, export,
/// discard, journal.
const IDIOMS: [&str; 34] = [
    "is after",
    "are after",
    "let go of",
    "lets go of",
    "put down",
    "puts down",
    "laid out",
    "lay out",
    "lays out",
    "stand for",
    "stands for",
    "made again",
    "make again",
    "makes again",
    "gone on with",
    "go on with",
    "goes on from",
    "go on from",
    "goes on",
    "go on",
    "gone on",
    "makes it again",
    "done again",
    "event log",
    "set aside",
    "who only looks",
    "is to stay",
    "are to stay",
    "was to be",
    "not to be looked at",
    "is none of",
    "would not do",
    "of somebody's",
    "by a slip",
];

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "py") {
            files.push(path);
        }
    }
}

/// What people read of a file: of code the comments and texts, of a page its sentences and cells.
fn read_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "md") { prose(&text) } else { texts(&text) }
}

/// The paragraphs and table cells of a page in Markdown; its code is left out.
fn prose(page: &str) -> Vec<String> {
    let (mut found, mut paragraph) = (Vec::new(), String::new());
    for line in page.split("```").step_by(2).flat_map(str::lines).chain([""]) {
        if line.starts_with('|') || line.trim().is_empty() || line.starts_with(['-', '#']) {
            found.extend((!paragraph.is_empty()).then(|| std::mem::take(&mut paragraph)));
        }
        if line.starts_with('|') {
            found.extend(line.split('|').map(|cell| cell.split('`').step_by(2).collect::<Vec<_>>().join("x")));
        } else {
            paragraph += &format!("{line} ");
        }
    }
    found
}

/// The comments of a file, a run of lines each, and its texts. In-file tests are left out.
fn texts(code: &str) -> Vec<String> {
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut found, mut comment, mut rest) = (Vec::new(), String::new(), String::new());
    for line in code.lines() {
        let trimmed = line.trim_start();
        match ["///", "//!", "//", "# "].iter().find_map(|mark| trimmed.strip_prefix(mark)) {
            Some(words) if words.trim().is_empty() => comment += ". ",
            Some(words) => comment += words,
            None => {
                found.extend((!comment.is_empty()).then(|| std::mem::take(&mut comment)));
                rest += line;
                rest.push('\n');
            }
        }
    }
    found.extend((!comment.is_empty()).then_some(comment));
    found.extend(literals(&rest));
    found
}

/// The texts in quotes.
fn literals(code: &str) -> Vec<String> {
    let (mut found, mut chars) = (Vec::new(), code.chars().peekable());
    while let Some(c) = chars.next() {
        // '"' is no beginning of a text.
        if c == '\'' && chars.peek() == Some(&'"') {
            chars.next();
        } else if c == '"' {
            let mut text = String::new();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                match (c, chars.peek().copied()) {
                    ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                    ('\\', Some(_)) => text.extend(chars.next().map(|c| if c == 'n' { '\n' } else { c })),
                    _ => text.push(c),
                }
            }
            found.push(text);
        }
    }
    found
}

/// Sentences of more words than a reader keeps in mind. A colon or a semicolon ends none.
fn long_sentences(text: &str) -> Vec<String> {
    let text = text.replace(['?', '!', '\n'], ". ");
    let sentences = text.split(". ").map(|sentence| sentence.split_whitespace().collect::<Vec<_>>());
    sentences.filter(|words| words.len() > LONGEST_SENTENCE).map(|words| words.join(" ")).collect()
}

fn idioms(text: &str) -> Vec<&'static str> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let is_word_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let whole = |(at, idiom): (usize, &str)| {
        is_word_end(text[..at].chars().next_back()) && is_word_end(text[at + idiom.len()..].chars().next())
    };
    let of = |idiom: &&'static str| vec![*idiom; text.match_indices(*idiom).filter(|found| whole(*found)).count()];
    IDIOMS.iter().flat_map(of).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the list for who asks with --nocapture")]
fn sentences_and_idioms_become_fewer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    files_below(&root.join("src"), &mut files);
    files_below(&root.join("tests/faults"), &mut files);
    files.push(root.join("docs/faults.md"));
    files.sort();
    let (mut long, mut idiomatic) = (Vec::new(), Vec::new());
    for file in &files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        for text in read_of(file) {
            long.extend(long_sentences(&text).into_iter().map(|sentence| format!("{name}: {sentence}")));
            idiomatic.extend(idioms(&text).into_iter().map(|idiom| format!("{name}: {idiom}")));
        }
    }
    let told = |lines: &[String]| lines.join("\n");
    println!("{} sentences over {LONGEST_SENTENCE} words, {} idioms", long.len(), idiomatic.len());
    println!("{}\n{}", told(&long), told(&idiomatic));
    assert!(long.len() <= LONG_SENTENCES, "{} long sentences, {LONG_SENTENCES} are allowed", long.len());
    assert!(idiomatic.is_empty(), "{} idioms stand where the glossary has a word", idiomatic.len());
}

#[test]
fn the_test_of_the_words_sees_texts_comments_and_idioms() {
    let code = "/// One two\n/// three.\nfn f() { say(\"a \\\n   b \\\"c\\\"\", '\"'); }\n";
    assert_eq!(texts(code), [" One two three.", "a b \"c\""]);
    assert_eq!(long_sentences(&"word ".repeat(21)).len(), 1);
    assert!(long_sentences(&"word ".repeat(20)).is_empty());
    assert_eq!(texts("# One\nx = \"two\"  # no comment line\n"), ["One", "two"]);
    let page = "# Title\n\nA line\nand one.\n\n| a | `b` c |\n\n```\ncode\n```\nEnd\n";
    assert_eq!(
        prose(page).iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>(),
        ["# Title", "A line and one.", "a", "x c", "End"]
    );
    assert_eq!(idioms("A run is after it; this is afterwards LET GO of"), ["is after", "let go of"]);
}
