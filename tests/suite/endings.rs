//! endings: how a run ends when a stage fails, panics, is stopped, or gives other bytes than it did.

use crate::toys::{Act, Add, Draft, Number, Shards, TestSpace, sum, write};
use dcpipe::engine::{Cancel, Context, EngineError, Event};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn failure_skips_the_rest_and_keeps_what_is_committed() {
    let space = TestSpace::new();
    let plan = |fails: bool| {
        let work = move |cx: &mut Context<'_>| {
            anyhow::ensure!(!fails, "no luck");
            let sum = sum(cx)?;
            write(cx, sum)
        };
        Draft::new()
            .node("one", Number { value: 5 }, &[])
            .node("two", Act::new("two", work), &[("a", "one")])
            .node("three", Add::default(), &[("a", "two")])
            .plan()
    };
    let failed = space.run(&plan(true));
    assert_eq!(failed.error(), "two@0: no luck");
    let last = failed.events.last().expect("events");
    assert!(
        matches!(last, Event::RunFinished { ran: 1, hit: 0, failed: 1, skipped: 1, interrupted: false, .. }),
        "{last:?}"
    );
    assert_eq!(space.run(&plan(false)).finished(), ["three@0", "two@0"]);
}

#[test]
fn panic_is_an_error() {
    let space = TestSpace::new();
    let plan = Draft::new().node("one", Act::new("one", |_| panic!("seven is not {}", 8)), &[]).plan();
    let run = space.run(&plan);
    assert!(matches!(run.result, Err(EngineError::Stage { .. })));
    assert!(
        run.error().contains("BUG: the stage panicked") && run.error().contains("seven is not 8"),
        "{}",
        run.error()
    );
}

#[test]
fn interruption_keeps_finished_shards_and_the_next_run_reuses_them() {
    let space = TestSpace::new();
    let made = Arc::new(AtomicU64::new(0));
    let plan = |stop_at: u64| {
        let (made, cancel) = (Arc::clone(&made), space.cancel.clone());
        let shards = Shards::new(40, move |i| {
            made.fetch_add(1, Ordering::SeqCst);
            if i == stop_at {
                cancel.request();
            }
        });
        Draft::new()
            .node("one", Number { value: 5 }, &[])
            .node("many", shards, &[("a", "one")])
            .node("sum", Add::default(), &[("a", "many")])
            .plan()
    };
    let stopped = space.run(&plan(3));
    assert!(matches!(stopped.result, Err(EngineError::Interrupted)));
    assert!(matches!(stopped.events.last(), Some(Event::RunFinished { failed: 0, skipped: 2, interrupted: true, .. })));
    let first = made.load(Ordering::SeqCst);
    assert!((1..40).contains(&first), "{first}");
    let resumed = TestSpace { cancel: Cancel::default(), ..space };
    let rest = resumed.run(&plan(99));
    assert_eq!(made.load(Ordering::SeqCst), 40);
    assert_eq!(resumed.value(&rest, &plan(99), "sum"), (5..45).sum::<u64>() + 1);
}

#[test]
fn a_stop_after_the_last_node_is_no_interruption() {
    let space = TestSpace::new();
    let cancel = space.cancel.clone();
    let work = move |cx: &mut Context<'_>| {
        cancel.request();
        write(cx, 1)
    };
    let plan = Draft::new().node("one", Act::new("one", work), &[]).plan();
    assert_eq!(space.run(&plan).outcome().ran, 1);
}

#[test]
fn a_stop_lets_the_running_node_commit_and_starts_no_other() {
    let space = TestSpace::new();
    let cancel = space.cancel.clone();
    let work = move |cx: &mut Context<'_>| {
        cancel.request();
        write(cx, 1)
    };
    let draft = Draft::new().node("one", Act::new("one", work), &[]);
    let run = space.run(&draft.node("two", Add::default(), &[("a", "one")]).plan());
    assert!(matches!(run.result, Err(EngineError::Interrupted)));
    assert_eq!((run.finished(), run.started()), (vec!["one@0".to_owned()], vec!["one@0".to_owned()]));
}

#[test]
fn drift_is_reported_and_downstream_re_keyed() {
    let space = TestSpace::new();
    let turn = Arc::new(AtomicU64::new(0));
    let plan = |k| {
        let turn = Arc::clone(&turn);
        let work = move |cx: &mut Context<'_>| write(cx, turn.fetch_add(1, Ordering::SeqCst));
        Draft::new()
            .node("random", Act::new("random", work), &[])
            .until_used()
            .node("one", Add::default(), &[("a", "random")])
            .node("two", Add { add: k, ..Add::default() }, &[("a", "random"), ("b", "one")])
            .plan()
    };
    space.run(&plan(1));
    // two@0 has another key, needs random@0's bytes, which are gone, and its second making gives other ones.
    let run = space.run(&plan(2));
    assert!(run.events.iter().any(|e| matches!(e, Event::Drifted { node, .. } if node == "random@0")));
    assert_eq!(run.finished(), ["one@0", "random@0", "two@0"]);
    assert_eq!(space.value(&run, &plan(2), "two"), 1 + (1 + 1) + 2 + 1);
    assert_eq!(space.run(&plan(2)).outcome().ran, 0);
}

#[test]
fn a_node_whose_input_drifted_meanwhile_runs_again() {
    let space = TestSpace::new();
    let turn = Arc::new(AtomicU64::new(0));
    // `slow` has the old bytes open and finishes only after `random` was made again for `needs`.
    let plan = |slow_k: &str, evict: bool| {
        let (turn, again) = (Arc::clone(&turn), Arc::clone(&turn));
        let root = space.store.root().to_owned();
        let random = move |cx: &mut Context<'_>| write(cx, 100 + turn.fetch_add(1, Ordering::SeqCst));
        let slow = move |cx: &mut Context<'_>| {
            if evict && again.load(Ordering::SeqCst) == 1 {
                for folder in std::fs::read_dir(root.join("objects"))? {
                    for object in std::fs::read_dir(folder?.path())? {
                        let path = object?.path();
                        if std::fs::read_to_string(&path)? == "100\n" {
                            std::fs::remove_file(path)?;
                        }
                    }
                }
                while again.load(Ordering::SeqCst) == 1 {
                    std::thread::yield_now();
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            let sum = sum(cx)?;
            write(cx, sum)
        };
        let wait = Act::new("wait", |cx| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            write(cx, 0)
        });
        Draft::new()
            .node("random", Act::new("random", random), &[])
            .node("slow", Act::new(slow_k, slow), &[("a", "random")])
            .node("wait", wait, &[])
            .node("needs", Add::default(), &[("a", "random"), ("b", "wait")])
            .node("both", Add::default(), &[("a", "slow"), ("b", "needs")])
            .plan()
    };
    let run = space.run(&plan("slow", true));
    assert!(run.events.iter().any(|e| matches!(e, Event::Drifted { .. })));
    assert_eq!(space.value(&run, &plan("slow", true), "slow"), 101);
    assert_eq!(space.value(&run, &plan("slow", true), "both"), 101 + 102 + 1);
    assert_eq!(space.run(&plan("slow", false)).outcome().ran, 0);
}

#[test]
fn a_random_stage_never_loops() {
    let space = TestSpace::new();
    let turn = Arc::new(AtomicU64::new(0));
    let root = space.store.root().to_owned();
    // Whatever is made is gone at once, and different each time.
    let plan = {
        let turn = Arc::clone(&turn);
        let random = move |cx: &mut Context<'_>| write(cx, turn.fetch_add(1, Ordering::SeqCst));
        let wipe = move |cx: &mut Context<'_>| {
            let sum = sum(cx)?;
            std::fs::remove_dir_all(root.join("objects"))?;
            std::fs::create_dir(root.join("objects"))?;
            write(cx, 1000 + sum)
        };
        Draft::new()
            .node("random", Act::new("random", random), &[])
            .node("wipe", Act::new("wipe", wipe), &[("a", "random")])
            .node("needs", Add::default(), &[("a", "random"), ("b", "wipe")])
            .plan()
    };
    let run = space.run(&plan);
    assert!(matches!(run.result, Err(EngineError::NeverSettles { .. })), "{:?}", run.result);
    assert!(turn.load(Ordering::SeqCst) <= 6);
}

#[test]
fn bytes_that_keep_vanishing_end_the_run() {
    let space = TestSpace::new();
    let wipe = |number: u64| {
        let root = space.store.root().to_owned();
        Act::new(&number.to_string(), move |cx| {
            std::fs::remove_dir_all(root.join("objects"))?;
            std::fs::create_dir(root.join("objects"))?;
            write(cx, number)
        })
    };
    // Each deletes what the other has made.
    let draft = Draft::new().node("one", wipe(1), &[]).node("two", wipe(2), &[("a", "one")]);
    let run = space.run(&draft.node("both", Add::default(), &[("a", "one"), ("b", "two")]).plan());
    assert!(matches!(run.result, Err(EngineError::KeepsVanishing { .. })), "{:?}", run.result);
}

#[test]
fn two_shards_of_one_name_are_a_bug_and_not_a_hit() {
    let space = TestSpace::new();
    let wrong = Shards { is_wrong: true, ..Shards::new(2, |_| ()) };
    let run = space.run(&Draft::new().node("many", wrong, &[]).plan());
    assert!(run.error().contains("two shards are called n000"), "{}", run.error());
}
