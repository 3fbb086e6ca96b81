//! executor: the loop. One thread owns every node's state; workers are plain threads that run one stage each.

use crate::base::clock::Stopwatch;
use crate::base::{Artifact, Digest};
use crate::engine::ahead::Ahead;
use crate::engine::board::Board;
use crate::engine::context::Cancel;
use crate::engine::event::{Event, MissReason, Observer};
use crate::engine::held::Held;
use crate::engine::holders::Holders;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::workers::Crew;
use crate::engine::{EngineError, Facts, KeyText, NodeState};
use crate::store::pins::Elsewhere;
use crate::store::run::{KeyHistory, RunState, Standing};
use crate::store::{KeyLock, Record, Stand, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the loop sleeps at most before it looks whether it is to stop, and whether another process is done with what
/// it waits for.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How long a run may be after keys that are nowhere written down.
const WRITE_DOWN: Duration = Duration::from_secs(1);

/// By how much a run's last use may be later than what is written of it.
const USED: Duration = Duration::from_secs(10);

/// What a run is told besides its plan.
pub struct Settings<'a> {
    /// The device that networks run on, such as `cpu` or `cuda:0`.
    pub device: &'a str,
    /// Stop once these nodes are done; empty means all.
    pub to: Vec<NodeId>,
    /// The wish to stop.
    pub cancel: Cancel,
    /// Whether nothing may run: with the first node that must, or the wish to stop, the run is over, and nobody was told
    /// anything, nor was anything written.
    pub hits_only: bool,
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
pub(super) enum Message {
    Event(Event),
    Done(NodeId, Box<Result<Record, anyhow::Error>>),
}

/// What a run knows of one node.
#[derive(Default)]
pub(super) struct Known {
    /// Inputs whose digest is not known yet; at 0 the key can be made.
    pub(super) unresolved: usize,
    pub(super) key: Option<KeyText>,
    pub(super) record: Option<Record>,
    /// What its bytes were when its record was found.
    pub(super) bytes: Option<Stand>,
    /// The digest of the record's artifact; known exactly where the record is.
    pub(super) digest: Option<Digest>,
    /// Why it is going to run.
    pub(super) reason: Option<MissReason>,
    /// The right to make it, from its start to its record.
    pub(super) lock: Option<KeyLock>,
    /// What it and those before it learned, as of the last [`Executor::spread_facts`].
    pub(super) facts: Arc<Facts>,
    /// How often it has run in this run.
    pub(super) runs: usize,
    pub(super) drifts: usize,
    /// An input drifted while it ran: what it makes is right, and not what this run is after.
    pub(super) outdated: bool,
}

/// Runs a plan on a store.
pub struct Executor<'a> {
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) settings: &'a Settings<'a>,
    pub(super) observer: Held<'a>,
    pub(super) history: KeyHistory,
    /// What a run that only looks has read before it asks; empty in others.
    pub(super) ahead: Ahead,
    /// What is on disk about this run.
    pub(super) standing: Option<Standing>,
    /// What was there of the last one of its name when this one began.
    pub(super) found: Option<Standing>,
    /// Whether something was begun, or waited for, since that was written.
    pub(super) unwritten: bool,
    /// Since when it is written; none where that cannot wait.
    pub(super) wrote: Option<Stopwatch>,
    /// Why that could not be written, as it was said last.
    pub(super) unwritable: Option<String>,
    pub(super) board: Board<'a>,
    pub(super) known: Vec<Known>,
    /// Nodes to look up, by rank: their inputs have just become known.
    pub(super) resolvable: BTreeSet<u32>,
    /// Nodes that another process is making.
    pub(super) waiting: BTreeSet<NodeId>,
    /// Nodes of which it was said that another process makes them.
    pub(super) waited: BTreeSet<NodeId>,
    /// Nodes whose facts are to be worked out again, by rank.
    pub(super) fresh_facts: BTreeSet<u32>,
    pub(super) holders: Option<Holders>,
    /// What pins and other runs keep, as of the last look.
    pub(super) elsewhere: Elsewhere,
    /// Whether it was said that nothing is deleted, since what others keep could not be read.
    pub(super) keeps_all: bool,
    /// How many workers each pool has.
    pub(super) busy: [usize; 3],
    pub(super) failure: Option<EngineError>,
}

impl<'a> Executor<'a> {
    /// Prepares a run.
    pub fn new(plan: &'a Plan, store: &'a Store, settings: &'a Settings<'a>, observer: &'a dyn Observer) -> Self {
        let history = store.key_history(&plan.name);
        let standing = store.standing(&plan.name);
        Self {
            plan,
            store,
            settings,
            observer: Held::new(observer, !settings.hits_only),
            ahead: if settings.hits_only { Ahead::look(store, &history) } else { Ahead::default() },
            history,
            found: standing.clone(),
            standing,
            unwritten: false,
            wrote: None,
            unwritable: None,
            board: Board::new(plan),
            known: (0..plan.len()).map(|_| Known::default()).collect(),
            resolvable: BTreeSet::new(),
            waiting: BTreeSet::new(),
            waited: BTreeSet::new(),
            fresh_facts: BTreeSet::new(),
            holders: None,
            elsewhere: Elsewhere::default(),
            keeps_all: false,
            busy: [0; 3],
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
        self.begin();
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            self.drive(&mut Crew::new(scope, sender), &receiver);
        });
        let is_silent = |failure: &mut EngineError| {
            let stops = matches!(failure, EngineError::MustRun { .. } | EngineError::Interrupted);
            self.settings.hits_only && stops
        };
        if let Some(failure) = self.failure.take_if(is_silent) {
            return Err(failure);
        }
        self.observer.open();
        if self.failure.is_none() {
            self.retire_all();
            self.look_for_stuck();
        }
        self.remember(match &self.failure {
            None => RunState::Done,
            Some(_) => RunState::Unfinished,
        });
        self.tell_reports();
        self.finish(watch.seconds())
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

    fn begin(&mut self) {
        for id in self.plan.order() {
            self.known[id.index()].unresolved = self.plan.node(*id).inputs.len();
            if self.plan.node(*id).inputs.is_empty() {
                self.resolvable.insert(self.plan.rank(*id));
            }
        }
    }

    /// Looks up what is known, starts what may start, waits for one message, and again, until nothing runs and nothing
    /// can.
    fn drive<'scope>(&mut self, crew: &mut Crew<'scope, '_>, receiver: &Receiver<Message>)
    where
        'a: 'scope,
    {
        let mut looked = Stopwatch::new();
        loop {
            if looked.elapsed() >= LOOK_UP {
                self.wake_waiting();
                looked = Stopwatch::new();
            }
            self.resolve();
            if self.goes_on() {
                self.start_ready(crew);
            }
            self.tell_reports();
            self.look_for_stuck();
            if self.unwritten && self.wrote.is_none_or(|wrote| wrote.elapsed() >= WRITE_DOWN) {
                self.remember(RunState::Running);
            }
            if self.busy == [0; 3] {
                if !self.goes_on() || !self.board.has_work() {
                    break;
                }
                if self.resolvable.is_empty() && !self.board.any_startable() && self.waiting.is_empty() {
                    panic!("BUG: nothing runs and nodes are left: {:?}", self.left());
                }
                if self.waiting.is_empty() || self.board.any_startable() {
                    continue;
                }
            }
            match receiver.recv_timeout(LOOK_UP) {
                Ok(Message::Event(event)) => self.observer.observe(&event),
                Ok(Message::Done(id, result)) => self.done(id, *result),
                Err(_) => {}
            }
        }
        self.look_for_stuck();
        let left = self.board.open();
        if !left.is_empty() && self.failure.is_none() {
            self.failure = Some(EngineError::Interrupted);
        }
        for id in left {
            self.board.advance(id, NodeState::Skipped);
        }
    }

    /// Whether more may be begun.
    pub(super) fn goes_on(&self) -> bool {
        self.failure.is_none() && !self.settings.cancel.is_requested()
    }

    fn left(&self) -> Vec<String> {
        let left = self.board.open().into_iter().take(20);
        left.map(|id| format!("{} {:?}", self.plan.node(id).name(), self.board.state(id))).collect()
    }

    /// A node cannot go on; the run ends when what is running has ended.
    pub(super) fn fail(&mut self, id: NodeId, error: EngineError) {
        let node = self.plan.node(id).name();
        self.observer.observe(&Event::NodeFailed { node, error: error.to_string() });
        if !self.board.state(id).is_final() {
            self.board.advance(id, NodeState::Failed);
        }
        self.failure.get_or_insert(error);
    }

    /// What is in the way of an object is why a stage could not put it there.
    fn look_for_stuck(&mut self) {
        if let Some(error) = self.store.take_stuck() {
            self.failure = Some(error.into());
        }
    }

    /// Says what the store met.
    fn tell_reports(&self) {
        for text in self.store.take_reports() {
            self.observer.observe(&Event::Note { node: String::new(), text });
        }
    }

    /// Writes down which keys this run is after: what a killed run made is its own as much as what a finished one made,
    /// and nothing collects it.
    pub(super) fn remember(&mut self, state: RunState) {
        let mut history = self.history.clone();
        for id in self.plan.order() {
            if let Some(key) = &self.known[id.index()].key {
                history.learn(&self.plan.node(*id).name(), key.key());
            }
        }
        // A collection is after what the last run had, and what an unfinished one may go on from.
        if state == RunState::Done && self.settings.to.is_empty() && history.last().count() > self.plan.len() {
            let names: BTreeSet<String> = self.plan.order().iter().map(|id| self.plan.node(*id).name()).collect();
            history.keep_only(|node| names.contains(node));
        }
        let kept = |id: &&NodeId| self.board.state(**id) != NodeState::Unwanted && self.has_claim(**id);
        let kept =
            self.plan.order().iter().filter(kept).filter_map(|id| Some(self.known[id.index()].key.as_ref()?.key()));
        let standing = self.with_what_was_found(&history, Standing::new(state, kept.collect()));
        let is_worked = self.wrote.is_some();
        (self.unwritten, self.wrote) = (false, Some(Stopwatch::new()));
        let store = self.store;
        // Another run of this name may have ended meanwhile; what the last to end was after counts.
        let is_overwritten = || state == RunState::Done && is_worked && store.key_history(&self.plan.name) != history;
        let done = (|| {
            if history != self.history || self.standing.is_none() || is_overwritten() {
                store.write_key_history(&self.plan.name, &history)?;
            }
            if self.standing.as_ref().is_none_or(|before| !before.is_like(&standing) || before.is_older(USED)) {
                store.write_standing(&self.plan.name, &standing)?;
            }
            Ok::<_, StoreError>(())
        })();
        match done {
            Ok(()) => (self.history, self.standing, self.unwritable) = (history, Some(standing), None),
            Err(error) => {
                self.unwritten = true; // It is tried again, and said once.
                let text = error.to_string();
                if self.unwritable.as_ref() != Some(&text) {
                    self.observer.observe(&Event::Note { node: String::new(), text: text.clone() });
                }
                self.unwritable = Some(text);
            }
        }
    }

    /// A run to some nodes only leaves the others as the last one of its name left them: what that one keeps of them stays
    /// kept, and if it was not done with them, it still is not.
    fn with_what_was_found(&self, history: &KeyHistory, mut standing: Standing) -> Standing {
        let Some(found) = self.found.as_ref().filter(|_| !self.settings.to.is_empty()) else { return standing };
        let is_wanted = |id: &NodeId| self.board.state(*id) != NodeState::Unwanted;
        let names = |is_it: &dyn Fn(&NodeId) -> bool| -> BTreeSet<String> {
            self.plan.order().iter().filter(|id| is_it(id)).map(|id| self.plan.node(*id).name()).collect()
        };
        let wanted = names(&is_wanted);
        // What the others are still to read is as much theirs as their own.
        let own = names(&|id| is_wanted(id) && self.plan.consumers(*id).iter().all(is_wanted));
        let not_own: BTreeSet<_> = history.last_of(|node| !own.contains(node)).collect();
        standing.kept.extend(found.kept.intersection(&not_own));
        let has_others = history.last_of(|node| !wanted.contains(node)).next().is_some();
        if standing.state == RunState::Done && found.state != RunState::Done && has_others {
            standing.state = RunState::Unfinished;
        }
        standing
    }

    fn finish(self, wall_s: f64) -> Result<Outcome, EngineError> {
        let ran = self.known.iter().filter(|known| known.runs > 0).count();
        let satisfied = |id: &&NodeId| self.board.state(**id).is_satisfied();
        let hit = self.plan.order().iter().filter(satisfied).filter(|id| self.known[id.index()].runs == 0).count();
        let interrupted = matches!(self.failure, Some(EngineError::Interrupted));
        let failed = self.board.count(NodeState::Failed).max(usize::from(self.failure.is_some() && !interrupted));
        let skipped = self.board.count(NodeState::Skipped);
        self.observer.observe(&Event::RunFinished { ran, hit, failed, skipped, wall_s, interrupted });
        match self.failure {
            Some(failure) => Err(failure),
            None => {
                let artifact = |known: Known| known.record.map(|record| record.artifact);
                Ok(Outcome { ran, hit, artifacts: self.known.into_iter().map(artifact).collect() })
            }
        }
    }
}
