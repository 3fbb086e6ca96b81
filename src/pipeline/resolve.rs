//! resolve: names become stages and nodes, texts become values; every circle, gap and misfit is found here.

use crate::base::tree::{Entry, Tree, Value};
use crate::engine::{Keep, Registry, StageDef};
use crate::pipeline::error::Fault;
use crate::pipeline::implied::imply;
use crate::pipeline::params::{Parameter, make, parameters};
use crate::pipeline::spec::{NodeSpec, Section, Spec};
use crate::pipeline::suggest::{did_you_mean, list};
use crate::pipeline::template::{Defs, FromEpoch, Resolved, Template};
use crate::pipeline::vars::{Environment, Vars};
use crate::pipeline::wires::{circle, wire};
use crate::pipeline::{DEFAULT_SEED, MAX_EPOCHS, MAX_NODES, every, keep, schedule};
use std::collections::BTreeSet;

/// Resolves a file. `stem` is the name of a pipeline that gives itself none.
pub(super) fn resolve(
    spec: &Spec,
    stem: &str,
    registry: Registry,
    environment: Environment<'_>,
) -> Result<Resolved, Fault> {
    let name = name(spec, stem)?;
    let seed = seed(spec)?;
    let epochs = epochs(spec)?;
    let keep = keep::of(spec)?;
    let mut vars = Vars::new(&spec.vars, environment);
    let mut once = templates(spec, Section::Once, registry, &mut vars, &keep)?;
    let mut each_epoch = templates(spec, Section::EachEpoch, registry, &mut vars, &keep)?;
    circle(spec, Section::Once, &once)?;
    circle(spec, Section::EachEpoch, &each_epoch)?;
    imply(&mut once, &mut each_epoch, registry);
    let nodes = once.len() + each_epoch.iter().map(|template| template.every.count(epochs)).sum::<usize>();
    if nodes > MAX_NODES {
        let span = spec.epochs.as_ref().map_or(spec.start, |tree| tree.span);
        return Err(Fault::new(span, format!("{nodes} nodes are too many: a plan has at most {MAX_NODES}")));
    }
    Ok(Resolved { name, seed, epochs, keep, once, each_epoch })
}

/// The registry's line of the node's stage.
pub(super) fn stage_of(node: &NodeSpec, registry: Registry) -> Result<&'static StageDef, Fault> {
    let verbs = || registry.iter().filter(|def| !def.is_implied).map(|def| def.verb);
    let Value::Text(verb) = &node.stage.value else {
        return Err(Fault::new(node.stage.span, format!("a stage is a verb, but this is {}", node.stage.described()))
            .hint(format!("the stages are {}", list(verbs()))));
    };
    registry.iter().find(|def| def.verb == verb && !def.is_implied).copied().ok_or_else(|| {
        Fault::new(node.stage.span, format!("there is no stage `{verb}`"))
            .hint(did_you_mean(verb, verbs()))
            .hint(format!("the stages are {}", list(verbs())))
    })
}

fn templates(
    spec: &Spec,
    section: Section,
    registry: Registry,
    vars: &mut Vars<'_>,
    keep: &[(String, Keep)],
) -> Result<Vec<Template>, Fault> {
    let defs = defs(spec, registry)?;
    let mut templates = Vec::new();
    for (node, def) in spec.section(section).iter().zip(defs.section(section)) {
        let every = every::of(section, node)?;
        let wires = wire(spec, section, node, def, &defs)?;
        let with = replaced(node, def, vars)?;
        let stages = stages(section, node, def, &with)?;
        let asked = keep.iter().find(|(noun, _)| *noun == node.noun.text).map(|(_, keep)| *keep);
        templates.push(Template {
            noun: node.noun.text.clone(),
            def,
            with,
            stages,
            wires,
            every,
            asked,
            is_implied: false,
        });
    }
    Ok(templates)
}

fn defs(spec: &Spec, registry: Registry) -> Result<Defs, Fault> {
    let all = |nodes: &[NodeSpec]| nodes.iter().map(|node| stage_of(node, registry)).collect::<Result<_, Fault>>();
    let every = spec.each_epoch.iter().map(|node| every::of(Section::EachEpoch, node)).collect::<Result<_, Fault>>();
    Ok(Defs { once: all(&spec.once)?, each_epoch: all(&spec.each_epoch)?, every: every? })
}

fn replaced(node: &NodeSpec, def: &StageDef, vars: &mut Vars<'_>) -> Result<Vec<Entry>, Fault> {
    let known = parameters(def);
    let replaced = |Entry { key, value }: &Entry| {
        let takes = known.iter().find(|parameter| parameter.name == key.text).map(Parameter::takes_here);
        Ok(Entry { key: key.clone(), value: vars.replace(value, takes)? })
    };
    node.with.iter().map(replaced).collect()
}

/// The stage for every epoch from which on a parameter is another one.
fn stages(section: Section, node: &NodeSpec, def: &StageDef, with: &[Entry]) -> Result<Vec<FromEpoch>, Fault> {
    let mut changes = BTreeSet::from([1]);
    for entry in with {
        let mut here = BTreeSet::new();
        schedule::changes(&entry.value, &mut here)?;
        if section == Section::Once && !here.is_empty() {
            return Err(Fault::new(
                entry.key.span,
                format!("`{}` cannot change with the epoch under once", entry.key.text),
            )
            .hint("what stands under once is made before the first epoch; give it one value".to_owned()));
        }
        changes.extend(here);
    }
    let at = |epoch: u32| -> Vec<Entry> {
        with.iter().map(|e| Entry { key: e.key.clone(), value: schedule::at(&e.value, epoch) }).collect()
    };
    changes.into_iter().map(|epoch| Ok((epoch, make(def, node, &at(epoch))?))).collect()
}

fn name(spec: &Spec, stem: &str) -> Result<String, Fault> {
    let rule =
        "a name has up to 64 letters, digits, dots, - and _. It begins with a letter or digit, and names a folder";
    let (span, name) = match &spec.name {
        None => (spec.start, stem),
        Some(Tree { span, value: Value::Text(name) }) => (*span, name.as_str()),
        Some(tree) => {
            let what = format!("name is a text, but this is {}", tree.described());
            return Err(Fault::new(tree.span, what).hint(rule.to_owned()));
        }
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fits) || name.len() > 64 {
        let name: String = name.chars().take(80).collect();
        let what = match &spec.name {
            None => format!("the pipeline has no name, and its file's, {name:?}, cannot name a run"),
            Some(_) => format!("{name:?} cannot name a run"),
        };
        return Err(Fault::new(span, what).hint(rule.to_owned()));
    }
    if name == "last.json" {
        let hint = "the store has a file of that name beside its runs; take another".to_owned();
        return Err(Fault::new(span, format!("{name:?} cannot name a run")).hint(hint));
    }
    Ok(name.to_owned())
}

fn seed(spec: &Spec) -> Result<u64, Fault> {
    let Some(tree) = &spec.seed else { return Ok(DEFAULT_SEED) };
    let number = match &tree.value {
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    number.ok_or_else(|| {
        Fault::new(tree.span, format!("seed is a whole number from 0 up, but this is {}", tree.described()))
    })
}

fn epochs(spec: &Spec) -> Result<u32, Fault> {
    let rule = || format!("a whole number from 1 to {MAX_EPOCHS}");
    let Some(tree) = &spec.epochs else {
        if spec.each_epoch.is_empty() && !spec.once.is_empty() {
            return Ok(0);
        }
        return Err(Fault::new(spec.start, "the pipeline does not say how many epochs there are")
            .hint(format!("write `epochs: N`, {}", rule())));
    };
    let number = match &tree.value {
        Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
        _ => None,
    };
    if spec.once.is_empty() && spec.each_epoch.is_empty() {
        return Err(Fault::new(spec.start, "the pipeline has no nodes")
            .hint("write them under once: and each_epoch:; see pipelines/demo.yaml".to_owned()));
    }
    number
        .filter(|n| (1..=MAX_EPOCHS).contains(n))
        .ok_or_else(|| Fault::new(tree.span, format!("epochs is {}, but this is {}", rule(), tree.described())))
}
