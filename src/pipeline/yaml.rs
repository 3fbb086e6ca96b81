//! yaml: YAML text -> a tree of values that know their place.
//!
//! Everything the YAML crate is used for happens here. Its budget refuses alias bombs and deep nesting before memory
//! is taken.

use crate::base::tree::{Entry, Span, Tree, Value, Word};
use crate::pipeline::error::Fault;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};
use std::fmt;

/// The largest file that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// The longest text value, in bytes.
pub(super) const MAX_TEXT: usize = 1 << 16;
const MAX_DEPTH: usize = 32;

/// Parses one YAML document. Places are in source number `source`, whose first column is `column` on the first line.
pub(super) fn parse(text: &str, source: u32, column: u32) -> Result<Tree, Fault> {
    let shift = |span: Span| Span {
        source,
        column: if span.line <= 1 { span.column.max(1) + column - 1 } else { span.column },
        line: span.line.max(1),
        ..span
    };
    let mut tree: Tree = serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let mut fault = fault(error.without_snippet());
        fault.span = shift(fault.span);
        fault
    })?;
    move_by(&mut tree, &shift);
    Ok(tree)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: 50_000,
            max_total_scalar_bytes: MAX_BYTES,
            max_recorded_anchor_events: 50_000,
            max_recorded_anchor_bytes: MAX_BYTES,
            max_anchors: 1_000,
            max_aliases: 1_000,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000, max_replay_stack_depth: 8 },
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        strict_booleans: true,
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    }
}

/// The YAML crate's complaint in our words where ours are clearer.
fn fault(error: &Error) -> Fault {
    let span = error.location().map_or_else(Span::default, Span::from);
    let new = |what: &str| Fault::new(span, what);
    match error {
        Error::AliasError { error, .. } => fault(error.without_snippet()),
        Error::DuplicateMappingKey { key: Some(key), .. } => Fault::new(span, format!("the key `{key}` stands twice")),
        Error::NonFiniteFloat { value, .. } => Fault::new(span, format!("{value} is not a finite number")),
        Error::MergeKeyNotAllowed { .. } => new("merge keys (<<) are not part of YAML 1.2; write the values out"),
        Error::UnsupportedTag { tag, .. } => Fault::new(span, format!("the tag {tag} means nothing in a pipeline")),
        Error::MultipleDocuments { .. } => new("a pipeline is one YAML document, and here a second one begins"),
        Error::Budget { breach, .. } => {
            Fault::new(span, "this is too large, too deep or repeats itself too often for a pipeline")
                .hint(format!("the limit that was reached: {breach:?}"))
        }
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => new("the aliases (*) expand to far too many values"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => new("this alias stands inside the value that it repeats"),
        other => match plain(&other.to_string()) {
            deep if deep.contains("recursion limit") => {
                new("this is nested too deeply for a pipeline").hint(format!("the limit is {MAX_DEPTH} levels"))
            }
            tab if tab.starts_with("tab") => Fault::new(span, tab).hint("indent with spaces".to_owned()),
            message => Fault::new(span, message),
        },
    }
}

/// The first line of a message without the place at its end, which we show ourselves.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.chars().take(300).collect()
}

impl From<Location> for Span {
    fn from(location: Location) -> Self {
        let len = u32::try_from(location.span().len()).unwrap_or(1);
        Self { source: 0, line: location.line() as u32, column: location.column() as u32, len }
    }
}

fn move_by(tree: &mut Tree, shift: &impl Fn(Span) -> Span) {
    tree.span = shift(tree.span);
    match &mut tree.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_by(item, shift)),
        Value::Map(entries) => {
            for entry in entries {
                entry.key.span = shift(entry.key.span);
                move_by(&mut entry.value, shift);
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { span: node.defined.into(), value: node.value })
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { span: node.defined.into(), text: node.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        if text.len() > MAX_TEXT {
            return Err(E::custom(format_args!("a text of {} bytes is too long for a pipeline", text.len())));
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<Word, Tree>()? {
            if key.text.len() > 256 {
                return Err(A::Error::custom("a key of more than 256 bytes is no name"));
            }
            entries.push(Entry { key, value });
        }
        Ok(Value::Map(entries))
    }
}
