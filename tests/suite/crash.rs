//! crash: the power goes, or a call fails, at every operation of a small pipeline; then the same command is run again.

use crate::hookfs::HookFs;
use crate::simfs::{ALL_UNSYNCED, SimFs, Unsynced};
use crate::store_faults::pipeline;
use crate::toys::{Run, run_on};
use dcpipe::base::Digest;
use dcpipe::engine::{Cancel, Plan};
use dcpipe::store::{Record, Store, StoreError, StoreIo};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const STORE: &str = "/data/store";

fn disk_with_folder() -> SimFs {
    let fs = SimFs::new();
    fs.create_dir(Path::new("/data")).and_then(|()| fs.sync_dir(Path::new("/"))).expect("a folder");
    fs
}

/// Opens the store and runs the pipeline; what a process does from its start to its end.
fn process(io: Arc<dyn StoreIo>, plan: &Plan) -> Result<Run, StoreError> {
    let store = Store::open_on(Path::new(STORE), io)?;
    Ok(run_on(&store, plan, Vec::new(), Cancel::default()))
}

#[test]
fn after_any_failed_call_the_next_run_ends_as_undisturbed() {
    for until_used in [false, true] {
        let plan = pipeline(until_used);
        let undisturbed = process(Arc::new(disk_with_folder()), &plan).expect("a store").digests();
        for for_ever in [false, true] {
            for error in [ErrorKind::StorageFull, ErrorKind::Other] {
                let mut at = 0;
                loop {
                    let fs = disk_with_folder();
                    let (faulty, left) = HookFs::failing(fs.clone(), at, error, for_ever);
                    let outcome = process(Arc::new(faulty), &plan);
                    if let Ok(Run { result: Ok(_), .. }) = &outcome {
                        assert_eq!(outcome.expect("a run").digests(), undisturbed, "call {at}");
                    }
                    check_names(&fs, &format!("call {at} fails with {error}"));
                    let next = process(Arc::new(fs), &plan).expect("a store");
                    assert_eq!(next.digests(), undisturbed, "call {at} fails with {error}");
                    if left.load(Ordering::SeqCst) >= 0 {
                        break;
                    }
                    at += 1;
                }
                assert!(at > 80, "{at} calls are too few to be all");
            }
        }
    }
}

#[test]
fn a_full_disk_is_reported_with_advice_and_loses_nothing_committed() {
    let plan = pipeline(false);
    let at_first_write = (0..200).find_map(|at| {
        let faulty = HookFs::failing(SimFs::new(), at, ErrorKind::StorageFull, true).0;
        let store = Store::open_on(Path::new(STORE), Arc::new(faulty)).ok()?;
        let run = run_on(&store, &plan, Vec::new(), Cancel::default());
        (run.finished().len() == 1).then(|| run.error())
    });
    let error = at_first_write.expect("a run that failed");
    assert!(error.contains("free some space or name another folder with --store"), "{error}");
    assert!(error.starts_with("sum@1: "), "{error}");
}

/// Whatever is found under a name is what the name says.
fn check_names(fs: &SimFs, when: &str) {
    for (path, bytes) in fs.files() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.starts_with(format!("{STORE}/objects")) {
            assert_eq!(Digest::of(&bytes).to_string(), name, "{when}: {}", path.display());
        }
        if path.starts_with(format!("{STORE}/records")) {
            assert_eq!(record_in(&bytes).key().to_string(), name, "{when}: {}", path.display());
        }
    }
}

fn record_in(bytes: &[u8]) -> Record {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("a record of {} bytes: {error}", bytes.len()))
}

/// The nodes whose records are there.
fn recorded(fs: &SimFs) -> BTreeSet<String> {
    let records = fs.files().into_iter().filter(|(path, _)| path.starts_with(format!("{STORE}/records")));
    records.map(|(_, bytes)| record_in(&bytes)).filter(|r| !r.key_text.contains("\nshard ")).map(|r| r.node).collect()
}

/// What every crash must leave: names that tell the truth, records whose objects are all there, and a store on which
/// the same command comes to the same end without doing again what was recorded.
fn check_crash(fs: &SimFs, plan: &Plan, undisturbed: &[Option<Digest>], evicts: bool, when: &str) {
    check_names(fs, when);
    let files = fs.files();
    let had = recorded(fs);
    if !evicts {
        let names: BTreeSet<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(format!("{STORE}/records"))) {
            for part in record_in(bytes).artifact.parts {
                let hex = part.object.to_string();
                let object = PathBuf::from(format!("{STORE}/objects/{}/{hex}", &hex[..2]));
                assert!(names.contains(object.as_path()), "{when}: {} names a missing object", path.display());
            }
        }
    }
    let opened = Store::open_on(Path::new(STORE), Arc::new(fs.clone()));
    let store = opened.unwrap_or_else(|error| panic!("{when}: {error}"));
    let left = fs.list(&Path::new(STORE).join("tmp")).expect("a folder");
    assert!(left.iter().all(|path| path.to_string_lossy().contains("FORMAT")) || left.is_empty(), "{when}: {left:?}");
    let run = run_on(&store, plan, Vec::new(), Cancel::default());
    assert_eq!(run.digests(), undisturbed, "{when}");
    if !evicts {
        let again: Vec<_> = run.started().into_iter().filter(|node| had.contains(node)).collect();
        assert!(again.is_empty(), "{when}: {again:?} ran again");
    }
}

/// Every way in which a power cut may leave `fs`, within reason: none, all, each one alone, and all but each one of the
/// undecided names; and each fate of unsynced bytes.
fn crash_states(fs: &SimFs) -> Vec<(String, SimFs)> {
    let names = fs.undecided();
    let mut subsets: Vec<(String, Vec<bool>)> = vec![("no name".into(), vec![false; names.len()])];
    subsets.push(("all names".into(), vec![true; names.len()]));
    for i in 0..names.len() {
        subsets.push((format!("only {}", names[i].display()), (0..names.len()).map(|j| i == j).collect()));
        subsets.push((format!("all but {}", names[i].display()), (0..names.len()).map(|j| i != j).collect()));
    }
    let fates = if fs.has_unsynced_bytes() { &ALL_UNSYNCED[..] } else { &[Unsynced::Whole] };
    let mut states = Vec::new();
    for (text, kept) in subsets {
        let keeps = |path: &Path| names.iter().position(|name| name == path).is_some_and(|at| kept[at]);
        for fate in fates {
            states.push((format!("{text} went through, unsynced bytes {fate:?}"), fs.after_crash(keeps, *fate)));
        }
    }
    states
}

fn operations_of(plan: &Plan) -> usize {
    let fs = disk_with_folder();
    let before = fs.operations();
    process(Arc::new(fs.clone()), plan).expect("a store").result.expect("a good run");
    fs.operations() - before
}

/// Lets a process die after `n` operations.
fn killed_after(fs: &SimFs, n: usize, plan: &Plan) {
    fs.die_after(n);
    let _ = process(Arc::new(fs.clone()), plan);
}

#[test]
#[expect(clippy::print_stderr, reason = "numbers for who asks with --nocapture")]
fn after_a_power_cut_at_any_operation_nothing_is_damaged_and_no_recorded_work_repeats() {
    for until_used in [false, true] {
        let plan = pipeline(until_used);
        let undisturbed = process(Arc::new(disk_with_folder()), &plan).expect("a store").digests();
        let operations = operations_of(&plan);
        let mut states = 0;
        for n in 0..=operations {
            let fs = disk_with_folder();
            killed_after(&fs, n, &plan);
            for (text, state) in crash_states(&fs) {
                states += 1;
                check_crash(&state, &plan, &undisturbed, until_used, &format!("after {n} operations, {text}"));
            }
        }
        eprintln!("{operations} operations, {states} crash states");
    }
}

#[test]
fn a_run_that_ended_well_survives_a_power_cut_whole() {
    let plan = pipeline(false);
    let fs = disk_with_folder();
    let undisturbed = process(Arc::new(fs.clone()), &plan).expect("a store").digests();
    for fate in ALL_UNSYNCED {
        let state = fs.after_crash(|_| false, fate);
        let again = process(Arc::new(state), &plan).expect("a store");
        assert_eq!((again.outcome().ran, again.digests()), (0, undisturbed.clone()));
    }
}

#[test]
fn unsynced_files_of_a_killed_process_are_synced_before_use() {
    let plan = pipeline(false);
    let undisturbed = process(Arc::new(disk_with_folder()), &plan).expect("a store").digests();
    for n in 0..=operations_of(&plan) {
        let fs = disk_with_folder();
        killed_after(&fs, n, &plan);
        let revived = fs.after_kill();
        let run = process(Arc::new(revived.clone()), &plan).expect("a store");
        assert_eq!(run.digests(), undisturbed, "killed after {n} operations");
        check_names(&revived, "after the second run");
        for (text, state) in crash_states(&revived) {
            check_crash(
                &state,
                &plan,
                &undisturbed,
                false,
                &format!("killed after {n} operations, run again, then {text}"),
            );
        }
    }
}

#[test]
fn without_its_syncs_the_store_would_fail_these_tests() {
    let plan = pipeline(false);
    let fs = disk_with_folder();
    process(Arc::new(HookFs::unsynced(fs.clone())), &plan).expect("a store").result.expect("a good run");
    let states = crash_states(&fs);
    let is_wrong = |state: &SimFs| {
        let objects = state.files().into_iter().filter(|(path, _)| path.starts_with(format!("{STORE}/objects")));
        objects.into_iter().any(|(path, bytes)| !path.ends_with(Digest::of(&bytes).to_string()))
    };
    assert!(states.iter().any(|(_, state)| is_wrong(state)));
}
