//! terminal: events as a person follows them: bars on a terminal, a plain line every few seconds elsewhere.

use crate::base::clock::Stopwatch;
use crate::cli::plan::in_words;
use crate::cli::text;
use crate::engine::event::WARNING;
use crate::engine::plan::is_implied;
use crate::engine::{Event, Observer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

/// Seconds between two plain lines about the same node.
const HEARTBEAT_S: f64 = 5.0;

/// How much is said.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// Only what went wrong.
    Quiet,
    /// What ran.
    Plain,
    /// Also hits and reasons.
    Verbose,
}

/// Speaks on standard error.
pub struct Terminal {
    voice: Voice,
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<String, Running>>,
    /// Warnings so far: code -> how often, and what the last one said.
    warnings: Mutex<BTreeMap<String, (u32, String)>>,
}

/// What is known of a running node.
struct Running {
    bar: Option<ProgressBar>,
    watch: Stopwatch,
    said: Stopwatch,
    metrics: BTreeMap<String, f64>,
    /// Whether it was said that it resumes from an interrupted run.
    goes_on: bool,
}

impl Terminal {
    /// Bars if standard error is a terminal, lines otherwise.
    pub fn new(voice: Voice) -> Self {
        let bars = (voice > Voice::Quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { voice, bars, running: Mutex::default(), warnings: Mutex::default() }
    }

    fn say(&self, line: &str) {
        let print = || drop(writeln!(std::io::stderr(), "{}", text::plain(line)));
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    fn started(&self, node: &str) -> Running {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{prefix:14} {spinner} {wide_msg}").ok();
            let bar = bars.add(ProgressBar::no_length());
            bar.set_style(style.unwrap_or_else(ProgressStyle::default_spinner));
            bar.set_prefix(node.to_owned());
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        Running { bar, watch: Stopwatch::new(), said: Stopwatch::new(), metrics: BTreeMap::new(), goes_on: false }
    }

    fn progress(&self, node: &str, done: u64, total: u64, unit: &str) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(at) = running.get_mut(node) else { return };
        let seconds = at.watch.seconds();
        let rate = done as f64 / seconds.max(1e-9);
        let left = total.saturating_sub(done) as f64 / rate.max(1e-9);
        let mut status = format!("{done}/{total} {unit}, {rate:.0}/s, {} left", text::seconds(left));
        for (name, value) in &at.metrics {
            status.push_str(&format!(", {name} {}", text::number(*value)));
        }
        if let Some(bar) = &at.bar {
            let width = 24;
            let full = (width * done.min(total) / total.max(1)) as usize;
            bar.set_message(format!("[{}{}] {status}", "#".repeat(full), "-".repeat(width as usize - full)));
        } else if self.voice > Voice::Quiet && at.said.seconds() >= HEARTBEAT_S {
            at.said = Stopwatch::new();
            self.say(&format!("{node}: {status}"));
        }
    }

    fn goes_on(&self, node: &str, part: &str) {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(at) = running.get_mut(node).filter(|at| !at.goes_on && self.voice > Voice::Quiet) else { return };
        at.goes_on = true;
        self.say(&format!("{node}: resumes from where an interrupted run was ({part})"));
    }

    fn ended(&self, node: &str) -> BTreeMap<String, f64> {
        let ended = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(node);
        let Some(ended) = ended else { return BTreeMap::new() };
        if let Some(bar) = ended.bar {
            bar.finish_and_clear();
        }
        ended.metrics
    }
}

impl Observer for Terminal {
    fn observe(&self, event: &Event) {
        match event {
            // It follows the node whose tables it makes, and takes no time to speak of.
            Event::NodeStarted { node, .. } | Event::NodeFinished { node, .. }
                if is_implied(node) && self.voice < Voice::Verbose => {}
            Event::RunStarted { run, nodes, device, .. } if self.voice > Voice::Quiet => {
                self.say(&format!("{run}: {nodes} nodes on {device}"));
            }
            Event::NodeHit { node, .. } if self.voice == Voice::Verbose => self.say(&format!("{node}: hit")),
            Event::NodeWaits { node, .. } if self.voice > Voice::Quiet => {
                self.say(&format!("{node}: another run is making it; this one waits, and takes what it makes"));
            }
            Event::NodeStarted { node, reason, .. } => {
                if self.voice == Voice::Verbose {
                    self.say(&format!("{node}: runs, {}", in_words(reason)));
                }
                let running = self.started(node);
                self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(node.clone(), running);
            }
            Event::PutDown { node, part, hit: true } => self.goes_on(node, part),
            Event::Progress { node, done, total, unit } => self.progress(node, *done, *total, unit),
            Event::Metric { node, name, value } => {
                let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(at) = running.get_mut(node) {
                    at.metrics.insert(name.clone(), *value);
                }
            }
            Event::Note { node, text } if text.starts_with(WARNING) => self.warned(node, text),
            Event::Note { node, text } if self.voice > Voice::Quiet => {
                let about = if node.is_empty() { String::new() } else { format!("{node}: ") };
                self.say(&format!("{about}note: {text}"));
            }
            Event::NodeFinished { node, bytes, wall_s, .. } => {
                let metrics: String =
                    self.ended(node).iter().map(|(n, v)| format!(", {n} {}", text::number(*v))).collect();
                if self.voice > Voice::Quiet {
                    self.say(&format!("{node}: {}, {}{metrics}", text::seconds(*wall_s), text::bytes(*bytes)));
                }
            }
            Event::NodeFailed { node, .. } => drop(self.ended(node)),
            Event::Evicted { node, bytes } if self.voice == Voice::Verbose => {
                self.say(&format!("{node}: {} freed", text::bytes(*bytes)));
            }
            Event::Drifted { node, was, is } => {
                self.say(&format!("{node}: note: it gave other bytes than before ({} -> {})", was.short(), is.short()));
            }
            Event::RunFinished { ran, hit, failed, skipped, wall_s, .. } => {
                self.finished(*ran, *hit, *failed, *skipped, *wall_s);
            }
            _ => {}
        }
    }
}

impl Terminal {
    /// Warnings are shown where they come up, and again at the end, where nobody has scrolled past them.
    fn warned(&self, node: &str, text: &str) {
        let (code, says) = text[WARNING.len()..].split_once(": ").unwrap_or((text, ""));
        if self.voice > Voice::Quiet {
            self.say(&format!("{node}: warning: {says}"));
        }
        let mut warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = warnings.entry(code.to_owned()).or_default();
        *known = (known.0 + 1, format!("{node}: {says}"));
    }

    fn finished(&self, ran: usize, hit: usize, failed: usize, skipped: usize, wall_s: f64) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
        if self.voice > Voice::Quiet {
            let mut line = format!("{ran} ran, {hit} hit");
            for (count, what) in [(failed, "failed"), (skipped, "skipped")] {
                if count > 0 {
                    line.push_str(&format!(", {count} {what}"));
                }
            }
            self.say(&format!("{line} in {}", text::seconds(wall_s)));
        }
        let warnings = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (code, (times, last)) in warnings.iter() {
            let times = if *times > 1 { format!(", {times} times") } else { String::new() };
            self.say(&format!("warning ({code}{times}): {last}"));
        }
    }
}
