//! plan: the nodes of a run in dense arrays, unrolled over the epochs and checked.

use crate::base::Epoch;
use crate::base::graph::order_or_cycle;
use crate::engine::{AnyStage, Facts, InputSizes, Keep, PlanError, Sizes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Index of a node in its plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into a table of the plan's nodes.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A stage at one epoch.
pub struct Node {
    /// The name it has in the pipeline file, such as `clusters`.
    pub noun: String,
    /// 0 for a node that runs once, before the first epoch.
    pub epoch: Epoch,
    /// The verb with its parameters, already resolved for this epoch.
    pub stage: Arc<dyn AnyStage>,
    /// What each connected port reads.
    pub inputs: Vec<(&'static str, NodeId)>,
    /// How long the bytes are kept.
    pub keep: Keep,
    /// Whether a person asked for the bytes, so that missing ones are rebuilt.
    pub asked_for: bool,
    /// Whether the pipeline file does not list it: it makes tables of its first input.
    pub is_implied: bool,
}

/// Whether no pipeline file writes a node of this name: such names have a dot.
pub fn is_implied(name: &str) -> bool {
    name.contains('.')
}

impl Node {
    /// The node's name: `clusters@17`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.noun, self.epoch)
    }
}

/// What a run would do: checked, unrolled, acyclic, immutable.
pub struct Plan {
    /// The run's name.
    pub name: String,
    /// The pipeline's seed.
    pub seed: u64,
    /// The last epoch.
    pub epochs: u32,
    nodes: Vec<Node>,
    consumers: Vec<Vec<NodeId>>,
    order: Vec<NodeId>,
    rank: Vec<u32>,
    by_name: BTreeMap<String, NodeId>,
}

impl Plan {
    /// Checks the nodes against each other: connected ports of the right noun, unique names, no cycle, sizes that fit.
    pub fn new(name: String, seed: u64, epochs: u32, nodes: Vec<Node>) -> Result<Self, PlanError> {
        let mut by_name = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate() {
            if by_name.insert(node.name(), NodeId(i as u32)).is_some() {
                return Err(PlanError::TwiceNamed { node: node.name() });
            }
            check_ports(node, &nodes)?;
            node.stage
                .check(&Facts::new())
                .map_err(|error| PlanError::Refused { node: node.name(), error: format!("{error:#}") })?;
        }
        let mut consumers = vec![Vec::new(); nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            for (_, from) in &node.inputs {
                consumers[from.index()].push(NodeId(i as u32));
            }
        }
        let order = topological(&nodes)?;
        let mut rank = vec![0; order.len()];
        for (i, id) in order.iter().enumerate() {
            rank[id.index()] = i as u32;
        }
        check_sizes(&nodes, &order)?;
        Ok(Self { name, seed, epochs, nodes, consumers, order, rank, by_name })
    }

    /// The node of that id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes that read this one's output.
    pub fn consumers(&self, id: NodeId) -> &[NodeId] {
        &self.consumers[id.index()]
    }

    /// Every node after all those that it reads; the order is the same every time.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// A node's place in the order.
    pub fn rank(&self, id: NodeId) -> u32 {
        self.rank[id.index()]
    }

    /// The node called `name@epoch`, or, without an epoch, every epoch's node of that name, in order.
    ///
    /// # Errors
    /// If there is none, with the nearest existing names.
    pub fn find(&self, name: &str) -> Result<Vec<NodeId>, PlanError> {
        if let Some(id) = self.by_name.get(name) {
            return Ok(vec![*id]);
        }
        let found: Vec<_> = self.order.iter().copied().filter(|id| self.node(*id).noun == name).collect();
        if found.is_empty() { Err(self.unknown(name)) } else { Ok(found) }
    }

    /// The node that makes the tables of this one, if there is one.
    pub fn tables_of(&self, id: NodeId) -> Option<NodeId> {
        let follows = |reader: &NodeId| self.followed(*reader) == Some(id);
        self.consumers(id).iter().copied().find(follows)
    }

    /// The node whose tables this one makes, if it makes tables.
    pub fn followed(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        node.inputs.first().filter(|_| node.is_implied).map(|(_, from)| *from)
    }

    /// By node: whether a run to these nodes needs it. A run without a goal needs every node.
    pub fn leading_to(&self, to: &[NodeId]) -> Vec<bool> {
        let (mut leads, mut stack) = (vec![to.is_empty(); self.len()], to.to_vec());
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut leads[id.index()], true) {
                stack.extend(self.node(id).inputs.iter().map(|(_, from)| *from));
            }
        }
        leads
    }

    /// These nodes, and the tables of all nodes that lead to them, for a person reads those too.
    pub fn with_tables(&self, to: Vec<NodeId>) -> Vec<NodeId> {
        if to.is_empty() {
            return to;
        }
        let leads = self.leading_to(&to);
        let all = (0..self.len() as u32).map(NodeId).filter(|id| leads[id.index()]);
        to.iter().copied().chain(all.filter_map(|id| self.tables_of(id))).collect()
    }

    /// The node of a name at an epoch.
    pub fn at(&self, noun: &str, epoch: Epoch) -> Option<NodeId> {
        self.by_name.get(&format!("{noun}@{epoch}")).copied()
    }

    fn unknown(&self, name: &str) -> PlanError {
        let mut nouns: Vec<&str> = self.nodes.iter().map(|node| node.noun.as_str()).collect();
        nouns.sort_unstable();
        nouns.dedup();
        PlanError::UnknownNode { name: name.to_owned(), nouns: nouns.join(", "), epochs: self.epochs }
    }
}

fn check_ports(node: &Node, nodes: &[Node]) -> Result<(), PlanError> {
    let def = node.stage.def();
    for (port, from) in &node.inputs {
        let Some(want) = def.inputs.iter().find(|p| p.name == *port) else {
            return Err(PlanError::NoSuchPort { node: node.name(), port: (*port).to_owned() });
        };
        let Some(producer) = nodes.get(from.index()) else {
            return Err(PlanError::NotConnected { node: node.name(), port: (*port).to_owned() });
        };
        let have = producer.stage.def().output.name;
        if have != want.noun {
            return Err(PlanError::WrongNoun {
                node: node.name(),
                port: (*port).to_owned(),
                want: want.noun,
                from: producer.name(),
                have,
            });
        }
    }
    for port in def.inputs.iter().filter(|port| !port.optional) {
        if !node.inputs.iter().any(|(name, _)| *name == port.name) {
            return Err(PlanError::NotConnected { node: node.name(), port: port.name.to_owned() });
        }
    }
    Ok(())
}

/// Asks every node, after those that it reads, whether their sizes fit. All misfits are reported at once; of several
/// nodes of one name, only the first.
fn check_sizes(nodes: &[Node], order: &[NodeId]) -> Result<(), PlanError> {
    let mut known: Vec<Sizes> = vec![Sizes::new(); nodes.len()];
    let (mut misfits, mut told) = (Vec::new(), BTreeSet::new());
    for id in order {
        let node = &nodes[id.index()];
        let at = |port: &str| node.inputs.iter().find(|(name, _)| *name == port).map(|(_, from)| &known[from.index()]);
        let inputs = InputSizes(&at);
        if let Err(error) = node.stage.fits(&inputs)
            && told.insert(&node.noun)
        {
            misfits.push(format!("{}: {error:#}", node.name()));
        }
        known[id.index()] = node.stage.sizes(&inputs);
    }
    if misfits.is_empty() { Ok(()) } else { Err(PlanError::Misfits { misfits: misfits.join("\n") }) }
}

/// Every node after all those that it reads, epoch by epoch.
fn topological(nodes: &[Node]) -> Result<Vec<NodeId>, PlanError> {
    let reads = |node: usize| nodes[node].inputs.iter().map(|(_, from)| from.index());
    let order = order_or_cycle(nodes.len(), reads, |node| nodes[node].epoch);
    order.map(|order| order.into_iter().map(|node| NodeId(node as u32)).collect()).map_err(|cycle| {
        // The first node once more, and then from each node to its reader.
        let circle = cycle.first().into_iter().chain(cycle.iter().rev());
        PlanError::Cycle { path: circle.map(|node| nodes[*node].name()).collect::<Vec<_>>().join(" -> ") }
    })
}
