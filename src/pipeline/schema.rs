//! schema: the JSON Schema (draft-07) of a pipeline file, made from the registry, so that editors know every parameter.

use crate::engine::{Registry, StageDef};
use crate::pipeline::{DEFAULT_SEED, MAX_EPOCHS, schedule};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Editors' YAML servers know draft-07 and not the later ones.
pub(super) fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().into_generator()
}

/// The JSON Schema of a pipeline whose stages are those of `registry`.
pub fn schema(registry: Registry) -> Value {
    let mut generator = generator();
    let registry: Vec<_> = registry.iter().copied().filter(|def| !def.is_implied).collect();
    let with: Vec<Value> = registry.iter().map(|def| (def.schema)(&mut generator).to_value()).collect();
    let mut definitions = generator.take_definitions(true);
    let stages: Vec<Value> = registry.iter().zip(&with).map(|(def, with)| stage(def, with, &definitions)).collect();
    for name in with.iter().filter_map(refers_to) {
        definitions.remove(name); // each stands in its stage now
    }
    let verbs: Vec<&str> = registry.iter().map(|def| def.verb).collect();
    definitions.insert("node".to_owned(), node(&verbs, &stages));
    definitions.insert(
        "variable".to_owned(),
        json!({ "type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}",
                "description": "A text with ${variables}, from vars: or the environment." }),
    );
    let epochs = json!({ "type": "object", "minProperties": 1, "required": ["1"], "additionalProperties": false,
                         "patternProperties": { "^[1-9][0-9]*$": true } });
    definitions.insert(
        "schedule".to_owned(),
        json!({ "type": "object", "additionalProperties": false, "required": [schedule::KEY],
                "description": "A value from an epoch on: { from_epoch: { 1: 0.05, 150: 0.005 } }.",
                "properties": { schedule::KEY: epochs } }),
    );
    root(&definitions)
}

fn root(definitions: &Map<String, Value>) -> Value {
    let nodes = |description: &str, node: Value| {
        json!({ "type": ["object", "null"], "description": description, "additionalProperties": false,
                "patternProperties": { "^[a-z][a-z0-9_]*$": node } })
    };
    let node = json!({ "$ref": "#/definitions/node" });
    let node_without_epochs = json!({ "allOf": [node, { "not": { "required": ["epochs"] } }] });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dcpipe pipeline",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": 64,
                      "description": "The run's name; the file's name if left out." },
            "seed": { "type": "integer", "minimum": 0, "default": DEFAULT_SEED,
                      "description": "Every random number comes from it." },
            "epochs": { "type": "integer", "minimum": 1, "maximum": MAX_EPOCHS,
                        "description": "How often to cluster and train." },
            "vars": { "type": ["object", "null"],
                      "description": "Values that texts below may use as ${name}; --set vars.NAME=VALUE replaces one." },
            "keep": keep(),
            "once": nodes("Nodes that are made once, before the first epoch.", node_without_epochs),
            "each_epoch": nodes("Nodes that are made in every epoch, or in every N-th and the last one.", node),
        },
        "definitions": definitions,
    })
}

fn keep() -> Value {
    let epochs = json!({ "type": "integer", "minimum": 1, "maximum": MAX_EPOCHS });
    let rule = |word: &str| {
        json!({ "type": "object", "additionalProperties": false, "required": [word],
                                    "properties": { word: epochs } })
    };
    json!({ "description": "Nodes whose bytes a run retains otherwise than the stage says. A list keeps them for good. A map says all, until_used, { last: N } epochs or { every: N } epochs.",
            "anyOf": [
                { "type": ["array", "null"], "uniqueItems": true, "items": { "type": "string" } },
                { "type": "object", "additionalProperties":
                    { "anyOf": [{ "enum": ["all", "until_used"] }, rule("last"), rule("every")] } },
            ] })
}

fn node(verbs: &[&str], stages: &[Value]) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["stage"],
        "properties": {
            "stage": { "enum": verbs, "description": "The verb." },
            "from": { "type": ["object", "null"],
                      "description": "Which node each port reads: NAME, or NAME@prev for the newest of an earlier epoch." },
            "with": { "type": ["object", "null"], "description": "The stage's parameters." },
            "epochs": { "type": "object", "additionalProperties": false, "required": ["every"],
                        "description": "The node is made at epochs N, 2N, ... and the last one; at every epoch if left \
                                        out. What reads it has the same epochs, or a port that may stay open. \
                                        NAME@prev is then the newest of an earlier epoch.",
                        "properties": { "every": { "type": "integer", "minimum": 1, "maximum": MAX_EPOCHS } } },
        },
        "allOf": stages,
    })
}

/// If the stage is this one, then its ports and parameters are these.
fn stage(def: &StageDef, with: &Value, definitions: &Map<String, Value>) -> Value {
    let port = |noun: &str| {
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]*(@prev)?$",
                "description": format!("A node that makes {noun}.") })
    };
    let ports: Map<_, _> = def.inputs.iter().map(|p| (p.name.to_owned(), port(p.noun))).collect();
    let needed: Vec<&str> = def.inputs.iter().filter(|p| !p.optional).map(|p| p.name).collect();
    let mut from = json!({ "additionalProperties": false, "properties": ports });
    let mut required: Vec<&str> = Vec::new();
    if !needed.is_empty() {
        from["required"] = json!(needed);
        required.push("from");
    }
    let params = params(with, definitions);
    if params["required"].as_array().is_some_and(|names| !names.is_empty()) {
        required.push("with");
    }
    let mut then = json!({ "properties": { "from": from, "with": params } });
    if !required.is_empty() {
        then["required"] = json!(required);
    }
    json!({ "if": { "properties": { "stage": { "const": def.verb } }, "required": ["stage"] }, "then": then })
}

/// The name of the definition that a schema refers to.
pub(super) fn refers_to(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/definitions/")
}

/// The parameters' own schema, written in place of its reference, with variables and schedules allowed everywhere.
fn params(with: &Value, definitions: &Map<String, Value>) -> Value {
    let mut params = refers_to(with).and_then(|name| definitions.get(name)).unwrap_or(with).clone();
    if let Some(params) = params.as_object_mut() {
        params.insert("additionalProperties".to_owned(), json!(false));
        // A node without parameters may write `with:` and nothing behind it.
        params.insert("type".to_owned(), json!(["object", "null"]));
    }
    if let Some(properties) = params.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(widen);
    }
    params
}

fn widen(property: &mut Value) {
    let mut own = property.take();
    let mut wide = Map::new();
    if let Some(own) = own.as_object_mut() {
        for shared in ["title", "description", "default"] {
            wide.extend(own.remove_entry(shared));
        }
    }
    let others = ["variable", "schedule"].map(|name| json!({ "$ref": format!("#/definitions/{name}") }));
    wide.insert("anyOf".to_owned(), std::iter::once(own).chain(others).collect());
    *property = Value::Object(wide);
}
