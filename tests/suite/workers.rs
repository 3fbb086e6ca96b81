//! workers: who does the work of a run: however many shards are under way, the bytes are the same, and a worker that dies
//! ends one action and not the run.

use crate::space::{DCPIPE, Space, start};
use crate::toys::{Draft, Number, Shards, TestSpace, cpu, run_on};
use dcpipe::engine::action::Action;
use dcpipe::engine::history::read;
use dcpipe::engine::journal::Journal;
use dcpipe::engine::keys::key_of;
use dcpipe::engine::{Cancel, Event, Executor, MissReason, NodeId, Observer, Plan, Settings};
use dcpipe::stages::decode::Decode;
use dcpipe::stages::generate::Generate;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn any_number_of_shards_in_flight_makes_the_same_bytes() {
    let plan = || {
        let images = Generate { images: 3000, size: 16, quality: 90 };
        let crops = Decode { short_side: 16, crop: 16 };
        Draft::new().node("dataset", images, &[]).node("crops", crops, &[("dataset", "dataset")]).plan()
    };
    let run = |in_flight| {
        let (space, plan) = (TestSpace::new(), plan());
        let settings = Settings { device: cpu(), to: Vec::new(), cancel: Cancel::default(), hire: None, in_flight };
        Executor::new(&plan, &space.store, &settings, &()).run().unwrap().artifacts
    };
    let one = run(1);
    let parts = one[1].as_ref().unwrap().parts.len();
    assert!(parts > 3, "{parts} parts");
    assert_eq!(run(2), one);
    assert_eq!(run(4), one);
}

/// The process that works for another one.
fn worker_of(run: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{run}/task/{run}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[expect(unsafe_code, reason = "std does not send signals")]
fn send(process: u32, signal: i32) {
    // SAFETY: it takes two numbers.
    unsafe { libc::kill(process as i32, signal) };
}

#[test]
fn a_worker_that_dies_fails_its_action_by_name_and_the_same_command_resumes() {
    let undisturbed = Space::after_a_run().digests();
    for (signal, how) in [(libc::SIGKILL, "was killed (signal 9"), (libc::SIGABRT, "aborted (signal 6)")] {
        let space = Space::filled();
        // Beside a copy of dcpipe stands a worker that has something to say.
        let (program, native) = (space.path("dcpipe"), Path::new(DCPIPE).with_file_name("dcpipe-native"));
        std::fs::copy(DCPIPE, &program).unwrap();
        let script = format!("#!/bin/sh\necho these are last words >&2\nexec {} \"$@\"\n", native.display());
        space.write("dcpipe-native", script);
        std::fs::set_permissions(space.path("dcpipe-native"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = space.command(&program);
        command.args(["run", "tiny.yaml", "--json"]);
        let mut run = start(command);
        let is_training = |events: &[Event]| {
            events.iter().any(|event| matches!(event, Event::NodeStarted { node, .. } if node == "weights@1"))
        };
        assert!(run.until(is_training), "{:?}", run.wait());
        send(worker_of(run.child.id()).expect("a worker"), signal);
        let output = run.wait().ended(1).complains_of(&["its worker", how, "Its last words", "these are last words"]);
        // Whatever else was at work in it fails as well.
        let events = output.events();
        let is_it = |event: &&Event| matches!(event, Event::NodeFailed { node, .. } if node == "weights@1");
        assert!(events.iter().any(|event| is_it(&event)), "{events:?}");
        assert!(matches!(events.last(), Some(Event::RunFinished { interrupted: false, .. })), "{events:?}");
        let rest = space.run(&["run", "tiny.yaml", "--json"]).ok();
        assert!(rest.hits().contains(&"clusters@1".to_owned()) && rest.ran().contains(&"weights@1".to_owned()));
        assert_eq!(space.digests(), undisturbed);
    }
}

#[test]
fn a_run_that_is_killed_leaves_no_worker_behind() {
    let space = Space::filled();
    let mut run = space.start(&["run", "tiny.yaml", "--json"]);
    assert!(run.until(|events: &[Event]| events.iter().any(|event| matches!(event, Event::Progress { .. }))));
    let worker = worker_of(run.child.id()).expect("a worker");
    run.child.kill().unwrap();
    run.wait();
    // The kernel ends it; a process that has ended is gone, or a zombie that its new parent has not seen yet.
    let is_there = || {
        let state = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        state.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    };
    while is_there() {
        std::thread::yield_now();
    }
    space.run(&["run", "tiny.yaml"]).ok();
}

fn one() -> Plan {
    Draft::new().node("one", Number { value: 5 }, &[]).plan()
}

fn action(id: u64, plan: &Plan) -> Action {
    let key = key_of(plan, NodeId(0), &[], cpu()).unwrap().key();
    Action { id, node: NodeId(0), key, inputs: Vec::new(), shard: None }
}

#[test]
fn a_measure_that_is_no_number_is_written_and_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::append_to(folder.path()).unwrap();
    let measured = |value| Event::Metric { node: "one@0".to_owned(), name: "loss".to_owned(), value };
    let key = action(1, &one()).key;
    let (nodes, device, program) = (1, "cpu".to_owned(), "dcpipe".to_owned());
    let begun = Event::NodeStarted { node: "one@0".to_owned(), key, reason: MissReason::FirstRun };
    let ended = Event::RunFinished { ran: 0, hit: 0, failed: 0, skipped: 1, wall_s: 0.0, interrupted: true };
    for event in
        [Event::RunStarted { run: "toys".to_owned(), nodes, device, program }, begun, measured(f64::NAN), ended]
    {
        journal.observe(&event);
    }
    let history = read(&folder.path().join("events.jsonl")).unwrap();
    assert_eq!(history.unread, 0);
    assert!(history.runs[0].ran[0].metrics["loss"].is_nan());
    for value in [f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, 7.0, f64::MAX, f64::MIN_POSITIVE] {
        let text = serde_json::to_string(&measured(value)).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), measured(value), "{text}");
    }
    // Earlier programs wrote null.
    let old = serde_json::from_str(r#"{"type":"metric","node":"one@0","name":"loss","value":null}"#).unwrap();
    assert!(matches!(old, Event::Metric { value, .. } if value.is_nan()), "{old:?}");
}

#[test]
fn how_far_a_node_is_counts_each_shard_once_also_those_of_an_earlier_run() {
    let (space, shards) = (TestSpace::new(), 9);
    let cancel = space.cancel.clone();
    let plan = Draft::new().node(
        "many",
        Shards::new(shards, move |at| {
            if at == 3 {
                cancel.request();
            }
        }),
        &[],
    );
    let plan = plan.plan();
    let far = |events: &[Event]| -> Vec<_> {
        let far = |event: &Event| match event {
            Event::Progress { done, total, .. } => Some((*done, *total)),
            _ => None,
        };
        events.iter().filter_map(far).collect()
    };
    let mut first = far(&space.run(&plan).events);
    first.dedup(); // A shard that was stopped adds nothing.
    let made = first.last().unwrap().0;
    assert!((3..shards).contains(&made), "{first:?}");
    assert_eq!(first, (0..=made).map(|done| (done, shards)).collect::<Vec<_>>());
    let second = far(&run_on(&space.store, &plan, Vec::new(), Cancel::default()).events);
    assert_eq!(second, (made..=shards).map(|done| (done, shards)).collect::<Vec<_>>());
}
