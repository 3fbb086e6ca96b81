//! kill: a run that ends at the wrong moment goes on where it was, and gives the bytes that an undisturbed one gives.

use crate::space::{NODES, Output, Space, finished};
use dcpipe::engine::Event;
use std::collections::BTreeSet;

const RUN: [&str; 3] = ["run", "tiny.yaml", "--json"];

/// Tells by the events so far whether it is time for the kill.
type Moment<'a> = &'a dyn Fn(&[Event]) -> bool;

fn started(events: &[Event], name: &str) -> bool {
    events.iter().any(|event| matches!(event, Event::NodeStarted { node, .. } if node == name))
}

/// Whether the node has said more than once how far it is.
fn under_way(events: &[Event], name: &str) -> bool {
    events.iter().filter(|event| matches!(event, Event::Progress { node, .. } if node == name)).count() > 1
}

/// Insists that no node ran whose end had been seen, and adds those whose end was seen now.
fn remember(events: &[Event], seen: &mut BTreeSet<String>) {
    for event in events {
        if let Event::NodeStarted { node, .. } = event {
            assert!(!seen.contains(node), "{node} had ended before the kill, and runs again");
        }
    }
    seen.extend(finished(events));
}

/// Runs to the end, and insists that what is there is what an undisturbed run leaves.
fn goes_on(space: &Space, mut seen: BTreeSet<String>) {
    let last = space.run(&RUN).ok();
    remember(&last.events(), &mut seen);
    // A kill between a commit and the word about it leaves a node that nobody saw end, and that is a hit from then on.
    seen.extend(last.hits());
    assert_eq!(seen.len(), 23, "{seen:?}");
    let undisturbed = Space::after_a_run();
    assert_eq!(space.digests(), undisturbed.digests());
    for path in
        ["weights/epoch=0002.safetensors", "clusters/epoch=0001/part-0.parquet", "metrics/epoch=0002/part-0.parquet"]
    {
        let read = |space: &Space| std::fs::read(space.path("runs/tiny").join(path)).unwrap();
        assert!(read(space) == read(&undisturbed), "{path} differs");
    }
    let rubbish = std::fs::read_dir(space.path(".dcpipe/tmp")).unwrap().count();
    assert_eq!(rubbish, 0, "a killed run's unfinished files are still there");
    assert_eq!(space.run(&RUN).ok().ran(), [""; 0]);
}

/// Kills one run after another on the same store, each when its moment has come.
fn kill_at(moments: &[Moment<'_>]) {
    let space = Space::filled();
    let mut seen = BTreeSet::new();
    for (at, moment) in moments.iter().enumerate() {
        let mut run = space.start(&RUN);
        assert!(run.until(moment), "moment {at} did not come: {:?}", run.wait());
        run.child.kill().unwrap();
        let killed: Output = run.wait();
        assert_eq!(killed.signal, Some(9), "the run was faster than its end: moment {at}");
        remember(&killed.events(), &mut seen);
    }
    goes_on(&space, seen);
}

#[test]
fn a_run_killed_in_any_kind_of_work_resumes() {
    kill_at(&[
        &|events| started(events, "weights@0"),
        &|events| started(events, "features@1"),
        &|events| started(events, "vectors@1"),
        &|events| under_way(events, "weights@1"),
        &|events| started(events, "clusters@2"),
        &|events| under_way(events, "weights@2"),
    ]);
}

#[test]
fn a_run_survives_the_deletion_of_its_results_and_the_next_exports_them() {
    let space = Space::filled();
    let mut run = space.start(&RUN);
    assert!(run.until(|events| started(events, "vectors@1")));
    std::fs::remove_dir_all(space.path("runs")).unwrap();
    let run = run.wait().ended(1).complains_of(&["runs/tiny was moved or deleted", "the same command"]);
    let seen = finished(&run.events());
    assert_eq!(space.run(&RUN).ok().ran(), [""; 0]);
    goes_on(&space, seen.into_iter().collect());
}

#[test]
fn a_run_killed_after_each_kind_of_event_resumes() {
    let seen = |is: fn(&Event) -> bool, times: usize| {
        move |events: &[Event]| events.iter().filter(|event| is(event)).count() >= times
    };
    // In the order of a run, so that each gets further than the one before.
    kill_at(&[
        &seen(|event| matches!(event, Event::NodeStarted { .. }), 2),
        &seen(|event| matches!(event, Event::PutDown { hit: false, .. }), 1),
        &seen(|event| matches!(event, Event::Progress { .. }), 1),
        &seen(|event| matches!(event, Event::NodeHit { .. }), 1),
        &seen(|event| matches!(event, Event::NodeFinished { .. }), 2),
        &seen(|event| matches!(event, Event::Metric { .. }), 1),
        &seen(|event| matches!(event, Event::Evicted { .. }), 1),
    ]);
}

#[test]
fn a_signal_stops_without_loss_and_prints_the_command_to_resume() {
    let space = Space::filled();
    let mut seen = BTreeSet::new();
    // SIGINT, SIGTERM, and SIGUSR1 that batch systems send before the time is up.
    for (signal, node) in [(2, "weights@0"), (15, "weights@1"), (10, "weights@2")] {
        let mut run = space.start(&RUN);
        assert!(run.until(|events| started(events, node)), "{:?}", run.wait());
        run.signal(signal);
        let stopped =
            run.wait().ended(75).complains_of(&["Resume with the same command", "dcpipe run tiny.yaml --json"]);
        let events = stopped.events();
        let last = events.last().unwrap();
        assert!(matches!(last, Event::RunFinished { interrupted: true, failed: 0, .. }), "{last:?}");
        remember(&events, &mut seen);
    }
    goes_on(&space, seen);
}

#[test]
fn two_concurrent_runs_make_each_node_once_and_export_the_same_results() {
    let space = Space::filled();
    let [first, second] = [0, 1].map(|_| space.start(&RUN));
    let [first, second] = [first, second].map(|run| run.wait().ok());
    let mut made = [first.ran(), second.ran()].concat();
    made.sort();
    assert_eq!(made, NODES, "each node by one of the two");
    assert_eq!(space.digests(), Space::after_a_run().digests());
    assert_eq!(space.run(&RUN).ok().ran(), [""; 0]);
    let locks = std::fs::read_dir(space.path(".dcpipe/locks")).unwrap().count();
    assert_eq!(locks, 1, "locks of keys are left behind");
}
