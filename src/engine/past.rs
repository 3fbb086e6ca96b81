//! past: what the runs of a journal did, read back from it.
//!
//! Programs of any version write a journal, two of them may write at once, and it may end anywhere. So the reader
//! relies on nothing in it. It counts and skips an unreadable line, and leaves out what is missing.

use crate::base::StageKey;
use crate::engine::{Event, MissReason};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Far more seconds than a run takes; a damaged line may say anything.
const FOREVER: f64 = 1e12;
/// Far more bytes than a line has.
const LONGEST_LINE: u64 = 1 << 24;

/// The runs of a journal.
#[derive(Default, Debug)]
pub struct Past {
    /// In the order in which they began.
    pub runs: Vec<PastRun>,
    /// Lines that are torn, or that a newer version wrote.
    pub unread: usize,
}

/// What one run did.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct PastRun {
    /// Distinguishes its lines from those of other runs; older versions wrote none.
    pub id: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// Its name.
    pub name: String,
    /// The device of its networks.
    pub device: String,
    /// The program that ran it.
    pub program: String,
    /// Nodes that ran, in the order in which they began.
    pub ran: Vec<PastNode>,
    /// Nodes with a record in the store: when, which, with which key.
    pub hits: Vec<(f64, String, StageKey)>,
    /// Node, or nothing, and the note.
    pub notes: Vec<(String, String)>,
    /// Node and error.
    pub failures: Vec<(String, String)>,
    /// Seconds until its last known event.
    pub wall_s: f64,
    /// How it ended; nothing if it was killed or still runs.
    pub end: Option<End>,
}

/// A node that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct PastNode {
    /// Its name.
    pub node: String,
    /// Seconds from the run's beginning to its own.
    pub began_s: f64,
    /// Seconds that it took, or that are known of it.
    pub took_s: f64,
    /// Its key.
    pub key: Option<StageKey>,
    /// Why it ran.
    pub reason: Option<MissReason>,
    /// What it measured last, in the order of the names.
    pub metrics: BTreeMap<String, f64>,
    /// Bytes of what it made; nothing where it did not finish.
    pub bytes: Option<u64>,
    /// The journal has its beginning but not its end.
    open: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It reached its goal.
    Complete,
    /// A node failed.
    Failed,
    /// It was asked to stop.
    Interrupted,
}

#[derive(Deserialize)]
struct Stamp {
    unix_ms: u64,
    t: f64,
    id: Option<String>,
}

/// Reads a journal.
///
/// # Errors
/// If the file is unreadable.
pub fn read(journal: &Path) -> io::Result<Past> {
    if !std::fs::metadata(journal)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut past = Past::default();
    let mut by_id = HashMap::new();
    let (mut reader, mut line) = (BufReader::new(std::fs::File::open(journal)?), Vec::new());
    while let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?
        && read > 0
    {
        let parsed = || -> Option<(Stamp, Event)> {
            let value: serde_json::Value = serde_json::from_slice(&line).ok()?;
            Some((Stamp::deserialize(&value).ok()?, Event::deserialize(&value).ok()?))
        };
        match parsed() {
            Some((stamp, event)) => past.take(&mut by_id, stamp, event),
            None => past.unread += usize::from(!line.trim_ascii().is_empty()),
        }
        if line.pop() != Some(b'\n') {
            reader.skip_until(b'\n')?;
        }
        line.clear();
    }
    past.runs.iter_mut().for_each(PastRun::close);
    Ok(past)
}

impl Past {
    fn take(&mut self, by_id: &mut HashMap<String, usize>, stamp: Stamp, event: Event) {
        let begins = matches!(event, Event::RunStarted { .. });
        let known = match &stamp.id {
            Some(id) => by_id.get(id).copied(),
            None if begins => None,
            // In an old journal a line belongs to the run that began last, unless that one has ended.
            None => self.runs.iter().rposition(|run| run.id.is_none()).filter(|at| self.runs[*at].end.is_none()),
        };
        let at = known.unwrap_or_else(|| {
            self.runs.push(PastRun { id: stamp.id.clone(), began_unix_ms: stamp.unix_ms, ..PastRun::default() });
            self.runs.len() - 1
        });
        by_id.extend(stamp.id.map(|id| (id, at)));
        self.runs[at].take(clean(stamp.t), event);
    }
}

fn clean(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, FOREVER) } else { 0.0 }
}

impl PastRun {
    /// The seconds that each node took, all its runs together.
    pub fn took(&self) -> BTreeMap<&str, f64> {
        let mut took = BTreeMap::new();
        for node in &self.ran {
            *took.entry(node.node.as_str()).or_default() += node.took_s;
        }
        took
    }

    /// How many nodes finished.
    pub fn finished(&self) -> usize {
        self.made().len()
    }

    /// How many nodes only needed their record. The others also ran, because their bytes were needed or differed.
    pub fn hit(&self) -> usize {
        let made = self.made();
        self.hits
            .iter()
            .map(|(_, node, _)| node.as_str())
            .filter(|node| !made.contains(node))
            .collect::<BTreeSet<_>>()
            .len()
    }

    fn made(&self) -> BTreeSet<&str> {
        self.ran.iter().filter(|node| node.bytes.is_some()).map(|node| node.node.as_str()).collect()
    }

    /// How many nodes began and neither finished nor failed.
    pub fn unfinished(&self) -> usize {
        self.ran.iter().filter(|node| node.open).count()
    }

    fn take(&mut self, t: f64, event: Event) {
        self.wall_s = self.wall_s.max(t);
        match event {
            Event::RunStarted { run, device, program, .. } => {
                (self.name, self.device, self.program) = (run, device, program);
            }
            Event::NodeHit { node, key, .. } => self.hits.push((t, node, key)),
            Event::NodeStarted { node, key, reason } => {
                self.ran.push(PastNode { key: Some(key), reason: Some(reason), ..PastNode::begun(node, t) });
            }
            Event::Metric { node, name, value } => {
                if let Some(open) = self.open(&node) {
                    open.metrics.insert(name, value);
                }
            }
            Event::Note { node, text } => self.notes.push((node, text)),
            Event::NodeFinished { node, key, bytes, wall_s, .. } => {
                let wall_s = clean(wall_s);
                if self.open(&node).is_none() {
                    self.ran.push(PastNode::begun(node.clone(), (t - wall_s).max(0.0)));
                }
                let Some(open) = self.open(&node) else { return };
                (open.open, open.key, open.bytes) = (false, Some(key), Some(bytes));
                // Another run may have been faster; then the valid record has the time of that run.
                open.took_s = wall_s.min(t - open.began_s).max(0.0);
            }
            Event::NodeFailed { node, error } => {
                if let Some(open) = self.open(&node) {
                    (open.open, open.took_s) = (false, (t - open.began_s).max(0.0));
                }
                self.failures.push((node, error));
            }
            Event::RunFinished { failed, wall_s, interrupted, .. } => {
                self.wall_s = clean(wall_s);
                self.end = Some(match (interrupted, failed) {
                    (true, _) => End::Interrupted,
                    (false, 0) => End::Complete,
                    (false, _) => End::Failed,
                });
            }
            Event::Progress { .. }
            | Event::NodeWaits { .. }
            | Event::PutDown { .. }
            | Event::Evicted { .. }
            | Event::Drifted { .. } => {}
        }
    }

    fn open(&mut self, node: &str) -> Option<&mut PastNode> {
        self.ran.iter_mut().rev().find(|past| past.open && past.node == node)
    }

    /// Nodes that ran at the end of the journal ran until then.
    fn close(&mut self) {
        let wall_s = self.wall_s;
        for node in self.ran.iter_mut().filter(|node| node.open) {
            node.took_s = (wall_s - node.began_s).max(0.0);
        }
    }
}

impl PastNode {
    fn begun(node: String, began_s: f64) -> Self {
        let metrics = BTreeMap::new();
        Self { node, began_s, took_s: 0.0, key: None, reason: None, metrics, bytes: None, open: true }
    }
}
