//! workers: who does the work of a run: however many shards are under way, the bytes are the same, and a worker that dies
//! ends one action and not the run.

use crate::hookfs::HookFs;
use crate::space::{DCPIPE, Space, start};
use crate::toys::{Act, Draft, Number, Shards, TestSpace, cpu, run_on, write};
use dcpipe::engine::action::{Action, Report};
use dcpipe::engine::crew::process::{Patience, Process};
use dcpipe::engine::crew::serve::{Workplace, serve};
use dcpipe::engine::crew::wire::{Answer, Hello, Job, Order};
use dcpipe::engine::crew::{Crew, IN_FLIGHT, Reports};
use dcpipe::engine::journal::Journal;
use dcpipe::engine::keys::key_of;
use dcpipe::engine::past::read;
use dcpipe::engine::{
    ActionError, Cancel, EngineError, Event, Executor, MissReason, NodeId, Observer, Outcome, Plan, Settings,
};
use dcpipe::stages::decode::Decode;
use dcpipe::stages::generate::Generate;
use dcpipe::store::{Disk, Store};
use std::io::{self, Cursor, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
        let outcome = Executor::new(&plan, &space.store, &settings, &()).run().unwrap();
        outcome.records.into_iter().map(|record| record.unwrap().artifact.clone()).collect::<Vec<_>>()
    };
    let one = run(1);
    let parts = one[1].parts.len();
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
        space.write_program("dcpipe", std::fs::read(DCPIPE).unwrap());
        let script = format!("#!/bin/sh\necho these are last words >&2\nexec {} \"$@\"\n", native.display());
        space.write_program("dcpipe-native", script);
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

/// Nobody waits so long.
const LONG: Duration = Duration::from_secs(100_000);
const PATIENT: Patience = Patience { grace: LONG, saving: LONG };
/// How a worker of a few lines of shell begins.
const BEGIN: &str = r#"read -r hello; echo '{"say":"ready"}'; read -r order;"#;
/// It says something that a test waits for.
const NOTE: &str = r#"echo '{"say":"event","id":1,"event":{"type":"note","node":"","text":"here"}}';"#;

/// A crew whose worker is a few lines of shell.
fn scripted(script: String, reports: Reports) -> Process {
    // More than a pipe holds.
    let hello = Hello { pipeline: "#".repeat(1 << 17), run: "toys".to_owned(), device: cpu().clone() };
    let command = move || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        Ok(command)
    };
    Process::new(Box::new(command), hello, reports)
}

fn one() -> Plan {
    Draft::new().node("one", Number { value: 5 }, &[]).plan()
}

fn action(id: u64, plan: &Plan) -> Action {
    let key = key_of(plan, NodeId(0), &[], cpu()).unwrap().key();
    Action { id, node: NodeId(0), key, inputs: Vec::new(), shard: None }
}

/// Such a crew that has begun action 1, and what it reports.
fn begun(script: String, patience: Patience) -> (Process, Receiver<Report>) {
    let (sender, reports) = channel();
    let mut crew = scripted(script, Arc::new(move |report| drop(sender.send(report)))).waiting(patience);
    crew.start(action(1, &one())).unwrap();
    (crew, reports)
}

/// Why the next action that ends failed.
fn failure(reports: &Receiver<Report>) -> (u64, ActionError) {
    loop {
        if let Report::Done(id, result) = reports.recv().unwrap() {
            return (id, result.unwrap_err());
        }
    }
}

fn died(how: &str) -> ActionError {
    ActionError::Died { how: how.to_owned(), code: None, words: String::new() }
}

/// Runs a node on such a crew. The listener hears every event, and may ask for the end.
fn run_by(script: &str, listens: impl Fn(&Event, &Cancel) + Send + Sync) -> Result<Outcome, EngineError> {
    struct Listener<F>(F, Cancel);
    impl<F: Fn(&Event, &Cancel) + Send + Sync> Observer for Listener<F> {
        fn observe(&self, event: &Event) {
            (self.0)(event, &self.1);
        }
    }
    let (space, plan, cancel) = (TestSpace::new(), one(), Cancel::default());
    let hire = |reports| -> Result<Box<dyn Crew>, EngineError> { Ok(Box::new(scripted(script.to_owned(), reports))) };
    let hire = Some(&hire as _);
    let settings = Settings { device: cpu(), to: Vec::new(), cancel: cancel.clone(), hire, in_flight: IN_FLIGHT };
    Executor::new(&plan, &space.store, &settings, &Listener(listens, cancel)).run()
}

#[test]
fn a_run_can_be_stopped_while_its_worker_gets_ready() {
    let stopped = run_by("exec sleep 100000", |event, cancel| {
        if matches!(event, Event::NodeStarted { .. }) {
            cancel.request();
        }
    });
    assert!(matches!(stopped, Err(EngineError::Interrupted)), "{stopped:?}");
}

#[test]
fn a_worker_that_does_not_get_ready_ends_the_run_with_its_reason() {
    for (script, words) in [
        (r#"echo '{"say":"refused","why":"there is no such card"}'"#, "there is no such card"),
        ("echo out of luck >&2; exit 3", "ended with code 3 in the middle of it. Its last words:\nout of luck"),
    ] {
        let ended = run_by(script, |event, _| assert!(!matches!(event, Event::NodeFailed { .. }), "{event:?}"));
        let Err(EngineError::NoCrew { why }) = &ended else { panic!("{ended:?}") };
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn a_saving_worker_gets_time_and_another_is_ended() {
    let saving = |begun| format!(r#"echo '{{"say":"saving","id":1,"begun":{begun}}}';"#);
    let saved = r#"read -r stop; sleep 0.2; echo '{"say":"failed","id":1,"error":{"Failed":{"error":"saved"}}}'"#;
    let hangs = "read -r stop; read -r never";
    let by = |says: &str, then: &str, [grace, saving]: [Duration; 2]| {
        let (mut crew, reports) = begun(format!("{BEGIN} {says} {NOTE} {then}"), Patience { grace, saving });
        assert!(matches!(reports.recv(), Ok(Report::Event(1, Event::Note { .. }))));
        crew.stop();
        failure(&reports).1
    };
    let none = Duration::ZERO;
    assert_eq!(by(&saving(true), saved, [none, LONG]), ActionError::Failed { error: "saved".to_owned() });
    assert_eq!(by("", hangs, [none, LONG]), ActionError::Interrupted);
    // Once it has saved, it is to come to its checkpoint.
    assert_eq!(by(&(saving(true) + &saving(false)), hangs, [none, LONG]), ActionError::Interrupted);
    // A save that hangs is ended as well.
    assert_eq!(by(&saving(true), hangs, [LONG, none]), ActionError::Interrupted);
}

#[test]
fn a_worker_that_cannot_be_understood_is_ended_and_its_actions_fail_by_name() {
    let node = Mutex::new(None);
    let ended = run_by(&format!("{BEGIN} echo oops; read -r never"), |event, _| {
        if let Event::NodeFailed { node: failed, error } = event {
            assert!(error.contains(r#"its worker said "oops", which is no answer, and was ended"#), "{error}");
            *node.lock().unwrap() = Some(failed.clone());
        }
    });
    assert!(matches!(ended, Err(EngineError::Stage { .. })), "{ended:?}");
    assert_eq!(node.into_inner().unwrap().unwrap(), "one@0");
    // One that speaks no more is given the time to end by itself.
    let impatient = Patience { grace: Duration::ZERO, saving: LONG };
    let (_crew, reports) = begun(format!("{BEGIN} {NOTE} exec >&-; read -r never"), impatient);
    assert_eq!(failure(&reports), (1, died("said no more and was ended")));
    // Half a line is no answer to complain of: how the worker ended is.
    let (_crew, reports) = begun(format!("{BEGIN} printf '{{\"say\":\"ma'; kill -ABRT $$"), PATIENT);
    assert_eq!(failure(&reports), (1, died("aborted (signal 6)")));
}

#[test]
fn a_worker_that_takes_no_orders_fails_all_that_it_was_given_and_another_is_started() {
    let impatient = Patience { grace: Duration::ZERO, saving: LONG };
    let (mut crew, reports) = begun(format!("{BEGIN} exec <&-; {NOTE} exec sleep 100000"), impatient);
    for id in [2, 4] {
        assert!(matches!(reports.recv(), Ok(Report::Event(1, Event::Note { .. }))));
        crew.start(action(id, &one())).unwrap();
        let failed = [failure(&reports), failure(&reports)];
        assert_eq!(failed, [id - 1, id].map(|id| (id, died("took no more orders and was ended"))));
        crew.start(action(id + 1, &one())).unwrap();
    }
}

/// What a worker in this process says, line by line.
struct Lines(Sender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_worker_says_what_it_measures_and_when_it_saves() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_on(&folder.path().join("store"), Arc::new(HookFs::unsynced(Disk))).unwrap();
    let work = Act::new("work", |cx| {
        cx.metric("loss", f64::NAN);
        cx.metric("objective", f64::NEG_INFINITY);
        let voice = cx.voice();
        cx.save("state", |out| {
            voice.progress(1, 2, "saved");
            out.write_part("n", |out| writeln!(out, "1"))
        })?;
        write(cx, 2)
    });
    let plan = Draft::new().node("one", work, &[]).plan();
    let hello = Hello { pipeline: String::new(), run: "toys".to_owned(), device: cpu().clone() };
    let orders = [Order::Hello(Box::new(hello)), Order::Do(Box::new(Job::from(&action(1, &plan))))];
    let orders = orders.map(|order| serde_json::to_string(&order).unwrap()).join("\n");
    let (sender, lines) = channel();
    let place = Workplace { plan, store, device: cpu().clone() };
    std::thread::spawn(|| {
        serve(
            Cursor::new(orders),
            Lines(sender),
            |_| Ok(place),
            || {
                loop {
                    std::thread::park();
                }
            },
        );
    });
    let mut said = Vec::new();
    while !matches!(said.last(), Some(Answer::Made { .. })) {
        said.push(serde_json::from_slice(&lines.recv().unwrap()).unwrap());
    }
    let is_begun = |answer: &Answer, is: bool| matches!(answer, Answer::Saving { id: 1, begun } if *begun == is);
    let value = |answer: &Answer| match answer {
        Answer::Event { event: Event::Metric { value, .. }, .. } => *value,
        other => panic!("{other:?}"),
    };
    assert!(matches!(said[0], Answer::Ready), "{said:?}");
    assert!(value(&said[1]).is_nan() && value(&said[2]) == f64::NEG_INFINITY, "{said:?}");
    assert!(is_begun(&said[3], true) && is_begun(&said[5], false), "{said:?}");
    assert!(matches!(said[4], Answer::Event { event: Event::Progress { .. }, .. }), "{said:?}");
    assert!(matches!(said[6], Answer::Event { event: Event::PutDown { .. }, .. }), "{said:?}");
    // What the node made would be lost as well.
    assert!(is_begun(&said[7], true) && said.len() == 9, "{said:?}");
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
    let past = read(&folder.path().join("events.jsonl")).unwrap();
    assert_eq!(past.unread, 0);
    assert!(past.runs[0].ran[0].metrics["loss"].is_nan());
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
