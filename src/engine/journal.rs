//! journal: every event of a run as a line of JSON, appended as it happens.

use crate::base::clock::{Stopwatch, unix_ms};
use crate::engine::{Event, Observer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

/// The journal's file in the folder of a run's results.
pub const FILE: &str = "events.jsonl";

/// An event with when it happened.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    unix_ms: u64,
    /// Seconds since the run began.
    t: f64,
    /// Tells apart two runs of one name that write at the same time.
    id: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// So many bytes of lines are kept back at most.
const TOGETHER: usize = 1 << 16;

/// Writes events to a file or a stream.
pub struct Journal<W: Write + Send> {
    out: Mutex<Out<W>>,
    id: String,
    watch: Stopwatch,
    everything: bool,
}

struct Out<W> {
    to: W,
    /// Lines on their way there.
    lines: Vec<u8>,
    /// What running nodes measured last: node -> name -> value.
    measured: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Journal<File> {
    /// Appends to `events.jsonl` in `folder`: what happened, but not how far a node was at which moment, which would be
    /// gigabytes over a run of days. Of what a node measured, its last values are written when it ends.
    pub fn append_to(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut file = File::options().create(true).read(true).append(true).open(folder.join(FILE))?;
        end_torn_line(&mut file)?;
        Ok(Self { everything: false, ..Self::to(file) })
    }
}

/// A run that lost its power may have left half a line, and the next must not be glued to it.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

impl<W: Write + Send> Journal<W> {
    /// Writes every event to `out`.
    pub fn to(out: W) -> Self {
        let random = RandomState::new().hash_one((std::process::id(), unix_ms()));
        let out = Mutex::new(Out { to: out, lines: Vec::new(), measured: BTreeMap::new() });
        Self { out, id: format!("{random:016x}"), watch: Stopwatch::new(), everything: true }
    }

    fn write(&self, out: &mut Out<W>, event: &Event) {
        let line = Line { unix_ms: unix_ms(), t: self.watch.seconds(), id: &self.id, event };
        let whole = out.lines.len();
        if serde_json::to_writer(&mut out.lines, &line).is_err() {
            return out.lines.truncate(whole);
        }
        out.lines.push(b'\n');
        // Hits come by thousands and no time passes between them.
        if matches!(event, Event::NodeHit { .. }) && out.lines.len() < TOGETHER {
            return;
        }
        // History is worth having, and no reason to stop a run of days. Each write has whole lines.
        let _ = out.to.write_all(&out.lines).and_then(|()| out.to.flush());
        out.lines.clear();
    }
}

impl<W: Write + Send> Observer for Journal<W> {
    fn observe(&self, event: &Event) {
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.everything {
            return self.write(&mut out, event);
        }
        let measured = &mut out.measured;
        let ended = match event {
            Event::Progress { .. } => return,
            Event::Metric { node, name, value } => {
                measured.entry(node.clone()).or_default().insert(name.clone(), *value);
                return;
            }
            Event::NodeFinished { node, .. } | Event::NodeFailed { node, .. } => {
                measured.remove_entry(node).into_iter().collect()
            }
            Event::RunFinished { .. } => std::mem::take(measured),
            _ => BTreeMap::new(),
        };
        for (node, values) in ended {
            for (name, value) in values {
                self.write(&mut out, &Event::Metric { node: node.clone(), name, value });
            }
        }
        self.write(&mut out, event);
    }
}
