//! wires: what each port reads, `NOUN` or `NOUN@prev`, checked against what the nodes make.

use crate::base::graph::order_or_cycle;
use crate::base::tree::{Entry, Span, Value};
use crate::engine::{Port, StageDef};
use crate::pipeline::error::Fault;
use crate::pipeline::every::{self, Every};
use crate::pipeline::spec::{NodeSpec, Section, Spec};
use crate::pipeline::suggest::{did_you_mean, list};
use crate::pipeline::template::{Defs, Reads, Template, Wire};

/// Connects the ports of one node.
pub(super) fn wire(
    spec: &Spec,
    section: Section,
    node: &NodeSpec,
    def: &'static StageDef,
    defs: &Defs,
) -> Result<Vec<Wire>, Fault> {
    let every = every::of(section, node)?;
    let mut wires = Vec::new();
    for entry in &node.from {
        let port = port_of(node, def, entry)?;
        let Value::Text(written) = &entry.value.value else {
            let what = format!("`{}` reads a node, but this is {}", port.name, entry.value.described());
            return Err(Fault::new(entry.value.span, what).hint("write NAME or NAME@prev".to_owned()));
        };
        let reads = reads(spec, section, port, written, entry.value.span)?;
        check_epochs(node, defs, port, &reads, every, (written, entry.value.span))?;
        check_noun(spec, defs, port, &reads, entry.value.span)?;
        wires.push(Wire { port: port.name, reads, written: written.clone() });
    }
    for port in def.inputs.iter().filter(|port| !port.optional) {
        if wires.iter().all(|wire| wire.port != port.name) {
            return Err(Fault::new(
                node.noun.span,
                format!("`{}` is not told what to read at `{}`", node.noun.text, port.name),
            )
            .hint(format!("write from: {{ {}: NAME }}, where the node NAME makes {}", port.name, port.noun))
            .hint(makers(spec, defs, port.noun)));
        }
    }
    Ok(wires)
}

fn port_of(node: &NodeSpec, def: &'static StageDef, entry: &Entry) -> Result<&'static Port, Fault> {
    let ports = || def.inputs.iter().map(|port| port.name);
    def.inputs.iter().find(|port| port.name == entry.key.text).ok_or_else(|| {
        let what = format!("the stage {} of `{}` does not read `{}`", def.verb, node.noun.text, entry.key.text);
        Fault::new(entry.key.span, what).hint(did_you_mean(&entry.key.text, ports())).hint(format!(
            "{} reads {}",
            def.verb,
            list(ports())
        ))
    })
}

fn reads(spec: &Spec, section: Section, port: &Port, written: &str, span: Span) -> Result<Reads, Fault> {
    let (noun, last) = match written.split_once('@') {
        None => (written, false),
        Some((noun, "prev")) => (noun, true),
        Some((noun, at)) => {
            let at: String = at.chars().take(40).collect();
            return Err(Fault::new(span, format!("`@{at}` is no epoch that a node can read"))
                .hint(format!("write `{noun}` for this epoch's or `{noun}@prev` for an earlier epoch's")));
        }
    };
    let position = |section| spec.section(section).iter().position(|node| node.noun.text == noun);
    let (once, each_epoch) = (position(Section::Once), position(Section::EachEpoch));
    match (section, last, once, each_epoch) {
        (_, _, None, None) => Err(Fault::new(span, format!("there is no node `{noun}`"))
            .hint(did_you_mean(noun, spec.nouns()))
            .hint(format!("the nodes are {}", list(spec.nouns())))),
        (Section::Once, true, ..) => Err(Fault::new(span, "before the first epoch there is no earlier one")
            .hint(format!("under once, write `{noun}`"))),
        (Section::Once, false, None, Some(_)) => {
            Err(Fault::new(span, format!("`{noun}` is made in every epoch, and this is made once, before them"))
                .hint("move this node to each_epoch, or read a node that stands under once".to_owned()))
        }
        (Section::Once, false, Some(at), _) | (Section::EachEpoch, false, Some(at), None) => Ok(Reads::Once(at)),
        (Section::EachEpoch, false, _, Some(at)) => Ok(Reads::Now(at)),
        (Section::EachEpoch, true, Some(_), None) => {
            Err(Fault::new(span, format!("`{noun}` is made once, so an earlier epoch has none of its own"))
                .hint(format!("write `{noun}`")))
        }
        (Section::EachEpoch, true, None, Some(_)) if !port.optional => {
            Err(Fault::new(span, format!("at epoch 1 there is no `{noun}` of an earlier epoch"))
                .hint(format!("add a node `{noun}` under once, which epoch 1 then reads")))
        }
        (Section::EachEpoch, true, once, Some(each_epoch)) => Ok(Reads::Last { each_epoch, once }),
    }
}

/// Whether what is read is what the port takes.
fn check_noun(spec: &Spec, defs: &Defs, port: &Port, reads: &Reads, span: Span) -> Result<(), Fault> {
    let producers = match reads {
        Reads::Once(at) => vec![(Section::Once, *at)],
        Reads::Now(at) => vec![(Section::EachEpoch, *at)],
        Reads::Last { each_epoch, once } => {
            let first = (Section::EachEpoch, *each_epoch);
            std::iter::once(first).chain(once.map(|at| (Section::Once, at))).collect()
        }
    };
    for (section, at) in producers {
        let have = defs.section(section)[at].output.name;
        if have != port.noun {
            let noun = &spec.section(section)[at].noun.text;
            let what =
                format!("`{}` takes {}, but `{noun}` under {} makes {have}", port.name, port.noun, section.key());
            return Err(Fault::new(span, what).hint(makers(spec, defs, port.noun)));
        }
    }
    Ok(())
}

/// Whether what is read is there whenever its reader is, or may be absent.
fn check_epochs(
    node: &NodeSpec,
    defs: &Defs,
    port: &Port,
    reads: &Reads,
    own: Every,
    (written, span): (&str, Span),
) -> Result<(), Fault> {
    let Reads::Now(at) = *reads else { return Ok(()) };
    let (every, noun) = (defs.every[at], &node.noun.text);
    if port.optional || every.covers(own) {
        return Ok(());
    }
    let what = format!("`{written}` is there only {}, but `{noun}` reads it {}", every.described(), own.described());
    Err(Fault::new(span, what).hint(every.written().map(|rule| format!("write epochs: {rule} at `{noun}` as well"))))
}

/// Which nodes make a noun.
fn makers(spec: &Spec, defs: &Defs, noun: &str) -> String {
    let of = |section: Section| {
        let nodes = spec.section(section).iter().zip(defs.section(section));
        nodes.filter(|(_, def)| def.output.name == noun).map(|(node, _)| node.noun.text.as_str())
    };
    let mut names: Vec<&str> = of(Section::Once).chain(of(Section::EachEpoch)).collect();
    names.sort_unstable();
    names.dedup();
    match names.is_empty() {
        true => format!("no node makes {noun}"),
        false => format!("{noun}: made by {}", list(names)),
    }
}

/// Refuses nodes of one section that wait for each other.
pub(super) fn circle(spec: &Spec, section: Section, templates: &[Template]) -> Result<(), Fault> {
    let beside = |wire: &Wire| match (section, &wire.reads) {
        (Section::Once, Reads::Once(at)) | (Section::EachEpoch, Reads::Now(at)) => Some(*at),
        _ => None,
    };
    let reads = |node: usize| templates[node].wires.iter().filter_map(beside);
    let Err(path) = order_or_cycle(templates.len(), reads, |node| node) else { return Ok(()) };
    let at = path[0];
    let next = *path.get(1).unwrap_or(&at);
    let node = &spec.section(section)[at];
    let place = node.from.iter().zip(&templates[at].wires).find(|(_, wire)| beside(wire) == Some(next));
    let names = path.iter().chain(std::iter::once(&at)).map(|p| templates[*p].noun.as_str());
    let mut names: Vec<&str> = names.collect();
    if names.len() > 12 {
        names.splice(6..names.len() - 5, ["..."]);
    }
    let fault = Fault::new(
        place.map_or(node.noun.span, |(entry, _)| entry.value.span),
        format!("these nodes wait for each other: {}", names.join(" reads ")),
    );
    Err(fault.hint(
        (section == Section::EachEpoch)
            .then(|| format!("read an earlier epoch's, `{}@prev`, at one of them", templates[next].noun)),
    ))
}
