//! jobs: the nodes that run: their shards, and their actions under way.

use crate::base::clock::Stopwatch;
use crate::engine::action::Action;
use crate::engine::error::{ActionError, EngineError};
use crate::engine::plan::NodeId;
use crate::engine::prepare::{Slot, gather};
use crate::engine::staff::{Message, Staff};
use crate::engine::{Event, KeyText, Pool};
use crate::store::Record;
use std::collections::BTreeMap;

/// How many nodes of each pool may run at a time.
const WIDTHS: [(Pool, usize); 3] = [(Pool::Device, 1), (Pool::Cpu, 1), (Pool::Light, 8)];

/// A running node with shards.
struct Job {
    /// The action for the node as a whole.
    whole: Action,
    key: KeyText,
    slots: Vec<Slot>,
    /// The first slot that is not begun.
    next: usize,
    in_flight: usize,
    /// Finished slots, their rows, and the rows of all. They are counters, because every event needs them.
    made: usize,
    made_rows: u64,
    total_rows: u64,
    /// Finished rows of the few shards under way, by slot.
    rows: BTreeMap<usize, u64>,
    unit: String,
    error: Option<ActionError>,
    watch: Stopwatch,
}

/// What a job needs next.
enum Step {
    /// This must be begun, for the shard of this slot.
    Begin(Action, usize),
    /// It must wait for its actions.
    Wait,
    /// All its shards exist.
    Gather(Box<Job>),
    /// It has failed or must stop, and none of its actions is under way.
    End(ActionError),
}

/// The running nodes.
#[derive(Default)]
pub(super) struct Jobs {
    /// How many shards of one node may be under way.
    in_flight: usize,
    jobs: BTreeMap<NodeId, Job>,
    /// Actions under way: the node, and the slot of a shard.
    actions: BTreeMap<u64, (NodeId, Option<usize>)>,
    last_action: u64,
    /// How many nodes run, by pool.
    busy: [usize; 3],
}

impl Jobs {
    /// No node runs yet.
    pub(super) fn new(in_flight: usize) -> Self {
        Self { in_flight: in_flight.max(1), ..Self::default() }
    }

    /// Pools that have room for a node.
    pub(super) fn free(&self) -> impl Iterator<Item = Pool> {
        WIDTHS.into_iter().filter(|(pool, width)| self.busy[*pool as usize] < *width).map(|(pool, _)| pool)
    }

    /// Whether no node runs.
    pub(super) fn is_idle(&self) -> bool {
        self.busy == [0; 3]
    }

    /// A node takes its place in a pool.
    pub(super) fn enter(&mut self, pool: Pool) {
        self.busy[pool as usize] += 1;
    }

    /// A node leaves its pool.
    pub(super) fn leave(&mut self, id: NodeId, pool: Pool) {
        self.jobs.remove(&id);
        self.busy[pool as usize] -= 1;
    }

    /// Notes that an action is under way, and names it.
    pub(super) fn action(&mut self, action: Action, slot: Option<usize>) -> Action {
        self.last_action += 1;
        self.actions.insert(self.last_action, (action.node, slot));
        Action { id: self.last_action, ..action }
    }

    /// Ends an action and returns its node and slot.
    pub(super) fn end(&mut self, action: u64) -> Option<(NodeId, Option<usize>)> {
        self.actions.remove(&action)
    }

    /// Begins a node with shards.
    pub(super) fn open(&mut self, whole: Action, key: KeyText, slots: Vec<Slot>) {
        let made = || slots.iter().filter(|slot| slot.made.is_some());
        let job = Job {
            next: 0,
            in_flight: 0,
            made: made().count(),
            made_rows: made().map(rows_of).sum(),
            total_rows: slots.iter().map(rows_of).sum(),
            rows: BTreeMap::new(),
            unit: "rows".to_owned(),
            error: None,
            watch: Stopwatch::new(),
            whole,
            key,
            slots,
        };
        self.jobs.insert(job.whole.node, job);
    }

    /// Begins the next shards of a node, as many as may be in flight, or gathers them. An error says that the node has
    /// ended without its record.
    pub(super) fn go_on(
        &mut self,
        id: NodeId,
        goes_on: bool,
        staff: &mut Staff<'_, '_>,
    ) -> Result<Option<ActionError>, EngineError> {
        while let Some(step) = self.step(id, goes_on) {
            match step {
                Step::Begin(action, at) => staff.begin(self.action(action, Some(at)))?,
                Step::Gather(job) => {
                    let Job { key, slots, watch, .. } = *job;
                    let wall_ms = watch.elapsed().as_millis() as u64;
                    staff.hand(move |site| Message::Gathered(id, gather(site, id, &key, slots, wall_ms)));
                    return Ok(None);
                }
                Step::End(error) => return Ok(Some(error)),
                Step::Wait => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a node needs next; a stopping run begins no shard.
    fn step(&mut self, id: NodeId, goes_on: bool) -> Option<Step> {
        let job = self.jobs.get_mut(&id)?;
        if job.error.is_none() && job.made == job.slots.len() {
            return Some(Step::Gather(Box::new(self.jobs.remove(&id)?)));
        }
        let may_begin = goes_on && job.error.is_none();
        while job.slots.get(job.next).is_some_and(|slot| slot.made.is_some()) {
            job.next += 1;
        }
        Some(match job.slots.get(job.next) {
            Some(slot) if may_begin && job.in_flight < self.in_flight => {
                let action = Action { shard: Some(slot.shard.clone()), ..job.whole.clone() };
                (job.next, job.in_flight) = (job.next + 1, job.in_flight + 1);
                Step::Begin(action, job.next - 1)
            }
            _ if job.in_flight > 0 => Step::Wait,
            _ => Step::End(job.error.clone().unwrap_or(ActionError::Interrupted)),
        })
    }

    /// The shards that an earlier run made.
    pub(super) fn made(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let slots = self.jobs.get(&id).into_iter().flat_map(|job| &job.slots);
        slots.filter(|slot| slot.made.is_some()).map(|slot| slot.shard.part.as_str())
    }

    /// Takes a shard's result.
    pub(super) fn take(&mut self, id: NodeId, at: usize, result: Result<Record, ActionError>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.in_flight -= 1;
        job.rows.remove(&at);
        match result {
            Ok(record) => {
                let slot = &mut job.slots[at];
                if slot.made.replace(record.artifact.parts).is_none() {
                    job.made += 1;
                    job.made_rows += rows_of(slot);
                }
            }
            // The first real error is reported, not the stops that followed it.
            Err(error) if job.error.as_ref().is_none_or(|before| *before == ActionError::Interrupted) => {
                job.error = Some(error);
            }
            Err(_) => {}
        }
    }

    /// Turns a shard's progress into its node's; other events stay as they are.
    pub(super) fn heard(&mut self, action: u64, event: Event) -> Event {
        let Some((id, Some(at))) = self.actions.get(&action).copied() else { return event };
        let (Event::Progress { node, done, unit, .. }, Some(job)) = (&event, self.jobs.get_mut(&id)) else {
            return event;
        };
        job.rows.insert(at, *done);
        job.unit.clone_from(unit);
        job.progress(node.clone())
    }

    /// The progress of a node with shards.
    pub(super) fn progress(&self, id: NodeId, node: String) -> Option<Event> {
        self.jobs.get(&id).map(|job| job.progress(node))
    }
}

fn rows_of(slot: &Slot) -> u64 {
    slot.shard.rows.end - slot.shard.rows.start
}

impl Job {
    fn progress(&self, node: String) -> Event {
        let done = self.made_rows + self.rows.values().sum::<u64>();
        Event::Progress { node, done, total: self.total_rows, unit: self.unit.clone() }
    }
}
