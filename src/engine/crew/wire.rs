//! wire: the messages between a run and its worker process: one JSON value a line.

use crate::base::{Digest, StageKey};
use crate::engine::action::{Action, ActionInput, Report};
use crate::engine::error::ActionError;
use crate::engine::plan::{NodeId, Plan};
use crate::engine::work::Shard;
use crate::engine::{Device, Event};
use crate::store::{Record, Store};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// A message to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Order {
    /// The first line: what the actions are about.
    Hello(Box<Hello>),
    /// Do this.
    Do(Box<Job>),
    /// End running actions at their next checkpoint.
    Stop,
}

/// What all actions of a run have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The pipeline with overrides applied and variables replaced, which loads to the run's plan.
    pub pipeline: String,
    /// The run's name.
    pub run: String,
    /// The device that networks run on, and what the run's keys say of it; the worker must find the same.
    pub device: Device,
}

/// An action. Inputs are named by key: the worker reads their records.
#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    id: u64,
    node: u32,
    key: StageKey,
    inputs: Vec<JobInput>,
    shard: Option<Shard>,
}

#[derive(Debug, Serialize, Deserialize)]
struct JobInput {
    port: String,
    node: u32,
    key: StageKey,
    artifact: Digest,
}

/// A worker's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Answer {
    /// It has loaded its libraries and the plan.
    Ready,
    /// It cannot work.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// Something happened in an action.
    Event {
        /// The action.
        id: u64,
        /// What happened.
        event: Event,
    },
    /// An action begins or ends a save; in between, ending the worker would lose work.
    Saving {
        /// The action.
        id: u64,
        /// Whether it begins.
        begun: bool,
    },
    /// An action ended with this record.
    Made {
        /// The action.
        id: u64,
        /// What it committed.
        record: Box<Record>,
    },
    /// An action ended without one.
    Failed {
        /// The action.
        id: u64,
        /// Why.
        error: ActionError,
    },
}

impl From<Report> for Answer {
    fn from(report: Report) -> Self {
        match report {
            Report::Event(id, event) => Self::Event { id, event },
            Report::Saving(id, begun) => Self::Saving { id, begun },
            Report::Done(id, result) => match *result {
                Ok(record) => Self::Made { id, record: Box::new(record) },
                Err(error) => Self::Failed { id, error },
            },
        }
    }
}

impl From<&Action> for Job {
    fn from(action: &Action) -> Self {
        let input = |input: &ActionInput| JobInput {
            port: input.port.to_owned(),
            node: input.node.0,
            key: input.record.key(),
            artifact: input.record.artifact.digest(),
        };
        let inputs = action.inputs.iter().map(input).collect();
        Self { id: action.id, node: action.node.0, key: action.key, inputs, shard: action.shard.clone() }
    }
}

/// Records by their key, read once.
#[derive(Default)]
pub struct Records(HashMap<StageKey, Arc<Record>>);

impl Records {
    fn read(&mut self, store: &Store, input: &JobInput) -> anyhow::Result<Arc<Record>> {
        if let Some(known) = self.0.get(&input.key).filter(|known| known.artifact.digest() == input.artifact) {
            return Ok(Arc::clone(known));
        }
        let record = store.record(input.key)?.context("the record of an input is gone; run the same command again")?;
        ensure!(record.artifact.digest() == input.artifact, "an input was rebuilt with other bytes; run again");
        let record = Arc::new(record);
        self.0.insert(input.key, Arc::clone(&record));
        Ok(record)
    }
}

impl Job {
    /// Names it in answers.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The action in this process.
    ///
    /// # Errors
    /// If the plan or the store lacks something that it names.
    pub fn action(self, plan: &Plan, store: &Store, records: &mut Records) -> anyhow::Result<Action> {
        ensure!((self.node as usize) < plan.len(), "BUG: an action for a node that the plan does not have");
        let node = plan.node(NodeId(self.node));
        let input = |input: &JobInput| {
            let connected = node.inputs.iter().find(|(port, from)| *port == input.port && from.0 == input.node);
            let (port, from) = *connected.context("BUG: an action with an input that its node does not have")?;
            Ok(ActionInput { port, node: from, record: records.read(store, input)? })
        };
        let inputs = self.inputs.iter().map(input).collect::<anyhow::Result<_>>()?;
        Ok(Action { id: self.id, node: NodeId(self.node), key: self.key, inputs, shard: self.shard })
    }
}
