//! resolved: the pipeline written out again, with overrides applied and variables replaced, for the run's folder.
//!
//! What is written can be run: it loads to the same plan.

use crate::base::tree::{Tree, Value};
use crate::pipeline::keep;
use crate::pipeline::template::{Resolved, Template};
use std::fmt::Write;

/// The pipeline as YAML, a node to a line.
pub(super) fn text(pipeline: &Resolved) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "name: {}", quoted(&pipeline.name));
    let _ = writeln!(out, "seed: {}", pipeline.seed);
    if pipeline.epochs > 0 {
        let _ = writeln!(out, "epochs: {}", pipeline.epochs);
    }
    if !pipeline.keep.is_empty() {
        let rules = pipeline.keep.iter().map(|(noun, keep)| format!("{}: {}", quoted(noun), keep::written(*keep)));
        let _ = writeln!(out, "keep: {{ {} }}", rules.collect::<Vec<_>>().join(", "));
    }
    for (key, templates) in [("once", &pipeline.once), ("each_epoch", &pipeline.each_epoch)] {
        if !templates.is_empty() {
            let _ = writeln!(out, "{key}:");
        }
        for template in templates.iter().filter(|template| !template.is_implied) {
            node(&mut out, template);
        }
    }
    out
}

fn node(out: &mut String, template: &Template) {
    let _ = write!(out, "  {}: {{ stage: {}", quoted(&template.noun), quoted(template.def.verb));
    if !template.wires.is_empty() {
        let wires = template.wires.iter().map(|wire| format!("{}: {}", quoted(wire.port), quoted(&wire.written)));
        let _ = write!(out, ", from: {{ {} }}", wires.collect::<Vec<_>>().join(", "));
    }
    if !template.with.is_empty() {
        let with = template.with.iter().map(|e| format!("{}: {}", quoted(&e.key.text), flow(&e.value)));
        let _ = write!(out, ", with: {{ {} }}", with.collect::<Vec<_>>().join(", "));
    }
    if let Some(every) = template.every.written() {
        let _ = write!(out, ", epochs: {every}");
    }
    out.push_str(" }\n");
}

/// A value on one line.
fn flow(tree: &Tree) -> String {
    match &tree.value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => quoted(&text.replace("${", "$${")),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|e| format!("{}: {}", quoted(&e.key.text), flow(&e.value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text that YAML reads back as this text: bare where it is a plain word, else in JSON's quotes.
fn quoted(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '@'));
    let special = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text);
    if word && !special {
        return text.to_owned();
    }
    // JSON leaves characters bare that YAML does not take, or takes for the end of a line.
    let mut out = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}
