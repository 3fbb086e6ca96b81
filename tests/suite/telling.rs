//! telling: what people are told afterwards: the journal read back, root causes, where two runs differ.

use crate::space::{DCPIPE, NODES, Space};
use crate::toys::{Add, Draft, Number, TestSpace, cpu, little};
use dcpipe::base::Digest;
use dcpipe::engine::fate::Fate;
use dcpipe::engine::forecast::forecast;
use dcpipe::engine::journal::Journal;
use dcpipe::engine::past::{End, PastRun, read};
use dcpipe::engine::roots::{Cause, Tracer};
use dcpipe::engine::slowest::slowest_path;
use dcpipe::engine::{Event, NodeId, Observer, Plan};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The events of two runs, the second with another parameter.
fn two_runs() -> [Vec<Event>; 2] {
    let space = TestSpace::in_memory();
    [10, 20].map(|k| space.run(&little(2, k).plan()).events)
}

/// What does not depend on the clock, nor on whose journal it stands in.
fn gist(run: &PastRun) -> impl PartialEq + std::fmt::Debug + use<> {
    let ran: Vec<_> = run.ran.iter().map(|n| (n.node.clone(), n.key, n.reason.clone(), n.bytes)).collect();
    let hits: Vec<_> = run.hits.iter().map(|(_, node, key)| (node.clone(), *key)).collect();
    (run.name.clone(), ran, hits, run.notes.clone(), run.failures.clone(), run.end)
}

/// The journal of runs whose events arrive as `first` says: true for the next of the first, false for one of the second.
fn journal(folder: &Path, runs: &[Vec<Event>; 2], first: &[bool]) {
    let journals = [0, 1].map(|_| Journal::append_to(folder).unwrap());
    let mut left = runs.each_ref().map(|events| events.iter());
    let all = first.iter().map(|first| usize::from(!first)).chain([0; 200]).chain([1; 200]);
    for at in all {
        left[at].next().into_iter().for_each(|event| journals[at].observe(event));
    }
}

#[test]
fn concurrent_runs_in_one_journal_are_told_apart() {
    let runs = two_runs();
    let alone = runs.each_ref().map(|events| {
        let folder = tempfile::tempdir().unwrap();
        journal(folder.path(), &[events.clone(), Vec::new()], &[]);
        gist(&read(&folder.path().join("events.jsonl")).unwrap().runs[0])
    });
    for seed in 0..20u64 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.jsonl");
        let first: Vec<bool> = (0..200).map(|i| (seed * 7919 + i * i * 31).count_ones() % 2 == 0).collect();
        journal(folder.path(), &runs, &first);
        let mut told: Vec<_> = read(&file).unwrap().runs.iter().map(gist).collect();
        told.sort_by_key(|run| *run != alone[0]);
        assert_eq!(told, alone);
    }
}

#[test]
fn a_journal_of_a_program_that_did_not_say_whose_lines_they_are_still_opens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    let runs = two_runs();
    journal(folder.path(), &runs, &[true; 200]);
    let with: Vec<_> = read(&file).unwrap().runs.iter().map(gist).collect();
    let without = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line.as_object_mut().unwrap().remove("id").is_some());
        format!("{line}\n")
    };
    let old: String = fs::read_to_string(&file).unwrap().lines().map(without).collect();
    fs::write(&file, old).unwrap();
    let past = read(&file).unwrap();
    assert_eq!(past.runs.iter().map(gist).collect::<Vec<_>>(), with);
    assert_eq!((past.runs[0].end, past.unread), (Some(End::Complete), 0));
    journal(folder.path(), &runs, &[true; 200]);
    assert_eq!(read(&file).unwrap().runs.len(), 4);
}

#[test]
fn a_journal_cut_off_anywhere_is_read_to_there_and_the_next_run_is_whole() {
    let runs = two_runs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.jsonl");
    journal(folder.path(), &[runs[0].clone(), Vec::new()], &[]);
    let whole = fs::read(&file).unwrap();
    let all = read(&file).unwrap().runs.remove(0);
    let Some(&Event::RunFinished { ran, hit, .. }) = runs[1].last() else { panic!("{:?}", runs[1].last()) };
    // Without its line end alone the last line would be whole.
    for cut in (0..whole.len() - 1).step_by(7) {
        fs::write(&file, &whole[..cut]).unwrap();
        let past = read(&file).unwrap();
        let seen = past.runs.first().map_or(0, PastRun::finished);
        assert!(seen <= all.finished() && past.runs.iter().all(|run| run.end.is_none()), "cut at {cut}");
        let lines = whole[..cut].split(|b| *b == b'\n').filter(|line| line.ends_with(b"}")).count();
        assert!(past.unread <= 1 && (lines == 0) == past.runs.is_empty(), "cut at {cut}");
        journal(folder.path(), &[runs[1].clone(), Vec::new()], &[]);
        let last = read(&file).unwrap().runs.pop().unwrap();
        assert_eq!((last.end, last.finished(), last.hit()), (Some(End::Complete), ran, hit), "cut at {cut}");
    }
}

#[test]
fn the_journal_keeps_what_a_node_measured_last_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::append_to(folder.path()).unwrap();
    let mut events = two_runs()[0].clone();
    let begun =
        events.iter().position(|e| matches!(e, Event::NodeStarted { node, .. } if node == "clusters@1")).unwrap();
    for value in 0..100 {
        let (node, name) = ("clusters@1".to_owned(), "loss".to_owned());
        events.insert(begun + 1 + value, Event::Metric { node, name, value: value as f64 });
    }
    events.iter().for_each(|event| journal.observe(event));
    let text = fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
    assert_eq!(text.matches("\"metric\"").count(), 1);
    let run = read(&folder.path().join("events.jsonl")).unwrap().runs.remove(0);
    let node = run.ran.iter().find(|node| node.node == "clusters@1").unwrap();
    assert_eq!(node.metrics, BTreeMap::from([("loss".to_owned(), 99.0)]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_journal_of_any_bytes_is_read_without_a_panic(
        lines in prop::collection::vec(any::<usize>(), 0..12),
        odd in prop::collection::vec(any::<u8>(), 0..40),
        number in prop::sample::select(vec!["-1e300", "1e308", "-5", "null", "18446744073709551615", "0.5", "\"x\""]),
    ) {
        let key = "00".repeat(32);
        let known = [
            r#"{"unix_ms":1,"t":0.1,"id":"a","type":"from_the_future","node":"x@1"}"#.to_owned(),
            format!(r#"{{"unix_ms":1,"t":{number},"id":"a","type":"node_started","node":"x@1","key":"{key}","reason":{{"kind":"first_run"}}}}"#),
            format!(r#"{{"unix_ms":1,"t":{number},"type":"node_started","node":"x@1","key":"{key}","reason":{{"kind":"later","lines":3}}}}"#),
            format!(r#"{{"unix_ms":1,"t":2,"id":"a","type":"node_finished","node":"x@1","key":"{key}","artifact":"{key}","bytes":7,"wall_s":{number}}}"#),
            format!(r#"{{"unix_ms":{number},"t":3,"id":"b","type":"run_finished","ran":1,"hit":0,"failed":0,"skipped":0,"wall_s":{number},"interrupted":false}}"#),
            r#"{"unix_ms":1,"t":4,"id":"b","type":"node_failed","node":"y@1","error":"no"}"#.to_owned(),
            r#"{"unix_ms":1,"t":4,"type":"metric","node":"x@1","name":"loss","value":null}"#.to_owned(),
            "[1,2".to_owned(),
        ];
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(known.get(line % (known.len() + 1)).map_or(&odd[..], |line| line.as_bytes()));
            text.push(b'\n');
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        for run in read(file.path()).unwrap().runs {
            prop_assert!(run.wall_s >= 0.0 && run.ran.iter().all(|node| node.took_s >= 0.0 && node.took_s.is_finite()));
        }
    }

    #[test]
    fn no_chain_of_nodes_is_slower_than_the_slowest_path(
        edges in prop::collection::vec(prop::collection::vec(0usize..5, 0..4), 1..9),
        seconds in prop::collection::vec(0u32..4, 9),
    ) {
        let plan = graph(&edges, &[0; 9]);
        let names: Vec<String> = (0..edges.len()).map(|i| format!("n{i}@0")).collect();
        let took: BTreeMap<&str, f64> = names.iter().map(String::as_str).zip(seconds.iter().copied().map(f64::from)).collect();
        // Every chain there is, one by one.
        let mut chains: Vec<(usize, f64)> = (0..edges.len()).map(|i| (i, 0.0)).collect();
        let mut best = 0.0f64;
        while let Some((at, sum)) = chains.pop() {
            let sum = sum + f64::from(seconds[at]);
            best = best.max(sum);
            chains.extend(plan.node(NodeId(at as u32)).inputs.iter().map(|(_, from)| (from.index(), sum)));
        }
        let path = slowest_path(&plan, &took);
        prop_assert_eq!(path.iter().map(|(_, seconds)| seconds).sum::<f64>(), best);
        prop_assert!(path.windows(2).all(|pair| plan.rank(pair[0].0) < plan.rank(pair[1].0)));
    }
}

fn number(node: usize, parameter: u64) -> u64 {
    let drawn = Digest::of(format!("{node} {parameter}").as_bytes());
    drawn.as_bytes()[..7].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A graph of sums, whose nodes read those so many places before them. The numbers are such that no two sums are equal.
fn graph(edges: &[Vec<usize>], parameters: &[u64]) -> Plan {
    let mut draft = Draft::new();
    for (i, back) in edges.iter().enumerate() {
        let from: BTreeSet<usize> = back.iter().filter_map(|back| i.checked_sub(back + 1)).collect();
        let names: Vec<String> = from.iter().map(|from| format!("n{from}")).collect();
        let from: Vec<(&str, &str)> = ["a", "b", "c"].into_iter().zip(names.iter().map(String::as_str)).collect();
        let value = number(i, parameters[i]);
        draft = match from.is_empty() {
            true => draft.node(&format!("n{i}"), Number { value }, &[]),
            false => draft.node(&format!("n{i}"), Add { add: value, option: None }, &from),
        };
    }
    draft.plan()
}

/// The roots of every node that is no hit, by the node's name.
fn all_roots(space: &TestSpace, plan: &Plan) -> BTreeMap<String, Vec<(String, Cause)>> {
    let lines = forecast(plan, &space.store, cpu()).unwrap();
    let mut tracer = Tracer::new(plan, &space.store, cpu(), &lines);
    let mut roots = BTreeMap::new();
    for line in lines.iter().filter(|line| line.fate != Fate::Hit) {
        let steps = tracer.trace(line.node).unwrap();
        let named = steps.iter().flat_map(|step| {
            let name = plan.node(step.node).name();
            step.look.causes.iter().map(move |cause| (name.clone(), cause.clone()))
        });
        roots.insert(plan.node(line.node).name(), named.collect());
    }
    roots
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_roots_are_the_changed_nodes_before_a_node_whatever_of_it_has_run_meanwhile(
        edges in prop::collection::vec(prop::collection::vec(0usize..5, 0..4), 1..10),
        rounds in prop::collection::vec((prop::collection::vec(0u64..3, 10), 0usize..10), 0..5),
        now in prop::collection::vec(0u64..3, 10),
    ) {
        let space = TestSpace::in_memory();
        let first = vec![0; 10];
        space.run(&graph(&edges, &first));
        // Which parameters everything had when each node was last come to.
        let mut last: Vec<Vec<u64>> = vec![first; edges.len()];
        let before = |plan: &Plan, i: usize| {
            let (mut found, mut open) = (BTreeSet::new(), vec![NodeId(i as u32)]);
            while let Some(id) = open.pop() {
                if found.insert(id.index()) {
                    open.extend(plan.node(id).inputs.iter().map(|(_, from)| *from));
                }
            }
            found
        };
        for (parameters, to) in rounds {
            let (plan, to) = (graph(&edges, &parameters), to % edges.len());
            space.run_to(&plan, &[&format!("n{to}@0")]);
            before(&plan, to).into_iter().for_each(|i| last[i].clone_from(&parameters));
        }
        let plan = graph(&edges, &now);
        for (node, roots) in all_roots(&space, &plan) {
            let i: usize = node[1..node.len() - 2].parse().unwrap();
            let changed: BTreeSet<String> =
                before(&plan, i).into_iter().filter(|at| last[i][*at] != now[*at]).map(|at| format!("n{at}@0")).collect();
            prop_assert!(roots.iter().all(|(_, cause)| matches!(cause, Cause::Changed { .. })), "{} {:?}", node, roots);
            prop_assert_eq!(roots.into_iter().map(|(root, _)| root).collect::<BTreeSet<_>>(), changed, "{}", node);
        }
    }
}

#[test]
fn the_root_of_a_chain_of_thousands_of_nodes_that_have_all_run_is_found_without_recursion() {
    let space = TestSpace::in_memory();
    let chain = |first: u64| {
        let edges: Vec<Vec<usize>> = vec![vec![0]; 5000];
        graph(&edges, &[vec![first], vec![0; 4999]].concat())
    };
    space.run(&chain(0));
    space.run_to(&chain(1), &["n4998@0"]);
    let roots = all_roots(&space, &chain(1));
    let lines = vec![format!("- param.value = {}", number(0, 0)), format!("+ param.value = {}", number(0, 1))];
    assert_eq!(roots["n4999@0"], [("n0@0".to_owned(), Cause::Changed { lines })]);
}

#[test]
fn why_says_when_a_change_is_older_than_its_history() {
    let space = TestSpace::in_memory();
    space.run(&little(2, 0).plan());
    for k in 1..=9 {
        space.run_to(&little(2, k).plan(), &["clusters@1"]);
        let roots = &all_roots(&space, &little(2, k).plan())["weights@1"];
        let [(node, cause)] = &roots[..] else { panic!("{roots:?}") };
        if k <= 8 {
            let lines = vec!["- param.add = 0".to_owned(), format!("+ param.add = {k}")];
            assert_eq!((node.as_str(), cause), ("clusters@1", &Cause::Changed { lines }));
        } else {
            assert!(matches!(cause, Cause::Forgotten { port: "a", from, .. } if from == "clusters@1"), "{cause:?}");
        }
    }
}

#[test]
fn a_lost_or_damaged_history_of_keys_is_no_error() {
    let space = TestSpace::new();
    space.run(&little(2, 1).plan());
    space.run_to(&little(2, 2).plan(), &["clusters@1"]);
    let file = space.store.run_folder("toys").join("before.json");
    let kept = fs::read(&file).unwrap();
    let forgotten =
        |space: &TestSpace| matches!(all_roots(space, &little(2, 2).plan())["weights@1"][0].1, Cause::Forgotten { .. });
    assert!(!forgotten(&space));
    for damaged in [&kept[..kept.len() / 2], b"", b"{\"clusters@1\": 7}"] {
        fs::write(&file, damaged).unwrap();
        assert!(forgotten(&space));
    }
    fs::remove_file(&file).unwrap();
    assert!(forgotten(&space));
    assert_eq!(space.run(&little(2, 1).plan()).outcome().ran, 0);
    assert!(fs::read(&file).unwrap().len() > 2);
}

#[test]
fn log_tells_what_ran_and_the_slowest_path() {
    let space = Space::after_a_run();
    let told = space.run(&["log"]).ok().stdout;
    for node in NODES {
        assert!(told.lines().any(|line| line.starts_with(node) && line.contains("it has not run before")), "{told}");
    }
    let weights = told.lines().find(|line| line.starts_with("weights@2")).unwrap();
    assert!(weights.contains(" loss ") && weights.contains(" MB "), "{told}");
    assert!(
        told.contains("23 ran, 0 hit, 0 failed, 0 interrupted, ") && told.contains("\nthe slowest path: "),
        "{told}"
    );

    let json: serde_json::Value = serde_json::from_str(&space.run(&["log", "tiny", "--json"]).ok().stdout).unwrap();
    assert_eq!((&json["end"], json["nodes"].as_array().unwrap().len()), (&"complete".into(), 23));
    let names = |list: &serde_json::Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    let path = names(&json["slowest_path"]);
    // On a slow disk the tables of the last weights are the last of it.
    let last = path.iter().rfind(|node| !node.contains(".tables@")).unwrap();
    assert!(path.contains(&"weights@1".to_owned()) && last == "weights@2", "{path:?}");

    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let all = space.run(&["log", "--all"]).ok().stdout;
    let rows: Vec<Vec<&str>> = all.lines().skip(1).map(|line| line.split_whitespace().skip(3).collect()).collect();
    assert_eq!((&rows[0][..2], &rows[1][..2], rows.len()), (&["23", "0"][..], &["0", "23"][..], 2), "{all}");

    let told = space.run(&["log"]).ok().stdout;
    assert!(
        told.starts_with("the last run, 2") && told.lines().next().unwrap().contains("had nothing to do"),
        "{told}"
    );
    assert!(told.contains("23 ran, 0 hit, 0 failed"), "{told}");

    fs::remove_file(space.path("runs/tiny/events.jsonl")).unwrap();
    space.run(&["log"]).ended(5).complains_of(&["journal of tiny", "events.jsonl", "--out", "the next dcpipe run"]);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert!(space.run(&["log"]).ok().stdout.contains("0 ran, 23 hit"));
}

#[test]
fn a_trace_has_every_node_once_and_no_two_at_a_time_in_a_row() {
    let space = Space::after_a_run();
    space.run(&["log", "--trace", "trace.json"]).ok();
    let trace: serde_json::Value = serde_json::from_slice(&fs::read(space.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).collect::<Vec<_>>();
    let mut nodes: Vec<&str> = of("X").iter().map(|event| event["name"].as_str().unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, NODES);
    let mut rows: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for event in of("X") {
        let number = |name: &str| event[name].as_f64().unwrap();
        assert!(
            event["args"]["key"].is_string() && event["args"]["bytes"].is_u64() && event["args"]["reason"].is_string()
        );
        rows.entry(event["tid"].as_u64().unwrap()).or_default().push((number("ts"), number("ts") + number("dur")));
    }
    for spans in rows.values_mut() {
        spans.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
    }
    let named: Vec<_> =
        of("M").iter().filter(|event| event["name"] == "thread_name").map(|e| e["args"]["name"].clone()).collect();
    assert!(["device", "cpu", "light"].iter().all(|pool| named.contains(&(*pool).into())), "{named:?}");
}

#[test]
fn why_and_diff_name_the_root_though_it_has_run_already() {
    let space = Space::after_a_run();
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=5", "--to", "clusters@1"]).ok();
    for node in ["manifest@1", "features@2"] {
        let why = space.run(&["why", node, "--set", "clusters.k=5"]).ok().stdout;
        assert_eq!(why.lines().last(), Some("the root: clusters@1: param.k = 7 -> 5"), "{why}");
    }
    // From elsewhere as well: what was set leads from where it was typed.
    let mut elsewhere = space.command(DCPIPE);
    let elsewhere =
        elsewhere.args(["why", "manifest@1", "--store"]).arg(space.path(".dcpipe")).current_dir("/").output();
    assert!(String::from_utf8_lossy(&elsewhere.unwrap().stdout).contains("-> 5"));
    let far = space.run(&["why", "features@3", "tiny.yaml", "--set", "epochs=3", "--set", "clusters.k=5"]).ok().stdout;
    assert_eq!(far.lines().last(), Some("the root: clusters@1: param.k = 7 -> 5 (also clusters@2)"), "{far}");

    space.run(&["run", "tiny.yaml", "-q"]).ok();
    space.run(&["run", "tiny.yaml", "-q", "--name", "five", "--set", "clusters.k=5", "--to", "metrics@1"]).ok();
    let diff = space.run(&["diff", "tiny", "five"]).ok().stdout;
    let row = |node: &str| diff.lines().find(|line| line.starts_with(node)).unwrap_or_else(|| panic!("{diff}"));
    for (node, what) in [
        ("features@1", "equal"),
        ("clusters@1", "different"),
        ("metrics@1", "different"),
        ("clusters@2", "not finished in five"),
    ] {
        assert!(row(node).contains(&format!("  {what}")), "{diff}");
    }
    assert!(diff.contains("\nclusters@1\n    - param.k = 7\n    + param.k = 5\n1 more node differs only"), "{diff}");
    assert!(diff.lines().any(|line| line.split_whitespace().eq(["clusters", "7", "5", "-2"])), "{diff}");
    space.run(&["diff", "tiny", "six"]).ended(2).complains_of(&["no run six", "five, tiny"]);
}
