//! executor: the loop. One thread owns every node's state; workers are plain threads that run one stage each.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, Digest};
use crate::engine::board::Board;
use crate::engine::context::{Cancel, Input, cache_folder};
use crate::engine::event::{Event, MissReason, Observer};
use crate::engine::plan::{NodeId, Plan};
use crate::engine::worker::{key_of, run_stage};
use crate::engine::{EngineError, Facts, Interrupted, KeyText, NodeState, PlanError, Pool, why};
use crate::store::run::NodeKeys;
use crate::store::{Record, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How often a node may give other bytes than its record promised before the run gives up on it.
const MAX_DRIFTS: usize = 3;

/// What a run is told besides its plan.
pub struct Settings<'a> {
    /// The device that networks run on, such as `cpu` or `cuda:0`.
    pub device: &'a str,
    /// Stop once these nodes are done; empty means all.
    pub to: Vec<NodeId>,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Nodes that ran.
    pub ran: usize,
    /// Nodes whose record was there.
    pub hit: usize,
    /// The result of every wanted node that has one, by the node's index.
    pub artifacts: Vec<Option<Artifact>>,
}

/// What a worker sends back.
enum Message {
    Event(Event),
    Done(NodeId, Box<Result<Record, anyhow::Error>>),
}

/// Runs a plan on a store.
pub struct Executor<'a> {
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) settings: &'a Settings<'a>,
    pub(super) observer: &'a dyn Observer,
    last: NodeKeys,
    pub(super) board: Board,
    /// Inputs whose digest is not known yet.
    unresolved: Vec<usize>,
    keys: Vec<Option<KeyText>>,
    pub(super) records: Vec<Option<Record>>,
    reasons: Vec<Option<MissReason>>,
    facts: Vec<Facts>,
    busy: Vec<Pool>,
    running: usize,
    ran: Vec<bool>,
    drifts: Vec<usize>,
    failure: Option<EngineError>,
}

impl<'a> Executor<'a> {
    /// Prepares a run.
    pub fn new(plan: &'a Plan, store: &'a Store, settings: &'a Settings<'a>, observer: &'a dyn Observer) -> Self {
        let n = plan.len();
        Self {
            plan,
            store,
            settings,
            observer,
            last: store.node_keys(&plan.name),
            board: Board::new(plan.order()),
            unresolved: vec![0; n],
            keys: vec![None; n],
            records: vec![None; n],
            reasons: vec![None; n],
            facts: vec![Facts::new(); n],
            busy: Vec::new(),
            running: 0,
            ran: vec![false; n],
            drifts: vec![0; n],
            failure: None,
        }
    }

    /// Runs to the end, to the first failure, or to where the run is asked to stop.
    pub fn run(mut self) -> Result<Outcome, EngineError> {
        let watch = Stopwatch::new();
        self.observer.observe(&Event::RunStarted {
            run: self.plan.name.clone(),
            nodes: self.plan.len(),
            device: self.settings.device.to_owned(),
            program: concat!("dcpipe ", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        self.want();
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            let emit = {
                let sender = sender.clone();
                move |event| drop(sender.send(Message::Event(event)))
            };
            self.resolve_from_the_start();
            self.drive(scope, &sender, &receiver, &emit);
        });
        self.remember_keys();
        let ran = self.ran.iter().filter(|ran| **ran).count();
        let satisfied = |id: &&NodeId| self.board.state(**id).is_satisfied();
        let hit = self.plan.order().iter().filter(satisfied).filter(|id| !self.ran[id.index()]).count();
        let interrupted = matches!(self.failure, Some(EngineError::Interrupted));
        let failed = self.board.count(NodeState::Failed).max(usize::from(self.failure.is_some() && !interrupted));
        let skipped = self.board.count(NodeState::Skipped);
        let wall_s = watch.seconds();
        self.observer.observe(&Event::RunFinished { ran, hit, failed, skipped, wall_s, interrupted });
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(Outcome { ran, hit, artifacts: self.records.into_iter().map(|r| r.map(|r| r.artifact)).collect() }),
        }
    }

    /// Marks the targets and all that they need.
    fn want(&mut self) {
        let mut stack = self.settings.to.clone();
        if stack.is_empty() {
            stack.extend(self.plan.order());
        }
        while let Some(id) = stack.pop() {
            if self.board.state(id) == NodeState::Unwanted {
                self.board.advance(id, NodeState::Wanted);
                stack.extend(self.plan.node(id).inputs.iter().map(|(_, from)| *from));
            }
        }
    }

    fn resolve_from_the_start(&mut self) {
        for id in self.plan.order() {
            self.unresolved[id.index()] = self.plan.node(*id).inputs.len();
        }
        let plan = self.plan;
        for id in plan.order().iter().filter(|id| plan.node(**id).inputs.is_empty()) {
            self.resolve(*id);
        }
    }

    /// Starts what may start, waits for one message, and again, until nothing runs and nothing can.
    fn drive<'scope>(
        &mut self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
        emit: &(impl Fn(Event) + Send + Sync + Clone + 'scope),
    ) where
        'a: 'scope,
    {
        loop {
            if self.settings.cancel.is_requested() && self.failure.is_none() && self.board.has_work() {
                self.failure = Some(EngineError::Interrupted);
            }
            if self.failure.is_none() {
                self.start_ready(scope, sender, emit);
            }
            if self.running == 0 {
                if self.failure.is_some() || !self.board.has_work() {
                    break;
                }
                panic!("BUG: nothing runs and nodes are left: {:?}", self.left());
            }
            match receiver.recv_timeout(std::time::Duration::from_millis(200)) {
                Ok(Message::Event(event)) => self.observer.observe(&event),
                Ok(Message::Done(id, result)) => self.done(id, *result),
                // A look at the wish to stop.
                Err(_) => {}
            }
        }
        while let Ok(message) = receiver.try_recv() {
            if let Message::Event(event) = message {
                self.observer.observe(&event);
            }
        }
        for id in self.board.open() {
            self.board.advance(id, NodeState::Skipped);
        }
    }

    fn left(&self) -> Vec<String> {
        let left = self.board.open().into_iter();
        left.map(|id| format!("{} {:?}", self.plan.node(id).name(), self.board.state(id))).collect()
    }

    /// All inputs of `id` are known: looks its key up, and goes on with what that makes known, without recursion.
    fn resolve(&mut self, id: NodeId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if self.board.state(id) != NodeState::Wanted || self.failure.is_some() {
                continue;
            }
            match self.look_up(id) {
                Ok(true) => stack.extend(self.satisfied(id)),
                Ok(false) => self.demand(id),
                Err(error) => self.fail(id, error),
            }
        }
    }

    /// Makes the key of `id` and says whether it has a record.
    fn look_up(&mut self, id: NodeId) -> Result<bool, EngineError> {
        let node = self.plan.node(id);
        let known = |from: NodeId| self.records[from.index()].as_ref().map(|record| record.artifact.digest());
        let inputs: Vec<(&str, Digest)> = node
            .inputs
            .iter()
            .map(|(port, from)| (*port, known(*from).expect("BUG: resolved before its inputs")))
            .collect();
        let key = key_of(self.plan, id, &inputs, self.settings.device, &cache_folder(self.store))?;
        let record = match self.store.record(key.key()) {
            Ok(record) => record,
            Err(error @ StoreError::DamagedRecord { .. }) => {
                self.observer.observe(&Event::Note { node: node.name(), text: error.to_string() });
                self.store.drop_record(key.key());
                None
            }
            Err(error) => return Err(error.into()),
        };
        if record.is_none() {
            self.reasons[id.index()] = Some(why::miss_reason(self.store, self.last.get(&node.name()).copied(), &key));
        }
        let name = node.name();
        let hit = record.is_some() && !self.ran[id.index()];
        if hit {
            self.observer.observe(&Event::NodeHit { node: name, key: key.key() });
        }
        self.keys[id.index()] = Some(key);
        self.records[id.index()] = record;
        Ok(self.records[id.index()].is_some())
    }

    /// A node's result is known: tells its consumers, and returns those that can now be looked up.
    fn satisfied(&mut self, id: NodeId) -> Vec<NodeId> {
        if self.board.state(id) == NodeState::Wanted {
            self.board.advance(id, NodeState::Hit);
        }
        if let Err(error) = self.learn_facts(id) {
            self.fail(id, error);
            return Vec::new();
        }
        let node = self.plan.node(id);
        if node.asked_for && !self.has_bytes(id) {
            self.reasons[id.index()] = Some(MissReason::Evicted { needed_by: "keep:".to_owned() });
            self.demand(id);
        }
        let mut ready = Vec::new();
        for consumer in self.plan.consumers(id) {
            let left = &mut self.unresolved[consumer.index()];
            *left -= 1;
            if *left == 0 {
                ready.push(*consumer);
            }
        }
        ready
    }

    /// Passes a node's facts on to all that depends on it and checks those stages against them, before they compute.
    fn learn_facts(&mut self, id: NodeId) -> Result<(), EngineError> {
        let own = self.records[id.index()].as_ref().map(|record| record.facts.clone()).unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        self.facts[id.index()].extend(own);
        let plan = self.plan;
        for id in plan.order() {
            let node = plan.node(*id);
            let before = self.facts[id.index()].len();
            for (_, from) in &node.inputs {
                let seen = self.facts[from.index()].clone();
                self.facts[id.index()].extend(seen);
            }
            if self.facts[id.index()].len() > before && self.board.state(*id) != NodeState::Unwanted {
                node.stage
                    .check(&self.facts[id.index()])
                    .map_err(|error| PlanError::Refused { node: node.name(), error: format!("{error:#}") })?;
            }
        }
        Ok(())
    }

    fn has_bytes(&self, id: NodeId) -> bool {
        self.records[id.index()].as_ref().is_some_and(|record| self.store.contains_all(&record.artifact))
    }

    /// `id` must run. Inputs whose bytes were evicted must then run before it, and so on backwards.
    fn demand(&mut self, id: NodeId) {
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if matches!(self.board.state(id), NodeState::Ready | NodeState::Running) {
                continue;
            }
            self.board.advance(id, NodeState::Ready);
            for (_, from) in &self.plan.node(id).inputs {
                if self.board.state(*from).is_satisfied() && !self.has_bytes(*from) {
                    self.reasons[from.index()] = Some(MissReason::Evicted { needed_by: self.plan.node(id).name() });
                    stack.push(*from);
                }
            }
        }
    }

    /// Starts every ready node whose inputs' bytes are there and whose pool is free, in the plan's order.
    fn start_ready<'scope>(
        &mut self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        sender: &Sender<Message>,
        emit: &(impl Fn(Event) + Send + Sync + Clone + 'scope),
    ) where
        'a: 'scope,
    {
        let plan = self.plan;
        for id in self.board.ready() {
            let node = plan.node(id);
            let pool = node.stage.def().pool;
            let waits = |from: &NodeId| !self.board.state(*from).is_satisfied();
            if self.busy.contains(&pool) || node.inputs.iter().any(|(_, from)| waits(from)) {
                continue;
            }
            // Another run may have evicted an input since it was looked up.
            let gone: Vec<NodeId> = node.inputs.iter().map(|(_, from)| *from).filter(|f| !self.has_bytes(*f)).collect();
            if !gone.is_empty() {
                for from in gone {
                    self.reasons[from.index()] = Some(MissReason::Evicted { needed_by: node.name() });
                    self.demand(from);
                }
                continue;
            }
            match self.context(id) {
                Ok(job) => self.start(id, job, scope, sender, emit.clone()),
                Err(error) => {
                    self.board.advance(id, NodeState::Running);
                    self.running += 1;
                    self.done(id, Err(error));
                }
            }
            if self.failure.is_some() {
                return;
            }
        }
    }

    /// Opens, and so holds, everything that a node reads.
    fn context(&self, id: NodeId) -> anyhow::Result<Vec<(&'static str, Input)>> {
        let open = |(port, from): &(&'static str, NodeId)| {
            let record = self.records[from.index()].as_ref().expect("BUG: an input without a record");
            let producer = self.plan.node(*from);
            let input = Input::open(self.store, producer.name(), &record.artifact, producer.stage.source())?;
            Ok((*port, input))
        };
        self.plan.node(id).inputs.iter().map(open).collect()
    }

    fn start<'scope>(
        &mut self,
        id: NodeId,
        inputs: Vec<(&'static str, Input)>,
        scope: &'scope std::thread::Scope<'scope, '_>,
        sender: &Sender<Message>,
        emit: impl Fn(Event) + Send + Sync + 'scope,
    ) where
        'a: 'scope,
    {
        let (plan, store, settings) = (self.plan, self.store, self.settings);
        let key = self.keys[id.index()].clone().expect("BUG: a node starts without a key");
        let node = plan.node(id);
        let pool = node.stage.def().pool;
        let reason = self.reasons[id.index()].take().unwrap_or(MissReason::FirstRun);
        self.observer.observe(&Event::NodeStarted { node: node.name(), key: key.key(), reason });
        self.board.advance(id, NodeState::Running);
        self.running += 1;
        if pool != Pool::Light {
            self.busy.push(pool);
        }
        let sender = sender.clone();
        scope.spawn(move || {
            let result = run_stage(plan, id, store, settings, key, inputs, &emit);
            let _ = sender.send(Message::Done(id, Box::new(result)));
        });
    }

    /// A worker came back.
    fn done(&mut self, id: NodeId, result: Result<Record, anyhow::Error>) {
        let node = self.plan.node(id);
        self.running -= 1;
        let pool = node.stage.def().pool;
        if let Some(at) = self.busy.iter().position(|busy| *busy == pool) {
            self.busy.remove(at);
        }
        let record = match result {
            Ok(record) => record,
            Err(error) if error.is::<Interrupted>() => {
                self.board.advance(id, NodeState::Skipped);
                self.failure.get_or_insert(EngineError::Interrupted);
                return;
            }
            Err(error) => return self.fail(id, EngineError::Stage { node: node.name(), error }),
        };
        let artifact = record.artifact.digest();
        self.board.advance(id, NodeState::Ran);
        self.ran[id.index()] = true;
        self.observer.observe(&Event::NodeFinished {
            node: node.name(),
            key: record.key(),
            artifact,
            bytes: record.artifact.bytes(),
            wall_s: record.wall_ms as f64 / 1e3,
        });
        let before = self.records[id.index()].replace(record).map(|before| before.artifact.digest());
        match before {
            None => {
                for consumer in self.satisfied(id) {
                    self.resolve(consumer);
                }
            }
            Some(was) if was != artifact => self.drifted(id, was, artifact),
            Some(_) => {}
        }
        self.retire_inputs(id);
    }

    fn fail(&mut self, id: NodeId, error: EngineError) {
        let node = self.plan.node(id).name();
        self.observer.observe(&Event::NodeFailed { node, error: error.to_string() });
        if !self.board.state(id).is_final() {
            self.board.advance(id, NodeState::Failed);
        }
        self.failure.get_or_insert(error);
    }

    /// A rebuilt node gave other bytes: everything after it is looked up again under the new digest.
    fn drifted(&mut self, id: NodeId, was: Digest, is: Digest) {
        let name = self.plan.node(id).name();
        self.observer.observe(&Event::Drifted { node: name.clone(), was, is });
        self.drifts[id.index()] += 1;
        if self.drifts[id.index()] > MAX_DRIFTS {
            self.failure.get_or_insert(EngineError::NeverSettles { node: name });
            return;
        }
        let mut after = vec![false; self.plan.len()];
        after[id.index()] = true;
        for at in self.plan.order() {
            if !self.plan.node(*at).inputs.iter().any(|(_, from)| after[from.index()]) {
                continue;
            }
            after[at.index()] = true;
            self.unresolved[at.index()] =
                self.plan.node(*at).inputs.iter().filter(|(_, from)| after[from.index()]).count();
            self.records[at.index()] = None;
            if matches!(self.board.state(*at), NodeState::Hit | NodeState::Ready | NodeState::Ran) {
                self.board.advance(*at, NodeState::Wanted);
            }
        }
        for consumer in self.satisfied(id) {
            self.resolve(consumer);
        }
    }

    fn remember_keys(&self) {
        let mut keys: BTreeMap<_, _> = self.last.clone();
        for id in self.plan.order() {
            if let Some(key) = &self.keys[id.index()] {
                keys.insert(self.plan.node(*id).name(), key.key());
            }
        }
        if keys != self.last
            && let Err(error) = self.store.write_node_keys(&self.plan.name, &keys)
        {
            self.observer.observe(&Event::Note { node: String::new(), text: error.to_string() });
        }
    }
}
