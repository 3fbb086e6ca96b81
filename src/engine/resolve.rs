//! resolve: makes keys as inputs become known, looks them up, and decides what must run.

use crate::base::{Artifact, Digest};
use crate::engine::ahead::Seen;
use crate::engine::context::cache_folder;
use crate::engine::executor::{Executor, Known};
use crate::engine::plan::NodeId;
use crate::engine::worker::key_of;
use crate::engine::{EngineError, Event, MissReason, NodeState, why};
use crate::store::{Record, Stand, StoreError};

/// How often a node may give other bytes than its record promised before the run gives up on it.
const MAX_DRIFTS: usize = 3;

impl Executor<'_> {
    /// Looks up every node whose inputs are known, and what that makes known, in the plan's order and without recursion.
    pub(super) fn resolve(&mut self) {
        while self.goes_on()
            && let Some(rank) = self.resolvable.pop_first()
        {
            let id = self.plan.order()[rank as usize];
            if self.board.state(id) != NodeState::Wanted {
                continue;
            }
            match self.look_up(id) {
                Ok(Some(Seen { record, bytes })) => {
                    if self.settings.hits_only && bytes == Stand::Wrong {
                        let node = self.plan.node(id).name();
                        self.failure.get_or_insert(EngineError::MustRun { node });
                        return;
                    }
                    self.known[id.index()].bytes = Some(bytes);
                    self.board.advance(id, NodeState::Hit);
                    self.learn(id, record);
                    self.tell_hit(id);
                }
                Ok(None) => self.demand(id),
                Err(error) => self.fail(id, error),
            }
        }
    }

    /// Makes the key of `id` and looks for its record.
    fn look_up(&mut self, id: NodeId) -> Result<Option<Seen>, EngineError> {
        let node = self.plan.node(id);
        let digest = |from: NodeId| self.known[from.index()].digest.expect("BUG: resolved before its inputs");
        let inputs: Vec<(&str, Digest)> = node.inputs.iter().map(|(port, from)| (*port, digest(*from))).collect();
        let text = key_of(self.plan, id, &inputs, self.settings.device, &cache_folder(self.store))?;
        let key = text.key();
        if let Some(seen) = self.ahead.take(key) {
            self.known[id.index()].key = Some(text);
            return Ok(Some(seen));
        }
        let record = match self.store.record(key) {
            Ok(record) => record,
            Err(error @ StoreError::DamagedRecord { .. }) => {
                if !self.settings.hits_only {
                    self.store.drop_record(key, &error);
                }
                None
            }
            Err(error) => return Err(error.into()),
        };
        if record.is_none() {
            let reason = why::miss_reason(self.store, self.history.of(&node.name()), &text);
            self.known[id.index()].reason = Some(reason);
        }
        self.known[id.index()].key = Some(text);
        Ok(record.map(|record| Seen { bytes: self.look_at(&record.artifact), record }))
    }

    /// Looks at the bytes of a hit, as closely as the policy says; those that are gone are no fault. What is wrong is moved
    /// away and reported; a run that may not do that is told, and leaves it to one that may.
    fn look_at(&self, artifact: &Artifact) -> Stand {
        if self.settings.hits_only {
            return self.store.stand(artifact);
        }
        // Each of them: one that is wrong does not hide another.
        let there = artifact.parts.iter().filter(|part| self.store.contains(part)).count();
        if there == artifact.parts.len() { Stand::Whole } else { Stand::Gone }
    }

    fn tell_hit(&self, id: NodeId) {
        if let Known { runs: 0, key: Some(key), digest: Some(artifact), .. } = &self.known[id.index()] {
            let node = self.plan.node(id).name();
            self.observer.observe(&Event::NodeHit { node, key: key.key(), artifact: *artifact });
        }
    }

    /// A node's result has become known: its consumers are one step nearer to their keys.
    pub(super) fn learn(&mut self, id: NodeId, record: Record) {
        let plan = self.plan;
        if !record.facts.is_empty() {
            self.fresh_facts.insert(plan.rank(id));
        }
        self.hold(id, &record.artifact);
        let known = &mut self.known[id.index()];
        known.digest = Some(record.artifact.digest());
        known.record = Some(record);
        for consumer in plan.consumers(id) {
            let left = &mut self.known[consumer.index()].unresolved;
            *left -= 1;
            if *left == 0 {
                self.resolvable.insert(plan.rank(*consumer));
            }
        }
        if self.board.state(id) == NodeState::Hit && self.is_owed(id) {
            self.known[id.index()].reason = Some(MissReason::Evicted { needed_by: "keep:".to_owned() });
            self.demand(id);
        }
    }

    /// Whether a hit's bytes are to be made again though nobody reads them: it was asked for, or it was to stay and somebody
    /// damaged it. Others that are to stay and are gone were deleted by somebody who knew what he did.
    fn is_owed(&self, id: NodeId) -> bool {
        let Some(record) = &self.known[id.index()].record else { return false };
        let is_lost = || self.stays_for_good(id) && self.store.lost_to_damage(&record.artifact);
        if self.plan.node(id).asked_for { self.lacks_bytes(id) } else { is_lost() }
    }

    /// Whether a node's bytes, which somebody needs, have to be made again. Where that cannot be told, it is no reason to
    /// make them: the run stops.
    fn lacks_bytes(&self, id: NodeId) -> bool {
        let has = self.has_bytes(id);
        if let Some(record) = self.known[id.index()].record.as_ref().filter(|_| !has && !self.settings.hits_only)
            && let Err(error) = self.store.has(&record.artifact)
        {
            self.store.stop_for(error);
        }
        !has
    }

    pub(super) fn has_bytes(&self, id: NodeId) -> bool {
        let Some(record) = &self.known[id.index()].record else { return false };
        match self.known[id.index()].bytes {
            // Who only looks, and is done in a moment, looks once.
            Some(stand) if self.settings.hits_only => stand == Stand::Whole,
            _ => self.store.contains_all(&record.artifact),
        }
    }

    /// `id` must run. Whether its inputs' bytes are there is looked at when it is about to: till then they may go.
    pub(super) fn demand(&mut self, id: NodeId) {
        if self.settings.hits_only {
            let node = self.plan.node(id).name();
            self.failure.get_or_insert(EngineError::MustRun { node });
            return;
        }
        if !matches!(self.board.state(id), NodeState::Ready | NodeState::Running) {
            self.board.advance(id, NodeState::Ready);
        }
    }

    /// The satisfied inputs of `id` that it cannot read, each with the reason noted why it runs again.
    pub(super) fn inputs_without_bytes(&mut self, id: NodeId) -> Vec<NodeId> {
        let node = self.plan.node(id);
        let mut gone = Vec::new();
        for (_, from) in &node.inputs {
            if self.board.state(*from).is_satisfied() && self.lacks_bytes(*from) {
                self.known[from.index()].reason = Some(MissReason::Evicted { needed_by: node.name() });
                gone.push(*from);
            }
        }
        gone
    }

    /// A node that was made again gave other bytes: everything after it is looked up again under the new digest.
    pub(super) fn drifted(&mut self, id: NodeId, was: Digest, record: Record) {
        let (plan, is) = (self.plan, record.artifact.digest());
        let name = plan.node(id).name();
        self.observer.observe(&Event::Drifted { node: name.clone(), was, is });
        self.known[id.index()].drifts += 1;
        if self.known[id.index()].drifts > MAX_DRIFTS {
            self.failure.get_or_insert(EngineError::NeverSettles { node: name });
            return;
        }
        let mut stale = self.forget(id);
        while let Some(at) = stale.pop() {
            match self.board.state(at) {
                NodeState::Running => self.known[at.index()].outdated = true,
                NodeState::Hit | NodeState::Ready | NodeState::Waiting | NodeState::Ran => {
                    self.board.advance(at, NodeState::Wanted);
                }
                _ => {}
            }
            if self.known[at.index()].digest.is_some() {
                stale.extend(self.forget(at));
            }
        }
        self.learn(id, record);
    }

    /// Takes back that a node's result is known, and returns those that relied on it.
    fn forget(&mut self, id: NodeId) -> Vec<NodeId> {
        let plan = self.plan;
        let known = &mut self.known[id.index()];
        (known.digest, known.record) = (None, None);
        for consumer in plan.consumers(id) {
            self.known[consumer.index()].unresolved += 1;
        }
        plan.consumers(id).to_vec()
    }
}
