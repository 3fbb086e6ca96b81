//! graph: plans of any shape: forecasts hold, the least is run again, depth and breadth cost no more than they must.

use crate::hookfs::{Call, HookFs};
use crate::simfs::SimFs;
use crate::toys::{Act, Add, Cap, Draft, Draw, Number, Run, TestSpace, cpu, little, run_on};
use dcpipe::base::Epoch;
use dcpipe::base::clock::Stopwatch;
use dcpipe::engine::fate::Fate;
use dcpipe::engine::forecast::forecast;
use dcpipe::engine::{AnyStage, Cancel, Keep, MissReason, Node, NodeId, Plan, PlanError};
use dcpipe::store::Store;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A random acyclic graph: for each node its inputs (as distances backwards), and whether its bytes go once used.
#[derive(Clone, Debug)]
struct Shape {
    nodes: Vec<(Vec<usize>, bool)>,
    /// Bytes to delete between two runs, one bit a node.
    deleted: Vec<bool>,
    /// The node whose parameter changes between two runs, if any.
    changed: Option<usize>,
    cut_off: bool,
}

impl Shape {
    fn inputs(&self, i: usize) -> Vec<usize> {
        let mut inputs: Vec<usize> = self.nodes[i].0.iter().filter_map(|back| i.checked_sub(back + 1)).collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// With `change`, the changed node has another parameter. Where nothing is cut off, no two nodes give equal bytes.
    fn plan(&self, change: bool) -> Plan {
        let mut draft = Draft::new();
        for i in 0..self.nodes.len() {
            let inputs = self.inputs(i);
            let names: Vec<String> = inputs.iter().map(|from| format!("n{from}")).collect();
            let from: Vec<(&str, &str)> = ["a", "b", "c"].into_iter().zip(names.iter().map(String::as_str)).collect();
            let changed = u64::from(change && self.changed == Some(i));
            let name = format!("n{i}");
            draft = match (inputs.is_empty(), self.cut_off && i % 3 == 2) {
                (true, _) => draft.node(&name, Number { value: (1000 + i as u64) << 20 | changed }, &[]),
                (_, true) => draft.node(&name, Cap { at: 5 + changed }, &from),
                _ => draft.node(&name, Add { add: ((1 << 40) + i as u64 * 7919) << 8 | changed, option: None }, &from),
            };
            if self.nodes[i].1 {
                draft = draft.until_used();
            }
        }
        draft.plan()
    }
}

fn shape(cut_off: bool) -> impl Strategy<Value = Shape> {
    let node = (prop::collection::vec(0usize..6, 0..4), any::<bool>());
    prop::collection::vec(node, 1..14).prop_flat_map(move |nodes| {
        let n = nodes.len();
        let deleted = prop::collection::vec(any::<bool>(), n);
        (Just(nodes), deleted, prop::option::of(0..n)).prop_map(move |(nodes, deleted, changed)| Shape {
            nodes,
            deleted,
            changed,
            cut_off,
        })
    })
}

fn delete(space: &TestSpace, shape: &Shape, plan: &Plan, run: &Run) {
    for i in (0..shape.nodes.len()).filter(|i| shape.deleted[*i]) {
        space.evict(run, plan, &format!("n{i}"));
    }
}

/// The nodes that must run: what changed and all after it, and before those whatever has no bytes.
fn least(shape: &Shape, has_bytes: impl Fn(usize) -> bool) -> BTreeSet<usize> {
    let mut must = BTreeSet::new();
    for i in 0..shape.nodes.len() {
        if shape.changed == Some(i) || shape.inputs(i).iter().any(|from| must.contains(from)) {
            must.insert(i);
        }
    }
    for i in (0..shape.nodes.len()).rev() {
        if must.contains(&i) {
            must.extend(shape.inputs(i).into_iter().filter(|from| !has_bytes(*from)));
        }
    }
    must
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_run_does_what_the_forecast_said_and_no_more_than_it_must(shape in shape(false)) {
        let space = TestSpace::in_memory();
        let before = shape.plan(false);
        let first = space.run(&before);
        delete(&space, &shape, &before, &first);
        let bytes = |i: usize| space.holds(&first, &before, &format!("n{i}"));
        let must: Vec<String> = least(&shape, bytes).into_iter().map(|i| format!("n{i}@0")).collect::<BTreeSet<_>>().into_iter().collect();

        let plan = shape.plan(true);
        let said = space.forecast(&plan);
        let mut will_run: Vec<String> = said.into_iter().filter(|(_, fate)| *fate != Fate::Hit).map(|(node, _)| node).collect();
        will_run.sort_unstable();
        let second = space.run(&plan);
        prop_assert_eq!(&second.started(), &will_run);
        prop_assert_eq!(&second.started(), &must);

        let undisturbed = TestSpace::in_memory().run(&plan);
        prop_assert_eq!(second.digests(), undisturbed.digests());
        prop_assert_eq!(space.run(&plan).outcome().ran, 0);
    }

    #[test]
    fn a_forecast_hit_is_a_hit_even_where_equal_bytes_cut_the_run_short(shape in shape(true)) {
        let space = TestSpace::in_memory();
        let before = shape.plan(false);
        let first = space.run(&before);
        delete(&space, &shape, &before, &first);
        let plan = shape.plan(true);
        let said = space.forecast(&plan);
        let second = space.run(&plan);
        let started = second.started();
        for (node, fate) in said {
            match fate {
                Fate::Hit => prop_assert!(!started.contains(&node), "{} was to be a hit", node),
                Fate::Run(MissReason::Evicted { .. }) | Fate::Pending { .. } => {}
                Fate::Run(_) => prop_assert!(started.contains(&node), "{} was to run", node),
            }
        }
        prop_assert_eq!(second.digests(), TestSpace::in_memory().run(&plan).digests());
        prop_assert_eq!(space.run(&plan).outcome().ran, 0);
    }
}

fn chain(n: u32, keep: Keep) -> Plan {
    let stage = |i: u32| -> Arc<dyn AnyStage> {
        if i == 0 { Arc::new(Number { value: 1 }) } else { Arc::new(Add { add: u64::from(i), option: None }) }
    };
    let node = |i: u32| Node {
        noun: "n".to_owned(),
        epoch: Epoch(i),
        stage: stage(i),
        inputs: if i == 0 { Vec::new() } else { vec![("a", NodeId(i - 1))] },
        keep,
        asked_for: false,
        is_implied: false,
    };
    Plan::new("chain".to_owned(), 1, n, (0..n).map(node).collect()).expect("a good plan")
}

#[test]
#[expect(clippy::print_stderr, reason = "numbers for who asks with --nocapture")]
fn a_chain_of_100_000_nodes_plans_forecasts_and_runs_without_recursion() {
    let n = 100_000;
    let watch = Stopwatch::new();
    let plan = chain(n, Keep::UntilUsed);
    let planned = watch.seconds();
    let store = Store::open_on(Path::new("/store"), Arc::new(HookFs::unsynced(SimFs::new()))).expect("a store");
    let lines = forecast(&plan, &store, cpu()).expect("a forecast");
    assert_eq!(lines.len(), n as usize);
    let forecasted = watch.seconds() - planned;
    let run = run_on(&store, &plan, Vec::new(), Cancel::default());
    assert_eq!(run.outcome().ran, n as usize);
    let ran = watch.seconds() - planned - forecasted;
    let again = run_on(&store, &plan, Vec::new(), Cancel::default());
    assert_eq!(again.outcome().hit, n as usize);
    let hit = watch.seconds() - planned - forecasted - ran;
    eprintln!("100,000 nodes: plan {planned:.2} s, forecast {forecasted:.2} s, run {ran:.2} s, all hits {hit:.2} s");
    assert!(watch.seconds() < 120.0);
}

#[test]
fn a_chain_with_only_records_is_rebuilt_from_its_first_node() {
    let n = 10_000;
    let store = Store::open_on(Path::new("/store"), Arc::new(HookFs::unsynced(SimFs::new()))).expect("a store");
    let plan = chain(n, Keep::UntilUsed);
    let run = run_on(&store, &plan, Vec::new(), Cancel::default());
    store.evict(run.artifact(&plan, "n@9999").parts[0].object).expect("evicted");
    let rebuilt = run_on(&store, &chain(n + 1, Keep::UntilUsed), Vec::new(), Cancel::default());
    assert_eq!(rebuilt.outcome().ran, n as usize + 1);
}

#[test]
fn a_fan_of_20_000_nodes_runs_on_few_threads() {
    let stage: Arc<dyn AnyStage> = Arc::new(Cap { at: 1 });
    let first = Node {
        noun: "first".to_owned(),
        epoch: Epoch(0),
        stage: Arc::new(Number { value: 1 }),
        inputs: Vec::new(),
        keep: Keep::UntilUsed,
        asked_for: false,
        is_implied: false,
    };
    let node = |i: u32| Node {
        noun: "n".to_owned(),
        epoch: Epoch(i),
        stage: Arc::clone(&stage),
        inputs: vec![("a", NodeId(0))],
        keep: Keep::All,
        asked_for: false,
        is_implied: false,
    };
    let plan = Plan::new("fan".to_owned(), 1, 20_000, std::iter::once(first).chain((1..=20_000).map(node)).collect());
    let plan = plan.expect("a good plan");
    let store = Store::open_on(Path::new("/store"), Arc::new(HookFs::unsynced(SimFs::new()))).expect("a store");
    let watch = Stopwatch::new();
    run_on(&store, &plan, Vec::new(), Cancel::default()).result.expect("a good run");
    assert!(watch.seconds() < 60.0, "{:.1} s", watch.seconds());
}

/// The shape of a 500-epoch pipeline: seven nodes an epoch.
fn five_hundred_epochs() -> Plan {
    let mut nodes: Vec<Node> = Vec::new();
    let mut push = |noun: &str, epoch: u32, stage: Arc<dyn AnyStage>, from: &[u32], keep: Keep| {
        let inputs = ["a", "b", "c"].into_iter().zip(from.iter().map(|id| NodeId(*id))).collect();
        nodes.push(Node {
            noun: noun.to_owned(),
            epoch: Epoch(epoch),
            stage,
            inputs,
            keep,
            asked_for: false,
            is_implied: false,
        });
        nodes.len() as u32 - 1
    };
    let add = |add: u64| -> Arc<dyn AnyStage> { Arc::new(Add { add, option: None }) };
    let dataset = push("dataset", 0, Arc::new(Number { value: 1 }), &[], Keep::All);
    let crops = push("crops", 0, add(1), &[dataset], Keep::All);
    let mut weights = push("weights", 0, add(2), &[], Keep::UntilUsed);
    let mut before = dataset;
    for epoch in 1..=500 {
        let features = push("features", epoch, add(3), &[crops, weights], Keep::UntilUsed);
        let vectors = push("vectors", epoch, add(4), &[features], Keep::UntilUsed);
        let clusters = push("clusters", epoch, add(5), &[vectors], Keep::All);
        let manifest = push("manifest", epoch, Arc::new(Draw {}), &[clusters], Keep::UntilUsed);
        weights = push("weights", epoch, Arc::new(Draw {}), &[dataset, manifest, weights], Keep::Every(10));
        push("metrics", epoch, add(6), &[dataset, clusters, before], Keep::All);
        push("looks", epoch, add(7), &[dataset, clusters], Keep::All);
        before = clusters;
    }
    Plan::new("epochs".to_owned(), 1, 500, nodes).expect("a good plan")
}

/// Calls of the store for each node of a run with nothing to do: its record is opened and read, its parts are looked at.
const CALLS_A_NODE: usize = 8;

#[test]
fn a_no_op_run_of_500_epochs_asks_the_store_a_few_times_a_node_and_writes_nothing() {
    let (looks, changes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (looked, changed) = (Arc::clone(&looks), Arc::clone(&changes));
    let space = TestSpace::on(Arc::new(HookFs::new(SimFs::new(), move |call| {
        let count = if matches!(call, Call::Look | Call::Read) { &looked } else { &changed };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    })));
    let plan = five_hundred_epochs();
    assert_eq!(space.run(&plan).outcome().ran, plan.len());
    space.run(&plan); // Deletes what the first was done with.
    for count in [&looks, &changes] {
        count.store(0, Ordering::Relaxed);
    }
    assert_eq!(space.run(&plan).outcome().hit, plan.len());
    let (looks, changes) = (looks.load(Ordering::Relaxed), changes.load(Ordering::Relaxed));
    assert!(looks <= CALLS_A_NODE * plan.len(), "{looks} looks at {} nodes", plan.len());
    assert!(changes < 50, "{changes} changes by a run with nothing to do");
}

#[test]
fn the_number_of_running_nodes_changes_no_byte() {
    // `wide` may run eight at a time, in any order; `narrow` one by one.
    let plan = |linked: bool| {
        let mut draft = Draft::new().node("one", Number { value: 3 }, &[]);
        for i in 1..=12 {
            let (name, before) = (format!("cap@{i}"), format!("cap@{}", i - 1));
            let from = if linked && i > 1 { vec![("a", "one"), ("b", before.as_str())] } else { vec![("a", "one")] };
            draft = draft.node(&name, Cap { at: 3 }, &from);
        }
        draft.plan()
    };
    let (wide, again) = (TestSpace::new(), TestSpace::new());
    assert_eq!(wide.run(&plan(false)).digests(), again.run(&plan(false)).digests());
    assert_eq!(wide.run(&plan(true)).digests(), again.run(&plan(true)).digests());
}

#[test]
fn what_cannot_be_connected_is_refused_with_the_names() {
    let cycle = |i: u32, from: u32| Node {
        noun: format!("n{i}"),
        epoch: Epoch(1),
        stage: Arc::new(Add::default()),
        inputs: vec![("a", NodeId(from))],
        keep: Keep::All,
        asked_for: false,
        is_implied: false,
    };
    let error = |nodes| Plan::new("p".into(), 1, 1, nodes).err().expect("refused").to_string();
    assert_eq!(
        error(vec![cycle(0, 2), cycle(1, 0), cycle(2, 1), cycle(3, 1)]),
        "these nodes wait for each other: n0@1 -> n1@1 -> n2@1 -> n0@1; read an earlier epoch with NAME@prev to break the circle"
    );
    let twice = Draft::new().node("one", Number { value: 1 }, &[]).node("one", Number { value: 2 }, &[]).try_plan();
    assert!(matches!(twice, Err(PlanError::TwiceNamed { node }) if node == "one@0"));
    let port =
        Draft::new().node("one", Number { value: 1 }, &[]).node("two", Add::default(), &[("z", "one")]).try_plan();
    assert!(matches!(port, Err(PlanError::NoSuchPort { port, .. }) if port == "z"));
    let unknown = little(2, 1).plan().find("cluster").expect_err("no such node").to_string();
    assert_eq!(
        unknown,
        "there is no node cluster; the pipeline has clusters, features, images, vectors, weights. For one epoch, write NAME@EPOCH (0 to 2)"
    );
}

#[test]
fn a_rebuilt_chain_keeps_its_order() {
    let space = TestSpace::new();
    let plan = |k| {
        let mut draft = Draft::new().node("n", Number { value: 1 }, &[]).until_used();
        for i in 1..=20 {
            draft = draft
                .node(
                    &format!("n@{i}"),
                    Act::new(&i.to_string(), move |cx| crate::toys::write(cx, 100 + i)),
                    &[("a", &format!("n@{}", i - 1))],
                )
                .until_used();
        }
        draft.node("end@20", Add { add: k, option: None }, &[("a", "n@20")]).plan()
    };
    space.run(&plan(1));
    let run = space.run(&plan(2));
    assert_eq!(run.outcome().ran, 22);
}
