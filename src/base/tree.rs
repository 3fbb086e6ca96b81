//! tree: a value as it was written, with its place.

use serde_json::Number;

/// The place of a value: which source, line and column from 1, length in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Number of the text that it was read from.
    pub source: u32,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters.
    pub len: u32,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Its place.
    pub span: Span,
    /// The value at that place.
    pub value: Value,
}

/// What a value can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// Whole numbers stay whole; none is infinite or NaN.
    Number(Number),
    /// A text.
    Text(String),
    /// Values in their order.
    List(Vec<Tree>),
    /// Keys, each once, in the order of the text.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Word,
    /// Its value.
    pub value: Tree,
}

/// A key, or another text that is a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Its place.
    pub span: Span,
    /// The text.
    pub text: String,
}

impl Tree {
    /// The same value at another place.
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// What it is, in words, for "but this is ...".
    pub fn described(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(truth) => format!("{truth}"),
            Value::Number(number) => format!("{number}"),
            Value::Text(text) if text.chars().count() > 40 => "a long text".to_owned(),
            Value::Text(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}
