//! lookup: in which order nodes become known, and what the store has under their keys.

use crate::base::{Artifact, Digest, StageKey};
use crate::engine::facts::Spread;
use crate::engine::keys::key_before;
use crate::engine::nodes::Nodes;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::{Device, KeyText, MissReason, NodeState, why};
use crate::store::run::KeyHistory;
use crate::store::{Record, Stand, Store, StoreError};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// A record and the state of its bytes.
pub(super) struct Seen {
    pub(super) record: Arc<Record>,
    /// The digest of its artifact.
    pub(super) digest: Digest,
    pub(super) stand: Stand,
}

impl Seen {
    fn new(record: Record, stand: impl FnOnce(&Artifact) -> Stand) -> Self {
        Self { stand: stand(&record.artifact), digest: record.artifact.digest(), record: Arc::new(record) }
    }
}

/// How many keys a thread looks at before it reports.
const SHARE: usize = 128;

/// What the store has under the keys of the last run. A node's key needs the record before it, so a run alone reads
/// them one by one. If nothing has changed, these keys are the run's own, and other threads read them ahead of the
/// loop.
#[derive(Default)]
pub(super) struct Ahead {
    seen: HashMap<StageKey, Seen>,
    /// Keys that another thread will look at.
    awaited: HashSet<StageKey>,
}

/// What one look ahead found.
pub(super) type Glimpse = (StageKey, Option<Seen>);

impl Ahead {
    /// Splits the keys of the last run into shares, in the order in which the loop will ask for them.
    pub(super) fn share_out(&mut self, nodes: &Nodes<'_>, history: &KeyHistory) -> Vec<Vec<StageKey>> {
        let last = nodes.plan.order().iter().filter_map(|id| history.of(&nodes.name(*id)).next());
        let keys: Vec<StageKey> = last.filter(|key| self.awaited.insert(*key)).collect();
        keys.chunks(SHARE).map(<[StageKey]>::to_vec).collect()
    }

    /// Reads and looks; nothing is moved or reported. What is unreadable is left to the later lookup.
    pub(super) fn look(store: &Store, keys: Vec<StageKey>) -> Vec<Glimpse> {
        let look = |key: StageKey| {
            let record = store.record(key).ok().flatten();
            (key, record.map(|record| Seen::new(record, |artifact| store.stand(artifact))))
        };
        keys.into_iter().map(look).collect()
    }

    fn learn(&mut self, glimpses: Vec<Glimpse>) {
        for (key, seen) in glimpses {
            self.awaited.remove(&key);
            self.seen.extend(seen.map(|seen| (key, seen)));
        }
    }
}

/// What a look under a node's key found.
pub(super) struct Looked {
    /// The key, or the key of an earlier program, where only that has a record.
    pub(super) key: KeyText,
    /// The key that the node will run under, if its record has an earlier one.
    pub(super) newer: Option<KeyText>,
    pub(super) seen: Option<Seen>,
    /// Why the node runs, if it has no record.
    pub(super) missing: Option<MissReason>,
}

/// Looks for the record of a node and its bytes. Damage is moved to quarantine and reported. If the store's policy
/// hashes objects, the look takes that long.
///
/// If there is no record, the key that an earlier program gave the node is tried.
pub(super) fn look(
    store: &Store,
    ahead: &mut Ahead,
    key: KeyText,
    before: impl FnOnce(&KeyText) -> Option<KeyText>,
    earlier: impl Iterator<Item = StageKey>,
) -> Result<Looked, StoreError> {
    if let seen @ Some(_) = look_under(store, ahead, &key)? {
        return Ok(Looked { key, newer: None, seen, missing: None });
    }
    let before = before(&key);
    if let Some(before) = &before
        && let seen @ Some(_) = look_under(store, ahead, before)?
    {
        return Ok(Looked { key: before.clone(), newer: Some(key), seen, missing: None });
    }
    let keys: Vec<_> = std::iter::once(&key).chain(&before).collect();
    let missing = Some(why::miss_reason(store, earlier, &keys));
    Ok(Looked { key, newer: None, seen: None, missing })
}

fn look_under(store: &Store, ahead: &mut Ahead, key: &KeyText) -> Result<Option<Seen>, StoreError> {
    match ahead.seen.remove(&key.key()) {
        Some(seen) if seen.stand < Stand::Wrong => Ok(Some(seen)),
        Some(seen) => Ok(Some(Seen { stand: mended(store, &seen.record.artifact), ..seen })),
        None => match store.record(key.key()) {
            Err(error @ StoreError::DamagedRecord { .. }) => {
                store.drop_record(key.key(), &error);
                Ok(None)
            }
            other => Ok(other?.map(|record| Seen::new(record, |artifact| mended(store, artifact)))),
        },
    }
}

/// The key that an earlier program gave a node, if it differs.
pub(super) fn before(nodes: &Nodes<'_>, id: NodeId, key: &KeyText, device: &Device) -> Option<KeyText> {
    let read = nodes.read_by(id);
    let ports: Vec<_> = read.iter().map(|(port, _, record)| (*port, &**record)).collect();
    key_before(key, &*nodes.plan.node(id).stage, &ports, device)
}

/// The state of an artifact's bytes, after damaged ones were moved away.
fn mended(store: &Store, artifact: &Artifact) -> Stand {
    let stand = store.stand(artifact);
    if stand < Stand::Wrong {
        return stand;
    }
    // Every part is checked, so that one damaged part does not hide another.
    artifact.parts.iter().for_each(|part| _ = store.contains(part));
    store.stand(artifact)
}

/// Which nodes' keys can be made, and what is known of them.
pub(super) struct Lookup<'a> {
    plan: &'a Plan,
    /// Nodes whose inputs have just become known, by rank.
    resolvable: BTreeSet<u32>,
    pub(super) facts: Spread<'a>,
    pub(super) ahead: Ahead,
    /// A node whose key or record another thread looks for. Later nodes wait, so that hits come in the plan's order.
    pub(super) pending: Option<NodeId>,
    /// The key of the pending node, if a look ahead will report on it.
    stalled: Option<StageKey>,
}

impl<'a> Lookup<'a> {
    /// At the start only nodes without inputs can have a key.
    pub(super) fn new(plan: &'a Plan) -> Self {
        let is_source = |id: &&NodeId| plan.node(**id).inputs.is_empty();
        Self {
            plan,
            resolvable: plan.order().iter().filter(is_source).map(|id| plan.rank(*id)).collect(),
            facts: Spread::new(plan),
            ahead: Ahead::default(),
            pending: None,
            stalled: None,
        }
    }

    /// Whether a look ahead has still to report on the key. Until it does, nothing more is looked up.
    pub(super) fn stalls(&mut self, id: NodeId, key: StageKey) -> bool {
        let is_awaited = self.ahead.awaited.contains(&key);
        if is_awaited {
            (self.pending, self.stalled) = (Some(id), Some(key));
        }
        is_awaited
    }

    /// Takes what a look ahead found. The node that waits for it is looked up again, for its inputs may have changed.
    pub(super) fn glimpsed(&mut self, nodes: &Nodes<'_>, glimpses: Vec<Glimpse>) {
        self.ahead.learn(glimpses);
        if self.stalled.is_some_and(|key| !self.ahead.awaited.contains(&key)) {
            self.stalled = None;
            let waits = self.pending.take().filter(|id| nodes.of(*id).unresolved == 0);
            waits.into_iter().for_each(|id| self.again(id));
        }
    }

    /// The next node whose key can be made, in the plan's order.
    pub(super) fn next(&mut self, nodes: &Nodes<'_>) -> Option<NodeId> {
        while let Some(rank) = self.resolvable.pop_first() {
            let id = self.plan.order()[rank as usize];
            if nodes.state(id) == NodeState::Wanted {
                return Some(id);
            }
        }
        None
    }

    /// Whether there is such a node.
    pub(super) fn is_done(&self) -> bool {
        self.resolvable.is_empty() && self.pending.is_none()
    }

    /// Queues a node to be looked up again.
    pub(super) fn again(&mut self, id: NodeId) {
        self.resolvable.insert(self.plan.rank(id));
    }

    /// Notes a node's result: its consumers are one step nearer to their keys.
    pub(super) fn learn(&mut self, nodes: &mut Nodes<'_>, id: NodeId, record: Arc<Record>, digest: Digest) {
        if !record.facts.is_empty() {
            self.facts.changed(id);
        }
        let known = nodes.of_mut(id);
        known.digest = Some(digest);
        known.record = Some(record);
        for consumer in self.plan.consumers(id) {
            let left = &mut nodes.of_mut(*consumer).unresolved;
            *left -= 1;
            if *left == 0 {
                self.again(*consumer);
            }
        }
    }

    /// Notes that a rebuilt node gave other bytes: all later nodes are looked up again under the new digest.
    pub(super) fn relearn(&mut self, nodes: &mut Nodes<'_>, id: NodeId, record: Arc<Record>) {
        let mut stale = self.forget(nodes, id);
        while let Some(at) = stale.pop() {
            match nodes.state(at) {
                NodeState::Running => nodes.of_mut(at).outdated = true,
                NodeState::Hit | NodeState::Ready | NodeState::Waiting | NodeState::Ran => {
                    nodes.board.advance(at, NodeState::Wanted);
                }
                _ => {}
            }
            if nodes.of(at).digest.is_some() {
                stale.extend(self.forget(nodes, at));
            }
        }
        let digest = record.artifact.digest();
        self.learn(nodes, id, record, digest);
    }

    /// Forgets that a node's result is known, and returns the nodes that relied on it.
    fn forget(&self, nodes: &mut Nodes<'_>, id: NodeId) -> Vec<NodeId> {
        let known = nodes.of_mut(id);
        (known.digest, known.record) = (None, None);
        for consumer in self.plan.consumers(id) {
            nodes.of_mut(*consumer).unresolved += 1;
        }
        self.plan.consumers(id).to_vec()
    }
}

/// The digests of what a node reads.
pub(super) fn digests(nodes: &Nodes<'_>, id: NodeId) -> Vec<Option<Digest>> {
    nodes.plan.node(id).inputs.iter().map(|(_, from)| nodes.of(*from).digest).collect()
}
