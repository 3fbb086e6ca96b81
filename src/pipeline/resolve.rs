//! resolve: names become stages and nodes, texts become values; every circle, gap and misfit is found here.

use crate::base::Epoch;
use crate::engine::{AnyStage, Keep, Registry, StageDef};
use crate::pipeline::error::Fault;
use crate::pipeline::params::make;
use crate::pipeline::spec::{NodeSpec, Section, Spec};
use crate::pipeline::suggest::{did_you_mean, list};
use crate::pipeline::tree::{Entry, Tree, Value};
use crate::pipeline::vars::{Environment, Vars};
use crate::pipeline::wires::{Wire, circle, wire};
use crate::pipeline::{MAX_EPOCHS, MAX_NODES, keep, schedule};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The seed of a pipeline that gives none: the published code's.
pub(super) const DEFAULT_SEED: u64 = 31;

/// A pipeline with nothing left open.
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) epochs: u32,
    pub(super) keep: Vec<(String, Keep)>,
    pub(super) once: Vec<Template>,
    pub(super) each_epoch: Vec<Template>,
}

/// A stage, and the epoch from which on it is this one.
type From = (u32, Arc<dyn AnyStage>);

/// What a node is at every epoch.
pub(super) struct Template {
    pub(super) noun: String,
    pub(super) def: &'static StageDef,
    /// The parameters with their variables replaced; schedules are still schedules.
    pub(super) with: Vec<Entry>,
    /// The first is from epoch 1.
    pub(super) stages: Vec<From>,
    pub(super) wires: Vec<Wire>,
    /// How long its bytes stay, where the file says.
    pub(super) asked: Option<Keep>,
}

impl Template {
    /// The stage at an epoch; all epochs with equal parameters share one.
    pub(super) fn stage(&self, epoch: Epoch) -> &Arc<dyn AnyStage> {
        let after = self.stages.partition_point(|(from, _)| *from <= epoch.0);
        &self.stages[after.saturating_sub(1)].1
    }

    /// How long the bytes stay.
    pub(super) fn keep(&self) -> Keep {
        self.asked.unwrap_or(self.def.keep)
    }

    /// Whether somebody asked for the bytes of an epoch, so that missing ones are made again. The last epoch's weights
    /// are what a run is for, and need not be asked for.
    pub(super) fn is_asked_for(&self, epoch: Epoch, epochs: u32) -> bool {
        let is_result = matches!(self.keep(), Keep::Every(_)) && epoch.0 == epochs && epoch.0 > 0;
        is_result || self.asked.is_some_and(|keep| keep.stays(epoch, epochs))
    }
}

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
    let once = templates(spec, Section::Once, registry, &mut vars, &keep)?;
    let each_epoch = templates(spec, Section::EachEpoch, registry, &mut vars, &keep)?;
    circle(spec, Section::Once, &once)?;
    circle(spec, Section::EachEpoch, &each_epoch)?;
    let nodes = once.len() + each_epoch.len() * epochs as usize;
    if nodes > MAX_NODES {
        let span = spec.epochs.as_ref().map_or(spec.start, |tree| tree.span);
        return Err(Fault::new(span, format!("{nodes} nodes are too many: a plan has at most {MAX_NODES}")));
    }
    Ok(Resolved { name, seed, epochs, keep, once, each_epoch })
}

/// The registry's line of the node's stage.
pub(super) fn stage_of(node: &NodeSpec, registry: Registry) -> Result<&'static StageDef, Fault> {
    let verbs = || registry.iter().map(|def| def.verb);
    let Value::Text(verb) = &node.stage.value else {
        return Err(Fault::new(node.stage.span, format!("a stage is a verb, but this is {}", node.stage.described()))
            .hint(format!("the stages are {}", list(verbs()))));
    };
    registry.iter().find(|def| def.verb == verb).copied().ok_or_else(|| {
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
    let defs = Defs::of(spec, registry)?;
    let mut templates = Vec::new();
    for (node, def) in spec.section(section).iter().zip(defs.section(section)) {
        let wires = wire(spec, section, node, def, &defs)?;
        let with = replaced(node, vars)?;
        let stages = stages(section, node, def, &with)?;
        let asked = keep.iter().find(|(noun, _)| *noun == node.noun.text).map(|(_, keep)| *keep);
        templates.push(Template { noun: node.noun.text.clone(), def, with, stages, wires, asked });
    }
    Ok(templates)
}

/// The registry lines of all nodes, in the order of the file.
pub(super) struct Defs {
    once: Vec<&'static StageDef>,
    each_epoch: Vec<&'static StageDef>,
}

impl Defs {
    fn of(spec: &Spec, registry: Registry) -> Result<Self, Fault> {
        let all = |nodes: &[NodeSpec]| nodes.iter().map(|node| stage_of(node, registry)).collect::<Result<_, Fault>>();
        Ok(Self { once: all(&spec.once)?, each_epoch: all(&spec.each_epoch)? })
    }

    pub(super) fn section(&self, section: Section) -> &[&'static StageDef] {
        match section {
            Section::Once => &self.once,
            Section::EachEpoch => &self.each_epoch,
        }
    }
}

fn replaced(node: &NodeSpec, vars: &mut Vars<'_>) -> Result<Vec<Entry>, Fault> {
    let entries = node.with.iter();
    entries.map(|Entry { key, value }| Ok(Entry { key: key.clone(), value: vars.replace(value)? })).collect()
}

/// The stage for every epoch from which on a parameter is another one.
fn stages(section: Section, node: &NodeSpec, def: &StageDef, with: &[Entry]) -> Result<Vec<From>, Fault> {
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
        "a name is up to 64 letters, digits, dots, - and _, and begins with a letter or digit; it names a folder";
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
