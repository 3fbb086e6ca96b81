//! spec: the pipeline file exactly as written, with the place of everything, nothing resolved.

use crate::base::tree::{Entry, Span, Tree, Value, Word};
use crate::pipeline::error::Fault;
use crate::pipeline::suggest::{did_you_mean, list};

/// The keys that a file may have.
pub(super) const KEYS: [&str; 7] = ["name", "seed", "epochs", "vars", "keep", "once", "each_epoch"];
pub(super) const NODE_KEYS: [&str; 4] = ["stage", "from", "with", "epochs"];

/// A pipeline file. Values are unread until they are needed, so that an override can replace a wrong one.
pub(super) struct Spec {
    /// Where the file begins.
    pub(super) start: Span,
    pub(super) name: Option<Tree>,
    pub(super) seed: Option<Tree>,
    pub(super) epochs: Option<Tree>,
    pub(super) keep: Option<Tree>,
    pub(super) vars: Vec<Entry>,
    pub(super) once: Vec<NodeSpec>,
    pub(super) each_epoch: Vec<NodeSpec>,
}

/// Which of the two lists of nodes is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Once,
    EachEpoch,
}

impl Section {
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::EachEpoch => "each_epoch",
        }
    }
}

/// A node as written.
pub(super) struct NodeSpec {
    pub(super) noun: Word,
    pub(super) stage: Tree,
    pub(super) from: Vec<Entry>,
    pub(super) with: Vec<Entry>,
    /// The key `with`, where it stands.
    pub(super) with_span: Option<Span>,
    /// At which epochs there is such a node; at all of them, if this is left out.
    pub(super) epochs: Option<Tree>,
}

impl NodeSpec {
    /// Where a complaint about the parameters as a whole points.
    pub(super) fn params_span(&self) -> Span {
        self.with_span.unwrap_or(self.noun.span)
    }
}

impl Spec {
    pub(super) fn of(tree: Tree) -> Result<Self, Fault> {
        let start = tree.span;
        if tree.value == Value::Null {
            return Err(Fault::new(start, "the pipeline is empty")
                .hint(format!("it has the keys {}; see pipelines/demo.yaml", list(KEYS))));
        }
        let mut spec = Self {
            start,
            name: None,
            seed: None,
            epochs: None,
            keep: None,
            vars: Vec::new(),
            once: Vec::new(),
            each_epoch: Vec::new(),
        };
        for Entry { key, value } in entries(tree, "a pipeline")? {
            match key.text.as_str() {
                "name" => spec.name = Some(value),
                "seed" => spec.seed = Some(value),
                "epochs" => spec.epochs = Some(value),
                "keep" => spec.keep = Some(value),
                "vars" => spec.vars = entries(value, "vars")?,
                "once" => spec.once = nodes(value, "once")?,
                "each_epoch" => spec.each_epoch = nodes(value, "each_epoch")?,
                _ => return Err(unknown(&key, "a pipeline", &KEYS)),
            }
        }
        Ok(spec)
    }

    pub(super) fn section(&self, section: Section) -> &[NodeSpec] {
        match section {
            Section::Once => &self.once,
            Section::EachEpoch => &self.each_epoch,
        }
    }

    pub(super) fn section_mut(&mut self, section: Section) -> &mut [NodeSpec] {
        match section {
            Section::Once => &mut self.once,
            Section::EachEpoch => &mut self.each_epoch,
        }
    }

    /// The names of all nodes, each once, in the file's order.
    pub(super) fn nouns(&self) -> Vec<&str> {
        let mut nouns: Vec<&str> = Vec::new();
        for node in self.once.iter().chain(&self.each_epoch) {
            if !nouns.contains(&node.noun.text.as_str()) {
                nouns.push(&node.noun.text);
            }
        }
        nouns
    }
}

/// The entries of a map; an absent value is an empty one.
pub(super) fn entries(tree: Tree, whose: &str) -> Result<Vec<Entry>, Fault> {
    match tree.value {
        Value::Map(entries) => Ok(entries),
        Value::Null => Ok(Vec::new()),
        _ => {
            Err(Fault::new(tree.span, format!("{whose} is a map of keys and values, but this is {}", tree.described())))
        }
    }
}

fn unknown(key: &Word, whose: &str, keys: &[&str]) -> Fault {
    Fault::new(key.span, format!("{whose} has no key `{}`", key.text))
        .hint(did_you_mean(&key.text, keys.iter().copied()))
        .hint(format!("its keys are {}", list(keys.iter().copied())))
}

fn nodes(tree: Tree, section: &str) -> Result<Vec<NodeSpec>, Fault> {
    entries(tree, section)?.into_iter().map(|Entry { key, value }| node(key, value)).collect()
}

fn node(noun: Word, tree: Tree) -> Result<NodeSpec, Fault> {
    name_of_node(&noun)?;
    let (mut stage, mut from, mut with, mut with_span, mut epochs) = (None, Vec::new(), Vec::new(), None, None);
    let whose = format!("the node `{}`", noun.text);
    for Entry { key, value } in entries(tree, &whose)? {
        match key.text.as_str() {
            "stage" => stage = Some(value),
            "from" => from = entries(value, "from")?,
            "epochs" => epochs = Some(value),
            "with" => {
                with_span = Some(key.span);
                with = entries(value, "with")?;
            }
            _ => return Err(unknown(&key, &whose, &NODE_KEYS)),
        }
    }
    let stage = stage.ok_or_else(|| {
        Fault::new(noun.span, format!("{whose} does not say its stage")).hint("write `stage: VERB`".to_owned())
    })?;
    Ok(NodeSpec { noun, stage, from, with, with_span, epochs })
}

fn name_of_node(noun: &Word) -> Result<(), Fault> {
    let text = noun.text.as_str();
    if KEYS.contains(&text) {
        return Err(Fault::new(noun.span, format!("a node cannot be called `{text}`, which is a key of the file")));
    }
    let letters = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !letters || !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.len() > 64 {
        return Err(Fault::new(noun.span, format!("`{text}` cannot name a node"))
            .hint("a name is up to 64 lower-case letters, digits and _, and begins with a letter".to_owned()));
    }
    Ok(())
}
