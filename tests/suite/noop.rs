//! noop: a run that has nothing to do: it says and leaves what every run does, loads no libtorch, and takes little.

use crate::bad_input::with_mounts;
use crate::made;
use crate::space::{DCPIPE, Output, Space, start};
use crate::toys::{Run, TestSpace, little, run_on};
use dcpipe::base::{Digest, Seed};
use dcpipe::engine::event::Collect;
use dcpipe::engine::forecast::Fate;
use dcpipe::engine::{Cancel, EngineError, Event, Executor, Facts, KeyText, Plan, Settings};
use dcpipe::pipeline::load;
use dcpipe::stages::{described, registry};
use dcpipe::store::Store;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

/// The most memory that a run of 3,003 nodes may hold that are all there.
const MOST_KB: u64 = 50_000;

/// Runs a plan as far as that takes no work.
fn run_hits(store: &Store, plan: &Plan) -> Run {
    run_hits_until(store, plan, Cancel::default())
}

fn run_hits_until(store: &Store, plan: &Plan, cancel: Cancel) -> Run {
    let heard = Arc::new(Collect::default());
    let settings = Settings { device: "cpu", to: Vec::new(), cancel, hits_only: true };
    let result = Executor::new(plan, store, &settings, &heard).run();
    let events = std::mem::take(&mut *heard.0.lock().unwrap());
    Run { result, events }
}

/// Every file below a folder, with its length and time.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            (entry.path().to_owned(), (meta.len(), meta.modified().unwrap()))
        })
        .collect()
}

/// Events without what differs from one run to the next.
fn timeless(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        if let Event::RunFinished { wall_s, .. } = event {
            *wall_s = 0.0;
        }
    }
    events
}

#[test]
fn a_run_of_hits_only_is_an_ordinary_one_or_none_at_all() {
    let mut none = 0;
    for case in 0..40 {
        let space = TestSpace::new();
        let plan = little(3, 5).asked_for().plan();
        let first = space.run(&plan);
        let chance = |what: &str, of: u32| Seed::of_node(case, "noop").number(what, of.into()) as u64;
        // Every fourth case loses a record, every one some of the bytes.
        for id in plan.order() {
            let artifact = first.artifact(&plan, &plan.node(*id).name());
            if chance("bytes", id.0).is_multiple_of(8) {
                space.store.evict(artifact.parts[0].object).unwrap();
            }
        }
        if case % 4 == 0 {
            let keys: Vec<_> = space.store.node_keys(&plan.name).into_values().collect();
            space.store.remove_record(keys[chance("record", 0) as usize % keys.len()]);
            space.store.take_reports();
        }
        let idle = space.forecast(&plan).iter().all(|(_, fate)| *fate == Fate::Hit);
        let before = tree(space.folder.path());
        let light = run_hits(&space.store, &plan);
        if idle {
            let outcome = light.result.unwrap();
            assert_eq!((outcome.ran, outcome.hit), (0, plan.len()));
            assert_eq!(
                timeless(light.events),
                timeless(run_on(&space.store, &plan, Vec::new(), Cancel::default()).events)
            );
        } else {
            none += 1;
            assert!(matches!(light.result, Err(EngineError::MustRun { .. })), "case {case}");
            assert_eq!(light.events, []);
            assert_eq!(tree(space.folder.path()), before, "case {case}");
        }
    }
    assert!((5..36).contains(&none), "{none} of 40 cases had something to do");
}

#[test]
fn who_is_stopped_while_it_only_looks_has_written_nothing() {
    let space = TestSpace::new();
    let plan = little(2, 5).plan();
    space.run(&plan);
    let before = tree(space.folder.path());
    let cancel = Cancel::default();
    cancel.request();
    let stopped = run_hits_until(&space.store, &plan, cancel);
    assert!(matches!(stopped.result, Err(EngineError::Interrupted)));
    assert_eq!((tree(space.folder.path()), stopped.events), (before, vec![]));
}

#[test]
fn what_is_damaged_is_left_to_the_run_that_mends_it() {
    let space = TestSpace::new();
    let plan = little(2, 5).asked_for().plan();
    let first = space.run(&plan);
    let part = first.artifact(&plan, "weights@2").parts[0].clone();
    let path = space.store.path_of(&part);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "something longer than a number").unwrap();
    let before = tree(space.folder.path());
    assert!(matches!(run_hits(&space.store, &plan).result, Err(EngineError::MustRun { node }) if node == "weights@2"));
    assert_eq!((tree(space.folder.path()), space.store.take_reports()), (before, vec![]));
    let mended = space.run(&plan);
    assert_eq!(mended.finished(), ["weights@2"]);
    assert!(mended.events.iter().any(|event| matches!(event, Event::Note { text, .. } if text.contains("quarantine"))));
}

#[test]
fn described_stages_say_what_those_that_run_say() {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let facts: Facts = [("images".to_owned(), 100_000)].into();
    let mut nodes = 0;
    for entry in std::fs::read_dir(pipelines).unwrap().map(|entry| entry.unwrap().path()) {
        let plans = [registry(), described()]
            .map(|registry| load(&entry, &[], registry, &|_| Some("images".to_owned())).unwrap());
        let [whole, light] = &plans;
        assert_eq!(whole.resolved, light.resolved);
        assert_eq!(whole.plan.order(), light.plan.order());
        for id in whole.plan.order() {
            let [a, b] = [&whole.plan, &light.plan].map(|plan| plan.node(*id));
            assert_eq!((a.name(), &a.inputs, a.keep, a.asked_for), (b.name(), &b.inputs, b.keep, b.asked_for));
            let inputs: Vec<_> = a.inputs.iter().map(|(port, _)| (*port, Digest::of(port.as_bytes()))).collect();
            let [of_a, of_b] = [a, b].map(|node| {
                let (stage, def) = (&node.stage, node.stage.def());
                let keys = ["cpu", "cuda:0"].map(|device| {
                    let seed = def.draws.then(|| Seed::of_node(31, &node.name()));
                    KeyText::of(&**stage, &inputs, seed.as_ref(), stage.numerics(device).as_deref(), None)
                });
                let ports = (def.verb, def.version, def.inputs, def.output, def.pool, def.keep, def.draws);
                (keys, ports, stage.params(), stage.source(), stage.estimate(&facts), stage.check(&facts).is_ok())
            });
            assert_eq!(of_a, of_b, "{}", a.name());
            nodes += 1;
        }
    }
    assert!(nodes > 100, "{nodes} nodes");
    assert!(dcpipe::pipeline::schema(registry()) == dcpipe::pipeline::schema(described()), "the schemas differ");
}

/// What a command needs of the libraries that the dynamic loader would load for it.
fn libraries(program: &Path) -> String {
    let traced = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    String::from_utf8(traced.stdout).unwrap()
}

#[test]
fn dcpipe_needs_no_library_of_networks_or_clustering() {
    let of_native = libraries(&Path::new(DCPIPE).with_file_name("dcpipe-native"));
    assert!(of_native.contains("libtorch_cpu"), "the test no longer sees libraries: {of_native}");
    let needed = libraries(Path::new(DCPIPE));
    for library in ["libtorch", "libc10", "libgomp"] {
        assert!(
            !needed.contains(library),
            "dcpipe needs {library}: something that it uses leads to a native library (see src/cli/program.rs), or \
             another linker than rust's own lld linked it, which does not drop what nobody uses\n{needed}"
        );
    }
}

#[test]
fn the_version_of_libtorch_stands_in_one_place() {
    let torch = dcpipe::learn::torch::TORCH;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = walkdir::WalkDir::new(root.join("src")).into_iter().map(Result::unwrap);
    let texts = sources.filter(|entry| entry.file_type().is_file()).map(|e| std::fs::read_to_string(e.path()).unwrap());
    assert_eq!(texts.map(|text| text.matches(torch).count()).sum::<usize>(), 1);
    let setup = std::fs::read_to_string(root.join("scripts/setup")).unwrap();
    assert!(setup.contains(&format!("TORCH={torch} ")), "scripts/setup fetches another libtorch");
}

#[test]
fn both_programs_leave_and_say_the_same_where_nothing_is_to_be_done() {
    let space = Space::after_a_run();
    let native = Path::new(DCPIPE).with_file_name("dcpipe-native");
    let kept = ["nodes.json", "pipeline.yaml", "../last.json"].map(|name| format!(".dcpipe/runs/tiny/{name}"));
    let left = || {
        let files = kept.iter().map(String::as_str).chain(["runs/tiny/.index.json"]);
        files.map(|name| std::fs::read_to_string(space.path(name)).unwrap()).collect::<Vec<_>>()
    };
    let run = |program: &Path, args: &[&str]| {
        let mut command = space.command(program);
        command.args(["run", "tiny.yaml"]).args(args);
        start(command).wait().ok()
    };
    for args in [&["--json"][..], &["--json", "--to", "clusters@2"], &["--json", "--name", "other"], &["-v"], &["-q"]] {
        let [a, b] = [&native, Path::new(DCPIPE)].map(|program| {
            let Output { stdout, stderr, .. } = run(program, args);
            let events = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let said: Vec<_> = stderr.lines().filter(|line| !line.contains(" hit in ")).map(str::to_owned).collect();
            (timeless(events), said, left())
        });
        assert_eq!(a, b, "{args:?}");
    }
}

#[test]
fn without_libtorch_everything_goes_on_that_needs_no_network() {
    let space = Space::after_a_run();
    let mut script = "mount -t tmpfs none $NATIVE; set -e\n".to_owned();
    for command in [
        "--help",
        "run tiny.yaml --json",
        "run tiny.yaml --json --to vectors",
        "plan tiny.yaml",
        "plan tiny.yaml --set clusters.k=3",
        "why clusters@2",
        "show clusters@2",
        "ls",
        "ls tiny.yaml",
        "schema",
        "completions bash",
    ] {
        script.push_str(&format!("$DCPIPE {command} > out; test -s out\n"));
    }
    script.push_str("$DCPIPE rum 2> err || test $? = 2\n$DCPIPE why nobody 2> err || test $? = 2\n");
    // What must run is refused before anything is noted of it.
    script.push_str("$DCPIPE run tiny.yaml --set clusters.k=3 --name other --out else");
    let Some(run) = with_mounts(&space, &script) else { return };
    run.ended(6).complains_of(&["libtorch_cpu.so is not to be found", "scripts/setup"]);
    assert!(!space.path("else").exists() && !space.path(".dcpipe/runs/other").exists());
}

#[test]
fn what_only_a_gpus_driver_could_tell_is_left_to_the_program_that_can_ask_it() {
    let space = Space::after_a_run();
    let program = space.path("dcpipe");
    std::fs::copy(DCPIPE, &program).unwrap();
    space.write("dcpipe-native", "#!/bin/sh\necho native \"$@\"\n");
    std::fs::set_permissions(space.path("dcpipe-native"), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Any library passes for a driver's, and the part of libtorch need only be there.
    let needed = libraries(Path::new(DCPIPE));
    let some = needed.split_whitespace().find(|word| word.starts_with('/') && word.contains("libgcc_s")).unwrap();
    space.write("lib/libcuda.so.1", std::fs::read(some).unwrap());
    space.write("lib/libtorch_cuda.so", "");
    let ask = |args: &[&str]| {
        let mut command = space.command(&program);
        command.args(args).env("LD_LIBRARY_PATH", space.path("lib"));
        start(command).wait().ok().stdout
    };
    for args in
        [&["run", "tiny.yaml", "--out", "a b"][..], &["plan", "tiny.yaml"], &["ls", "tiny.yaml", "--device", "cuda:1"]]
    {
        assert_eq!(ask(args), format!("native {}\n", args.join(" ")));
    }
    assert!(ask(&["plan", "tiny.yaml", "--device", "cpu"]).contains("15 hit"));
    assert!(ask(&["show", "metrics@2"]).starts_with("metrics@2: "), "the last run's device is known: cpu");
    assert!(ask(&["ls"]).contains("tiny"));
}

#[test]
fn a_damaged_record_is_told_of_whoever_meets_it_first() {
    let space = Space::after_a_run();
    let key = space.store().node_keys("tiny")["metrics@2"].to_string();
    space.write(&format!(".dcpipe/records/{}/{key}", &key[..2]), "no record");
    for looks in ["plan", "why"] {
        let node = if looks == "why" { "metrics@2" } else { "tiny.yaml" };
        let told = space.run(&[looks, node]).ok().stdout;
        assert!(told.contains("its record is damaged") && !told.contains("begun"), "{told}");
    }
    let run = space.run(&["run", "tiny.yaml", "--json"]).ok();
    assert_eq!(run.ran(), ["metrics@2"]);
    assert!(run.stdout.contains("is damaged"), "{}", run.stdout);
}

#[test]
fn five_hundred_epochs_that_are_all_there_take_little_memory() {
    let space = Space::empty();
    let demo = include_str!("../../pipelines/demo.yaml");
    space.write("demo.yaml", demo);
    let plan = made::make(&space.path(".dcpipe"), demo, &["epochs=500".to_owned()]);
    let args = ["run", "demo.yaml", "--set", "epochs=500", "--json"];
    for what in ["the first, which lays out the results", "the second, which has nothing at all to do"] {
        let run = space.run(&args).ok();
        assert_eq!((run.hits().len(), run.ran().len()), (plan.len(), 0), "{what}");
        assert!((1..MOST_KB).contains(&run.peak_kb), "{what} held {} kB", run.peak_kb);
    }
}
