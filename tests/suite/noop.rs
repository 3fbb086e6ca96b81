//! noop: a run that has nothing to do: it says and leaves what every run does, loads no libtorch, and takes little.

use crate::bad_input::with_mounts;
use crate::made;
use crate::space::{DCPIPE, Output, Space, start};
use crate::toys::{TestSpace, cpu, little};
use dcpipe::base::{Digest, Seed};
use dcpipe::engine::keys::Told;
use dcpipe::engine::{Cancel, Device, EngineError, Event, Executor, Facts, KeyText, Settings};
use dcpipe::pipeline::load;
use dcpipe::stages::{described, registry};
use std::path::Path;
use std::process::Command;

/// The most memory that a run of 3,003 nodes may hold that are all there.
const MOST_KB: u64 = 50_000;

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
fn a_run_starts_no_worker_unless_a_node_must_run() {
    let space = TestSpace::new();
    let plan = little(3, 5).plan();
    let first = space.run(&plan);
    let nobody = |_| Err(EngineError::NoCrew { why: "there is nobody".to_owned() });
    let run = || {
        let settings =
            Settings { device: cpu(), to: Vec::new(), cancel: Cancel::default(), hire: Some(&nobody), in_flight: 1 };
        Executor::new(&plan, &space.store, &settings, &()).run()
    };
    assert_eq!(run().unwrap().hit, plan.len());
    space.evict(&first, &plan, "clusters@2");
    assert_eq!(run().unwrap().hit, plan.len(), "evicted bytes that nobody reads");
    let keys = space.store.node_keys(&plan.name);
    space.store.remove_record(keys["weights@3"]);
    assert!(matches!(run(), Err(EngineError::NoCrew { .. })));
    assert_eq!(space.run(&plan).digests(), first.digests());
}

#[test]
fn described_stages_equal_the_stages_that_run() {
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
                let keys = ["cpu", "cuda:0"].map(|name| {
                    let device = &Device { name: name.to_owned(), numerics: format!("numbers of {name}") };
                    let (seed, numerics) = (def.draws.then(|| Seed::of_node(31, &node.name())), stage.numerics(device));
                    let epoch = def.tells_epoch.then_some(node.epoch);
                    KeyText::of(&**stage, &inputs, &Told { seed, numerics, epoch, observed: None })
                });
                let ports =
                    (def.verb, def.version, def.inputs, def.output, def.pool, def.keep, (def.draws, def.is_implied));
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
fn both_programs_write_and_print_the_same_on_a_no_op() {
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
fn without_libtorch_every_command_works_that_needs_no_network() {
    let space = Space::after_a_run();
    let mut script = "mount -t tmpfs none $NATIVE; set -e\n".to_owned();
    for command in [
        "--help",
        "serve --help",
        "run tiny.yaml --json",
        "run tiny.yaml --json --to vectors",
        "plan tiny.yaml",
        "plan tiny.yaml --set clusters.k=3",
        "why clusters@2",
        "show clusters@2",
        "ls",
        "ls tiny.yaml",
        "export --help",
        "export csv",
        "schema",
        "completions bash",
    ] {
        script.push_str(&format!("$DCPIPE {command} > out; test -s out\n"));
    }
    script.push_str("$DCPIPE rum 2> err || test $? = 2\n$DCPIPE why nobody 2> err || test $? = 2\n");
    script.push_str("$DCPIPE run tiny.yaml --set clusters.k=3 --name other --out else");
    let Some(run) = with_mounts(&space, &script) else { return };
    run.ended(6).complains_of(&["libtorch_cpu.so is not to be found", "scripts/setup"]);
}

#[test]
fn the_other_program_is_asked_for_a_device_that_only_a_driver_can_tell() {
    let space = Space::after_a_run();
    let program = space.path("dcpipe");
    space.write_program("dcpipe", std::fs::read(DCPIPE).unwrap());
    let answer = r#"{"name":"cuda:0","numerics":"torch of a card"}"#;
    space.write_program("dcpipe-native", format!("#!/bin/sh\ntest \"$1\" = device && echo '{answer}'\n"));
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
    for args in [&["plan", "tiny.yaml"][..], &["plan", "tiny.yaml", "--device", "cuda:1"]] {
        let told = ask(args);
        assert!(told.contains("+ numerics torch of a card"), "{told}");
    }
    assert!(ask(&["plan", "tiny.yaml", "--device", "cpu"]).contains("23 hit"));
    assert!(ask(&["show", "metrics@2"]).starts_with("metrics@2: "), "the last run's device is known: cpu");
    assert!(ask(&["ls"]).contains("tiny"));
}

#[test]
fn a_damaged_record_is_reported_by_every_command() {
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
