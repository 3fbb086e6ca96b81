//! course: the way of a node from the moment at which it may start to its record.

use super::{Executor, MAX_DRIFTS, MAX_RUNS};
use crate::base::Digest;
use crate::engine::action::{Action, ActionInput};
use crate::engine::claim::{Taken, take};
use crate::engine::error::ActionError;
use crate::engine::fate::{Fate, Found, Need, fate};
use crate::engine::prepare::{Prepared, prepare};
use crate::engine::staff::{Message, Staff};
use crate::engine::{EngineError, Event, KeyText, MissReason, NodeId, NodeState, Pool};
use crate::store::{Record, Stand, StoreError};
use std::sync::Arc;

impl<'a> Executor<'a> {
    /// Starts ready nodes in the plan's order, as many as their pools take.
    pub(super) fn start_ready<'scope>(&mut self, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        if self.goes_on()
            && self.nodes.board.any_startable()
            && let Err((id, error)) = self.lookup.facts.spread(&mut self.nodes)
        {
            self.fail(id, error.into());
        }
        while self.goes_on()
            && let Some(id) = self.startable()
        {
            self.begin(id, staff);
        }
    }

    fn startable(&self) -> Option<NodeId> {
        self.jobs.free().find_map(|pool| self.nodes.board.first_startable(pool))
    }

    fn begin<'scope>(&mut self, id: NodeId, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        let known = self.nodes.of_mut(id);
        if let Some(newer) = known.newer.take() {
            (known.key, known.is_renewed) = (Some(newer), true);
        }
        let key = known.key.clone().expect("BUG: a node starts without a key");
        let (was, is_renewed) = (known.digest, known.is_renewed);
        match take(self.store, &key, was, is_renewed) {
            Ok(Taken::Ours(lock)) => self.nodes.of_mut(id).lock = Some(lock),
            Ok(Taken::Made(record)) => {
                let record = Arc::new(record);
                self.nodes.of_mut(id).is_renewed = false;
                let digest = record.artifact.digest();
                self.hit(id, &record, digest);
                if self.nodes.of(id).digest != Some(digest) {
                    self.lookup.relearn(&mut self.nodes, id, record);
                }
                return;
            }
            Ok(Taken::Theirs) => {
                if self.waited.insert(id) {
                    // This must be written before the other process finishes and evicts what it makes: this run needs
                    // it too.
                    self.claims.cannot_wait();
                    self.observer.observe(&Event::NodeWaits { node: self.nodes.name(id), key: key.key() });
                }
                self.nodes.board.advance(id, NodeState::Waiting);
                self.waiting.insert(id);
                return;
            }
            Err(error) => return self.fail(id, error.into()),
        }
        self.nodes.board.advance(id, NodeState::Running);
        self.jobs.enter(self.pool(id));
        let input = |(port, node, record)| ActionInput { port, node, record };
        let inputs = self.nodes.read_by(id).into_iter().map(input).collect();
        let whole = Action { id: 0, node: id, key: key.key(), inputs, shard: None };
        let earlier: Vec<_> = self.claims.history.of(&self.nodes.name(id)).collect();
        staff.hand(move |site| {
            let prepared = prepare(site, &whole, &key, &earlier);
            Message::Prepared(whole, key, prepared)
        });
    }

    fn pool(&self, id: NodeId) -> Pool {
        self.nodes.plan.node(id).stage.def().pool
    }

    /// Begins a node whose inputs and shards were checked, or puts it back.
    pub(super) fn prepared<'scope>(
        &mut self,
        (whole, key): (Action, KeyText),
        prepared: Result<Prepared, ActionError>,
        staff: &mut Staff<'scope, '_>,
    ) where
        'a: 'scope,
    {
        let id = whole.node;
        if let Ok(Prepared::Lacks(gone)) = prepared {
            return self.step_back(id, gone);
        }
        if !self.goes_on() {
            return self.done(id, Err(ActionError::Interrupted));
        }
        let reason = self.nodes.of_mut(id).reason.take().unwrap_or(MissReason::FirstRun);
        let node = self.nodes.name(id);
        self.observer.observe(&Event::NodeStarted { node: node.clone(), key: key.key(), reason });
        self.claims.changed();
        match prepared {
            Ok(Prepared::Shards(slots)) => {
                self.jobs.open(whole, key, slots);
                for part in self.jobs.made(id) {
                    let (node, part) = (node.clone(), part.to_owned());
                    self.observer.observe(&Event::PutDown { node, part, hit: true });
                }
                self.go_on(id, staff);
            }
            Ok(_) => {
                let begun = staff.begin(self.jobs.action(whole, None));
                self.needs_crew(id, begun);
            }
            Err(error) => self.done(id, Err(error)),
        }
    }

    /// Puts a node back to wait for inputs whose bytes are missing.
    fn step_back(&mut self, id: NodeId, gone: Vec<NodeId>) {
        self.nodes.of_mut(id).lock = None;
        self.jobs.leave(id, self.pool(id));
        self.nodes.board.advance(id, NodeState::Ready);
        if std::mem::take(&mut self.nodes.of_mut(id).outdated) {
            return self.look_up_again(id);
        }
        let is_back = |from: &NodeId| self.nodes.state(*from).is_satisfied();
        if self.nodes.plan.node(id).is_implied && gone.iter().any(is_back) {
            // Tables alone are no reason to train an epoch again.
            self.without_tables.extend(self.nodes.plan.followed(id));
            return self.nodes.board.advance(id, NodeState::Skipped);
        }
        let need = Need::Reader(self.nodes.name(id));
        for from in gone {
            if !self.nodes.state(from).is_satisfied() {
                continue; // It is being rebuilt.
            }
            if let Fate::Run(reason) = fate(Found { missing: None, stand: Stand::Gone, is_lost: &|| false }, &need) {
                self.demand(from, reason);
            }
        }
    }

    /// Begins the next shards of a node, or ends it.
    pub(super) fn go_on<'scope>(&mut self, id: NodeId, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        if let Some(progress) = self.jobs.progress(id, self.nodes.name(id)) {
            self.observer.observe(&progress);
        }
        match self.jobs.go_on(id, self.goes_on(), staff) {
            Ok(None) => {}
            Ok(Some(error)) => self.done(id, Err(error)),
            Err(error) => self.needs_crew(id, Err(error)),
        }
    }

    /// Ends the run if no worker can do its actions.
    fn needs_crew(&mut self, id: NodeId, begun: Result<(), EngineError>) {
        if let Err(error) = begun {
            // A signal to the whole group may have ended the worker before it ignored signals.
            let is_asked = self.settings.cancel.is_requested();
            self.failure.get_or_insert(if is_asked { EngineError::Interrupted } else { error });
            self.done(id, Err(ActionError::Interrupted));
        }
    }

    /// Takes the result of a node's work.
    pub(super) fn done(&mut self, id: NodeId, result: Result<Record, ActionError>) {
        if let Err(ActionError::NoWorker { why }) = result {
            return self.needs_crew(id, Err(EngineError::NoCrew { why }));
        }
        if let (Err(ActionError::Missing { .. }), true) = (&result, self.nodes.of(id).vanished < MAX_RUNS) {
            // Another process deleted it between the look and the reading: the next round sees that.
            self.nodes.of_mut(id).vanished += 1;
            return self.step_back(id, Vec::new());
        }
        let is_failure = |error: &ActionError| !matches!(error, ActionError::Interrupted | ActionError::Stuck { .. });
        if self.nodes.of(id).outdated && result.as_ref().err().is_some_and(is_failure) {
            // The run reads something else by now, so the node is looked up again.
            return self.step_back(id, Vec::new());
        }
        self.jobs.leave(id, self.pool(id));
        self.nodes.of_mut(id).lock = None;
        let node = self.nodes.name(id);
        let record = match result {
            Ok(record) => record,
            Err(ActionError::Interrupted) => {
                self.nodes.board.advance(id, NodeState::Skipped);
                self.failure.get_or_insert(EngineError::Interrupted);
                return;
            }
            Err(ActionError::Stuck { path, why }) => {
                return self.fail(id, StoreError::Stuck { path: path.into(), why }.into());
            }
            Err(error) => return self.fail(id, EngineError::Stage { node, error }),
        };
        let (artifact, bytes) = (record.artifact.digest(), record.artifact.bytes());
        self.nodes.board.advance(id, NodeState::Ran);
        let known = self.nodes.of_mut(id);
        known.runs += 1;
        let (runs, is_outdated) = (known.runs, std::mem::take(&mut known.outdated));
        let is_renewed = std::mem::take(&mut known.is_renewed);
        let wall_s = record.wall_ms as f64 / 1e3;
        self.observer.observe(&Event::NodeFinished { node: node.clone(), key: record.key(), artifact, bytes, wall_s });
        if runs > MAX_RUNS {
            self.failure.get_or_insert(EngineError::KeepsVanishing { node: node.clone() });
        }
        if is_outdated {
            return self.look_up_again(id);
        }
        self.retention.hold(id, &record.artifact);
        match self.nodes.of(id).digest {
            None => self.lookup.learn(&mut self.nodes, id, Arc::new(record), artifact),
            Some(was) if was != artifact => self.drifted(id, was, record, is_renewed),
            Some(_) => {}
        }
        let observer = self.observer;
        self.retention.after(&self.nodes, id, &|event| observer.observe(event));
    }

    /// Looks a node up again, after an input drifted since its key was made.
    fn look_up_again(&mut self, id: NodeId) {
        self.nodes.board.advance(id, NodeState::Wanted);
        if self.nodes.of(id).unresolved == 0 {
            self.lookup.again(id);
        }
    }

    /// Handles a rebuilt node that gave other bytes.
    fn drifted(&mut self, id: NodeId, was: Digest, record: Record, is_renewed: bool) {
        let (node, is) = (self.nodes.name(id), record.artifact.digest());
        if is_renewed {
            // An earlier program may have cut its result into other parts.
            return self.lookup.relearn(&mut self.nodes, id, Arc::new(record));
        }
        self.observer.observe(&Event::Drifted { node: node.clone(), was, is });
        self.nodes.of_mut(id).drifts += 1;
        if self.nodes.of(id).drifts > MAX_DRIFTS {
            self.failure.get_or_insert(EngineError::NeverSettles { node });
            return;
        }
        self.lookup.relearn(&mut self.nodes, id, Arc::new(record));
    }
}
