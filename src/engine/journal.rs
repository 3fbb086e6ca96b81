//! journal: every event of a run as a line of JSON, appended as it happens.

use crate::base::clock::{Stopwatch, unix_ms};
use crate::engine::{Event, Observer};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// An event with when it happened.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    unix_ms: u64,
    /// Seconds since the run began.
    t: f64,
    #[serde(flatten)]
    event: &'a Event,
}

/// So many bytes of lines are kept back at most.
const TOGETHER: usize = 1 << 16;

/// Writes events to a file or a stream.
pub struct Journal<W: Write + Send> {
    /// Where to, and lines on their way there.
    out: Mutex<(W, Vec<u8>)>,
    watch: Stopwatch,
    everything: bool,
}

impl Journal<File> {
    /// Appends to `events.jsonl` in `folder`: what happened, but not how far a node was at which moment, which would be
    /// gigabytes over a run of days.
    pub fn append_to(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("events.jsonl"))?;
        Ok(Self { everything: false, ..Self::to(file) })
    }
}

impl<W: Write + Send> Journal<W> {
    /// Writes every event to `out`.
    pub fn to(out: W) -> Self {
        Self { out: Mutex::new((out, Vec::new())), watch: Stopwatch::new(), everything: true }
    }
}

impl<W: Write + Send> Observer for Journal<W> {
    fn observe(&self, event: &Event) {
        if !self.everything && matches!(event, Event::Progress { .. } | Event::Metric { .. }) {
            return;
        }
        let line = Line { unix_ms: unix_ms(), t: self.watch.seconds(), event };
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (out, lines) = &mut *out;
        let whole = lines.len();
        if serde_json::to_writer(&mut *lines, &line).is_err() {
            return lines.truncate(whole);
        }
        lines.push(b'\n');
        // Hits come by thousands and no time passes between them.
        if matches!(event, Event::NodeHit { .. }) && lines.len() < TOGETHER {
            return;
        }
        // History is worth having, and no reason to stop a run of days. Each write has whole lines.
        let _ = out.write_all(lines).and_then(|()| out.flush());
        lines.clear();
    }
}
