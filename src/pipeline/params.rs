//! params: `with` into a stage, and, where it does not fit, the parameters that there are.

use crate::base::tree::{Entry, Tree, Value, Word};
use crate::base::tree_reader::{Misfit, Step, TreeError};
use crate::engine::{AnyStage, Facts, StageDef};
use crate::pipeline::error::Fault;
use crate::pipeline::schema::{generator, refers_to};
use crate::pipeline::spec::NodeSpec;
use crate::pipeline::suggest::did_you_mean;
use serde_json::Value as Json;
use std::sync::Arc;

/// A parameter of a stage, as its schema tells.
pub(super) struct Parameter {
    pub(super) name: String,
    /// What it takes, in words.
    pub(super) takes: String,
    required: bool,
    default: Option<Json>,
    schema: Json,
    definitions: Arc<Json>,
    /// Smallest and largest number.
    range: Range,
}

/// What a value takes, as the schema tells.
#[derive(Clone, Copy)]
pub(super) struct Takes<'s> {
    schema: &'s Json,
    definitions: &'s Json,
}

impl<'s> Takes<'s> {
    /// Whether a text fits.
    pub(super) fn text(self) -> bool {
        let Self { definitions, .. } = self;
        let schema = follow(self.schema, definitions);
        let choices = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|several| schema[several].as_array());
        let mut choices = choices.flatten().peekable();
        if choices.peek().is_some() {
            return choices.any(|schema| Takes { schema, definitions }.text());
        }
        match &schema["type"] {
            Json::String(kind) => kind == "string",
            Json::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
            // A list of choices, or anything.
            _ => true,
        }
    }

    /// What an item takes, or the value of a key.
    pub(super) fn within(self, step: &Step) -> Option<Self> {
        within(self.schema, self.definitions, step).map(|schema| Self { schema, ..self })
    }

    /// What the value of a key takes; the keys of a schedule lead to values of the same kind.
    pub(super) fn of_key(self, key: &str) -> Option<Self> {
        let in_schedule = key == crate::pipeline::schedule::KEY || key.bytes().all(|b| b.is_ascii_digit());
        self.within(&Step::Key(key.to_owned())).or(in_schedule.then_some(self))
    }
}

impl Parameter {
    pub(super) fn takes_here(&self) -> Takes<'_> {
        Takes { schema: &self.schema, definitions: &self.definitions }
    }
}

/// The parameters of a stage: first those it needs, then the others, each in the order of the alphabet.
pub(super) fn parameters(def: &StageDef) -> Vec<Parameter> {
    let mut generator = generator();
    let root = (def.schema)(&mut generator).to_value();
    let definitions = Arc::new(Json::Object(generator.definitions().clone()));
    let root = follow(&root, &definitions);
    let required = root["required"].as_array().cloned().unwrap_or_default();
    let Some(properties) = root["properties"].as_object() else { return Vec::new() };
    let mut parameters: Vec<_> = properties
        .iter()
        .map(|(name, schema)| Parameter {
            name: name.clone(),
            takes: takes(schema, &definitions),
            required: required.iter().any(|r| r == name),
            default: schema.get("default").filter(|d| !d.is_null()).cloned(),
            schema: schema.clone(),
            definitions: definitions.clone(),
            range: Range::of(schema),
        })
        .collect();
    parameters.sort_unstable_by(|a, b| (!a.required, &a.name).cmp(&(!b.required, &b.name)));
    parameters
}

/// The definition that a `$ref` names, or the schema itself.
fn follow<'a>(schema: &'a Json, definitions: &'a Json) -> &'a Json {
    refers_to(schema).and_then(|name| definitions.get(name)).unwrap_or(schema)
}

/// What a value of this schema is, in words.
fn takes(schema: &Json, definitions: &Json) -> String {
    let schema = match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => schema,
    };
    let schema = follow(schema, definitions);
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().filter_map(|v| Some(v.as_str()?.to_owned())).collect();
        return format!("one of {}", values.join(", "));
    }
    if let Some(value) = schema["const"].as_str() {
        return value.to_owned();
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[several].as_array() {
            let consts: Option<Vec<&str>> = choices.iter().map(|choice| choice["const"].as_str()).collect();
            if let Some(consts) = consts {
                return format!("one of {}", consts.join(", "));
            }
            let mut words: Vec<String> = choices.iter().map(|c| takes(c, definitions)).collect();
            words.retain(|word| word != "nothing");
            return words.join(" or ");
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Json::String(kind) => vec![kind],
        Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null").collect(),
        _ => return "a value".to_owned(),
    };
    let mut words: Vec<String> = kinds.into_iter().map(kind_in_words).collect();
    words.extend(Range::of(schema).words());
    words.join(" ")
}

/// The numbers that a schema allows.
#[derive(Clone, Copy)]
struct Range {
    min: Option<f64>,
    max: Option<f64>,
    below: Option<f64>,
}

impl Range {
    fn of(schema: &Json) -> Self {
        let bound = |name: &str| schema[name].as_f64();
        Self { min: bound("minimum"), max: bound("maximum"), below: bound("exclusiveMaximum") }
    }

    fn holds(self, number: f64) -> bool {
        let Self { min, max, below } = self;
        min.is_none_or(|min| number >= min)
            && max.is_none_or(|max| number <= max)
            && below.is_none_or(|below| number < below)
    }

    fn words(self) -> Option<String> {
        match (self.min, self.max, self.below) {
            (Some(min), Some(max), _) => Some(format!("from {min} to {max}")),
            (Some(min), None, Some(below)) => Some(format!("from {min} to below {below}")),
            (Some(min), None, None) => Some(format!("from {min} up")),
            (None, Some(max), _) => Some(format!("up to {max}")),
            (None, None, Some(below)) => Some(format!("below {below}")),
            (None, None, None) => None,
        }
    }
}

fn kind_in_words(kind: &str) -> String {
    match kind {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        "null" => "nothing",
        other => other,
    }
    .to_owned()
}

/// Makes the stage from parameters that are resolved for one epoch.
pub(super) fn make(def: &StageDef, node: &NodeSpec, with: &[Entry]) -> Result<Arc<dyn AnyStage>, Fault> {
    let known = parameters(def);
    let tree = Tree { span: node.params_span(), value: Value::Map(with.to_vec()) };
    let stage = (def.parse)(&tree).map_err(|error| explain(def, &known, node, with, &error))?;
    check_ranges(def, &known, with)?;
    stage.check(&Facts::new()).map_err(|error| {
        let message = format!("{error:#}");
        let span = named_in(&message, with).map_or(node.params_span(), |entry| entry.value.span);
        Fault::new(span, format!("the stage {} refuses this: {message}", def.verb)).hint(takes_all(def, &known))
    })?;
    Ok(Arc::from(stage))
}

/// The parameter that a stage's own sentence names first. A stage checks its parameters together, and says which it means
/// by their names.
fn named_in<'a>(message: &str, with: &'a [Entry]) -> Option<&'a Entry> {
    let words = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.into_iter().find_map(|word| with.iter().find(|entry| entry.key.text == word))
}

/// Types alone do not hold the ranges that the schema promises to editors.
fn check_ranges(def: &StageDef, known: &[Parameter], with: &[Entry]) -> Result<(), Fault> {
    for entry in with {
        let Value::Number(number) = &entry.value.value else { continue };
        let parameter = known.iter().find(|p| p.name == entry.key.text);
        let (Some(parameter), Some(number)) = (parameter, number.as_f64()) else { continue };
        if !parameter.range.holds(number) {
            return Err(misfit(def, known, &[Step::Key(entry.key.text.clone())], &entry.value));
        }
    }
    Ok(())
}

/// What a stage's parameters are refused for, at its place. One that the stage lacks is named first. It may be
/// the misspelt name of one that is missing.
fn explain(def: &StageDef, known: &[Parameter], node: &NodeSpec, with: &[Entry], error: &TreeError) -> Fault {
    if let Some(entry) = with.iter().find(|e| known.iter().all(|p| p.name != e.key.text)) {
        return unknown(def, known, &entry.key);
    }
    let path: Vec<Step> = error.path().cloned().collect();
    let found = error.found.as_deref();
    let span = found.map_or(node.params_span(), |tree| tree.span);
    let whose = if path.is_empty() {
        format!("the stage {}", def.verb)
    } else {
        format!("`{}` of the stage {}", way(&path), def.verb)
    };
    match (&error.why, found) {
        (Misfit::Value, Some(found)) if !path.is_empty() => misfit(def, known, &path, found),
        (Misfit::Refused(why), Some(found)) if !path.is_empty() => misfit(def, known, &path, found).hint(why.clone()),
        (Misfit::Missing(key), _) => Fault::new(span, format!("{whose} needs `{key}`")).hint(takes_all(def, known)),
        (Misfit::Unknown(key), _) => {
            Fault::new(key.span, format!("{whose} has no `{}`", key.text)).hint(takes_all(def, known))
        }
        (Misfit::Value | Misfit::Refused(_), _) => {
            Fault::new(span, format!("{whose} does not take these parameters: {error}")).hint(takes_all(def, known))
        }
    }
}

/// `layers[2].size`.
fn way(path: &[Step]) -> String {
    let mut way = String::new();
    for step in path {
        match step {
            Step::Item(at) => way += &format!("[{at}]"),
            Step::Key(key) if way.is_empty() => way += key,
            Step::Key(key) => way += &format!(".{key}"),
        }
    }
    way
}

/// A value that its parameter, or an item within it, does not take.
fn misfit(def: &StageDef, known: &[Parameter], path: &[Step], found: &Tree) -> Fault {
    let takes = takes_at(known, path);
    let what = format!("`{}` of the stage {} takes {takes}, but this is {}", way(path), def.verb, found.described());
    let meant = match (&found.value, takes.strip_prefix("one of ")) {
        (Value::Text(text), Some(choices)) => did_you_mean(text, choices.split(", ")),
        (Value::Text(text), None) if takes.contains("number") && looks_like_number(text) => {
            Some("write the number without quotes".to_owned())
        }
        (Value::Number(number), None) if takes.contains("text") => Some(format!("write \"{number}\" in quotes")),
        _ => None,
    };
    Fault::new(found.span, what).hint(meant).hint(takes_all(def, known))
}

/// What the schema says of the value at the end of a path, in words.
fn takes_at(known: &[Parameter], path: &[Step]) -> String {
    let other = || "another value".to_owned();
    let Some((Step::Key(name), deeper)) = path.split_first() else { return other() };
    let Some(parameter) = known.iter().find(|p| p.name == *name) else { return other() };
    let mut schema = &parameter.schema;
    for step in deeper {
        match within(schema, &parameter.definitions, step) {
            Some(inner) => schema = inner,
            None => return other(),
        }
    }
    takes(schema, &parameter.definitions)
}

/// The schema of an item or of a key's value. What may be left out is one of two choices.
fn within<'a>(schema: &'a Json, definitions: &'a Json, step: &Step) -> Option<&'a Json> {
    let schema = follow(schema, definitions);
    let own = match step {
        Step::Item(at) => match &schema["items"] {
            Json::Array(items) => items.get(*at),
            Json::Null => None,
            item => Some(item),
        },
        Step::Key(key) => schema["properties"].get(key),
    };
    let choices = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|several| schema[several].as_array()).flatten();
    own.or_else(|| choices.into_iter().find_map(|choice| within(choice, definitions, step)))
}

fn looks_like_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// A parameter that the stage does not have.
pub(super) fn unknown(def: &StageDef, known: &[Parameter], name: &Word) -> Fault {
    Fault::new(name.span, format!("the stage {} has no parameter `{}`", def.verb, name.text))
        .hint(did_you_mean(&name.text, known.iter().map(|p| p.name.as_str())))
        .hint(takes_all(def, known))
}

/// "cluster takes k: a whole number; iterations: a whole number (20)".
fn takes_all(def: &StageDef, known: &[Parameter]) -> String {
    if known.is_empty() {
        return format!("{} takes no parameters", def.verb);
    }
    let one = |p: &Parameter| match (&p.default, p.required) {
        (Some(default), _) => format!("{}: {} ({default} if left out)", p.name, p.takes),
        (None, true) => format!("{}: {}", p.name, p.takes),
        (None, false) => format!("{}: {} (may be left out)", p.name, p.takes),
    };
    format!("{} takes {}", def.verb, known.iter().map(one).collect::<Vec<_>>().join("; "))
}
