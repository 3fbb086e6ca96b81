//! vars: `${name}` in texts, from the file's `vars` and then from the environment.
//!
//! A variable of the environment, or of `--set vars.NAME=TEXT`, is the text as given. Where a parameter takes no text,
//! that text is read as YAML, so that `k: ${k}` is a number. A text that begins with `~/` begins with the home folder.

use crate::base::tree::{Entry, Span, Tree, Value, Word};
use crate::base::tree_reader::Step;
use crate::pipeline::error::Fault;
use crate::pipeline::params::Takes;
use crate::pipeline::suggest::did_you_mean;
use crate::pipeline::yaml::{self, MAX_TEXT};
use std::collections::BTreeMap;

/// How deep variables may name each other.
const MAX_DEPTH: usize = 16;
/// How many values all replacements together may make.
const MAX_VALUES: usize = 200_000;
/// So many bytes of text count as one more value.
const BYTES_A_VALUE: usize = 16;

/// Asks the environment for a variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of a file. One is looked at when it is used, not before.
pub(super) struct Vars<'a> {
    written: BTreeMap<&'a str, &'a Tree>,
    environment: Environment<'a>,
    known: BTreeMap<String, Tree>,
    open: Vec<String>,
    values: usize,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

impl<'a> Vars<'a> {
    pub(super) fn new(entries: &'a [Entry], environment: Environment<'a>) -> Self {
        let written = entries.iter().map(|entry| (entry.key.text.as_str(), &entry.value)).collect();
        Self { written, environment, known: BTreeMap::new(), open: Vec::new(), values: 0 }
    }

    /// The value with every `${name}` in its texts replaced. A text that is one variable becomes that variable's value
    /// and keeps its type. `$${` becomes `${`. `takes` is what the schema says of the value, where that is known.
    pub(super) fn replace(&mut self, tree: &Tree, takes: Option<Takes<'_>>) -> Result<Tree, Fault> {
        // Within a variable, only `--set` gives a text from another source than the file.
        if let (Value::Text(text), true) = (&tree.value, !self.open.is_empty() && tree.span.source > 0) {
            return self.given(text, tree.span, takes);
        }
        let own = if let Value::Text(text) = &tree.value { weight(text) } else { 1 };
        self.spend(own, tree.span)?;
        let value = match &tree.value {
            Value::Text(text) if text.contains("${") => return self.text(text, tree.span, takes),
            Value::List(items) => {
                let of = |at| takes.and_then(|takes| takes.within(&Step::Item(at)));
                let items = items.iter().enumerate().map(|(at, item)| self.replace(item, of(at)));
                Value::List(items.collect::<Result<_, Fault>>()?)
            }
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|Entry { key, value }| {
                        let value = self.replace(value, takes.and_then(|takes| takes.of_key(&key.text)))?;
                        Ok(Entry { key: key.clone(), value })
                    })
                    .collect::<Result<_, Fault>>()?,
            ),
            leaf => leaf.clone(),
        };
        Ok(Tree { span: tree.span, value })
    }

    fn text(&mut self, text: &str, span: Span, takes: Option<Takes<'_>>) -> Result<Tree, Fault> {
        let pieces = pieces(text).map_err(|what| {
            Fault::new(span, what).hint("variables are written ${name}; write $${ for a plain ${".to_owned())
        })?;
        if let [Piece::Variable(name)] = pieces[..] {
            let tree = self.lookup(name, span, takes)?;
            // A complaint about what `--set` gave points there.
            return Ok(if tree.span.source > 0 { tree } else { tree.with_span(span) });
        }
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => out.push_str(literal),
                Piece::Variable(name) => match self.lookup(name, span, None)?.value {
                    Value::Text(text) => out.push_str(&text),
                    Value::Number(number) => out.push_str(&number.to_string()),
                    Value::Bool(truth) => out.push_str(if truth { "true" } else { "false" }),
                    other => {
                        let what = Tree { span, value: other }.described();
                        return Err(Fault::new(
                            span,
                            format!("${{{name}}} is {what}, which cannot stand inside a text"),
                        ));
                    }
                },
            }
            if out.len() > MAX_TEXT {
                return Err(Fault::new(span, "with its variables replaced this text is too long for a pipeline"));
            }
        }
        self.spend(weight(&out), span)?;
        Ok(Tree { span, value: Value::Text(out) })
    }

    fn lookup(&mut self, name: &str, span: Span, takes: Option<Takes<'_>>) -> Result<Tree, Fault> {
        let takes_text = takes.is_none_or(Takes::text);
        if takes_text && let Some(size) = self.known.get(name).map(size) {
            self.spend(size, span)?;
            return Ok(self.known[name].clone());
        }
        let Some(written) = self.written.get(name).copied() else {
            // An empty variable of the environment would turn "${X}/train" into "/train".
            let set = (self.environment)(name).filter(|value| !value.is_empty());
            let text = set.ok_or_else(|| self.undefined(name, span))?;
            return self.given(&text, span, takes);
        };
        if takes_text && written.span.source > 0 && written.value == Value::Text(String::new()) {
            return Err(Fault::new(written.span, format!("the variable {name} is empty"))
                .hint(format!("write --set vars.{name}=VALUE")));
        }
        if self.open.iter().any(|open| open == name) || self.open.len() >= MAX_DEPTH {
            let path = self.open.join(" -> ");
            return Err(Fault::new(span, format!("these variables need each other: {path} -> {name}")));
        }
        self.open.push(name.to_owned());
        let mut tree = self.replace(written, takes)?;
        self.open.pop();
        if let (Value::Text(text), 0) = (&tree.value, tree.span.source) {
            tree.value = Value::Text(self.at_home(text, span)?);
        }
        if takes_text {
            self.known.insert(name.to_owned(), tree.clone());
        }
        Ok(tree)
    }

    /// The value of a text that `--set` or the environment gave.
    fn given(&mut self, text: &str, span: Span, takes: Option<Takes<'_>>) -> Result<Tree, Fault> {
        self.spend(weight(text), span)?;
        if takes.is_some_and(|takes| !takes.text())
            && let Ok(tree) = yaml::parse(text, span.source, span.column)
            && !matches!(tree.value, Value::Text(_))
        {
            self.spend(size(&tree), span)?;
            return Ok(placed(tree, span));
        }
        let text = self.at_home(text, span)?;
        if text.len() > MAX_TEXT {
            return Err(Fault::new(span, format!("a text of {} bytes is too long for a pipeline", text.len())));
        }
        Ok(Tree { span, value: Value::Text(text) })
    }

    /// The text, with the home folder for a leading `~/`.
    fn at_home(&self, text: &str, span: Span) -> Result<String, Fault> {
        let Some(rest) = text.strip_prefix("~/") else { return Ok(text.to_owned()) };
        let home = (self.environment)("HOME").filter(|home| !home.is_empty()).ok_or_else(|| {
            Fault::new(span, "a leading ~/ is the home folder, and the environment has no HOME")
                .hint("write the whole path, or `export HOME=DIR`".to_owned())
        })?;
        Ok(format!("{}/{rest}", home.trim_end_matches('/')))
    }

    fn undefined(&self, name: &str, span: Span) -> Fault {
        // The variable of the file that asks for it is the one that people know.
        let asks = |tree: &Tree| matches!(&tree.value, Value::Text(text) if *text == format!("${{{name}}}"));
        let known = self.written.iter().find(|(_, tree)| asks(tree)).map_or(name, |(known, _)| known);
        Fault::new(span, format!("the variable {name} is not defined"))
            .hint(did_you_mean(name, self.written.keys().copied()))
            .hint(format!("give it with `--set vars.{known}=VALUE`, or `export {name}=VALUE`, or write it under vars:"))
    }

    fn spend(&mut self, values: usize, span: Span) -> Result<(), Fault> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(Fault::new(span, "the variables expand to far too many values"));
        }
        Ok(())
    }
}

/// A value all of which is at one place.
fn placed(tree: Tree, span: Span) -> Tree {
    let value = match tree.value {
        Value::List(items) => Value::List(items.into_iter().map(|item| placed(item, span)).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|Entry { key, value }| Entry { key: Word { span, ..key }, value: placed(value, span) })
                .collect(),
        ),
        leaf => leaf,
    };
    Tree { span, value }
}

fn size(tree: &Tree) -> usize {
    match &tree.value {
        Value::Text(text) => weight(text),
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

fn weight(text: &str) -> usize {
    1 + text.len() / BYTES_A_VALUE
}

/// Cuts a text at its variables.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${`: all before the second dollar, then a literal `{`... both are in the text already.
            pieces.push(Piece::Literal(&rest[..at - 1]));
            pieces.push(Piece::Literal("${"));
            rest = &rest[at + 2..];
            continue;
        }
        if at > 0 {
            pieces.push(Piece::Literal(&rest[..at]));
        }
        let end = rest[at..].find('}').ok_or("a ${ without its }")? + at;
        let name = &rest[at + 2..end];
        let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !letters || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let name: String = name.chars().take(40).collect();
            return Err(format!("${{{name}}} does not name a variable"));
        }
        pieces.push(Piece::Variable(name));
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

/// Whether any text in the value uses the variable.
pub(super) fn uses(tree: &Tree, name: &str) -> bool {
    match &tree.value {
        Value::Text(text) => text.contains(&format!("${{{name}}}")),
        Value::List(items) => items.iter().any(|item| uses(item, name)),
        Value::Map(entries) => entries.iter().any(|entry| uses(&entry.value, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Piece::{Literal, Variable};
    use super::*;

    #[test]
    fn texts_are_cut_at_their_variables() {
        assert_eq!(pieces("${a}"), Ok(vec![Variable("a")]));
        assert_eq!(pieces("x/${a}${b_1}/y"), Ok(vec![Literal("x/"), Variable("a"), Variable("b_1"), Literal("/y")]));
        assert_eq!(pieces("5 $ is $$"), Ok(vec![Literal("5 $ is $$")]));
        assert_eq!(pieces("a$${b}"), Ok(vec![Literal("a"), Literal("${"), Literal("b}")]));
        assert!(pieces("${").is_err() && pieces("${}").is_err() && pieces("${1a}").is_err() && pieces("${ä}").is_err());
    }
}
