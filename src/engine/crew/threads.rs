//! threads: a crew of threads in this process.

use crate::engine::action::{Action, Report, Site, perform};
use crate::engine::crew::{Crew, Reports};
use crate::engine::{EngineError, Pool};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

/// Name of the threads that run stages; a panic hook may recognize them by it.
pub const WORKER: &str = "dcpipe-stage";

/// Threads, started at their first use and then kept. Some libraries hold a team of threads or a device's handles for
/// every calling thread. This way they set those up once.
pub struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    site: Site<'scope>,
    reports: Reports,
    pools: [Queue; 3],
}

/// The actions of one pool that wait for a thread.
struct Queue {
    sender: Sender<Action>,
    receiver: Arc<Mutex<Receiver<Action>>>,
    threads: usize,
    /// How many actions were handed over and have not ended.
    open: Arc<Mutex<usize>>,
}

impl<'scope, 'env> Threads<'scope, 'env> {
    /// A crew without threads yet.
    pub fn new(scope: &'scope Scope<'scope, 'env>, site: Site<'scope>, reports: Reports) -> Self {
        let queue = || {
            let (sender, receiver) = channel();
            Queue { sender, receiver: Arc::new(Mutex::new(receiver)), threads: 0, open: Arc::default() }
        };
        Self { scope, site, reports, pools: [queue(), queue(), queue()] }
    }

    fn start_thread(&mut self, pool: Pool) -> std::io::Result<()> {
        let queue = &mut self.pools[pool as usize];
        let (receiver, open) = (Arc::clone(&queue.receiver), Arc::clone(&queue.open));
        let (site, reports) = (self.site, Arc::clone(&self.reports));
        Builder::new().name(WORKER.to_owned()).spawn_scoped(self.scope, move || {
            while let Some(action) = next(&receiver) {
                let result = perform(site, &action, &*reports);
                *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                reports(Report::Done(action.id, Box::new(result)));
            }
        })?;
        queue.threads += 1;
        Ok(())
    }
}

fn next(actions: &Mutex<Receiver<Action>>) -> Option<Action> {
    actions.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Crew for Threads<'_, '_> {
    fn start(&mut self, action: Action) -> Result<(), EngineError> {
        let pool = self.site.plan.node(action.node).stage.def().pool;
        let queue = &self.pools[pool as usize];
        let open = {
            let mut open = queue.open.lock().unwrap_or_else(PoisonError::into_inner);
            *open += 1;
            *open
        };
        if queue.threads < open {
            self.start_thread(pool)
                .map_err(|error| EngineError::NoCrew { why: format!("could not start a thread: {error}") })?;
        }
        let sent = self.pools[pool as usize].sender.send(action);
        sent.map_err(|_| EngineError::NoCrew { why: "BUG: a pool without its queue".to_owned() })
    }

    /// A computing stage sees the run's own request to stop; a thread cannot be ended.
    fn stop(&mut self) {}
}
