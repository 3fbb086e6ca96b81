//! params: `with` into a stage, and, where it does not fit, the parameters that there are.

use crate::base::tree::{Entry, Value, Word};
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
    /// Smallest and largest number.
    range: (Option<f64>, Option<f64>),
}

/// The parameters of a stage: first those it needs, then the others, each in the order of the alphabet.
pub(super) fn parameters(def: &StageDef) -> Vec<Parameter> {
    let mut generator = generator();
    let root = (def.schema)(&mut generator).to_value();
    let definitions = Json::Object(generator.definitions().clone());
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
            range: (schema["minimum"].as_f64(), schema["maximum"].as_f64()),
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
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(min), Some(max)) => words.push(format!("from {min} to {max}")),
        (Some(min), None) => words.push(format!("from {min} up")),
        (None, Some(max)) => words.push(format!("up to {max}")),
        (None, None) => {}
    }
    words.join(" ")
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
    let json: serde_json::Map<_, _> = with.iter().map(|e| (e.key.text.clone(), e.value.json())).collect();
    let known = parameters(def);
    let stage = (def.parse)(Json::Object(json)).map_err(|error| explain(def, &known, node, with, &error))?;
    check_ranges(def, &known, with)?;
    stage.check(&Facts::new()).map_err(|error| {
        let message = format!("{error:#}");
        let span = named_in(&message, with).map_or(node.params_span(), |entry| entry.value.span);
        Fault::new(span, format!("the stage {} refuses this: {message}", def.verb)).hint(takes_all(def, &known))
    })?;
    Ok(Arc::from(stage))
}

/// The parameter that a message names first.
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
        let (min, max) = parameter.range;
        if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
            return Err(misfit(def, known, entry));
        }
    }
    Ok(())
}

/// Finds the parameter that the stage complains about. JSON values have no place, so each parameter is tried alone:
/// that others are missing is noticed last, so any other complaint is about the one that is there.
fn explain(def: &StageDef, known: &[Parameter], node: &NodeSpec, with: &[Entry], error: &serde_json::Error) -> Fault {
    if let Some(entry) = with.iter().find(|e| known.iter().all(|p| p.name != e.key.text)) {
        return unknown(def, known, &entry.key);
    }
    for entry in with {
        let alone = Json::Object(std::iter::once((entry.key.text.clone(), entry.value.json())).collect());
        let Err(error) = (def.parse)(alone) else { continue };
        let message = error.to_string();
        if message.starts_with("missing field") {
            continue;
        }
        let ours = ["invalid type", "invalid value", "unknown variant"].iter().any(|m| message.starts_with(m));
        let fault = misfit(def, known, entry);
        return if ours { fault } else { fault.hint(message) };
    }
    let message = error.to_string();
    let missing = message.strip_prefix("missing field `").and_then(|m| m.split('`').next());
    let what = match missing {
        Some(name) => format!("the stage {} needs `{name}`", def.verb),
        None => format!("the stage {} does not take these parameters: {message}", def.verb),
    };
    Fault::new(node.params_span(), what).hint(takes_all(def, known))
}

/// A value that its parameter does not take.
fn misfit(def: &StageDef, known: &[Parameter], entry: &Entry) -> Fault {
    let name = &entry.key.text;
    let parameter = known.iter().find(|p| p.name == *name);
    let takes = parameter.map_or("another value", |p| p.takes.as_str());
    let what = format!("`{name}` of the stage {} takes {takes}, but this is {}", def.verb, entry.value.described());
    let meant = match (&entry.value.value, takes.strip_prefix("one of ")) {
        (Value::Text(text), Some(choices)) => did_you_mean(text, choices.split(", ")),
        (Value::Text(text), None) if takes.contains("number") && looks_like_number(text) => {
            Some("write the number without quotes".to_owned())
        }
        (Value::Number(number), None) if takes.contains("text") => Some(format!("write \"{number}\" in quotes")),
        _ => None,
    };
    Fault::new(entry.value.span, what).hint(meant).hint(takes_all(def, known))
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
