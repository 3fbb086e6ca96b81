//! journal: every event of a run as a line of JSON, appended at once.

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

/// An event and its time.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    unix_ms: u64,
    /// Seconds since the run began.
    t: f64,
    /// Distinguishes two runs of one name that write at the same time.
    id: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// The most bytes of lines that wait for a write.
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
    /// Lines that wait for the next write.
    lines: Vec<u8>,
    /// The last measurements of running nodes: node -> name -> value.
    measured: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Journal<File> {
    /// Appends to `events.jsonl` in `folder`. Progress is left out: it would be gigabytes over a run of days. A node's
    /// measurements are written once, with their last values, when it ends.
    pub fn append_to(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut file = File::options().create(true).read(true).append(true).open(folder.join(FILE))?;
        end_torn_line(&mut file)?;
        Ok(Self { everything: false, ..Self::to(file) })
    }
}

/// A power cut may have left half a line, and the next line must not join it.
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
    #[expect(
        clippy::disallowed_methods,
        reason = "two runs that write to one file need two names; no result holds one"
    )]
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
        // A run can find thousands of hits at once, so the journal writes them together.
        if matches!(event, Event::NodeHit { .. }) && out.lines.len() < TOGETHER {
            return;
        }
        // A failing journal is no reason to stop a run of days. Each write has whole lines.
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
