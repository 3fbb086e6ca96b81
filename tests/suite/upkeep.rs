//! upkeep: what stays, what goes, and what is found wrong: retention, pins, collection, verification.

use crate::hookfs::{Call, HookFs};
use crate::space::{DCPIPE, Space};
use crate::store_faults::HARMS;
use crate::toys::{Act, Add, Draft, Number, Run, Shards, TestSpace, little};
use dcpipe::base::{Artifact, ObjectId};
use dcpipe::engine::{Cancel, EngineError, Event, Keep, Plan};
use dcpipe::store::policy::Policy;
use dcpipe::store::standing::{RunState, Standing};
use dcpipe::store::{Disk, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Epochs of features and what is made of them, each from the features before.
fn chain(epochs: u32, keep: Keep) -> Plan {
    let mut draft = Draft::new().node("features", Number { value: 1 }, &[]);
    for epoch in 1..=epochs {
        let (now, before) = (format!("features@{epoch}"), format!("features@{}", epoch - 1));
        let clusters = format!("clusters@{epoch}");
        draft = draft.node(&now, Add::default(), &[("a", &before)]).keep(keep);
        draft = draft.node(&clusters, Add { add: 1000, option: None }, &[("a", &now)]);
    }
    draft.plan()
}

fn held(space: &TestSpace, run: &Run, plan: &Plan, epochs: u32) -> Vec<u32> {
    (1..=epochs).filter(|epoch| space.holds(run, plan, &format!("features@{epoch}"))).collect()
}

#[test]
fn a_run_keeps_the_newest_epochs_and_evicts_older_ones() {
    let space = TestSpace::new();
    let plan = chain(6, Keep::Last(2));
    let run = space.run(&plan);
    assert_eq!(held(&space, &run, &plan, 6), [5, 6]);
    // What is older than two goes as soon as the newer is there, not at the end.
    let place = |wanted: &dyn Fn(&Event) -> bool| run.events.iter().position(wanted).unwrap();
    let gone = place(&|event| matches!(event, Event::Evicted { node, .. } if node == "features@1"));
    let last = place(&|event| matches!(event, Event::NodeFinished { node, .. } if node == "features@6"));
    assert!(gone < last);
    assert_eq!(space.run(&plan).outcome().ran, 0);
}

#[test]
fn every_nth_epoch_is_kept_with_the_first_and_the_last_two() {
    let space = TestSpace::new();
    let plan = chain(8, Keep::Every(3));
    let run = space.run(&plan);
    assert_eq!(held(&space, &run, &plan, 8), [1, 3, 6, 7, 8]);
}

#[test]
fn no_run_deletes_what_another_run_keeps() {
    let space = TestSpace::new();
    let plan = |name: &str, keep: Keep| {
        let draft = Draft::new().node("one", Number { value: 5 }, &[]).keep(keep);
        draft.node("two", Add::default(), &[("a", "one")]).named(name).plan()
    };
    let first = space.run(&plan("keeps", Keep::All));
    let second = space.run(&plan("uses", Keep::UntilUsed));
    assert_eq!(second.outcome().ran, 0);
    assert!(space.holds(&first, &plan("keeps", Keep::All), "one"));
    // Without the first run, nobody keeps it.
    std::fs::remove_dir_all(space.store.run_folder("keeps")).unwrap();
    space.run(&plan("uses", Keep::UntilUsed));
    assert!(!space.holds(&first, &plan("keeps", Keep::All), "one"));
}

#[test]
fn a_run_evicts_nothing_and_says_so_when_other_claims_are_unreadable() {
    for file in ["pins/other.json", "runs/keeps/state.json"] {
        let space = TestSpace::new();
        let plan = |name: &str, keep: Keep| {
            let draft = Draft::new().node("one", Number { value: 5 }, &[]).keep(keep);
            draft.node("two", Add::default(), &[("a", "one")]).named(name).plan()
        };
        space.run(&plan("keeps", Keep::All));
        space.store.pin("paper", "keeps").unwrap();
        std::fs::write(space.store.root().join(file), "{").unwrap();
        let run = space.run(&plan("uses", Keep::UntilUsed));
        assert!(space.holds(&run, &plan("uses", Keep::UntilUsed), "one"), "{file}");
        let notes = run.notes();
        assert!(
            notes.len() == 1 && notes[0].contains("this run evicts nothing") && notes[0].contains(file),
            "{notes:?}"
        );
    }
}

#[test]
fn gc_deletes_what_the_last_finished_run_does_not_reference() {
    let space = TestSpace::new();
    space.run(&little(2, 10).plan());
    space.run_to(&little(1, 10).plan(), &["clusters@1"]);
    assert_eq!(space.store.gc_plan(None, &[]).unwrap().records.len(), 0, "that was only a part of a run");
    space.run(&little(1, 10).plan());
    let plan = space.store.gc_plan(None, &[]).unwrap();
    assert_eq!(plan.by_node.keys().filter(|node| !node.ends_with("@2")).count(), 0, "{:?}", plan.by_node);
    assert_eq!(plan.records.len(), 4);
    assert_eq!(space.run(&little(2, 10).plan()).outcome().ran, 0, "until then it is there");
}

#[test]
fn a_killed_gc_resumes() {
    let space = TestSpace::new();
    space.run(&little(1, 10).plan());
    for file in ["nodes.json", "state.json"] {
        std::fs::remove_file(space.store.run_folder("toys").join(file)).unwrap();
    }
    let plan = space.store.gc_plan(None, &["toys".to_owned()]).unwrap();
    assert!(plan.runs == ["toys"] && plan.kept == 0 && !plan.records.is_empty());
    space.store.gc(&plan).unwrap();
    assert_eq!(space.store.gc_plan(None, &["toys".to_owned()]).unwrap().objects, []);
}

#[test]
fn no_run_deletes_what_another_run_still_reads() {
    let space = TestSpace::new();
    let plan = |name: &str, add: u64, cancel: Option<Cancel>| {
        let source = Act::new("source", move |cx: &mut dcpipe::engine::Context<'_>| {
            cancel.iter().for_each(Cancel::request);
            ["n000", "n001"].iter().try_for_each(|part| cx.write_part(part, |out| writeln!(out, "5")))
        });
        let draft = Draft::new().node("one", source, &[]).keep(Keep::UntilUsed);
        draft.node("two", Add { add, option: None }, &[("a", "one")]).named(name).plan()
    };
    let first = plan("stopped", 1, Some(space.cancel.clone()));
    let stopped = space.run(&first);
    assert!(matches!(stopped.result, Err(EngineError::Interrupted)));
    let space = TestSpace { cancel: Cancel::default(), ..space };
    let uses = plan("uses", 2, None);
    let used = space.run(&uses);
    assert!(space.holds(&used, &uses, "one"), "the other run has not read it yet");
    let rest = space.run(&plan("stopped", 1, None));
    assert_eq!(rest.finished(), ["two@0"]);
    assert!(!space.holds(&used, &uses, "one"), "nobody is to read it any more");
}

#[test]
fn gc_deletes_exactly_what_no_run_references() {
    let space = TestSpace::new();
    let old = space.run(&little(3, 10).plan());
    let new = space.run(&little(3, 20).plan());
    let plan = space.store.gc_plan(None, &[]).unwrap();
    let old_alone = old.finished().len() - new.hits().len();
    assert_eq!(plan.records.len(), old_alone);
    assert!(plan.objects.iter().all(|(object, _)| !objects(&new).contains(object)));
    space.store.gc(&plan).unwrap();
    let again = space.run(&little(3, 20).plan());
    assert_eq!((again.outcome().ran, again.digests()), (0, new.digests()));
    assert_eq!(space.store.gc_plan(None, &[]).unwrap().records.len(), 0);
    // The other one is gone and comes back the same.
    let back = space.run(&little(3, 10).plan());
    assert!(back.outcome().ran > 0);
    assert_eq!(back.digests(), old.digests());
}

fn objects(run: &Run) -> BTreeSet<ObjectId> {
    let artifacts = run.outcome().records.iter().flatten().map(|record| &record.artifact);
    artifacts.flat_map(|artifact: &Artifact| &artifact.parts).map(|part| part.object).collect()
}

#[test]
fn a_pin_protects_what_a_run_referenced() {
    let space = TestSpace::new();
    let old = space.run(&little(2, 10).plan());
    space.store.pin("good", "toys").unwrap();
    space.run(&little(2, 20).plan());
    assert!(space.store.pin("good", "toys").unwrap().is_none(), "what a pin holds is not let go of by another");
    let plan = space.store.gc_plan(None, &[]).unwrap();
    assert_eq!((plan.records.len(), plan.objects.len()), (0, 0));
    assert_eq!(space.run(&little(2, 10).plan()).digests(), old.digests());
    assert!(space.store.unpin("good").unwrap() && !space.store.unpin("good").unwrap());
    assert!(!space.store.gc_plan(None, &[]).unwrap().records.is_empty());
}

#[test]
fn gc_last_keeps_the_newest_and_the_unfinished_runs() {
    let space = TestSpace::new();
    let named = |name: &str, k| little(2, k).named(name).plan();
    space.run(&named("first", 10));
    let stopped = TestSpace { cancel: Cancel::default(), ..space };
    stopped.cancel.request();
    std::thread::sleep(std::time::Duration::from_millis(2)); // Runs are put in order by the millisecond.
    stopped.run(&named("stopped", 30));
    let space = TestSpace { cancel: Cancel::default(), ..stopped };
    std::thread::sleep(std::time::Duration::from_millis(2));
    space.run(&named("second", 20));
    let plan = space.store.gc_plan(Some(2), &[]).unwrap();
    assert_eq!(plan.runs, ["first"]);
    space.store.gc(&plan).unwrap();
    assert_eq!(space.store.run_names().unwrap(), ["second", "stopped"]);
    assert_eq!(space.run(&named("second", 20)).outcome().ran, 0);
}

#[test]
fn a_partial_run_keeps_the_claims_of_an_unfinished_run() {
    let mut space = TestSpace::new();
    let plan = || little(2, 10).keep(Keep::Last(1)).plan();
    space.cancel.request();
    space.run(&plan());
    space.cancel = Cancel::default();
    space.run(&plan());
    let done = space.store.standing("toys").unwrap();
    assert!(done.state == RunState::Done && !done.kept.is_empty());
    space.run_to(&plan(), &["clusters@1"]);
    let after = space.store.standing("toys").unwrap();
    assert!(after.state == RunState::Done && after.kept.is_superset(&done.kept), "it was done, and keeps what it kept");
    let stopped = Standing::new(RunState::Unfinished, done.kept.clone());
    space.store.write_standing("toys", &stopped).unwrap();
    space.run_to(&plan(), &["clusters@1"]);
    assert_eq!(space.store.standing("toys").unwrap().state, RunState::Unfinished, "the rest is still to be done");
    assert_eq!(space.store.gc_plan(Some(0), &[]).unwrap().runs, [""; 0]);
    space.run(&plan());
    assert_eq!(space.store.standing("toys").unwrap().state, RunState::Done);

    // What only the others are still to read.
    let draft = Draft::new().node("one", Number { value: 5 }, &[]).until_used();
    let draft = draft.node("two", Add::default(), &[("a", "one")]).node("three", Add::default(), &[("a", "one")]);
    let plan = draft.named("fork").plan();
    space.run(&plan);
    let one = space.store.node_keys("fork")["one@0"];
    space.store.write_standing("fork", &Standing::new(RunState::Unfinished, [one].into())).unwrap();
    space.run_to(&plan, &["two"]);
    assert!(space.store.standing("fork").unwrap().kept.contains(&one));
}

#[test]
fn verify_names_unreadable_files_and_checks_the_rest() {
    let space = TestSpace::new();
    space.run(&little(2, 10).plan());
    let all = space.store.verify_all(1.0, 0, &mut |_, _| ()).unwrap();
    assert!(all.wrong.is_empty() && all.objects > 3);
    for at in 0..all.objects {
        let reads = std::sync::atomic::AtomicUsize::new(0);
        let hook = move |call| match call {
            Call::Read if reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == at => {
                Err(std::io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Ok(true),
        };
        let store = Store::open_on(space.store.root(), std::sync::Arc::new(HookFs::new(Disk, hook))).unwrap();
        let found = store.verify_all(1.0, 0, &mut |_, _| ()).unwrap();
        assert_eq!(found.objects, all.objects - 1, "{at}");
        assert!(found.wrong.len() == 1 && found.wrong[0].contains("cannot be read"), "{:?}", found.wrong);
    }
    assert_eq!(space.store.verify_all(1.0, 0, &mut |_, _| ()).unwrap(), all, "nothing was moved away");
}

#[test]
fn gc_keeps_what_an_interrupted_run_resumes_from() {
    let space = TestSpace::new();
    let plan = |cancel: Cancel| {
        let shards = Shards::new(40, move |i| {
            if i == 3 {
                cancel.request();
            }
        });
        Draft::new().node("one", Number { value: 5 }, &[]).node("many", shards, &[("a", "one")]).plan()
    };
    let stopped = space.run(&plan(space.cancel.clone()));
    assert!(matches!(stopped.result, Err(EngineError::Interrupted)), "{:?}", stopped.result);
    let gone = space.store.gc_plan(Some(0), &[]).unwrap();
    assert_eq!((gone.records.len(), gone.objects.len()), (0, 0));
    let space = TestSpace { cancel: Cancel::default(), ..space };
    let rest = space.run(&plan(Cancel::default()));
    let found = rest.events.iter().filter(|event| matches!(event, Event::PutDown { hit: true, .. })).count();
    assert!((1..40).contains(&found), "{found}");
}

#[test]
fn gc_deletes_nothing_when_a_run_is_unreadable() {
    let space = TestSpace::new();
    space.run(&little(1, 10).plan());
    std::fs::write(space.store.run_folder("toys").join("nodes.json"), "{").unwrap();
    let error = space.store.gc_plan(None, &[]).unwrap_err().to_string();
    assert!(error.contains("nodes.json") && error.contains("dcpipe gc --drop toys"), "{error}");
    let plan = space.store.gc_plan(None, &["toys".to_owned()]).unwrap();
    assert_eq!((plan.runs.len(), plan.kept), (1, 0));
    std::fs::remove_file(space.store.run_folder("toys").join("nodes.json")).unwrap();
    space.store.gc_plan(None, &[]).unwrap_err();
    std::fs::remove_dir_all(space.store.run_folder("toys")).unwrap();
    let error = space.store.gc_plan(None, &[]).unwrap_err().to_string();
    assert!(error.contains("it has no runs and no pins"), "{error}");
    let empty = TestSpace::new();
    assert_eq!(empty.store.gc_plan(None, &[]).unwrap().bytes(), 0, "there is nothing that could go");
}

#[test]
fn an_unreadable_file_makes_gc_delete_no_more() {
    let space = TestSpace::new();
    space.run(&little(2, 10).named("old").plan());
    space.run(&little(2, 20).named("old").plan());
    space.run(&little(2, 30).named("new").plan());
    space.store.pin("kept", "new").unwrap();
    let all = space.store.gc_plan(None, &[]).unwrap();
    assert!(!all.records.is_empty() && !all.objects.is_empty());
    let mut failed = 0;
    for at in 0.. {
        let (faulty, left) = HookFs::failing(Disk, at, std::io::ErrorKind::Other, false);
        let Ok(store) = Store::open_on(space.store.root(), std::sync::Arc::new(faulty)) else { continue };
        match store.gc_plan(None, &[]) {
            Ok(plan) => {
                assert!(plan.records.iter().all(|key| all.records.contains(key)), "look {at}");
                assert!(plan.objects.iter().all(|object| all.objects.contains(object)), "look {at}");
            }
            Err(_) => failed += 1,
        }
        if left.load(std::sync::atomic::Ordering::SeqCst) >= 0 {
            break;
        }
    }
    assert!(failed > 10, "{failed}");
    for file in ["nodes.json", "state.json"] {
        let path = space.store.run_folder("new").join(file);
        std::fs::rename(&path, path.with_extension("aside")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("aside"), &path).unwrap();
    }
    space.store.gc_plan(None, &[]).unwrap_err();
}

#[test]
fn damaged_bytes_that_keep_retains_are_rebuilt_and_no_result_is_lost() {
    let space = Space::after_a_run();
    let results = || {
        let (mut files, mut folders) = (BTreeMap::new(), vec![space.path("runs/tiny")]);
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("events.jsonl") && !path.ends_with(".index.json") {
                    files.insert(path.clone(), std::fs::read(path).unwrap());
                }
            }
        }
        files
    };
    let before = results();
    let a_bit: (&str, fn(&std::path::Path)) = ("a bit", flip);
    for (node, part) in
        [("clusters@1", "centroids.arrow"), ("weights@1", "weights.safetensors"), ("dataset@0", "images.parquet")]
    {
        for (harm, inflict) in HARMS.into_iter().chain([a_bit]) {
            let part = space.record(node).artifact.part(part).unwrap().clone();
            let path = space.store().path_of(&part);
            inflict(&path);
            let _ = std::fs::remove_file(path.with_extension("aside"));
            if harm == "a bit" {
                space.run(&["verify"]).ended(5);
            }
            space.run(&["run", "tiny.yaml"]).ok();
            assert!(results() == before, "{node} {harm}");
            space.run(&["verify"]).ok();
        }
    }
    // Files that are gone are laid out again, also by a run that goes no further; nothing else is touched for it.
    std::fs::remove_dir_all(space.path("runs/tiny/clusters/epoch=0001")).unwrap();
    space.run(&["run", "tiny.yaml", "--to", "clusters@1"]).ok();
    assert!(results() == before);
    // What lies in quarantine and is not made again yet stays there: by it the next run knows.
    let part = space.record("weights@2").artifact.part("weights.safetensors").unwrap().clone();
    flip(&space.store().path_of(&part));
    space.run(&["verify"]).ended(5);
    let nowhere = space.path(".dcpipe/objects/zz");
    std::os::unix::fs::symlink("nowhere", nowhere).unwrap();
    space.run(&["gc", "--quarantine"]).ok();
    assert!(space.run(&["plan", "tiny.yaml"]).ok().stdout.contains("weights"));
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), ["weights@2"]);
    assert!(results() == before);
    space.run(&["gc", "--quarantine"]).ok();
    assert_eq!(std::fs::read_dir(space.path(".dcpipe/quarantine")).unwrap().count(), 0);
    // What somebody deleted is not rebuilt, damaged once or not; what was laid out of it stays.
    for part in space.record("clusters@1").artifact.parts {
        std::fs::remove_file(space.store().path_of(&part)).unwrap();
    }
    let gone = space.path("runs/tiny/centroids/epoch=0001/centroids.arrow");
    std::fs::remove_file(&gone).unwrap();
    for _ in 0..2 {
        let told = space.run(&["run", "tiny.yaml"]).ok().stderr;
        assert!(
            told.contains("the results of clusters@1 are incomplete") && told.contains("keep: [clusters]"),
            "{told}"
        );
        let results = results();
        assert_eq!(before.keys().filter(|path| !results.contains_key(*path)).collect::<Vec<_>>(), [&gone]);
    }
}

#[test]
fn read_only_commands_report_damage_without_moving_it() {
    let space = Space::after_a_run();
    let part = space.record("weights@2").artifact.part("weights.safetensors").unwrap().clone();
    let path = space.store().path_of(&part);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "something shorter").unwrap();
    for (words, said) in [
        (&["ls", "tiny.yaml"][..], "damaged"),
        (&["plan", "tiny.yaml"], "its bytes are damaged, and keep: retains them"),
        (&["show", "weights@2"], "damaged: something else stands under its name"),
        (&["why", "weights@2"], "weights@2"),
        (&["gc", "--dry-run"], ""),
    ] {
        let told = space.run(words).ok().stdout;
        assert!(told.contains(said), "{words:?}: {told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something shorter", "{words:?}");
    }
    let told = space.run(&["run", "tiny.yaml"]).ok();
    assert!(told.stderr.contains("17 bytes instead of") && told.stderr.contains("quarantine"), "{}", told.stderr);
}

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn gc_drop_discards_finished_and_unfinished_runs() {
    let space = TestSpace::new();
    space.run(&little(2, 10).named("good").plan());
    space.cancel.request();
    space.run(&little(2, 20).named("stopped").plan());
    let plan = space.store.gc_plan(Some(1), &["good".to_owned()]).unwrap();
    assert_eq!(plan.runs, ["good"]);
    let plan = space.store.gc_plan(Some(1), &["stopped".to_owned()]).unwrap();
    assert_eq!(plan.runs, ["stopped"], "it takes no other's place");
    space.store.gc(&space.store.gc_plan(None, &["stopped".to_owned()]).unwrap()).unwrap();
    assert_eq!(space.store.run_names().unwrap(), ["good"]);
}

#[test]
fn every_hit_is_checked_as_asked_and_results_share_no_damaged_bytes() {
    let space = Space::after_a_run();
    let part = space.record("weights@2").artifact.part("weights.safetensors").unwrap().clone();
    let (object, result) = (space.store().path_of(&part), space.path("runs/tiny/weights/epoch=0002.safetensors"));
    let right = std::fs::read(&object).unwrap();
    let mut bytes = right.clone();
    bytes[right.len() / 2] ^= 1;
    for path in [&object, &result] {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(&object, bytes).unwrap();
    std::fs::hard_link(&object, &result).unwrap();
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0], "a plain run looks at sizes");
    let healed = space.run(&["run", "tiny.yaml", "--json", "--verify", "full"]).ok();
    assert_eq!(healed.ran(), ["weights@2"]);
    assert!(std::fs::read(&object).unwrap() == right && std::fs::read(&result).unwrap() == right);
    space.run(&["verify"]).ok();
}

#[test]
fn verify_names_exactly_what_is_damaged() {
    let a_bit: (&str, fn(&std::path::Path)) = ("a bit", flip);
    for (harm, inflict) in HARMS.into_iter().chain([a_bit]) {
        for folder in ["objects", "records"] {
            let space = TestSpace::new();
            let plan = little(2, 10).plan();
            let run = space.run(&plan);
            let clean = space.store.verify_all(1.0, 1, &mut |_, _| ()).unwrap();
            assert!(clean.wrong.is_empty() && clean.unknown.is_empty(), "{clean:?}");
            let target = files(&space, folder).swap_remove(0);
            inflict(&target);
            let stranger = space.store.root().join(folder).join("notes.txt");
            std::fs::write(&stranger, "mine").unwrap();
            let found = space.store.verify_all(1.0, 1, &mut |_, _| ()).unwrap();
            let name = target.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(found.wrong.len(), 1, "{harm} {folder}: {found:?}");
            assert!(found.wrong[0].contains(&name) && found.wrong[0].contains("quarantine"), "{harm}: {found:?}");
            // A link's target, put beside it, is no object either.
            assert!(found.unknown.contains(&stranger) && found.unknown.len() <= 2, "{harm} {folder}: {found:?}");
            assert!(stranger.exists());
            let _ = std::fs::remove_file(target.with_extension("aside"));
            let after = space.store.verify_all(1.0, 1, &mut |_, _| ()).unwrap();
            assert!(after.wrong.is_empty(), "{harm} {folder}: {after:?}");
            assert_eq!(space.run(&plan).digests(), run.digests(), "{harm} {folder}");
        }
    }
}

fn files(space: &TestSpace, folder: &str) -> Vec<PathBuf> {
    let shelves = std::fs::read_dir(space.store.root().join(folder)).unwrap().map(|shelf| shelf.unwrap().path());
    let mut files: Vec<PathBuf> =
        shelves.filter(|p| p.is_dir()).flat_map(|s| std::fs::read_dir(s).unwrap()).map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn verify_sample_reads_its_share_and_another_one_each_time() {
    let space = TestSpace::new();
    space.run(&little(40, 10).plan());
    let read = |salt| {
        let found = space.store.verify_all(0.3, salt, &mut |_, _| ()).unwrap();
        assert!(found.wrong.is_empty());
        (found.objects, found.objects + found.unread)
    };
    let counts: Vec<_> = (0..8).map(read).collect();
    let all = counts[0].1;
    assert!(counts.iter().all(|(read, total)| *total == all && *read > 0 && *read < all), "{counts:?}");
    assert!(counts.iter().map(|(read, _)| read).collect::<BTreeSet<_>>().len() > 1, "{counts:?}");
}

#[test]
fn a_run_with_verify_full_serves_no_damaged_byte() {
    let mut space = TestSpace::new();
    let plan = |k| {
        let draft = Draft::new().node("one", Number { value: 5 }, &[]);
        draft.node("two", Add { add: k, option: None }, &[("a", "one")]).plan()
    };
    let first = space.run(&plan(1));
    let path = space.store.path_of(&first.artifact(&plan(1), "one").parts[0]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "6\n").unwrap();
    space.store.look_closely(Policy::Full, 1);
    let second = space.run(&plan(2));
    assert_eq!(second.finished(), ["one@0", "two@0"]);
    assert_eq!(space.value(&second, &plan(2), "two"), 5 + 2 + 1);
    assert!(second.notes().iter().any(|note| note.contains("quarantine")), "{:?}", second.notes());
}

#[test]
fn a_damaged_input_is_quarantined_and_the_next_run_rebuilds_it() {
    let space = Space::after_a_run();
    for (node, set, port, reader) in [
        ("vectors@1", "clusters.iterations=7", "vectors", "clusters@1"),
        ("crops@0", "epochs=3", "crops", "features@3"),
    ] {
        let parts = space.record(node).artifact.parts;
        let part = parts.iter().find(|part| part.name.starts_with("part-")).unwrap();
        let path = space.store().path_of(part);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![0; part.bytes as usize]).unwrap();
        let run = ["run", "tiny.yaml", "--set", set, "--to", reader];
        space.run(&run).ended(5).complains_of(&[reader, port, "rebuilds that input"]);
        space.run(&run).ok();
        space.run(&["verify"]).ok();
    }
}

#[test]
fn the_commands_report_what_they_find_and_wait_for_no_process() {
    let space = Space::after_a_run();
    space.run(&["verify"]).ok();
    let store = space.store(); // Somebody has it open.
    space.run(&["gc"]).ended(4).complains_of(&["uses the store", "--wait"]);
    let told = space.run(&["gc", "--dry-run"]).ok().stdout;
    assert!(told.contains("would delete 0 records and 0 objects"), "{told}");
    let told = space.run(&["gc", "--dry-run", "--drop", "tiny"]).ok().stdout;
    assert!(told.contains("of it are also linked from results"), "weights are links: {told}");
    drop(store);
    let alone = Store::open_alone(&space.path(".dcpipe")).unwrap();
    let mut waits = space.start(&["verify"]);
    assert!(waits.until_said("waiting for a gc of the store .dcpipe"));
    let mut run = space.start(&["run", "tiny.yaml"]);
    assert!(run.until_said("waiting for a gc of the store .dcpipe"));
    run.signal(15);
    run.wait().ended(75).complains_of(&["Resume with the same command", "dcpipe run tiny.yaml"]);
    drop(alone);
    waits.wait().ok();
    space.run(&["gc", "--drop", "nobody"]).ended(2).complains_of(&["no run nobody", "tiny"]);
    space.run(&["pin", "tiny", "--as", "paper"]).ok();
    assert!(space.run(&["pin"]).ok().stdout.contains("paper"));
    space.run(&["pin", "nobody"]).ended(2).complains_of(&["no run nobody", "tiny"]);
    space.run(&["pin", "tiny", "--as", "paper"]).ok(); // Of the same nodes: nothing is lost by it.
    space.run(&["gc"]).ok();
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);

    let part = space.record("clusters@1").artifact.parts[0].clone();
    let path = space.store().path_of(&part);
    flip(&path);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let deaf = space.command(DCPIPE).args(["run", "tiny.yaml", "--json"]).stdout(full()).output().unwrap();
    let told = String::from_utf8_lossy(&deaf.stderr).into_owned();
    assert!(deaf.status.code() == Some(1) && told.contains("events are missing from standard output"), "{told}");
    let mut command = space.command(DCPIPE);
    assert_eq!(command.arg("verify").stdout(full()).status().unwrap().code(), Some(5), "whoever reads it or not");
    space.run(&["run", "tiny.yaml"]).ok();
    flip(&path);
    let found = space.run(&["verify"]).ended(5);
    assert!(found.stdout.contains(&part.object.to_string()), "{}", found.stdout);
    space.run(&["verify"]).ok();
    space.run(&["verify", "--sample", "0"]).ended(2).complains_of(&["5%"]);
    space.run(&["verify", "--store", "nowhere"]).ended(2).complains_of(&["no store at nowhere"]);
    assert!(!space.path("nowhere").exists());

    space.run(&["run", "tiny.yaml", "--set", "clusters.k=5", "--to", "clusters@1"]).ok();
    space.run(&["pin", "tiny", "--as", "paper"]).ended(2).complains_of(&["--as", "dcpipe pin --remove paper"]);
    space.write(".dcpipe/runs/tiny/notes.txt", "somebody's");
    space.run(&["gc", "--drop", "tiny"]).ok();
    assert!(space.path(".dcpipe/runs/tiny/notes.txt").exists() && !space.path(".dcpipe/runs/tiny/nodes.json").exists());
    space.run(&["pin", "tiny"]).ended(2).complains_of(&["no run tiny"]);
}
