//! desk: threads for a run's own long chores, so that its loop never waits.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

/// The most threads at a time; further chores wait.
const MOST: usize = 4;

type Chore<'scope> = Box<dyn FnOnce() + Send + 'scope>;

/// The threads, started at their first use.
pub(super) struct Desk<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Chore<'scope>>,
    receiver: Arc<Mutex<Receiver<Chore<'scope>>>>,
    threads: usize,
    open: Arc<Mutex<usize>>,
}

impl<'scope, 'env> Desk<'scope, 'env> {
    /// A desk without threads yet.
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        let (sender, receiver) = channel();
        Self { scope, sender, receiver: Arc::new(Mutex::new(receiver)), threads: 0, open: Arc::default() }
    }

    /// Hands a chore to another thread. If none can be started, does it here and now.
    pub(super) fn hand(&mut self, chore: impl FnOnce() + Send + 'scope) {
        let open = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            *open += 1;
            *open
        };
        if self.threads < open.min(MOST) {
            let (receiver, count) = (Arc::clone(&self.receiver), Arc::clone(&self.open));
            let work = move || {
                while let Some(chore) = next(&receiver) {
                    chore();
                    *count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                }
            };
            self.threads += usize::from(Builder::new().spawn_scoped(self.scope, work).is_ok());
        }
        if self.threads == 0 {
            return chore();
        }
        let _ = self.sender.send(Box::new(chore)); // This desk holds its receiver.
    }
}

fn next<'scope>(chores: &Mutex<Receiver<Chore<'scope>>>) -> Option<Chore<'scope>> {
    chores.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
