//! executor: runs a plan on a store: one loop moves every node along its ladder and waits for no disk.

mod course;

use crate::base::Digest;
use crate::base::clock::Stopwatch;
use crate::engine::action::{Benches, Report, Site};
use crate::engine::claims::Claims;
use crate::engine::crew::Hire;
use crate::engine::fate::{Fate, Found, Need, fate};
use crate::engine::jobs::Jobs;
use crate::engine::keys::key_of;
use crate::engine::lookup::{Ahead, Looked, Lookup, Seen, before, digests, look};
use crate::engine::nodes::Nodes;
use crate::engine::retention::Retention;
use crate::engine::staff::{Message, Staff};
use crate::engine::{Cancel, Device, EngineError, Event, KeyText, MissReason, NodeId, NodeState, Observer, Plan};
use crate::store::run::RunState;
use crate::store::{Record, Stand, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How often the loop checks for a request to stop, and for what other processes make.
const LOOK_UP: Duration = Duration::from_millis(100);
/// How often a node may give other bytes than its record promises before the run fails.
const MAX_DRIFTS: usize = 3;
/// How often a node is rebuilt in one run before the run fails, because something keeps deleting its bytes.
const MAX_RUNS: usize = 10;

/// The settings of a run besides its plan.
pub struct Settings<'a> {
    /// What networks run on.
    pub device: &'a Device,
    /// Stop once these nodes are done; empty means all.
    pub to: Vec<NodeId>,
    /// The request to stop.
    pub cancel: Cancel,
    /// Hires a crew at the first action; without it, threads of this process do the actions.
    pub hire: Option<Hire<'a>>,
    /// How many shards of one node run at a time; [`crate::engine::crew::IN_FLIGHT`] is good.
    pub in_flight: usize,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Nodes that ran.
    pub ran: usize,
    /// Nodes whose record was there.
    pub hit: usize,
    /// The record of every wanted node that has one, by the node's index.
    pub records: Vec<Option<Arc<Record>>>,
    /// The digests of these records' artifacts.
    pub digests: Vec<Option<Digest>>,
}

/// Runs a plan on a store.
pub struct Executor<'a> {
    store: &'a Store,
    settings: &'a Settings<'a>,
    observer: &'a dyn Observer,
    nodes: Nodes<'a>,
    lookup: Lookup<'a>,
    claims: Claims,
    retention: Retention<'a>,
    jobs: Jobs,
    /// Nodes that another process makes, and those of which the run has reported that.
    waiting: BTreeSet<NodeId>,
    waited: BTreeSet<NodeId>,
    /// Nodes whose tables cannot be made: their bytes were evicted.
    without_tables: BTreeSet<NodeId>,
    failure: Option<EngineError>,
}

impl<'a> Executor<'a> {
    /// Prepares a run.
    pub fn new(plan: &'a Plan, store: &'a Store, settings: &'a Settings<'a>, observer: &'a dyn Observer) -> Self {
        Self {
            store,
            settings,
            observer,
            nodes: Nodes::new(plan, &settings.to),
            lookup: Lookup::new(plan),
            claims: Claims::new(store, &plan.name),
            retention: Retention::new(store),
            jobs: Jobs::new(settings.in_flight),
            waiting: BTreeSet::new(),
            waited: BTreeSet::new(),
            without_tables: BTreeSet::new(),
            failure: None,
        }
    }

    /// Runs to the end, to the first failure, or to where a request stops it.
    ///
    /// # Errors
    /// Why it did not reach its end.
    pub fn run(mut self) -> Result<Outcome, EngineError> {
        let watch = Stopwatch::new();
        let (plan, store, settings, benches) = (self.nodes.plan, self.store, self.settings, Benches::default());
        self.observer.observe(&Event::RunStarted {
            run: plan.name.clone(),
            nodes: plan.len(),
            device: settings.device.name.clone(),
            program: concat!("dcpipe ", env!("CARGO_PKG_VERSION")).to_owned(),
        });
        std::thread::scope(|scope| {
            let (sender, receiver) = channel();
            let site = Site { plan, store, device: settings.device, cancel: &settings.cancel, benches: &benches };
            self.drive(&mut Staff::new(scope, site, sender, settings.hire), &receiver);
        });
        if self.failure.is_none() {
            let observer = self.observer;
            self.retention.at_end(&self.nodes, &|event| observer.observe(event));
            self.look_for_stuck();
        }
        self.tell_what_has_no_tables();
        self.write_claims(if self.failure.is_none() { RunState::Done } else { RunState::Unfinished });
        self.tell_reports();
        self.finish(watch.seconds())
    }

    /// Looks up what is known, starts what may start, and takes one message. Repeats that until nothing runs and
    /// nothing can start.
    fn drive<'scope>(&mut self, staff: &mut Staff<'scope, '_>, receiver: &Receiver<Message>)
    where
        'a: 'scope,
    {
        let (mut looked, mut is_stopping) = (Stopwatch::new(), false);
        self.look_ahead(staff);
        loop {
            if looked.elapsed() >= LOOK_UP {
                self.wake_waiting();
                looked = Stopwatch::new();
            }
            if self.settings.cancel.is_requested() && !std::mem::replace(&mut is_stopping, true) {
                staff.stop();
            }
            self.resolve(staff);
            if self.lookup.pending.is_none() {
                self.start_ready(staff);
            }
            self.tell_reports();
            self.look_for_stuck();
            if self.claims.are_due() {
                self.write_claims(RunState::Running);
            }
            let board = &self.nodes.board;
            if self.jobs.is_idle() && self.lookup.pending.is_none() {
                if !self.goes_on() || !board.has_work() {
                    break;
                }
                if self.lookup.is_done() && !board.any_startable() && self.waiting.is_empty() {
                    panic!("BUG: nothing runs and nodes are left: {:?}", self.left());
                }
                if self.waiting.is_empty() || board.any_startable() {
                    continue;
                }
            }
            if let Ok(message) = receiver.recv_timeout(LOOK_UP) {
                self.take(message, staff);
            }
        }
        self.look_for_stuck();
        let left = self.nodes.board.open();
        if !left.is_empty() && self.failure.is_none() {
            self.failure = Some(EngineError::Interrupted);
        }
        left.into_iter().for_each(|id| self.nodes.board.advance(id, NodeState::Skipped));
    }

    /// Makes other threads look at what the last run left, while the loop begins with what it can. A store that hashes
    /// what it looks at gets no look ahead: it would hash everything first.
    fn look_ahead<'scope>(&mut self, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        if self.store.hashes() {
            return;
        }
        let shares = self.lookup.ahead.share_out(&self.nodes, &self.claims.history);
        self.resolve(staff); // A source's observation takes long, so it begins first.
        for keys in shares {
            staff.hand(move |site| Message::Glimpsed(Ahead::look(site.store, keys)));
        }
    }

    fn take<'scope>(&mut self, message: Message, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        match message {
            // The crew has seen it before the loop.
            Message::Report(Report::Saving(..)) => {}
            Message::Glimpsed(glimpses) => self.lookup.glimpsed(&self.nodes, glimpses),
            Message::Report(Report::Event(action, event)) => {
                let event = self.jobs.heard(action, event);
                self.observer.observe(&event);
            }
            Message::Report(Report::Done(action, result)) => match self.jobs.end(action) {
                Some((id, None)) => self.done(id, *result),
                Some((id, Some(slot))) => {
                    self.jobs.take(id, slot, *result);
                    self.go_on(id, staff);
                }
                None => {}
            },
            Message::Keyed(id, key) => {
                self.lookup.pending = None;
                match key {
                    Ok(key) => self.look_under(id, key, staff),
                    Err(error) => self.fail(id, error),
                }
            }
            Message::Looked(id, inputs, looked) => {
                self.lookup.pending = None;
                let is_fresh = self.nodes.state(id) == NodeState::Wanted && digests(&self.nodes, id) == inputs;
                match is_fresh {
                    true => self.looked(id, looked),
                    false if self.nodes.of(id).unresolved == 0 => self.lookup.again(id),
                    false => {}
                }
            }
            Message::Prepared(action, key, prepared) => self.prepared((action, key), prepared, staff),
            Message::Gathered(id, result) => self.done(id, result),
            // The loop would wait for its result for ever.
            Message::Broken(panic) => panic!("BUG: a chore {panic}"),
        }
    }

    /// Whether the run may begin more.
    fn goes_on(&self) -> bool {
        self.failure.is_none() && !self.settings.cancel.is_requested()
    }

    /// Looks up every node whose inputs are known, and what that makes known, in the plan's order and without recursion.
    fn resolve<'scope>(&mut self, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        while self.goes_on()
            && self.lookup.pending.is_none()
            && let Some(id) = self.lookup.next(&self.nodes)
        {
            if self.nodes.plan.node(id).stage.def().observes {
                self.lookup.pending = Some(id);
                staff.hand(move |site| Message::Keyed(id, key_of(site.plan, id, &[], site.device)));
                continue;
            }
            let read = self.nodes.read_by(id);
            let ports: Vec<_> = read.iter().map(|(port, _, record)| (*port, &**record)).collect();
            match key_of(self.nodes.plan, id, &ports, self.settings.device) {
                Ok(key) if self.lookup.stalls(id, key.key()) => {}
                Ok(key) => self.look_under(id, key, staff),
                Err(error) => self.fail(id, error),
            }
        }
    }

    fn look_under<'scope>(&mut self, id: NodeId, key: KeyText, staff: &mut Staff<'scope, '_>)
    where
        'a: 'scope,
    {
        let device = self.settings.device;
        if self.store.hashes() {
            self.lookup.pending = Some(id);
            let (inputs, before) = (digests(&self.nodes, id), before(&self.nodes, id, &key, device));
            let earlier: Vec<_> = self.claims.history.of(&self.nodes.name(id)).collect();
            staff.hand(move |site| {
                let looked = look(site.store, &mut Ahead::default(), key, |_| before, earlier.into_iter());
                Message::Looked(id, inputs, looked)
            });
        } else {
            let (nodes, ahead) = (&self.nodes, &mut self.lookup.ahead);
            let name = nodes.name(id);
            let before = |key: &KeyText| before(nodes, id, key, device);
            let looked = look(self.store, ahead, key, before, self.claims.history.of(&name));
            self.looked(id, looked);
        }
    }

    /// Takes what a look under a node's key found: the node is a hit, or runs, or both in turn.
    fn looked(&mut self, id: NodeId, looked: Result<Looked, StoreError>) {
        let Looked { key, newer, seen, missing } = match looked {
            Ok(looked) => looked,
            Err(error) => return self.fail(id, error.into()),
        };
        let need = match self.nodes.plan.node(id).asked_for {
            true => Need::AskedFor,
            false if self.nodes.stays_for_good(id) => Need::Retained,
            false => Need::Nobody,
        };
        let stand = seen.as_ref().map_or(Stand::Gone, |seen| seen.stand);
        let is_lost = || seen.as_ref().is_some_and(|seen| self.store.lost_to_damage(&seen.record.artifact));
        let fate = fate(Found { missing, stand, is_lost: &is_lost }, &need);
        let known = self.nodes.of_mut(id);
        (known.key, known.newer, known.is_renewed) = (Some(key), newer, false);
        if let Some(Seen { record, digest, .. }) = &seen {
            self.hit(id, record, *digest);
        }
        let Fate::Run(reason) = fate else { return };
        // A store that cannot say whether it has the bytes is no reason for a rebuild: the run stops.
        if let (Stand::Unknown, Some(Seen { record, .. })) = (stand, &seen)
            && let Err(error) = self.store.has(&record.artifact)
        {
            return self.store.stop_for(error);
        }
        self.demand(id, reason);
    }

    /// Takes a node's existing record.
    fn hit(&mut self, id: NodeId, record: &Arc<Record>, artifact: Digest) {
        self.nodes.board.advance(id, NodeState::Hit);
        self.retention.hold(id, &record.artifact);
        if self.nodes.of(id).digest.is_none() {
            self.lookup.learn(&mut self.nodes, id, Arc::clone(record), artifact);
        }
        if self.nodes.of(id).runs == 0 {
            let key = self.nodes.of(id).key.as_ref().expect("BUG: a hit without a key").key();
            self.observer.observe(&Event::NodeHit { node: self.nodes.name(id), key, artifact });
        }
    }

    /// Notes that `id` must run. Its inputs' bytes are checked when it starts: until then they may go.
    fn demand(&mut self, id: NodeId, reason: MissReason) {
        self.nodes.of_mut(id).reason = Some(reason);
        if !matches!(self.nodes.state(id), NodeState::Ready | NodeState::Running) {
            self.nodes.board.advance(id, NodeState::Ready);
        }
    }

    /// Looks again for what other processes were making.
    fn wake_waiting(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            if self.nodes.state(id) == NodeState::Waiting {
                self.nodes.board.advance(id, NodeState::Ready);
            }
        }
    }

    fn left(&self) -> Vec<String> {
        let left = self.nodes.board.open().into_iter().take(20);
        left.map(|id| format!("{} {:?}", self.nodes.name(id), self.nodes.state(id))).collect()
    }

    /// Notes that a node failed; the run ends when its running actions have ended.
    fn fail(&mut self, id: NodeId, error: EngineError) {
        self.observer.observe(&Event::NodeFailed { node: self.nodes.name(id), error: error.to_string() });
        if !self.nodes.state(id).is_final() {
            self.nodes.board.advance(id, NodeState::Failed);
        }
        self.failure.get_or_insert(error);
    }

    /// A file that blocks an object is the true cause of a stage's failure.
    fn look_for_stuck(&mut self) {
        if let Some(error) = self.store.take_stuck() {
            self.failure = Some(error.into());
        }
    }

    /// Reports what the store met.
    fn tell_reports(&self) {
        for text in self.store.take_reports() {
            self.observer.observe(&Event::Note { node: String::new(), text });
        }
    }

    fn tell_what_has_no_tables(&self) {
        const NAMED: usize = 5;
        let mut names: Vec<_> = self.without_tables.iter().map(|id| self.nodes.name(*id)).collect();
        let Some(noun) = names.first().and_then(|name| name.split('@').next()).map(str::to_owned) else { return };
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = names.join(", ");
        let text = format!("no tables of {names}{and}: their bytes were evicted. Add keep: [{noun}] and run again");
        self.observer.observe(&Event::Note { node: String::new(), text });
    }

    fn write_claims(&mut self, state: RunState) {
        if let Some(text) = self.claims.write(self.store, &self.nodes, state) {
            self.observer.observe(&Event::Note { node: String::new(), text });
        }
    }

    fn finish(self, wall_s: f64) -> Result<Outcome, EngineError> {
        let nodes = &self.nodes;
        let ran = nodes.all().filter(|(_, known)| known.runs > 0).count();
        let hit = nodes.all().filter(|(id, known)| nodes.state(*id).is_satisfied() && known.runs == 0).count();
        let interrupted = matches!(self.failure, Some(EngineError::Interrupted));
        let failed = nodes.board.count(NodeState::Failed).max(usize::from(self.failure.is_some() && !interrupted));
        let skipped = nodes.board.count(NodeState::Skipped);
        self.observer.observe(&Event::RunFinished { ran, hit, failed, skipped, wall_s, interrupted });
        let (records, digests) = nodes.all().map(|(_, known)| (known.record.clone(), known.digest)).unzip();
        self.failure.map_or(Ok(Outcome { ran, hit, records, digests }), Err)
    }
}
