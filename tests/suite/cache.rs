//! cache: what runs again and what does not.

use crate::toys::{Act, Add, Cap, Draft, Draw, Look, NUMBER, Need, Number, TestSpace, cpu, little, sum, write};
use dcpipe::engine::fate::Fate;
use dcpipe::engine::{Context, EngineError, Event, Keep, MissReason, Noun, Pool, Port};
use std::path::Path;

#[test]
fn second_run_executes_nothing() {
    let space = TestSpace::new();
    let first = space.run(&little(3, 10).plan());
    let second = space.run(&little(3, 10).plan());
    assert_eq!((first.outcome().ran, first.outcome().hit), (14, 0));
    assert_eq!((second.outcome().ran, second.outcome().hit), (0, 14));
    assert_eq!(first.digests(), second.digests());
}

#[test]
fn a_changed_parameter_reruns_only_what_depends_on_it() {
    let space = TestSpace::new();
    space.run(&little(2, 10).plan());
    let other = space.run(&little(2, 20).plan());
    let hits = other.hits();
    assert_eq!(hits, ["features@1", "images@0", "vectors@1", "weights@0"]);
    assert_eq!(other.finished()[0], "clusters@1");
}

#[test]
fn going_back_to_an_old_parameter_executes_nothing() {
    let space = TestSpace::new();
    let first = space.run(&little(2, 10).plan());
    space.run(&little(2, 20).plan());
    let back = space.run(&little(2, 10).plan());
    assert_eq!(back.outcome().ran, 0);
    assert_eq!(first.digests(), back.digests());
}

#[test]
fn equal_bytes_upstream_cut_the_run_short() {
    let space = TestSpace::new();
    let plan = |value| {
        Draft::new()
            .node("source", Number { value }, &[])
            .node("cap", Cap { at: 5 }, &[("a", "source")])
            .node("sum", Add::default(), &[("a", "cap")])
            .plan()
    };
    space.run(&plan(10));
    assert_eq!(space.run(&plan(11)).finished(), ["cap@0", "source@0"]);
}

#[test]
fn more_epochs_run_only_the_new() {
    let space = TestSpace::new();
    space.run(&little(2, 10).plan());
    let more = space.run(&little(3, 10).plan());
    assert_eq!(more.finished(), ["clusters@3", "features@3", "vectors@3", "weights@3"]);
    assert_eq!(space.run(&little(2, 10).plan()).outcome().ran, 0);
}

#[test]
fn an_observed_change_with_the_same_result_reruns_the_source_alone() {
    let space = TestSpace::new();
    let path = space.folder.path().join("number");
    let plan = || Draft::new().node("look", Look::at(&path), &[]).node("sum", Add::default(), &[("a", "look")]).plan();
    std::fs::write(&path, "7").expect("written");
    assert_eq!(space.run(&plan()).finished(), ["look@0", "sum@0"]);
    assert_eq!(space.run(&plan()).outcome().ran, 0);
    std::fs::write(&path, "7\n").expect("written");
    assert_eq!(space.run(&plan()).finished(), ["look@0"]);
    std::fs::write(&path, "8").expect("written");
    assert_eq!(space.run(&plan()).finished(), ["look@0", "sum@0"]);
}

#[test]
fn a_source_that_changes_while_it_is_read_fails_and_nothing_is_recorded() {
    let space = TestSpace::new();
    let path = space.folder.path().join("number");
    let plan = |read: &Path| Draft::new().node("look", Look { path: path.clone(), read: read.to_owned() }, &[]).plan();
    std::fs::write(&path, "7").expect("written");
    let changing = space.folder.path().join("changes");
    std::fs::write(&changing, "8").expect("written");
    let error = space.run(&plan(&changing)).error();
    assert!(error.contains("changed while it ran"), "{error}");
    std::fs::write(&path, "7").expect("written");
    let whole = space.run(&plan(&path));
    assert_eq!(whole.finished(), ["look@0"]);
}

#[test]
fn a_source_that_cannot_look_says_so_and_nothing_runs() {
    let space = TestSpace::new();
    let plan = Draft::new().node("look", Look::at(Path::new("/nowhere/at/all")), &[]).plan();
    let run = space.run(&plan);
    assert!(matches!(run.result, Err(EngineError::Observe { .. })), "{:?}", run.result);
    assert!(run.started().is_empty());
}

#[test]
fn evicted_bytes_do_not_invalidate_later_nodes() {
    let space = TestSpace::new();
    let plan = little(2, 10).plan();
    let first = space.run(&plan);
    for node in ["images", "weights@1", "clusters@1"] {
        space.evict(&first, &plan, node);
    }
    assert_eq!(space.run(&plan).outcome().ran, 0);
}

#[test]
fn swept_bytes_are_rebuilt_only_when_needed() {
    let space = TestSpace::new();
    let plan = little(2, 10).plan();
    let first = space.run(&plan);
    assert!(!space.holds(&first, &plan, "vectors@1"));
    // Another k at epoch 1 needs vectors@1, whose making needs features@1, and those images and weights@0.
    let other = space.run_to(&little(1, 20).plan(), &["clusters"]);
    assert_eq!(other.finished(), ["clusters@1", "features@1", "vectors@1", "weights@0"]);
    let why = |node: &str| {
        other.events.iter().find_map(|event| match event {
            Event::NodeStarted { node: at, reason, .. } if at == node => Some(reason.clone()),
            _ => None,
        })
    };
    assert_eq!(why("vectors@1"), Some(MissReason::Evicted { needed_by: "clusters@1".to_owned() }));
    assert_eq!(why("features@1"), Some(MissReason::Evicted { needed_by: "vectors@1".to_owned() }));
    assert!(
        matches!(why("clusters@1"), Some(MissReason::KeyChanged { lines }) if lines == ["- param.add = 10", "+ param.add = 20"])
    );
}

#[test]
fn retention_deletes_features_once_used_and_keeps_what_was_asked_for() {
    let space = TestSpace::new();
    let plan = |asked: bool| {
        let draft =
            Draft::new().node("images", Number { value: 1 }, &[]).node("features", Add::default(), &[("a", "images")]);
        let draft = draft.until_used();
        let draft = if asked { draft.asked_for() } else { draft };
        draft.node("vectors", Add::default(), &[("a", "features")]).plan()
    };
    let first = space.run(&plan(false));
    assert!(first.events.iter().any(|e| matches!(e, Event::Evicted { node, .. } if node == "features@0")));
    assert!(!space.holds(&first, &plan(false), "features") && space.holds(&first, &plan(false), "vectors"));
    assert_eq!(space.run(&plan(false)).outcome().ran, 0);
    let asked = space.run(&plan(true));
    assert_eq!(asked.finished(), ["features@0"]);
    assert!(space.holds(&asked, &plan(true), "features"));
    assert_eq!(space.run(&plan(true)).outcome().ran, 0);
}

#[test]
fn bytes_of_two_owners_are_kept_while_one_needs_them() {
    let space = TestSpace::new();
    let plan = Draft::new()
        .node("one", Number { value: 5 }, &[])
        .until_used()
        .node("kept", Cap { at: 5 }, &[("a", "one")])
        .plan();
    let run = space.run(&plan);
    assert_eq!(run.artifact(&plan, "one"), run.artifact(&plan, "kept"));
    assert!(space.holds(&run, &plan, "kept"));
}

#[test]
fn the_next_run_evicts_what_a_killed_run_left() {
    let space = TestSpace::new();
    let kept = |until_used: bool| {
        let draft = Draft::new().node("one", Number { value: 5 }, &[]);
        let draft = if until_used { draft.until_used() } else { draft };
        draft.node("two", Add::default(), &[("a", "one")]).plan()
    };
    let first = space.run(&kept(false));
    assert!(space.holds(&first, &kept(false), "one"));
    assert_eq!(space.run(&kept(true)).outcome().ran, 0);
    assert!(!space.holds(&first, &kept(true), "one"));
}

#[test]
fn facts_refuse_before_anything_is_computed() {
    let space = TestSpace::new();
    let plan = |images, need| {
        Draft::new()
            .node("images", Number { value: images }, &[])
            .node("crops", Add::default(), &[("a", "images")])
            .node("features@1", Add::default(), &[("a", "crops")])
            .node("clusters@1", Need { images: need }, &[("a", "features@1")])
            .plan()
    };
    let refused = space.run(&plan(100, 1000));
    assert_eq!(refused.finished(), ["images@0"]);
    assert!(matches!(refused.result, Err(EngineError::Plan(_))), "{:?}", refused.result);
    assert_eq!(refused.error(), "clusters@1: 1000 images are needed and there are 100; the largest that works is 100");
    assert!(refused.events.iter().any(|e| matches!(e, Event::NodeFailed { node, .. } if node == "clusters@1")));
    // The number is known now: nothing at all runs, and the forecast says the same.
    assert!(space.run(&plan(100, 1000)).started().is_empty());
    assert!(dcpipe::engine::forecast::forecast(&plan(100, 1000), &space.store, cpu()).is_err());
    assert_eq!(space.run(&plan(100, 100)).outcome().ran, 3);
}

#[test]
fn a_stage_that_draws_draws_the_same_again_and_other_numbers_at_another_node() {
    let (one, two) = (TestSpace::new(), TestSpace::new());
    let plan = Draft::new().node("draw@1", Draw {}, &[]).node("draw@2", Draw {}, &[]).plan();
    let (first, second) = (one.run(&plan), two.run(&plan));
    assert_eq!(first.digests(), second.digests());
    assert_ne!(first.artifact(&plan, "draw@1"), first.artifact(&plan, "draw@2"));
}

#[test]
fn equal_nodes_without_draws_meet_in_one_record() {
    let space = TestSpace::new();
    let plan = Draft::new()
        .node("one", Number { value: 3 }, &[])
        .node("sum@1", Add::default(), &[("a", "one")])
        .node("sum@2", Add::default(), &[("a", "one")])
        .node("after@2", Add::default(), &[("a", "sum@2"), ("b", "sum@1")])
        .plan();
    assert_eq!(space.run(&plan).result.expect("a good run").records.iter().flatten().count(), 4);
    assert_eq!(space.run(&plan).outcome().hit, 4);
}

#[test]
fn a_forecast_tells_hits_runs_with_their_reason_and_what_waits() {
    let space = TestSpace::new();
    space.run(&little(2, 10).plan());
    let fates = space.forecast(&little(2, 20).plan());
    let fate = |name: &str| fates.iter().find(|(node, _)| node == name).expect("a line").1.clone();
    assert_eq!(fate("images@0"), Fate::Hit);
    assert_eq!(fate("vectors@1"), Fate::Run(MissReason::Evicted { needed_by: "clusters@1".to_owned() }));
    let lines = vec!["- param.add = 10".to_owned(), "+ param.add = 20".to_owned()];
    assert_eq!(fate("clusters@1"), Fate::Run(MissReason::KeyChanged { lines }));
    assert_eq!(fate("features@2"), Fate::Pending { after: "clusters@1".to_owned() });
}

#[test]
fn to_stops_after_the_node() {
    let space = TestSpace::new();
    let plan = little(3, 10).plan();
    let run = space.run_to(&plan, &["vectors@1"]);
    assert_eq!(run.finished(), ["features@1", "images@0", "vectors@1", "weights@0"]);
    assert!(space.holds(&run, &plan, "vectors@1"));
    let all = space.run_to(&plan, &["clusters"]);
    assert!(all.finished().contains(&"clusters@3".to_owned()) && !all.finished().contains(&"weights@3".to_owned()));
}

/// Reads one part of two.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct ReadsOne {
    add: u64,
}

impl dcpipe::engine::Stage for ReadsOne {
    const VERB: &'static str = "reads_one";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("a", "number").reading(&["n"])];
    const OUTPUT: Noun = NUMBER;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let number = sum(cx)?;
        write(cx, number + self.add)
    }
}

#[test]
fn an_unread_part_is_in_no_key_and_rebuilds_nothing() {
    let space = TestSpace::new();
    let plan = |other: u64, add: u64| {
        let two = Act::new(&format!("two {other}"), move |cx: &mut Context<'_>| {
            write(cx, 5)?;
            cx.write_part("other", |out| writeln!(out, "{other}"))
        });
        Draft::new().node("two", two, &[]).node("one", ReadsOne { add }, &[("a", "two")]).plan()
    };
    let first = space.run(&plan(1, 0));
    // Another part changes: the reader's key does not.
    assert_eq!(space.run(&plan(2, 0)).finished(), ["two@0"]);
    // The other part is gone: the reader runs without it, as the forecast says.
    space.store.evict(first.artifact(&plan(1, 0), "two").part("other").unwrap().object).unwrap();
    let told = space.forecast(&plan(1, 7));
    assert_eq!(told.iter().filter(|(_, fate)| *fate != Fate::Hit).count(), 1, "{told:?}");
    assert_eq!(space.run(&plan(1, 7)).finished(), ["one@0"]);
}

#[test]
fn a_part_that_the_port_does_not_name_cannot_be_read() {
    let space = TestSpace::new();
    let two = Act::new("two", |cx: &mut Context<'_>| {
        write(cx, 5)?;
        cx.write_part("other", |out| writeln!(out, "1"))
    });
    let plan = Draft::new().node("two", two, &[]).node("one", ReadsUnnamed {}, &[("a", "two")]).plan();
    let error = space.run(&plan).error();
    assert!(error.contains("other"), "{error}");
}

/// Reads a part that its port leaves out.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct ReadsUnnamed {}

impl dcpipe::engine::Stage for ReadsUnnamed {
    const VERB: &'static str = "reads_unnamed";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::required("a", "number").reading(&["n"])];
    const OUTPUT: Noun = NUMBER;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        cx.input("a")?.part("other")?;
        write(cx, 1)
    }
}
