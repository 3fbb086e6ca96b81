//! collapse: a run whose clustering collapses says so at its end, whatever its verbosity, and in metrics, journal and report.

use crate::space::{Space, TINY, image};
use dcpipe::engine::Event;
use dcpipe::format::metrics::{METRICS, open_metrics};

/// Fifty copies of one image in two folders.
fn twins() -> Space {
    let space = Space::empty();
    space.write("tiny.yaml", TINY);
    for number in 0..50 {
        space.write(&format!("images/{}/{number}.jpg", ["a", "b"][number % 2]), image(0).1);
    }
    space
}

const ADVICE: &str = "k is above the number of distinct images, 1. Lower k";

#[test]
fn a_collapse_is_said_at_the_end_of_a_run_once_a_kind_and_where_people_look_later() {
    let space = twins();
    let run = space.run(&["run", "tiny.yaml"]).ok();
    let mut lines = run.stderr.lines().skip_while(|line| !line.contains(" ran, ")).skip(1);
    assert_eq!(
        lines.next(),
        Some(&*format!("warning (few_distinct_images, 2 times): metrics@2: {ADVICE}")),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains(&format!("metrics@1: warning: {ADVICE}")), "{}", run.stderr);

    let bytes = space.store().map(space.record("metrics@2").artifact.part(METRICS.file).unwrap()).unwrap();
    let metrics = open_metrics(&bytes).unwrap();
    assert!(metrics.iter().any(|metric| metric.name == "warning.few_distinct_images" && metric.value == 1.0));
    let logged = space.run(&["log"]).ok().stdout;
    assert!(logged.contains(&format!("metrics@2: warning few_distinct_images: {ADVICE}")), "{logged}");
}

#[test]
fn a_quiet_run_still_says_that_it_collapsed_and_a_healthy_one_warns_of_nothing() {
    let space = twins();
    let run = space.run(&["run", "tiny.yaml", "-q", "--to", "metrics@1"]).ok();
    assert!(run.stderr.contains(&format!("warning (few_distinct_images): metrics@1: {ADVICE}")), "{}", run.stderr);

    let events = Space::after_a_run().first_events();
    let warns = |event: &&Event| matches!(event, Event::Note { text, .. } if text.starts_with("warning "));
    assert_eq!(events.iter().filter(warns).count(), 0);
}
