//! claims: what the store is told of a run while it goes: which keys it references, which bytes it keeps, how far it is.

use crate::base::clock::Stopwatch;
use crate::engine::nodes::Nodes;
use crate::engine::{NodeId, NodeState};
use crate::store::run::{KeyHistory, RunState, Standing};
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a killed run may have references that are nowhere written.
const WRITE: Duration = Duration::from_secs(1);
/// By how much a run's last use may be later than what is written of it.
const USED: Duration = Duration::from_secs(10);

/// What is on disk about a run, and what must still be written.
pub(super) struct Claims {
    pub(super) history: KeyHistory,
    standing: Option<Standing>,
    /// What was there of the last run of this name when this one began.
    found: Option<Standing>,
    /// Whether something was begun, or waited for, since the last writing.
    is_unwritten: bool,
    /// Since when all is written; none where that cannot wait.
    wrote: Option<Stopwatch>,
    /// Why it could not be written, as it was said last.
    unwritable: Option<String>,
}

impl Claims {
    /// What the store says of the runs of this name.
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

    /// Something was begun.
    pub(super) fn changed(&mut self) {
        self.is_unwritten = true;
    }

    /// Something must be written before another process can delete what this run now waits for.
    pub(super) fn cannot_wait(&mut self) {
        (self.is_unwritten, self.wrote) = (true, None);
    }

    /// Whether it is time to write.
    pub(super) fn are_due(&self) -> bool {
        self.is_unwritten && self.wrote.is_none_or(|wrote| wrote.elapsed() >= WRITE)
    }

    /// Writes which keys this run references: what a killed run made is its own as much as what a finished one made, and gc
    /// keeps it. Returns what a person should hear, once.
    pub(super) fn write(&mut self, store: &Store, nodes: &Nodes<'_>, state: RunState) -> Option<String> {
        let plan = nodes.plan;
        let mut history = self.history.clone();
        for id in plan.order() {
            if let Some(key) = &nodes.of(*id).key {
                history.learn(&nodes.name(*id), key.key());
            }
        }
        // A finished run references its own nodes only; an unfinished one may resume from the last one's.
        if state == RunState::Done && nodes.to.is_empty() && history.last().count() > plan.len() {
            let names: BTreeSet<String> = plan.order().iter().map(|id| nodes.name(*id)).collect();
            history.keep_only(|node| names.contains(node));
        }
        let kept = |id: &&NodeId| nodes.state(**id) != NodeState::Unwanted && nodes.has_claim(**id);
        let kept = plan.order().iter().filter(kept).filter_map(|id| Some(nodes.of(*id).key.as_ref()?.key()));
        let standing = self.with_what_was_found(nodes, &history, Standing::new(state, kept.collect()));
        let is_worked = self.wrote.is_some();
        (self.is_unwritten, self.wrote) = (false, Some(Stopwatch::new()));
        // Another run of this name may have ended meanwhile; what the last to end references counts.
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
                self.is_unwritten = true; // It is tried again, and said once.
                let text = error.to_string();
                let is_news = self.unwritable.as_ref() != Some(&text);
                self.unwritable = Some(text.clone());
                is_news.then_some(text)
            }
        }
    }

    /// A run to some nodes only leaves the others as the last one of its name left them: what that one keeps of them stays
    /// kept, and if it was not done with them, it still is not.
    fn with_what_was_found(&self, nodes: &Nodes<'_>, history: &KeyHistory, mut standing: Standing) -> Standing {
        let plan = nodes.plan;
        let Some(found) = self.found.as_ref().filter(|_| !nodes.to.is_empty()) else { return standing };
        let is_wanted = |id: &NodeId| nodes.state(*id) != NodeState::Unwanted;
        let names = |is_it: &dyn Fn(&NodeId) -> bool| -> BTreeSet<String> {
            plan.order().iter().filter(|id| is_it(id)).map(|id| nodes.name(*id)).collect()
        };
        let wanted = names(&is_wanted);
        // What the others still read is as much theirs as their own.
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
