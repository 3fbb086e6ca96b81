//! claims: what a running run tells the store: which keys it references, which bytes it keeps, how far it is.

use crate::base::clock::Stopwatch;
use crate::engine::nodes::Nodes;
use crate::engine::{NodeId, NodeState};
use crate::store::run::{KeyHistory, RunState, Standing};
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;

/// For how long a killed run's newest references may be unwritten.
const WRITE: Duration = Duration::from_secs(1);
/// By how much a run's last use may be later than the written time.
const USED: Duration = Duration::from_secs(10);

/// What is on disk about a run, and what must still be written.
pub(super) struct Claims {
    pub(super) history: KeyHistory,
    standing: Option<Standing>,
    /// The standing of this name's last run when this run began.
    found: Option<Standing>,
    /// Whether the run has begun or waited for something since the last writing.
    is_unwritten: bool,
    /// Since when everything is written; none if the next writing cannot wait.
    wrote: Option<Stopwatch>,
    /// Why the last writing failed, as the run reported it.
    unwritable: Option<String>,
}

impl Claims {
    /// Reads what the store has of the runs of this name.
    pub(super) fn new(store: &Store, run: &str) -> Self {
        let standing = store.standing(run);
        Self {
            history: store.key_history(run),
            found: standing.clone(),
            standing,
            is_unwritten: false,
            wrote: None,
            unwritable: None,
        }
    }

    /// Notes that the run has begun something.
    pub(super) fn changed(&mut self) {
        self.is_unwritten = true;
    }

    /// Notes that a writing is due at once, before another process deletes what this run waits for.
    pub(super) fn cannot_wait(&mut self) {
        (self.is_unwritten, self.wrote) = (true, None);
    }

    /// Whether it is time to write.
    pub(super) fn are_due(&self) -> bool {
        self.is_unwritten && self.wrote.is_none_or(|wrote| wrote.elapsed() >= WRITE)
    }

    /// Writes which keys this run references, so that gc also keeps what a killed run made. Returns a new failure for
    /// the person, once.
    pub(super) fn write(&mut self, store: &Store, nodes: &Nodes<'_>, state: RunState) -> Option<String> {
        let plan = nodes.plan;
        let mut history = self.history.clone();
        for id in plan.order() {
            if let Some(key) = &nodes.of(*id).key {
                history.learn(&nodes.name(*id), key.key());
            }
        }
        // A finished run references its own nodes only. An unfinished one may resume from those of the last run.
        if state == RunState::Done && nodes.to.is_empty() && history.last().count() > plan.len() {
            let names: BTreeSet<String> = plan.order().iter().map(|id| nodes.name(*id)).collect();
            history.keep_only(|node| names.contains(node));
        }
        let kept = |id: &&NodeId| nodes.state(**id) != NodeState::Unwanted && nodes.has_claim(**id);
        let kept = plan.order().iter().filter(kept).filter_map(|id| Some(nodes.of(*id).key.as_ref()?.key()));
        let standing = self.with_what_was_found(nodes, &history, Standing::new(state, kept.collect()));
        let is_worked = self.wrote.is_some();
        (self.is_unwritten, self.wrote) = (false, Some(Stopwatch::new()));
        // Another run of this name may have ended meanwhile; the last one to end decides the references.
        let is_overwritten = || state == RunState::Done && is_worked && store.key_history(&plan.name) != history;
        let done = (|| {
            if history != self.history || self.standing.is_none() || is_overwritten() {
                store.write_key_history(&plan.name, &history)?;
            }
            if self.standing.as_ref().is_none_or(|before| !before.is_like(&standing) || before.is_older(USED)) {
                store.write_standing(&plan.name, &standing)?;
            }
            Ok::<_, StoreError>(())
        })();
        match done {
            Ok(()) => {
                (self.history, self.standing, self.unwritable) = (history, Some(standing), None);
                None
            }
            Err(error) => {
                self.is_unwritten = true; // The next call tries again; only a new error is reported.
                let text = error.to_string();
                let is_news = self.unwritable.as_ref() != Some(&text);
                self.unwritable = Some(text.clone());
                is_news.then_some(text)
            }
        }
    }

    /// A run with `--to` leaves the other nodes as the last run of its name left them. What that run keeps of them
    /// stays kept, and if it was unfinished, it still is.
    fn with_what_was_found(&self, nodes: &Nodes<'_>, history: &KeyHistory, mut standing: Standing) -> Standing {
        let plan = nodes.plan;
        let Some(found) = self.found.as_ref().filter(|_| !nodes.to.is_empty()) else { return standing };
        let is_wanted = |id: &NodeId| nodes.state(*id) != NodeState::Unwanted;
        let names = |is_it: &dyn Fn(&NodeId) -> bool| -> BTreeSet<String> {
            plan.order().iter().filter(|id| is_it(id)).map(|id| nodes.name(*id)).collect()
        };
        let wanted = names(&is_wanted);
        // What the other nodes still read belongs to them as well.
        let own = names(&|id| is_wanted(id) && plan.consumers(*id).iter().all(is_wanted));
        let not_own: BTreeSet<_> = history.last_of(|node| !own.contains(node)).collect();
        standing.kept.extend(found.kept.intersection(&not_own));
        let has_others = history.last_of(|node| !wanted.contains(node)).next().is_some();
        if standing.state == RunState::Done && found.state != RunState::Done && has_others {
            standing.state = RunState::Unfinished;
        }
        standing
    }
}
