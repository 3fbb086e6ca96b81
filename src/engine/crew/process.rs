//! process: a crew of one worker process, kept warm, that speaks JSON lines.
//!
//! A native library may abort its process or exhaust its memory. That ends an action, but not the run.

use crate::engine::action::Action;
use crate::engine::crew::wire::{Hello, Job, Order};
use crate::engine::crew::worker::Worker;
use crate::engine::crew::{Crew, Reports};
use crate::engine::error::EngineError;
use std::process::Command;
use std::time::Duration;

pub use crate::engine::crew::worker::Patience;

/// A run's patience. A checkpoint comes within seconds; a save of a large network on a slow disk takes up to a minute.
const PATIENCE: Patience = Patience { grace: Duration::from_secs(8), saving: Duration::from_mins(1) };

/// Makes the command that starts a worker, or says why there is none.
pub type Start = Box<dyn Fn() -> Result<Command, EngineError>>;

/// The crew.
pub struct Process {
    command: Start,
    hello: Hello,
    reports: Reports,
    patience: Patience,
    worker: Option<Worker>,
}

impl Process {
    /// A crew without a process yet: the first action starts the worker that `command` makes.
    pub fn new(command: Start, hello: Hello, reports: Reports) -> Self {
        Self { command, hello, reports, patience: PATIENCE, worker: None }
    }

    /// The same with another patience.
    #[must_use]
    pub fn waiting(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

impl Crew for Process {
    /// Starts a missing or dead worker without waiting for it: the run's loop continues meanwhile.
    fn start(&mut self, action: Action) -> Result<(), EngineError> {
        let mut order = Order::Do(Box::new(Job::from(&action)));
        if let Some(worker) = &self.worker {
            match worker.take_on(action.id, order) {
                None => return Ok(()),
                Some(back) => order = back,
            }
        }
        self.worker = None;
        let hello = Order::Hello(Box::new(self.hello.clone()));
        let started = Worker::start((self.command)()?, hello, (action.id, order), &self.reports, self.patience);
        self.worker = Some(started.map_err(|why| EngineError::NoCrew { why })?);
        Ok(())
    }

    fn stop(&mut self) {
        self.worker.iter().for_each(|worker| worker.stop(self.patience));
    }
}
