//! workers: starts ready nodes on threads as pools allow, and takes their results in.

use crate::engine::context::Input;
use crate::engine::executor::{Executor, Message};
use crate::engine::plan::NodeId;
use crate::engine::sharing::Taken;
use crate::engine::worker::run_stage;
use crate::engine::{EngineError, Event, Interrupted, KeyText, MissReason, NodeState, Pool};
use crate::store::{Record, StoreError};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

/// Name of the threads that stages run on; a panic hook may tell them by it.
pub const WORKER: &str = "dcpipe-stage";

/// Which pools there are, and how many nodes of each may run at a time.
const POOLS: [(Pool, usize); 3] = [(Pool::Device, 1), (Pool::Cpu, 1), (Pool::Light, 8)];

/// How often a node is made in one run before the run asks who keeps deleting its bytes.
const MAX_RUNS: usize = 10;

type Inputs = Vec<(&'static str, Input)>;

struct Job {
    id: NodeId,
    key: KeyText,
    inputs: Inputs,
}

/// The threads of a run. Each pool has its own, started when first needed and kept: libraries that hold a team of
/// threads or a device's handles for every thread that calls them then do so once.
pub(super) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Message>,
    pools: [Jobs; 3],
}

struct Jobs {
    sender: Sender<Job>,
    receiver: Arc<Mutex<Receiver<Job>>>,
    threads: usize,
}

impl<'scope, 'env> Crew<'scope, 'env> {
    /// Nobody yet; results go to `sender`.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, sender: Sender<Message>) -> Self {
        let jobs = || {
            let (sender, receiver) = channel();
            Jobs { sender, receiver: Arc::new(Mutex::new(receiver)), threads: 0 }
        };
        Self { scope, sender, pools: [jobs(), jobs(), jobs()] }
    }
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl<'a> Executor<'a> {
    /// Starts ready nodes in the plan's order, as many as their pools take.
    pub(super) fn start_ready<'scope>(&mut self, crew: &mut Crew<'scope, '_>)
    where
        'a: 'scope,
    {
        if self.board.any_startable() {
            self.spread_facts();
        }
        for (pool, width) in POOLS {
            while self.goes_on()
                && self.busy[pool as usize] < width
                && let Some(id) = self.board.first_startable(pool)
            {
                self.begin_node(id, pool, crew);
            }
        }
    }

    fn begin_node<'scope>(&mut self, id: NodeId, pool: Pool, crew: &mut Crew<'scope, '_>)
    where
        'a: 'scope,
    {
        let key = self.known[id.index()].key.clone().expect("BUG: a node starts without a key");
        match self.take(id, &key) {
            Ok(Taken::Ours) => {}
            Ok(Taken::Theirs) => return,
            Err(error) => return self.fail(id, error.into()),
        }
        // Retention, or another run, may have deleted an input since it was looked up.
        let gone = self.inputs_without_bytes(id);
        if !gone.is_empty() {
            self.known[id.index()].lock = None;
            return gone.into_iter().for_each(|from| self.demand(from));
        }
        let opened = match self.open_inputs(id) {
            // Deleted between the look and the opening: the next round sees it.
            Err(StoreError::Missing { .. }) => return self.known[id.index()].lock = None,
            other => other,
        };
        let reason = self.known[id.index()].reason.take().unwrap_or(MissReason::FirstRun);
        self.observer.observe(&Event::NodeStarted { node: self.plan.node(id).name(), key: key.key(), reason });
        self.board.advance(id, NodeState::Running);
        self.unwritten = true;
        self.busy[pool as usize] += 1;
        let started = opened.map_err(Into::into).and_then(|inputs| self.hand_over(Job { id, key, inputs }, pool, crew));
        if let Err(error) = started {
            self.done(id, Err(error));
        }
    }

    /// Opens, and so holds, everything that a node reads.
    fn open_inputs(&self, id: NodeId) -> Result<Inputs, StoreError> {
        let open = |(port, from): &(&'static str, NodeId)| {
            let record = self.known[from.index()].record.as_ref().expect("BUG: an input without a record");
            let producer = self.plan.node(*from);
            let input = Input::open(self.store, producer.name(), &record.artifact, producer.stage.source())?;
            Ok((*port, input))
        };
        self.plan.node(id).inputs.iter().map(open).collect()
    }

    fn hand_over<'scope>(&self, job: Job, pool: Pool, crew: &mut Crew<'scope, '_>) -> anyhow::Result<()>
    where
        'a: 'scope,
    {
        let jobs = &mut crew.pools[pool as usize];
        if jobs.threads < self.busy[pool as usize] {
            let (plan, store, settings) = (self.plan, self.store, self.settings);
            let (receiver, sender) = (Arc::clone(&jobs.receiver), crew.sender.clone());
            Builder::new().name(WORKER.to_owned()).spawn_scoped(crew.scope, move || {
                let emit = |event| drop(sender.send(Message::Event(event)));
                while let Some(Job { id, key, inputs }) = next(&receiver) {
                    let result = run_stage(plan, id, store, settings, key, inputs, &emit);
                    let _ = sender.send(Message::Done(id, Box::new(result)));
                }
            })?;
            jobs.threads += 1;
        }
        jobs.sender.send(job).map_err(|_| anyhow::anyhow!("BUG: a pool without its queue"))
    }

    /// A worker came back.
    pub(super) fn done(&mut self, id: NodeId, result: Result<Record, anyhow::Error>) {
        let node = self.plan.node(id);
        self.busy[node.stage.def().pool as usize] -= 1;
        self.known[id.index()].lock = None;
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
        self.known[id.index()].runs += 1;
        self.observer.observe(&Event::NodeFinished {
            node: node.name(),
            key: record.key(),
            artifact,
            bytes: record.artifact.bytes(),
            wall_s: record.wall_ms as f64 / 1e3,
        });
        if self.known[id.index()].runs > MAX_RUNS {
            self.failure.get_or_insert(EngineError::KeepsVanishing { node: node.name() });
        }
        if std::mem::take(&mut self.known[id.index()].outdated) {
            self.board.advance(id, NodeState::Wanted);
            if self.known[id.index()].unresolved == 0 {
                self.resolvable.insert(self.plan.rank(id));
            }
            return;
        }
        match self.known[id.index()].digest {
            None => self.learn(id, record),
            Some(was) if was != artifact => self.drifted(id, was, record),
            Some(_) => self.hold(id, &record.artifact),
        }
        self.retire_inputs(id);
        self.retire_older(id);
    }
}
