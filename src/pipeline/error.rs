//! error: what is wrong with a pipeline file, where, and what to do about it.

use crate::base::tree::Span;
use crate::engine::PlanError;
use crate::pipeline::source::Source;
use std::fmt;
use std::path::PathBuf;

/// The widest part of a line that a snippet shows, in characters.
const SNIPPET_WIDTH: usize = 110;
/// The longest sentence, in characters.
const LONGEST: usize = 1_500;

/// A pipeline that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The file could not be read.
    #[error("could not read the pipeline {}: {error}; name a pipeline file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Something in the file or in an override is wrong.
    #[error("{0}")]
    Wrong(Box<Complaint>),
    /// The nodes do not fit together in a way that the file's own checks did not see.
    #[error("{error}\n  in {file} and its --set overrides, if any")]
    Plan {
        /// The file as it was named.
        file: String,
        /// What does not fit.
        error: Box<PlanError>,
    },
}

/// What is wrong with a pipeline, where, and what to do.
#[derive(Debug)]
pub struct Complaint {
    /// One sentence.
    pub what: String,
    /// Further sentences: suggestions first.
    pub hints: Vec<String>,
    /// Where.
    pub place: Place,
}

/// A place in a file, or in the text of an override.
#[derive(Debug)]
pub struct Place {
    /// The file as it was named, or `--set`.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The line, cropped around the place.
    pub snippet: String,
    /// First character and number of characters of the snippet that are meant.
    pub caret: (usize, usize),
}

/// What is wrong, before the sources are there to draw it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Span,
    pub(super) what: String,
    pub(super) hints: Vec<String>,
}

impl Fault {
    pub(super) fn new(span: Span, what: impl Into<String>) -> Self {
        Self { span, what: what.into(), hints: Vec::new() }
    }

    /// With one sentence more, if there is one.
    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hints.extend(hint.into());
        self
    }

    pub(super) fn at(self, sources: &[Source]) -> PipelineError {
        let place = Place::of(self.span, sources);
        let hints = self.hints.iter().map(|hint| sentence(hint)).collect();
        PipelineError::Wrong(Box::new(Complaint { what: sentence(&self.what), hints, place }))
    }
}

impl Place {
    fn of(span: Span, sources: &[Source]) -> Self {
        let source = sources.get(span.source as usize);
        let line = source.and_then(|s| s.text.lines().nth(span.line.saturating_sub(1) as usize)).unwrap_or_default();
        let (snippet, caret) = crop(line, span.column.saturating_sub(1) as usize, span.len as usize);
        let file = source.map_or_else(String::new, |s| s.name.clone());
        Self { file, line: span.line, column: span.column, snippet, caret }
    }
}

/// A character as a terminal may be shown it: what it would act on becomes a space or a mark.
fn shown(c: char) -> char {
    match c {
        '\t' | '\n' => ' ',
        '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A message of bounded length that is fit for a terminal, whatever of the file it quotes.
fn sentence(text: &str) -> String {
    let mut out: String = text.chars().take(LONGEST).map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("...");
    }
    out
}

/// The part of a line around a place.
fn crop(line: &str, at: usize, len: usize) -> (String, (usize, usize)) {
    let from = if at > SNIPPET_WIDTH * 3 / 4 { at - SNIPPET_WIDTH / 2 } else { 0 };
    let mut text = if from > 0 { "...".to_owned() } else { String::new() };
    let lead = text.len();
    let mut rest = line.chars().skip(from);
    text.extend(rest.by_ref().take(SNIPPET_WIDTH).map(shown));
    let text = text.trim_end().to_owned() + if rest.next().is_some() { "..." } else { "" };
    let start = at - from + lead;
    let room = text.chars().count().saturating_sub(start).max(1);
    (text, (start, len.clamp(1, room)))
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column, snippet, caret } = &self.place;
        write!(f, "{file}:{line}:{column}: {}", self.what)?;
        let number = line.to_string();
        let gap = " ".repeat(number.len());
        if !snippet.is_empty() {
            write!(f, "\n {gap} |\n {number} | {snippet}")?;
            write!(f, "\n {gap} | {}{}", " ".repeat(caret.0), "^".repeat(caret.1))?;
        }
        for hint in &self.hints {
            write!(f, "\n {gap} = {hint}")?;
        }
        Ok(())
    }
}
