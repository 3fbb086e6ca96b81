//! live: what a run does at this moment, from the end of its journal.

use crate::base::clock::unix_ms;
use crate::engine::Event;
use crate::engine::event::WARNING;
use crate::views::turn;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Bytes of the journal that are read when the server starts. A longer one only makes the counts of nodes too low.
const LAST: u64 = 8 << 20;
/// Bytes that are read at a time.
const AT_ONCE: u64 = 1 << 20;
/// Notes that are shown.
const NOTES: usize = 3;

/// Follows a journal.
pub(super) struct Live {
    journal: PathBuf,
    /// How far it was read, and the line that began there.
    read: u64,
    line: Vec<u8>,
    run: Option<Run>,
    /// Counts up with each event after which the store has other records or other bytes.
    pub(super) changes: u64,
}

/// The run that began last.
#[derive(Default)]
struct Run {
    id: Option<String>,
    began_ms: u64,
    heard_ms: u64,
    nodes: usize,
    done: BTreeSet<String>,
    running: BTreeMap<String, Running>,
    waiting: BTreeSet<String>,
    failures: Vec<(String, String)>,
    notes: VecDeque<String>,
    /// How it ended.
    end: Option<&'static str>,
}

/// A node at work.
struct Running {
    since_ms: u64,
    /// Shards and checkpoints that it committed.
    saved: usize,
}

#[derive(Deserialize)]
struct Stamp {
    unix_ms: u64,
    id: Option<String>,
}

impl Live {
    /// Follows a journal from its end, or from its beginning once there is one.
    pub(super) fn of(journal: PathBuf) -> Self {
        Self { journal, read: 0, line: Vec::new(), run: None, changes: 0 }
    }

    /// Reads what is new. A journal that cannot be read tells nothing.
    pub(super) fn look(&mut self) {
        let _ = self.read_on();
    }

    fn read_on(&mut self) -> io::Result<()> {
        let mut file = File::open(&self.journal)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(());
        }
        if meta.len() < self.read {
            *self = Self { changes: self.changes + 1, ..Self::of(std::mem::take(&mut self.journal)) };
        }
        if self.read == 0 && meta.len() > LAST {
            self.read = meta.len() - LAST;
        }
        file.seek(SeekFrom::Start(self.read))?;
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(AT_ONCE).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(());
            }
            self.read += bytes.len() as u64;
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                // No event is as long as this: the rest of such a line is no line either.
                if self.line.len() as u64 <= AT_ONCE {
                    self.line.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.line);
                    self.take(&line);
                }
            }
        }
    }

    /// Takes a line; one that is torn, or that a newer program wrote, tells nothing.
    fn take(&mut self, line: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(line) else { return };
        let (Ok(stamp), Ok(event)) = (Stamp::deserialize(&value), Event::deserialize(&value)) else { return };
        if let Event::RunStarted { nodes, .. } = event {
            self.changes += 1;
            let (began_ms, heard_ms) = (stamp.unix_ms, stamp.unix_ms);
            self.run = Some(Run { id: stamp.id, began_ms, heard_ms, nodes, ..Run::default() });
            return;
        }
        // Another run of this name, which began before.
        let Some(run) = self.run.as_mut().filter(|run| run.id == stamp.id) else { return };
        run.heard_ms = run.heard_ms.max(stamp.unix_ms);
        match event {
            Event::NodeStarted { node, .. } => {
                run.waiting.remove(&node);
                run.running.insert(node, Running { since_ms: stamp.unix_ms, saved: 0 });
            }
            Event::NodeWaits { node, .. } => _ = run.waiting.insert(node),
            Event::PutDown { node, .. } => {
                run.running.entry(node).and_modify(|running| running.saved += 1);
            }
            Event::NodeHit { node, .. } | Event::NodeFinished { node, .. } => {
                run.forget(&node);
                run.done.insert(node);
                self.changes += 1;
            }
            Event::NodeFailed { node, error } => {
                run.forget(&node);
                run.failures.push((node, error));
            }
            Event::Note { text, .. } => {
                if let Some(warning) = text.strip_prefix(WARNING) {
                    run.notes.push_back(warning.to_owned());
                    run.notes.drain(..run.notes.len().saturating_sub(NOTES));
                }
            }
            Event::Evicted { .. } => self.changes += 1,
            Event::RunFinished { failed, interrupted, .. } => {
                run.end = Some(match (interrupted, failed) {
                    (true, _) => "interrupted",
                    (false, 0) => "done",
                    (false, _) => "failed",
                });
                (run.running, run.waiting) = Default::default();
                self.changes += 1;
            }
            Event::RunStarted { .. } | Event::Progress { .. } | Event::Metric { .. } | Event::Drifted { .. } => {}
        }
    }

    /// What the page shows of the run; null where no journal tells of one. `usual` knows how many seconds a node of this
    /// name took before.
    pub(super) fn json(&self, usual: &dyn Fn(&str) -> Option<f64>) -> Value {
        let Some(run) = &self.run else { return Value::Null };
        let now = unix_ms();
        let since = |ms: u64| now.saturating_sub(ms) as f64 / 1e3;
        // A killed run writes no last event; but the kernel knows that nobody holds its results folder.
        let is_gone = || self.journal.parent().is_some_and(|folder| turn::is_taken(folder) == Some(false));
        let state = run.end.unwrap_or_else(|| if is_gone() { "killed" } else { "running" });
        let running = run.running.iter().filter(|_| state == "running").map(|(node, running)| {
            json!({ "node": node, "for_s": since(running.since_ms), "saved": running.saved, "usual_s": usual(node) })
        });
        json!({
            "state": state, "began_s": since(run.began_ms), "heard_s": since(run.heard_ms), "nodes": run.nodes,
            "done": run.done.len(), "running": running.collect::<Vec<_>>(), "waiting": run.waiting,
            "failures": run.failures, "notes": run.notes,
        })
    }
}

impl Run {
    fn forget(&mut self, node: &str) {
        self.running.remove(node);
        self.waiting.remove(node);
    }
}
