//! set: overrides, `--set clusters.k=3000`, applied to the file as written before anything of it is used.
//!
//! The value of a variable is text as given; every other value is YAML.

use crate::base::tree::{Entry, Span, Tree, Value, Word};
use crate::engine::{Registry, StageDef};
use crate::pipeline::error::Fault;
use crate::pipeline::params::{parameters, unknown};
use crate::pipeline::resolve::stage_of;
use crate::pipeline::spec::{KEYS, NODE_KEYS, NodeSpec, Section, Spec};
use crate::pipeline::suggest::did_you_mean;
use crate::pipeline::vars::uses;
use crate::pipeline::yaml;

/// An override: a dotted path and a value.
struct Override {
    path: Vec<Word>,
    value: Tree,
    span: Span,
}

/// Applies overrides in their order. The first has source number 1, the next 2, and so on.
pub(super) fn apply(spec: &mut Spec, sets: &[String], registry: Registry) -> Result<(), Fault> {
    for (number, set) in (1..).zip(sets) {
        let set = read(set, number)?;
        apply_one(spec, set, registry)?;
    }
    Ok(())
}

fn read(set: &str, source: u32) -> Result<Override, Fault> {
    let whole = Span { source, line: 1, column: 1, len: set.chars().count() as u32 };
    let Some((path, value)) = set.split_once('=') else {
        return Err(Fault::new(whole, "an override is KEY=VALUE, and this has no =")
            .hint("such as --set clusters.k=3000 or --set vars.images=DIR".to_owned()));
    };
    let (mut column, mut words) = (1, Vec::new());
    for text in path.split('.') {
        let len = text.chars().count() as u32;
        let span = Span { source, line: 1, column, len };
        if text.trim().is_empty() {
            return Err(Fault::new(span, "an override is KEY=VALUE, and this KEY has an empty part"));
        }
        words.push(Word { span, text: text.trim().to_owned() });
        column += len + 1;
    }
    let is_variable = words.first().is_some_and(|head| head.text == "vars");
    let value = if is_variable {
        let len = value.chars().count() as u32;
        Tree { span: Span { source, line: 1, column, len }, value: Value::Text(value.to_owned()) }
    } else {
        let quoted = || format!("the value is YAML; a text with such characters is quoted: --set '{path}=\"TEXT\"'");
        yaml::parse(value, source, column).map_err(|fault| fault.hint(quoted()))?
    };
    Ok(Override { path: words, value, span: Span { len: column.saturating_sub(2).max(1), ..whole } })
}

fn apply_one(spec: &mut Spec, set: Override, registry: Registry) -> Result<(), Fault> {
    let Override { path, value, span } = set;
    let (head, rest) = path.split_first().expect("BUG: a path has parts");
    let section = match head.text.as_str() {
        "name" | "seed" | "epochs" | "keep" => {
            if let Some(more) = rest.first() {
                return Err(Fault::new(more.span, format!("{} has no parts", head.text)));
            }
            let slot = match head.text.as_str() {
                "name" => &mut spec.name,
                "seed" => &mut spec.seed,
                "epochs" => &mut spec.epochs,
                _ => &mut spec.keep,
            };
            *slot = (value.value != Value::Null).then_some(value);
            return Ok(());
        }
        "vars" => return set_var(spec, rest, value, span),
        "once" => Section::Once,
        "each_epoch" => Section::EachEpoch,
        _ => return set_short(spec, head, rest, value, registry),
    };
    set_long(spec, section, rest, value, span, registry)
}

fn set_var(spec: &mut Spec, rest: &[Word], value: Tree, span: Span) -> Result<(), Fault> {
    let Some((name, deeper)) = rest.split_first() else {
        return Err(Fault::new(span, "which variable? write vars.NAME=VALUE"));
    };
    let known = spec.vars.iter().any(|var| var.key.text == name.text);
    let mut trees = spec.vars.iter().chain(spec.once.iter().chain(&spec.each_epoch).flat_map(|node| &node.with));
    if !known && !trees.any(|entry| uses(&entry.value, &name.text)) {
        return Err(Fault::new(name.span, format!("nothing in the pipeline uses a variable `{}`", name.text))
            .hint(did_you_mean(&name.text, spec.vars.iter().map(|var| var.key.text.as_str()))));
    }
    put(&mut spec.vars, name, deeper, value)
}

/// NOUN.PARAM: the parameter of the one node of that name that has it.
fn set_short(spec: &mut Spec, noun: &Word, rest: &[Word], value: Tree, registry: Registry) -> Result<(), Fault> {
    let mut nodes = Vec::new();
    for section in [Section::Once, Section::EachEpoch] {
        let at = spec.section(section).iter().position(|node| node.noun.text == noun.text);
        nodes.extend(at.map(|at| (section, at)));
    }
    if nodes.is_empty() {
        let nouns = spec.nouns();
        return Err(Fault::new(noun.span, format!("the pipeline has no key and no node `{}`", noun.text))
            .hint(takers(spec, noun, registry).or_else(|| did_you_mean(&noun.text, nouns.iter().copied().chain(KEYS))))
            .hint(format!("its nodes are {}", crate::pipeline::suggest::list(nouns.iter().copied()))));
    }
    let Some((param, deeper)) = rest.split_first() else {
        return Err(Fault::new(noun.span, format!("which parameter? write {}.PARAMETER=VALUE", noun.text)));
    };
    let mut complaint = None;
    let mut takers = Vec::new();
    for (section, at) in nodes {
        let def = stage_of(&spec.section(section)[at], registry)?;
        match check_parameter(def, &spec.section(section)[at], param) {
            Ok(()) => takers.push((section, at)),
            Err(fault) => complaint = Some(fault),
        }
    }
    match (&takers[..], complaint) {
        ([(section, at)], _) => put(&mut spec.section_mut(*section)[*at].with, param, deeper, value),
        ([], Some(complaint)) => Err(complaint),
        _ => {
            let (noun, param) = (&noun.text, &param.text);
            let long = |section: &str| format!("--set {section}.{noun}.with.{param}=VALUE");
            Err(Fault::new(
                value.span,
                format!("`{noun}` stands under once and under each_epoch, and both have `{param}`"),
            )
            .hint(format!("say which: {} or {}", long("once"), long("each_epoch"))))
        }
    }
}

/// The nodes that have a parameter of this name, which was perhaps meant.
fn takers(spec: &Spec, param: &Word, registry: Registry) -> Option<String> {
    let nodes = [Section::Once, Section::EachEpoch].into_iter().flat_map(|section| spec.section(section));
    let has = |node: &&NodeSpec| stage_of(node, registry).is_ok_and(|def| check_parameter(def, node, param).is_ok());
    let takers: Vec<_> = nodes.filter(has).map(|node| format!("{}.{}", node.noun.text, param.text)).collect();
    (!takers.is_empty()).then(|| format!("did you mean {}?", takers.join(" or ")))
}

/// SECTION.NOUN.stage, SECTION.NOUN.epochs, SECTION.NOUN.from.PORT, SECTION.NOUN.with.PARAM.
fn set_long(
    spec: &mut Spec,
    section: Section,
    rest: &[Word],
    value: Tree,
    span: Span,
    registry: Registry,
) -> Result<(), Fault> {
    let key = section.key();
    let forms = format!("write {key}.NODE.with.PARAMETER, {key}.NODE.from.PORT or {key}.NODE.stage");
    let [noun, field, rest @ ..] = rest else {
        return Err(Fault::new(span, "this names no single value").hint(forms));
    };
    let Some(at) = spec.section(section).iter().position(|node| node.noun.text == noun.text) else {
        let nouns = spec.section(section).iter().map(|node| node.noun.text.as_str());
        return Err(Fault::new(noun.span, format!("there is no node `{}` under {key}", noun.text))
            .hint(did_you_mean(&noun.text, nouns)));
    };
    match (field.text.as_str(), rest) {
        ("stage", []) => spec.section_mut(section)[at].stage = value,
        ("from", [port]) => {
            let from = &mut spec.section_mut(section)[at].from;
            if value.value == Value::Null {
                from.retain(|entry| entry.key.text != port.text);
            } else {
                put(from, port, &[], value)?;
            }
        }
        ("epochs", []) => spec.section_mut(section)[at].epochs = (value.value != Value::Null).then_some(value),
        ("epochs", [every]) => {
            let rule = Value::Map(vec![Entry { key: every.clone(), value }]);
            spec.section_mut(section)[at].epochs = Some(Tree { span: every.span, value: rule });
        }
        ("with", [param, deeper @ ..]) => {
            let node = &spec.section(section)[at];
            check_parameter(stage_of(node, registry)?, node, param)?;
            put(&mut spec.section_mut(section)[at].with, param, deeper, value)?;
        }
        _ => {
            return Err(Fault::new(field.span, "this names no single value")
                .hint(did_you_mean(&field.text, NODE_KEYS))
                .hint(forms));
        }
    }
    Ok(())
}

/// Whether the stage has the parameter.
fn check_parameter(def: &StageDef, node: &NodeSpec, param: &Word) -> Result<(), Fault> {
    let known = parameters(def);
    if known.iter().any(|p| p.name == param.text) || node.with.iter().any(|entry| entry.key.text == param.text) {
        return Ok(());
    }
    Err(unknown(def, &known, param))
}

/// Puts the value at `name.deeper...`, replacing what stands there.
fn put(entries: &mut Vec<Entry>, name: &Word, deeper: &[Word], value: Tree) -> Result<(), Fault> {
    let at = entries.iter().position(|entry| entry.key.text == name.text);
    match (deeper.split_first(), at) {
        (None, Some(at)) => entries[at] = Entry { key: name.clone(), value },
        (None, None) => entries.push(Entry { key: name.clone(), value }),
        (Some((next, deeper)), Some(at)) => {
            let old = &mut entries[at].value;
            let what = old.described();
            let Value::Map(inner) = &mut old.value else {
                return Err(Fault::new(next.span, format!("`{}` has no parts: it is {what}", name.text)));
            };
            return put(inner, next, deeper, value);
        }
        (Some((next, _)), None) => {
            return Err(Fault::new(next.span, format!("`{}` is not there, so it has no parts", name.text)));
        }
    }
    Ok(())
}
