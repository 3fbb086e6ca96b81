//! roots: traces why a node would run back to what changed, also through nodes that have already run with it.

use crate::base::{Digest, StageKey};
use crate::engine::fate::Fate;
use crate::engine::forecast::Line;
use crate::engine::key::input_of;
use crate::engine::keys::{key_of, read_at};
use crate::engine::plan::{Node, NodeId, Plan};
use crate::engine::why::difference;
use crate::engine::{Device, EngineError, MissReason};
use crate::store::run::KeyHistory;
use crate::store::{Record, Stand, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The root cause of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Lines of the node's own key differ: parameters, versions, the seed, what a source observed, what is connected.
    Changed {
        /// `-old` and `+new` lines.
        lines: Vec<String>,
    },
    /// The node has not run before.
    FirstRun,
    /// The node began and did not finish.
    NeverFinished,
    /// The node's record is damaged.
    Damaged,
    /// The node's bytes are missing, and `keep:` retains them.
    AskedFor,
    /// The node read something else at a port, and no remembered key of the port's node gave that.
    Forgotten {
        /// The port.
        port: &'static str,
        /// The node that it is connected to.
        from: String,
        /// What was read there.
        was: String,
    },
}

/// What is known of one node and one of its earlier keys.
pub struct Look {
    /// How the keys differ; without a known key, only the lines that are no inputs.
    pub lines: Vec<String>,
    /// The causes in this node; empty if all of them are in earlier nodes.
    pub causes: Vec<Cause>,
    /// The nodes where the search continues, each with the key to compare it with.
    next: Vec<(NodeId, Option<StageKey>)>,
}

/// A node on the way back.
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The step that led here; none for the first.
    pub after: Option<usize>,
    /// What is known of it.
    pub look: Rc<Look>,
}

/// Traces nodes of one forecast. It keeps what it found for one node for the next.
pub struct Tracer<'a> {
    plan: &'a Plan,
    store: &'a Store,
    device: &'a Device,
    lines: Vec<Option<&'a Line>>,
    history: KeyHistory,
    looks: BTreeMap<(NodeId, Option<StageKey>), Rc<Look>>,
}

impl<'a> Tracer<'a> {
    /// Starts from a forecast of `plan` on `store`.
    pub fn new(plan: &'a Plan, store: &'a Store, device: &'a Device, forecast: &'a [Line]) -> Self {
        let mut lines = vec![None; plan.len()];
        for line in forecast {
            lines[line.node.index()] = Some(line);
        }
        Self { plan, store, device, lines, history: store.key_history(&plan.name), looks: BTreeMap::new() }
    }

    /// The forecast's line of a node.
    pub fn line(&self, node: NodeId) -> Option<&'a Line> {
        self.lines[node.index()]
    }

    /// The way back from `target`, depth first along the inputs in their order; it ends at causes.
    ///
    /// # Errors
    /// If a source stage cannot look at the outside world.
    pub fn trace(&mut self, target: NodeId) -> Result<Vec<Step>, EngineError> {
        let (mut steps, mut seen): (Vec<Step>, _) = (Vec::new(), BTreeSet::new());
        let mut open = vec![(target, None, None)];
        while let Some((node, old, after)) = open.pop() {
            if !seen.insert((node, old)) {
                continue;
            }
            let look = match self.looks.get(&(node, old)) {
                Some(look) => Rc::clone(look),
                None => Rc::new(self.look(node, old)?),
            };
            self.looks.insert((node, old), Rc::clone(&look));
            open.extend(look.next.iter().rev().map(|(next, old)| (*next, *old, Some(steps.len()))));
            steps.push(Step { node, after, look });
        }
        Ok(steps)
    }

    /// Compares a node with its key `old`, or without one with the last key under which it finished.
    fn look(&self, id: NodeId, old: Option<StageKey>) -> Result<Look, EngineError> {
        let mut look = Look { lines: Vec::new(), causes: Vec::new(), next: Vec::new() };
        let Some(line) = self.line(id) else { return Ok(look) };
        let node = self.plan.node(id);
        if old.is_none() && line.record.is_none() && line.stand == Some(Stand::Wrong) {
            look.causes.push(Cause::Damaged);
            return Ok(look);
        }
        if let (None, Fate::Run(MissReason::Evicted { needed_by })) = (old, &line.fate) {
            match self.plan.find(needed_by) {
                Ok(reader) => look.next.extend(reader.iter().map(|reader| (*reader, None))),
                Err(_) => look.causes.push(Cause::AskedFor),
            }
            return Ok(look);
        }
        let record = match old {
            Some(old) => self.record(old),
            None => self.earlier(id, line).find_map(|key| self.record(key)),
        };
        let Some(record) = record else {
            self.follow_unknown(node, &mut look);
            look.causes.extend(own_reason(&line.fate));
            return Ok(look);
        };
        let was: BTreeMap<&str, &str> = record.key_text.lines().filter_map(input_of).collect();
        let known_key = line.key.as_ref();
        let now = match known_key {
            Some(key) => key.clone(),
            None => key_of(self.plan, id, &[], self.device)?,
        };
        // The search follows an input that both keys have. An input that only one has was connected or removed.
        let both = |port: &str| was.contains_key(port) && node.inputs.iter().any(|(name, _)| *name == port);
        let followed = |line: &String| input_of(&line[2..]).is_some_and(|(port, _)| both(port));
        let (inputs, own): (Vec<_>, Vec<_>) =
            difference(&record.key_text, now.as_str()).into_iter().partition(followed);
        look.lines = if known_key.is_some() { [inputs, own.clone()].concat() } else { own.clone() };
        if !own.is_empty() {
            look.causes.push(Cause::Changed { lines: own });
        }
        for (port, from) in &node.inputs {
            self.follow(id, *from, port, was.get(port).copied(), &mut look);
        }
        if look.causes.is_empty() && look.next.is_empty() {
            look.causes.extend(own_reason(&line.fate));
        }
        Ok(look)
    }

    /// Adds an input to the search, unless it is what it `was`.
    fn follow(&self, id: NodeId, from: NodeId, port: &'static str, was: Option<&str>, look: &mut Look) {
        let stage = &*self.plan.node(id).stage;
        // A key of an earlier program names an input by all its parts.
        let is_it = |record: &Record, was: &str| {
            read_at(stage, port, record).to_string() == was || record.artifact.digest().to_string() == was
        };
        let now = self.line(from).and_then(|line| line.record.as_ref());
        let Some(was) = was else {
            if now.is_none() {
                look.next.push((from, None));
            }
            return;
        };
        if now.is_some_and(|now| is_it(now, was)) {
            return;
        }
        let gave_it = |record: &Record| is_it(record, was);
        let line = self.line(from);
        let mut earlier = line.into_iter().flat_map(|line| self.earlier(from, line));
        match earlier.find(|key| self.record(*key).as_ref().is_some_and(gave_it)) {
            Some(old) => look.next.push((from, Some(old))),
            None if now.is_none() => look.next.push((from, None)),
            None => {
                let from = self.plan.node(from).name();
                look.causes.push(Cause::Forgotten { port, from, was: was.to_owned() });
            }
        }
    }

    /// A node that has nothing to compare with runs because of its unknown inputs.
    fn follow_unknown(&self, node: &Node, look: &mut Look) {
        let unknown = node.inputs.iter().map(|(_, from)| *from).filter(|from| self.digest(*from).is_none());
        look.next.extend(unknown.map(|from| (from, None)));
    }

    /// The digest of a node's result, if it is known.
    fn digest(&self, node: NodeId) -> Option<Digest> {
        Some(self.line(node)?.record.as_ref()?.artifact.digest())
    }

    /// The keys that a node had before its present one.
    fn earlier(&self, node: NodeId, line: &Line) -> impl Iterator<Item = StageKey> {
        let now = line.key.as_ref().map(crate::engine::KeyText::key);
        let known: Vec<_> = self.history.of(&self.plan.node(node).name()).filter(|key| Some(*key) != now).collect();
        known.into_iter()
    }

    fn record(&self, key: StageKey) -> Option<Record> {
        self.store.record(key).ok().flatten()
    }
}

/// The cause that a fate states by itself.
fn own_reason(fate: &Fate) -> Option<Cause> {
    match fate {
        Fate::Run(MissReason::FirstRun) => Some(Cause::FirstRun),
        Fate::Run(MissReason::NeverFinished) => Some(Cause::NeverFinished),
        _ => None,
    }
}
