//! sharing: several processes at work on one store: each key is made by one of them, and the others take what it made.

use crate::engine::executor::Executor;
use crate::engine::plan::NodeId;
use crate::engine::{Event, KeyText, NodeState};
use crate::store::StoreError;

/// What became of the wish to make a node.
pub(super) enum Taken {
    /// It is this process's to make.
    Ours,
    /// It is no longer, or not yet: another process made it, or is at it.
    Theirs,
}

impl Executor<'_> {
    /// Takes the right to make `id`, which is ready, or finds out that another process has it or is done.
    pub(super) fn take(&mut self, id: NodeId, key: &KeyText) -> Result<Taken, StoreError> {
        let name = || self.plan.node(id).name();
        let Some(lock) = self.store.try_lock(key.key())? else {
            if self.waited.insert(id) {
                // Before the other one can be done with it and delete it: what it makes is wanted here, too.
                self.wrote = None;
                self.unwritten = true;
                self.observer.observe(&Event::NodeWaits { node: name(), key: key.key() });
            }
            self.board.advance(id, NodeState::Waiting);
            self.waiting.insert(id);
            return Ok(Taken::Theirs);
        };
        // It may have been made between the look at its record and the lock. A damaged record has been dealt with.
        let found = match self.store.record(key.key()) {
            Err(StoreError::DamagedRecord { .. }) => None,
            found => found?,
        };
        match (found, self.known[id.index()].digest) {
            (Some(record), None) => {
                let artifact = record.artifact.digest();
                self.observer.observe(&Event::NodeHit { node: name(), key: key.key(), artifact });
                self.board.advance(id, NodeState::Hit);
                self.learn(id, record);
            }
            // Its bytes were wanted once more, and somebody made them. Other bytes than before are drift, ours to see.
            (Some(record), Some(was))
                if was == record.artifact.digest() && self.store.contains_all(&record.artifact) =>
            {
                self.observer.observe(&Event::NodeHit { node: name(), key: key.key(), artifact: was });
                self.board.advance(id, NodeState::Hit);
            }
            _ => {
                self.known[id.index()].lock = Some(lock);
                return Ok(Taken::Ours);
            }
        }
        Ok(Taken::Theirs)
    }

    /// Looks again for what other processes were making.
    pub(super) fn wake_waiting(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            if self.board.state(id) == NodeState::Waiting {
                self.board.advance(id, NodeState::Ready);
            }
        }
    }
}
