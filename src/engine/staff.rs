//! staff: who works for a run: threads of this process for its own chores, and a crew for the stages.

use crate::base::Digest;
use crate::engine::action::{Action, Report, Site};
use crate::engine::crew::threads::Threads;
use crate::engine::crew::{Crew, Hire, Reports};
use crate::engine::desk::Desk;
use crate::engine::error::{ActionError, EngineError};
use crate::engine::lookup::{Glimpse, Looked};
use crate::engine::prepare::Prepared;
use crate::engine::{KeyText, NodeId, panics};
use crate::store::{Record, StoreError};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Scope;

/// A message to the loop.
pub(super) enum Message {
    Report(Report),
    Glimpsed(Vec<Glimpse>),
    Keyed(NodeId, Result<KeyText, EngineError>),
    Looked(NodeId, Vec<Option<Digest>>, Result<Looked, StoreError>),
    Prepared(Action, KeyText, Result<Prepared, ActionError>),
    Gathered(NodeId, Result<Record, ActionError>),
    /// A chore panicked.
    Broken(String),
}

/// The workers of a run, and their way to its loop.
pub(super) struct Staff<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    site: Site<'scope>,
    desk: Desk<'scope, 'env>,
    sender: Sender<Message>,
    crew: Option<Box<dyn Crew + 'scope>>,
    hire: Option<Hire<'scope>>,
}

impl<'scope, 'env> Staff<'scope, 'env> {
    /// No workers yet. They will report to `sender`.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        site: Site<'scope>,
        sender: Sender<Message>,
        hire: Option<Hire<'scope>>,
    ) -> Self {
        Self { scope, site, desk: Desk::new(scope), sender, crew: None, hire }
    }

    /// Asks the crew to end its running actions.
    pub(super) fn stop(&mut self) {
        self.crew.iter_mut().for_each(|crew| crew.stop());
    }

    /// Hands a chore to a thread of this process.
    pub(super) fn hand(&mut self, chore: impl FnOnce(Site<'scope>) -> Message + Send + 'scope) {
        let (site, sender) = (self.site, self.sender.clone());
        self.desk.hand(move || {
            let message = panics::caught(|| chore(site)).unwrap_or_else(Message::Broken);
            drop(sender.send(message));
        });
    }

    /// Hands an action to the crew, which is hired at its first action.
    pub(super) fn begin(&mut self, action: Action) -> Result<(), EngineError> {
        if self.crew.is_none() {
            let sender = self.sender.clone();
            let reports: Reports = Arc::new(move |report| drop(sender.send(Message::Report(report))));
            self.crew = Some(match self.hire {
                Some(hire) => hire(reports)?,
                None => Box::new(Threads::new(self.scope, self.site, reports)),
            });
        }
        self.crew.as_mut().map_or(Ok(()), |crew| crew.start(action))
    }
}
