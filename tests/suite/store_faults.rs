//! store_faults: what becomes of a store whose files were damaged, and of several runs on one.

use crate::hookfs::{Call, HookFs};
use crate::toys::{Add, Draft, Draw, Number, Run, Shards, TestSpace, little, run_on};
use dcpipe::base::{Artifact, Digest, ObjectId, Part};
use dcpipe::engine::fate::Fate;
use dcpipe::engine::{Cancel, Event, Plan};
use dcpipe::store::{Disk, Record, Store, StoreError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A chain with everything in it: a source, a sum, three shards, a draw; `until_used` lets the middle go.
pub fn pipeline(until_used: bool) -> Plan {
    let keep = |draft: Draft| if until_used { draft.until_used() } else { draft };
    let draft = Draft::new().node("one", Number { value: 5 }, &[]);
    let draft = keep(draft.node("sum@1", Add::default(), &[("a", "one")]));
    let draft = keep(draft.node("many@1", Shards::new(3, |_| ()), &[("a", "sum@1")]));
    draft.node("draw@1", Draw {}, &[("a", "many@1")]).plan()
}

fn part_path(space: &TestSpace, run: &Run, plan: &Plan, name: &str) -> PathBuf {
    space.store.path_of(&run.artifact(plan, name).parts[0])
}

fn record_path(space: &TestSpace, run: &Run, name: &str) -> PathBuf {
    let key = run.events.iter().find_map(|event| match event {
        Event::NodeFinished { node, key, .. } if node == name => Some(key.to_string()),
        _ => None,
    });
    let hex = key.expect("a node that ran");
    space.store.root().join("records").join(&hex[..2]).join(&hex)
}

fn remove(path: &Path) {
    std::fs::remove_file(path).expect("removed");
}

fn overwrite(path: &Path, bytes: &[u8]) {
    remove(path);
    std::fs::write(path, bytes).expect("written");
}

fn fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

pub type Harm = (&'static str, fn(&Path));

pub const HARMS: [Harm; 7] = [
    ("truncated", |path| overwrite(path, &std::fs::read(path).expect("bytes")[..1])),
    ("emptied", |path| overwrite(path, b"")),
    ("extended", |path| overwrite(path, &[std::fs::read(path).expect("bytes"), b"more".to_vec()].concat())),
    ("a link", |path| {
        let aside = path.with_extension("aside");
        std::fs::rename(path, &aside).expect("renamed");
        std::os::unix::fs::symlink(&aside, path).expect("linked");
    }),
    ("a folder", |path| {
        remove(path);
        std::fs::create_dir(path).expect("made");
        std::fs::write(path.join("inside"), b"x").expect("written");
    }),
    ("an empty folder", |path| {
        remove(path);
        std::fs::create_dir(path).expect("made");
    }),
    ("a pipe", |path| {
        remove(path);
        fifo(path);
    }),
];

#[test]
fn a_damaged_object_is_quarantined_reported_and_rebuilt_when_needed() {
    for (harm, inflict) in HARMS {
        let space = TestSpace::new();
        let plan = |k| {
            Draft::new()
                .node("one", Number { value: 5 }, &[])
                .node("two", Add { add: k, option: None }, &[("a", "one")])
                .plan()
        };
        let first = space.run(&plan(1));
        let path = part_path(&space, &first, &plan(1), "one");
        inflict(&path);
        // It is to stay: it is moved away, reported, and made again, though nobody reads it.
        let idle = space.run(&plan(1));
        assert_eq!(idle.finished(), ["one@0"], "{harm}");
        assert_eq!(idle.notes().len(), 1, "{harm}: {:?}", idle.notes());
        assert!(idle.notes()[0].contains("quarantine"), "{harm}: {:?}", idle.notes());
        let second = space.run(&plan(2));
        assert_eq!(second.finished(), ["two@0"], "{harm}");
        assert_eq!(std::fs::read(&path).expect("a file"), b"5\n", "{harm}");
        assert_eq!(space.value(&second, &plan(2), "two"), 5 + 2 + 1, "{harm}");
        assert_eq!(std::fs::read_dir(space.store.root().join("quarantine")).expect("a folder").count(), 1, "{harm}");
        // The same once more: nothing is in the way of a second quarantine.
        inflict(&path);
        assert_eq!(space.run(&plan(3)).finished(), ["one@0", "two@0"], "{harm}");
    }
}

#[test]
fn quarantine_and_rebuild_by_another_process_are_seen() {
    let space = TestSpace::new();
    let other = Store::open_on(space.store.root(), Arc::new(HookFs::unsynced(Disk))).expect("the same store");
    let plan = Draft::new().node("one", Number { value: 5 }, &[]).plan();
    let artifact = space.run(&plan).artifact(&plan, "one");
    assert!(!other.lost_to_damage(&artifact));
    overwrite(&other.path_of(&artifact.parts[0]), b"other bytes");
    assert!(!space.store.contains(&artifact.parts[0]));
    assert!(other.lost_to_damage(&artifact));
    assert_eq!(space.run(&plan).finished(), ["one@0"]);
    assert!(!other.lost_to_damage(&artifact));
    // Once it has been made again, that it is gone is no damage.
    space.store.evict(artifact.parts[0].object).expect("evicted");
    assert!(!other.lost_to_damage(&artifact));
}

#[test]
fn a_damaged_object_that_cannot_be_moved_never_counts_as_whole() {
    let space = TestSpace::new();
    let plan = Draft::new().node("one", Number { value: 5 }, &[]).plan();
    let first = space.run(&plan);
    let path = part_path(&space, &first, &plan, "one");
    overwrite(&path, b"other bytes");
    let quarantine = space.store.root().join("quarantine");
    std::fs::remove_dir(&quarantine).unwrap();
    std::os::unix::fs::symlink("nowhere", &quarantine).unwrap();
    let error = space.run(&plan).error();
    assert!(error.contains("11 bytes instead of 2") && error.contains("Move the file away"), "{error}");
    std::fs::remove_file(&path).unwrap();
    space.run(&plan);
}

#[test]
fn a_damaged_record_is_reported_and_its_node_runs_again() {
    let flipped: Harm = ("flipped", |path| {
        let mut bytes = std::fs::read(path).expect("bytes");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        overwrite(path, &bytes);
    });
    for (harm, inflict) in HARMS.into_iter().chain([flipped]) {
        let space = TestSpace::new();
        let plan = pipeline(false);
        let first = space.run(&plan);
        inflict(&record_path(&space, &first, "sum@1"));
        let forecast = space.forecast(&plan);
        assert_eq!(forecast.iter().filter(|(_, fate)| *fate == Fate::Hit).count(), 1, "{harm}");
        let second = space.run(&plan);
        assert_eq!(second.finished(), ["sum@1"], "{harm}");
        assert!(second.notes().iter().any(|note| note.contains("is damaged")), "{harm}: {:?}", second.notes());
        assert_eq!(second.digests(), first.digests(), "{harm}");
        assert_eq!(space.run(&plan).outcome().ran, 0, "{harm}");
    }
}

#[test]
fn a_record_under_another_name_is_not_believed() {
    let space = TestSpace::new();
    let plan = pipeline(false);
    let first = space.run(&plan);
    let (one, sum) = (record_path(&space, &first, "one@0"), record_path(&space, &first, "sum@1"));
    overwrite(&sum, &std::fs::read(&one).expect("a record"));
    let second = space.run(&plan);
    assert_eq!(second.finished(), ["sum@1"]);
    assert_eq!(second.digests(), first.digests());
}

#[test]
fn a_flipped_bit_in_an_object_is_found_by_verify() {
    let space = TestSpace::new();
    let plan = pipeline(false);
    let run = space.run(&plan);
    let part = &run.artifact(&plan, "draw@1").parts[0];
    assert!(space.store.verify(part).expect("readable"));
    let path = space.store.path_of(part);
    let mut bytes = std::fs::read(&path).expect("bytes");
    bytes[0] ^= 1;
    overwrite(&path, &bytes);
    assert!(!space.store.verify(part).expect("readable"));
}

#[test]
fn objects_are_read_only_and_named_by_their_bytes() {
    let space = TestSpace::on(Arc::new(Disk));
    let plan = pipeline(false);
    let run = space.run(&plan);
    for part in run.outcome().records.iter().flatten().flat_map(|record| &record.artifact.parts) {
        let path = space.store.path_of(part);
        let meta = std::fs::metadata(&path).expect("a file");
        assert!(meta.permissions().readonly());
        assert_eq!(ObjectId(Digest::of(&std::fs::read(&path).expect("bytes"))), part.object);
    }
}

#[test]
fn a_folder_that_is_no_store_is_refused_and_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("thesis.tex"), b"x").expect("written");
    let refused = Store::open(folder.path()).err().expect("refused");
    assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
    let told = refused.to_string();
    let words = ["has other files in it, such as thesis.tex", "--store"];
    assert!(words.iter().all(|word| told.contains(word)) && !told.contains("FORMAT"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("FORMAT"), b"dcpipe-store 2 blake3\n").expect("written");
    let refused = Store::open(folder.path()).err().expect("refused").to_string();
    assert!(refused.contains("dcpipe-store 2 blake3"), "{refused}");
}

#[test]
fn a_file_in_place_of_a_store_folder_is_named() {
    for (harm, put) in HARMS.iter().filter(|(harm, _)| !harm.contains("folder")) {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Store::open(folder.path()).expect("a store"));
        let path = folder.path().join("quarantine");
        std::fs::remove_dir(&path).expect("removed");
        std::fs::write(&path, b"rubbish").expect("written");
        put(&path);
        let refused = Store::open(folder.path()).err().unwrap_or_else(|| panic!("{harm} was taken for a folder"));
        assert!(
            refused.to_string().contains("quarantine: ") && refused.to_string().contains("Move it away"),
            "{refused}"
        );
        std::fs::remove_file(&path).expect("removed");
        Store::open(folder.path()).expect("a store");
    }
}

#[test]
fn tmp_is_emptied_at_open_but_not_under_a_running_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let left = folder.path().join("tmp/4711.0");
    let first = Store::open(folder.path()).expect("a store");
    std::fs::write(&left, b"half").expect("written");
    let second = Store::open(folder.path()).expect("a store");
    assert!(left.exists());
    drop((first, second));
    let _third = Store::open(folder.path()).expect("a store");
    assert!(!left.exists());
}

#[test]
fn a_store_never_waits_for_what_is_no_lock() {
    let space = TestSpace::new();
    let path = space.store.root().join("locks/store");
    for (_, put) in HARMS {
        std::fs::write(&path, b"rubbish").expect("written");
        put(&path);
        Store::open(space.store.root()).expect("opened");
        std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path)).expect("removed");
    }
}

#[test]
fn an_object_dropped_unfinished_leaves_nothing() {
    let space = TestSpace::new();
    let mut writer = space.store.create().expect("a writer");
    writer.write_all(b"half").expect("written");
    drop(writer);
    assert_eq!(std::fs::read_dir(space.store.root().join("tmp")).expect("a folder").count(), 0);
}

#[test]
fn an_object_with_a_failed_write_is_never_finished() {
    let fails = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&fails);
    let full = move |call| match call {
        Call::Change if hook.swap(false, Ordering::SeqCst) => Err(ErrorKind::StorageFull.into()),
        _ => Ok(true),
    };
    let space = TestSpace::on(Arc::new(HookFs::new(Disk, full)));
    let mut writer = space.store.create().expect("a writer");
    writer.write_all(b"first").expect("written");
    fails.store(true, Ordering::SeqCst);
    let error = writer.write_all(b"second").expect_err("no space");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("free some space"), "{error}");
    writer.write_all(b"third").expect_err("it has failed before");
    writer.finish("n").expect_err("it has failed before");
    assert_eq!(std::fs::read_dir(space.store.root().join("tmp")).expect("a folder").count(), 0);
}

/// An object of the same few bytes each time.
fn put_bytes(store: &Store) -> Result<Part, StoreError> {
    let mut writer = store.create()?;
    writer.write_all(b"bytes").expect("written");
    writer.finish("n")
}

fn record_of(part: Part) -> Record {
    let artifact = Artifact { kind: "n".into(), format: 1, parts: vec![part] };
    Record::new("n@1", "dcpipe-key 1\n", artifact, Default::default(), 1)
}

#[test]
fn an_object_that_failed_to_sync_is_absent() {
    // The file's sync goes well, the folder's does not; then the record's.
    let at = Arc::new(AtomicUsize::new(usize::MAX));
    let hook = Arc::clone(&at);
    let broken = move |call| match call {
        Call::Sync if hook.fetch_sub(1, Ordering::SeqCst) == 0 => Err(ErrorKind::Other.into()),
        _ => Ok(true),
    };
    let space = TestSpace::on(Arc::new(HookFs::new(Disk, broken)));
    let write = || put_bytes(&space.store);
    at.store(1, Ordering::SeqCst);
    let object = ObjectId(Digest::of(b"bytes"));
    let part = Part { name: "n".to_owned(), object, bytes: 5 };
    write().expect_err("not durable");
    assert!(!space.store.contains(&part));
    at.store(usize::MAX, Ordering::SeqCst);
    let record = record_of(write().expect("durable"));
    at.store(1, Ordering::SeqCst);
    space.store.commit(&record).expect_err("not durable");
    assert_eq!(space.store.record(record.key()).expect("readable"), None);
}

#[test]
fn a_failed_sync_leaves_older_objects_in_place() {
    let breaks = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&breaks);
    // The first sync of a writer is of its own file, and goes well.
    let syncs = AtomicUsize::new(0);
    let broken = move |call| match call {
        Call::Sync if hook.load(Ordering::SeqCst) && syncs.fetch_add(1, Ordering::SeqCst) % 2 == 1 => {
            Err(ErrorKind::Other.into())
        }
        _ => Ok(true),
    };
    let space = TestSpace::on(Arc::new(HookFs::new(Disk, broken)));
    let write = || put_bytes(&space.store);
    let part = write().expect("durable");
    let record = record_of(part.clone());
    space.store.commit(&record).expect("durable");
    breaks.store(true, Ordering::SeqCst);
    write().expect_err("the same bytes, and their folder is not synced");
    assert!(space.store.contains(&part), "somebody relies on it");
    space.store.commit(&record).expect_err("the same record, and its folder is not synced");
    assert_eq!(space.store.record(record.key()).expect("readable"), Some(record));
}

#[test]
fn concurrent_runs_on_one_store_make_each_node_once_and_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = little(6, 10).plan();
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let run = || {
            let store = Store::open_on(folder.path(), Arc::new(HookFs::unsynced(Disk))).expect("a store");
            run_on(&store, &plan, Vec::new(), Cancel::default())
        };
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    let undisturbed = TestSpace::new().run(&plan);
    assert!(runs.iter().all(|run| run.digests() == undisturbed.digests()));
    let mut made: Vec<_> = runs.iter().flat_map(Run::finished).collect();
    made.sort();
    assert_eq!(made, undisturbed.finished());
    let store = Store::open(folder.path()).expect("a store");
    assert_eq!(run_on(&store, &plan, Vec::new(), Cancel::default()).outcome().ran, 0);
}

#[test]
fn the_first_writer_of_a_record_wins_while_its_bytes_are_there() {
    let space = TestSpace::new();
    let record = |text: &str| {
        let mut writer = space.store.create().expect("a writer");
        writer.write_all(text.as_bytes()).expect("written");
        let artifact = Artifact { kind: "n".into(), format: 1, parts: vec![writer.finish("n").expect("a part")] };
        Record::new("n@1", "dcpipe-key 1\n", artifact, Default::default(), 1)
    };
    let (first, second) = (record("first"), record("second"));
    assert_eq!(space.store.commit(&first).expect("committed").artifact, first.artifact);
    assert_eq!(space.store.commit(&second).expect("committed").artifact, first.artifact);
    assert_eq!(space.store.record(first.key()).expect("a record").expect("one").artifact, first.artifact);
    space.store.evict(first.artifact.parts[0].object).expect("evicted");
    assert_eq!(space.store.commit(&second).expect("committed").artifact, second.artifact);
    assert_eq!(space.store.record(first.key()).expect("a record").expect("one").artifact, second.artifact);
    assert_eq!(std::fs::read_dir(space.store.root().join("tmp")).expect("a folder").count(), 0);
}
