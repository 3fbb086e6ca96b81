//! terminal: events as a person follows them: bars on a terminal, a plain line every few seconds elsewhere.

use crate::base::clock::Stopwatch;
use crate::cli::eta::{AtWork, Eta, parts};
use crate::cli::plan::in_words;
use crate::cli::text;
use crate::engine::event::{VERDICT, WARNING};
use crate::engine::plan::is_implied;
use crate::engine::{Event, MissReason, Observer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    course: Mutex<Course>,
    /// Warnings so far: code -> how often, and what the last one said.
    warnings: Mutex<BTreeMap<String, (u32, String)>>,
    /// The last judgement of what the run made, with its node.
    verdict: Mutex<Option<String>>,
}

/// How far the whole run is.
struct Course {
    eta: Eta,
    name: String,
    /// From the first node that runs on: a run of hits alone needs none.
    bar: Option<ProgressBar>,
}

/// What is known of a running node.
struct Running {
    /// The share that is done, if the node says so.
    share: Option<f64>,
    bar: Option<ProgressBar>,
    watch: Stopwatch,
    said: Stopwatch,
    metrics: BTreeMap<String, f64>,
    /// Whether it was said that it resumes from an interrupted run.
    goes_on: bool,
}

impl Terminal {
    /// Bars if standard error is a terminal, lines otherwise.
    pub fn new(voice: Voice, eta: Eta) -> Self {
        let bars = (voice > Voice::Quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        let course = Mutex::new(Course { eta, name: String::new(), bar: None });
        Self { voice, bars, running: Mutex::default(), course, warnings: Mutex::default(), verdict: Mutex::default() }
    }

    fn say(&self, line: &str) {
        let print = || drop(writeln!(std::io::stderr(), "{}", text::plain(line)));
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    fn bar(bars: &MultiProgress, name: &str, below: Option<&ProgressBar>) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix:14} {spinner} {wide_msg}").ok();
        let bar = ProgressBar::no_length();
        let bar = match below {
            Some(below) => bars.insert_before(below, bar),
            None => bars.add(bar),
        };
        bar.set_style(style.unwrap_or_else(ProgressStyle::default_spinner));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        bar
    }

    /// A line for a node, above that of the run.
    fn started(&self, node: &str) -> Running {
        let bar = self.bars.as_ref().map(|bars| {
            let mut course = lock(&self.course);
            let Course { name, bar, .. } = &mut *course;
            let run = bar.get_or_insert_with(|| Self::bar(bars, name, None));
            Self::bar(bars, node, Some(run))
        });
        let (watch, said) = (Stopwatch::new(), Stopwatch::new());
        Running { share: None, bar, watch, said, metrics: BTreeMap::new(), goes_on: false }
    }

    /// Brings the run's line up to date.
    fn advance(&self) {
        let running = lock(&self.running);
        let course = lock(&self.course);
        if let Some(bar) = &course.bar {
            bar.set_message(course.status(&running));
        }
    }

    /// Takes a node that is done; `seconds` if it ran. Where there are no bars, the end of an epoch is a line.
    fn done(&self, node: &str, seconds: Option<f64>) {
        let epoch = lock(&self.course).eta.done(node, seconds);
        if seconds.is_none() {
            return;
        }
        self.advance();
        if epoch.is_some() && self.bars.is_none() && self.voice > Voice::Quiet {
            let (running, course) = (lock(&self.running), lock(&self.course));
            if course.eta.epoch().is_some() {
                self.say(&format!("{}: {}", course.name, course.status(&running)));
            }
        }
    }

    fn progress(&self, node: &str, done: u64, total: u64, unit: &str) {
        self.measured(node, done, total, unit);
        self.advance();
    }

    fn measured(&self, node: &str, done: u64, total: u64, unit: &str) {
        let mut running = lock(&self.running);
        let Some(at) = running.get_mut(node) else { return };
        at.share = (total > 0).then(|| done as f64 / total as f64);
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
        let mut running = lock(&self.running);
        let Some(at) = running.get_mut(node).filter(|at| !at.goes_on && self.voice > Voice::Quiet) else { return };
        at.goes_on = true;
        self.say(&format!("{node}: resumes from where an interrupted run was ({part})"));
    }

    fn ended(&self, node: &str) -> BTreeMap<String, f64> {
        let ended = lock(&self.running).remove(node);
        let Some(ended) = ended else { return BTreeMap::new() };
        if let Some(bar) = ended.bar {
            bar.finish_and_clear();
        }
        ended.metrics
    }
}

impl Course {
    /// Such as "epoch 2 of 30, about 25m 10s left"; of a pipeline without epochs, nodes.
    fn status(&self, running: &BTreeMap<String, Running>) -> String {
        let at_work = running.iter().map(|(node, at)| AtWork {
            noun: parts(node).0,
            seconds: at.watch.seconds(),
            share: at.share,
        });
        let at_work: Vec<_> = at_work.collect();
        let (done, all) = self.eta.nodes();
        let at =
            self.eta.epoch().map_or(format!("{done} of {all} nodes"), |(at, last)| format!("epoch {at} of {last}"));
        let left = self.eta.seconds_left(&at_work);
        let left = left.map_or(String::new(), |left| format!(", about {} left", text::seconds(left)));
        format!("{at}{left}")
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for Terminal {
    fn observe(&self, event: &Event) {
        match event {
            // It follows the node whose tables it makes, and takes no time to speak of.
            Event::NodeStarted { node, .. } | Event::NodeFinished { node, .. }
                if is_implied(node) && self.voice < Voice::Verbose => {}
            Event::RunStarted { run, nodes, device, .. } if self.voice > Voice::Quiet => {
                lock(&self.course).name.clone_from(run);
                self.say(&format!("{run}: {nodes} nodes on {device}"));
            }
            Event::NodeHit { node, .. } => {
                self.done(node, None);
                if self.voice == Voice::Verbose {
                    self.say(&format!("{node}: hit"));
                }
            }
            Event::NodeWaits { node, .. } if self.voice > Voice::Quiet => {
                self.say(&format!("{node}: another run makes it; this run waits, and reuses the result"));
            }
            Event::NodeStarted { node, reason, .. } => {
                if self.voice == Voice::Verbose {
                    self.say(&format!("{node}: runs, {}", in_words(reason)));
                }
                if let MissReason::Evicted { .. } = reason {
                    lock(&self.course).eta.again(node);
                }
                let running = self.started(node);
                lock(&self.running).insert(node.clone(), running);
            }
            Event::PutDown { node, part, hit: true } => self.goes_on(node, part),
            Event::Progress { node, done, total, unit } => self.progress(node, *done, *total, unit),
            Event::Metric { node, name, value } => {
                let mut running = lock(&self.running);
                if let Some(at) = running.get_mut(node) {
                    at.metrics.insert(name.clone(), *value);
                }
            }
            Event::Note { node, text } if text.starts_with(WARNING) => self.warned(node, text),
            Event::Note { node, text } if text.starts_with(VERDICT) => {
                let verdict = format!("{node}: {}", &text[VERDICT.len()..]);
                if self.voice > Voice::Quiet {
                    self.say(&verdict);
                }
                *lock(&self.verdict) = Some(verdict);
            }
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
                self.done(node, Some(*wall_s));
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
    /// Warnings are shown where they come up, and again at the end, where nobody has scrolled past them. They take the place
    /// of what the same node of an earlier epoch was judged.
    fn warned(&self, node: &str, text: &str) {
        let noun = parts(node).0;
        let is_of = |verdict: &String| verdict.split_once(": ").is_some_and(|(of, _)| parts(of).0 == noun);
        drop(lock(&self.verdict).take_if(|verdict| is_of(verdict)));
        let (code, says) = text[WARNING.len()..].split_once(": ").unwrap_or((text, ""));
        if self.voice > Voice::Quiet {
            self.say(&format!("{node}: warning: {says}"));
        }
        let mut warnings = lock(&self.warnings);
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
            if let Some(verdict) = &*lock(&self.verdict) {
                self.say(verdict);
            }
        }
        let warnings = lock(&self.warnings);
        for (code, (times, last)) in warnings.iter() {
            let times = if *times > 1 { format!(", {times} times") } else { String::new() };
            self.say(&format!("warning ({code}{times}): {last}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_takes_the_place_of_what_an_earlier_epoch_was_judged() {
        let terminal = Terminal::new(Voice::Quiet, Eta::default());
        let told = |node: &str, text: &str| {
            terminal.observe(&Event::Note { node: node.to_owned(), text: text.to_owned() });
            lock(&terminal.verdict).clone()
        };
        let good = Some("worth@1: good".to_owned());
        assert_eq!(told("worth@1", "verdict: good"), good);
        assert_eq!(told("weights@2", "warning loss_at_chance: of something else"), good);
        assert_eq!(told("worth@2", "warning below_random: worse"), None);
        assert_eq!(told("worth@3", "verdict: better"), Some("worth@3: better".to_owned()));
    }
}
