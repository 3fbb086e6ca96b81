//! resume: a node that was stopped in its middle goes on from what it put down, and ends as if it had never been stopped.

use crate::hookfs::HookFs;
use crate::space::{Output, Space};
use crate::toys::{Act, Draft, Number, Run, Shards, TestSpace, cpu, run_on, sum, write};
use dcpipe::base::{ImageId, Seed};
use dcpipe::engine::crew::IN_FLIGHT;
use dcpipe::engine::event::Collect;
use dcpipe::engine::{
    Cancel, Context, EngineError, Event, Executor, Keep, Noun, Observer, Plan, Pool, Port, Settings, Stage,
};
use dcpipe::format::rows::part_name;
use dcpipe::format::{RowsWriter, features, vectors};
use dcpipe::stages::cluster::{Cluster, Empty, Init, Metric};
use dcpipe::stages::whiten::Whiten;
use dcpipe::store::{Disk, Store};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Vectors out of nowhere.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Points {
    rows: usize,
    dims: usize,
}

impl Stage for Points {
    const VERB: &'static str = "points";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = Noun::plain("vectors", 1);
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let mut stream = Seed::of_node(1, "points").stream("points", 0);
        let mut numbers: Vec<f32> = (0..self.rows * self.dims).map(|_| stream.random::<f32>()).collect();
        for row in numbers.chunks_mut(self.dims) {
            let length = row.iter().map(|number| number * number).sum::<f32>().sqrt();
            row.iter_mut().for_each(|number| *number /= length);
        }
        cx.write_part("part-00000.arrow", |out| {
            let mut writer = RowsWriter::create(out, vectors::plan(self.dims, ImageId(0), self.rows))?;
            writer.push(&numbers)?;
            writer.finish().map(drop)
        })
    }
}

/// Features out of nowhere, in several parts.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Cloud {
    parts: usize,
    rows: usize,
    dims: usize,
}

impl Stage for Cloud {
    const VERB: &'static str = "cloud";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = Noun::plain("features", 2);
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let mut stream = Seed::of_node(1, "cloud").stream("cloud", 0);
        for part in 0..self.parts {
            let numbers: Vec<f32> = (0..self.rows * self.dims).map(|_| stream.random::<f32>()).collect();
            cx.write_part(&part_name(part), |out| {
                let mut writer = RowsWriter::create(out, features::plan(self.dims, self.rows))?;
                writer.push(&numbers)?;
                writer.finish().map(drop)
            })?;
        }
        Ok(())
    }
}

/// Asks the run to stop as soon as an event fits.
struct StopAt<F> {
    heard: Arc<Collect>,
    cancel: Cancel,
    when: F,
}

impl<F: Fn(&Event) -> bool + Send + Sync> Observer for StopAt<F> {
    fn observe(&self, event: &Event) {
        if (self.when)(event) {
            self.cancel.request();
        }
        self.heard.observe(event);
    }
}

fn run_until(space: &TestSpace, plan: &Plan, when: impl Fn(&Event) -> bool + Send + Sync) -> Run {
    let (heard, cancel) = (Arc::new(Collect::default()), Cancel::default());
    let observer = StopAt { heard: Arc::clone(&heard), cancel: cancel.clone(), when };
    let settings = Settings { device: cpu(), to: Vec::new(), cancel, hire: None, in_flight: IN_FLIGHT };
    let result = Executor::new(plan, &space.store, &settings, &observer).run();
    let events = std::mem::take(&mut *heard.0.lock().unwrap());
    Run { result, events }
}

/// What was put down, and what was found put down.
fn put_down(events: &[Event], found: bool) -> Vec<&str> {
    let parts = events.iter().filter_map(|event| match event {
        Event::PutDown { part, hit, .. } if *hit == found => Some(part.as_str()),
        _ => None,
    });
    parts.collect()
}

/// Records of shards and saves, and objects that no record names.
fn leftovers(space: &TestSpace) -> (usize, usize) {
    let files = |folder: &str| -> BTreeMap<String, Vec<u8>> {
        let folders = std::fs::read_dir(space.store.root().join(folder)).unwrap();
        let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
        files
            .map(|f| f.unwrap())
            .map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap()))
            .collect()
    };
    let records: Vec<String> = files("records").into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    let unfinished = records.iter().filter(|record| record.contains("\\nshard ")).count();
    let orphans = files("objects").into_keys().filter(|object| !records.iter().any(|r| r.contains(object))).count();
    (unfinished, orphans)
}

fn clustering() -> Plan {
    clustering_by(Metric::L2, Init::Random, 1)
}

fn clustering_by(metric: Metric, init: Init, redo: u32) -> Plan {
    let empty = if metric == Metric::Cosine { Empty::Keep } else { Empty::Split };
    let cluster = Cluster { k: 40, iterations: 300, metric, init, redo, empty };
    Draft::new()
        .node("vectors", Points { rows: 3000, dims: 16 }, &[])
        .node("clusters", cluster, &[("vectors", "vectors")])
        .plan()
}

#[test]
fn a_clustering_stopped_at_any_iteration_resumes_to_the_same_bytes() {
    for (metric, init, redo, stop) in [
        (Metric::L2, Init::Random, 1, 1),
        (Metric::L2, Init::Random, 1, 4),
        (Metric::L2, Init::Random, 1, 9),
        (Metric::Cosine, Init::Random, 1, 3),
        (Metric::L2, Init::Spread, 1, 3),
        (Metric::L2, Init::Random, 3, 299),
    ] {
        let clustering = || clustering_by(metric, init, redo);
        let undisturbed = TestSpace::new().run(&clustering()).digests();
        let space = TestSpace::new();
        let is_at = move |event: &Event| matches!(event, Event::Progress { done, unit, .. } if unit == "iterations" && *done >= stop);
        let stopped = run_until(&space, &clustering(), is_at);
        assert!(matches!(stopped.result, Err(EngineError::Interrupted)), "{:?}", stopped.result);
        let saved = put_down(&stopped.events, false);
        assert_eq!(saved.len(), 1, "{saved:?}");
        let rest = space.run(&clustering());
        assert_eq!(put_down(&rest.events, true), saved);
        assert_eq!(rest.digests(), undisturbed, "{metric:?} {init:?} {redo} stopped at iteration {stop}");
        assert_eq!(leftovers(&space), (0, 0));
    }
}

#[test]
fn a_whitening_stopped_behind_any_part_resumes_to_the_same_bytes() {
    let whitening = || {
        Draft::new()
            .node("features", Cloud { parts: 300, rows: 40, dims: 20 }, &[])
            .node("vectors", Whiten { dims: 8, eigen_power: -0.5 }, &[("features", "features")])
            .plan()
    };
    let undisturbed = TestSpace::new().run(&whitening()).digests();
    for stop in [1, 20, 60] {
        let space = TestSpace::new();
        let is_at = move |event: &Event| matches!(event, Event::Progress { done, unit, .. } if unit == "parts" && *done >= stop);
        let stopped = run_until(&space, &whitening(), is_at);
        assert!(matches!(stopped.result, Err(EngineError::Interrupted)), "{:?}", stopped.result);
        let saved = put_down(&stopped.events, false);
        assert_eq!(saved.len(), 1, "{saved:?}");
        let rest = space.run(&whitening());
        assert_eq!(put_down(&rest.events, true), saved);
        assert_eq!(rest.digests(), undisturbed, "stopped behind part {stop}");
        assert_eq!(leftovers(&space), (0, 0));
    }
}

#[test]
fn the_best_of_several_attempts_outlives_every_stop() {
    let clustering = || clustering_by(Metric::L2, Init::Random, 3);
    let undisturbed = TestSpace::new().run(&clustering()).digests();
    let space = TestSpace::new();
    let mut saved: Option<String> = None;
    for stop in [299, 303, 310, 320, 601, 610] {
        let is_at = move |event: &Event| matches!(event, Event::Progress { done, unit, .. } if unit == "iterations" && *done >= stop);
        let stopped = run_until(&space, &clustering(), is_at);
        assert!(matches!(stopped.result, Err(EngineError::Interrupted)), "{:?}", stopped.result);
        assert_eq!(put_down(&stopped.events, true), saved.as_deref().into_iter().collect::<Vec<_>>(), "before {stop}");
        saved = put_down(&stopped.events, false).last().map(|name| (*name).to_owned());
    }
    assert_eq!(space.run(&clustering()).digests(), undisturbed);
    assert_eq!(leftovers(&space), (0, 0));
}

#[test]
fn a_damaged_checkpoint_is_never_resumed() {
    let undisturbed = TestSpace::new().run(&clustering()).digests();
    let space = TestSpace::new();
    let stopped = run_until(&space, &clustering(), |event| matches!(event, Event::Progress { done, .. } if *done >= 3));
    assert_eq!(put_down(&stopped.events, false).len(), 1);
    for folder in std::fs::read_dir(space.store.root().join("objects")).unwrap() {
        for object in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if bytes.windows(11).any(|window| window == b"dcpipe.save") {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 8;
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }
        }
    }
    let rest = space.run(&clustering());
    assert_eq!(rest.digests(), undisturbed);
    assert!(put_down(&rest.events, true).is_empty());
    assert!(rest.notes().iter().any(|note| note.contains("quarantine")), "{:?}", rest.notes());
}

/// Adds one `steps` times, and saves after each; counts how often it did.
fn counting(steps: u64, counted: &Arc<AtomicU64>, stop_at: u64, cancel: &Cancel) -> Plan {
    let (counted, cancel) = (Arc::clone(counted), cancel.clone());
    let work = move |cx: &mut Context<'_>| {
        let saved = cx.saved((1..=steps).rev().map(|at| at.to_string()))?;
        let text = saved.map_or_else(|| Ok("0".into()), |(_, saved)| saved.part("state"))?;
        let (first, mut total) = (std::str::from_utf8(&text)?.split(' ').next().unwrap().parse::<u64>()?, sum(cx)?);
        for at in first + 1..=steps {
            counted.fetch_add(1, Ordering::SeqCst);
            if at == stop_at {
                cancel.request();
            }
            let key = cx.key();
            cx.save(&at.to_string(), |out| out.write_part("state", |out| write!(out, "{at} {key}")))?;
            cx.checkpoint()?;
        }
        total += steps;
        write(cx, total)
    };
    Draft::new().node("one", Number { value: 5 }, &[]).node("steps", Act::new("steps", work), &[("a", "one")]).plan()
}

#[test]
fn an_intact_checkpoint_survives_any_failed_call() {
    let mut failed = 0;
    for at in 0.. {
        let space = TestSpace::new();
        let counted = Arc::new(AtomicU64::new(0));
        space.run(&counting(10, &counted, 6, &space.cancel));
        let (faulty, left) = HookFs::failing(Disk, at, std::io::ErrorKind::Other, false);
        let Ok(store) = Store::open_on(space.store.root(), Arc::new(faulty)) else { continue };
        let plan = counting(10, &counted, 11, &Cancel::default());
        failed += usize::from(run_on(&store, &plan, Vec::new(), Cancel::default()).result.is_err());
        drop(store);
        let rest = run_on(&space.store, &plan, Vec::new(), Cancel::default());
        assert_eq!(space.value(&rest, &plan, "steps"), 15);
        // One more where a save was refused after its step was done.
        assert!(counted.load(Ordering::SeqCst) <= 11, "call {at}: {} steps", counted.load(Ordering::SeqCst));
        if left.load(Ordering::SeqCst) >= 0 {
            break;
        }
    }
    assert!(failed > 10, "{failed}");
}

#[test]
fn only_the_newest_checkpoint_is_kept_and_none_outlives_the_node() {
    let space = TestSpace::new();
    let counted = Arc::new(AtomicU64::new(0));
    let stopped = space.run(&counting(10, &counted, 6, &space.cancel));
    assert!(matches!(stopped.result, Err(EngineError::Interrupted)));
    assert_eq!(leftovers(&space).0, 1);
    let space = TestSpace { cancel: Cancel::default(), ..space };
    let plan = counting(10, &counted, 99, &space.cancel);
    let rest = space.run(&plan);
    assert_eq!((space.value(&rest, &plan, "steps"), counted.load(Ordering::SeqCst)), (15, 10));
    assert_eq!(put_down(&rest.events, true), ["6"]);
    assert_eq!(leftovers(&space), (0, 0));
}

#[test]
fn shard_records_are_deleted_once_their_node_is_whole() {
    let space = TestSpace::new();
    let many = Shards::new(5, |_| ());
    let run = space.run(&Draft::new().node("many", many, &[]).plan());
    assert_eq!(put_down(&run.events, false).len(), 5);
    assert_eq!(leftovers(&space), (0, 0));
}

const RUN: [&str; 6] = ["run", "tiny.yaml", "--json", "--set", "each_epoch.weights.with.save_every=1", "--quiet"];

#[test]
fn training_killed_between_checkpoints_resumes_to_the_same_weights() {
    let space = Space::filled();
    let saved = |events: &[Event], node: &str, part: &str| {
        let is =
            |event: &Event| matches!(event, Event::PutDown { node: n, part: p, hit: false } if n == node && p == part);
        events.iter().any(is)
    };
    for (node, part) in [("weights@1", "after step 1"), ("weights@1", "after step 2"), ("weights@2", "after step 2")] {
        let mut run = space.start(&RUN);
        assert!(run.until(|events| saved(events, node, part)), "{:?}", run.wait());
        run.child.kill().unwrap();
        let killed: Output = run.wait();
        assert_eq!(killed.signal, Some(9));
    }
    let last = space.run(&RUN).ok();
    let events = last.events();
    let found = put_down(&events, true);
    assert!(found.iter().any(|part| part.starts_with("after step")), "{found:?}");
    // Where saves are made is no part of a key, and leaves no trace in what is made.
    assert_eq!(space.digests(), Space::after_a_run().digests());
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
}
