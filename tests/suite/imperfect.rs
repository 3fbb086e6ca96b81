//! imperfect: folders that people have, with what is no image, what cannot be read, and what systems leave behind.

use crate::space::{IMAGES, Output, Space, image};
use dcpipe::format::dataset::{BadImage, open_bad};
use dcpipe::image::{Lacks, list};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const SCAN: [&str; 4] = ["run", "tiny.yaml", "--to", "dataset"];

fn bad(space: &Space) -> Vec<BadImage> {
    open_bad(&fs::read(space.path("runs/tiny/bad.parquet")).unwrap().into()).unwrap()
}

fn scan(space: &Space, set: &[&str]) -> Output {
    let set: Vec<_> = set.iter().flat_map(|set| ["--set", set]).collect();
    space.run(&[&SCAN[..], &set].concat())
}

/// The list that a failed scan names, as paths and reasons.
fn list_named(space: &Space, run: &Output) -> Vec<(String, String)> {
    let path = run.stderr.split("All of them are listed in ").nth(1).unwrap().lines().next().unwrap();
    let text = fs::read_to_string(space.path(path)).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        assert!(cells.len() == 3 && cells[2].contains("; "), "{line} does not say what to do");
        (cells[0].clone(), cells[1].clone())
    };
    text.lines().skip(1).map(row).collect()
}

/// What the message says to add for the scan to go on.
fn sets_named(run: &Output) -> Vec<&str> {
    let way = run.stderr.split("the same command with").nth(1).unwrap().lines().next().unwrap();
    way.split(" (").next().unwrap().split_whitespace().filter(|word| *word != "--set").collect()
}

#[test]
fn a_class_whose_name_is_not_utf8_counts_as_all_its_images() {
    let space = Space::filled();
    let class = space.path("images").join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir_all(class.join("deep")).unwrap();
    for number in 0..30 {
        fs::write(class.join(format!("{number}.jpg")), image(number).1).unwrap();
    }
    fs::write(class.join("deep/x.jpg"), image(0).1).unwrap();
    let refused =
        scan(&space, &[]).ended(1).complains_of(&["31 of 91 images", "max_bad_share = 0.1", "caf\\xe9/0.jpg"]);
    let listed = list_named(&space, &refused);
    assert_eq!(listed.len(), 31);
    assert!(listed.iter().all(|(path, reason)| path.starts_with("caf\\xe9/") && reason == "not_utf8"));
    assert_eq!(sets_named(&refused), ["dataset.max_bad_share=0.35"]);
    scan(&space, &sets_named(&refused))
        .ok()
        .complains_of(&["60 images are read\n", "31 images are left out: 31 not utf8"]);
    assert_eq!(bad(&space).len(), 31);
}

#[test]
fn a_folder_that_nobody_can_read_ends_the_scan_unless_everything_may_be_bad() {
    let space = Space::filled();
    symlink("unmounted", space.path("images/class")).unwrap();
    symlink("gone.txt", space.path("images/notes.txt")).unwrap();
    let set = ["dataset.max_bad_share=0.99"];
    let refused = scan(&space, &set).ended(1).complains_of(&[
        "0 of 60 images and 1 folder cannot be used (1 broken folder link)",
        "may hold any number of images",
        "class: broken folder link: No such file",
        "delete the link",
    ]);
    assert_eq!(list_named(&space, &refused), [("class".to_owned(), "broken_folder_link".to_owned())]);
    assert_eq!(sets_named(&refused), ["dataset.max_bad_share=1"]);
    scan(&space, &sets_named(&refused)).ok().complains_of(&["1 folder is left out"]);
}

#[test]
fn a_folder_that_this_user_may_not_read_is_no_empty_folder() {
    let space = Space::filled();
    space.write("images/secret/1.jpg", image(0).1);
    let secret = space.path("images/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&secret).is_err() {
        // Nothing is kept from root.
        scan(&space, &[]).ended(1).complains_of(&["1 unreadable folder", "secret", "make the folder readable"]);
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    scan(&space, &[]).ok().complains_of(&["61 images are read"]);
}

#[test]
fn what_systems_leave_behind_is_passed_over_and_runs_nothing_again() {
    let space = Space::after_a_run();
    space.own_images();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let key = space.record("dataset@0").key();
    for name in ["ring/._01.jpg", "__MACOSX/ring/._01.jpg", ".DS_Store", "ring/Thumbs.db", "notes.txt", "ring/b.json"] {
        space.write(&format!("images/{name}"), "\0\u{5}\u{16}\u{7}");
    }
    space.write("images/.ipynb_checkpoints/cat-checkpoint.jpg", image(5).1);
    let again = space.run(&["run", "tiny.yaml", "--json"]).ok();
    assert_eq!(again.ran(), [""; 0]);
    assert_eq!(space.record("dataset@0").key(), key);
    let listing = list(&space.path("images")).unwrap();
    assert!(listing.images.len() == IMAGES && listing.problems.is_empty());
    // What it says where it scans.
    fs::write(space.path("images/new.jpg"), image(0).1).unwrap();
    scan(&space, &[]).ok().complains_of(&[
        "61 images are read\n  1 file is a copy of another; dcpipe show dataset names both\n",
        "5 entries are passed over by name: 1 .DS_Store, 1 ._*, 1 .ipynb_checkpoints, 1 Thumbs.db, 1 __MACOSX",
        "2 other files are no pictures: 1 .json, 1 .txt",
    ]);
    assert_eq!(bad(&space), []);
}

#[test]
fn every_kind_of_entry_is_counted_in_a_line_of_its_own_and_shown_later() {
    let space = Space::filled();
    for (number, name) in ["a.jfif", "b.JPE", "c.JfIf"].iter().enumerate() {
        space.write(&format!("images/ring/{name}"), image(number + 20).1);
    }
    let unread =
        ["a.heic", "b.HEIF", "c.avif", "d.jxl", "e.jp2", "f.ico", "g.tga", "h.pcx", "i.pbm", "j.psd", "k.svg", "l.CR2"];
    for name in unread {
        space.write(&format!("images/ring/{name}"), "what it is like is not looked at");
    }
    for name in ["a.txt", "b.TXT", "c.json", "none", "d.jpg~", "._x.jpg", ".DS_Store"] {
        space.write(&format!("images/ring/{name}"), "no picture");
    }
    space.write("images/ring/cut.jpg", &image(0).1[..400]);
    let run = scan(&space, &[]).ok();
    let lines = [
        "dataset@0: note: 63 images are read",
        "  3 files are copies of others; dcpipe show dataset names them",
        "  1 image is left out: 1 truncated; bad.parquet in the results lists what to do",
        "    ring/cut.jpg: truncated: the file ends before the picture does",
        "  12 pictures are skipped, of kinds that dcpipe does not read: 2 heic, 1 avif, 1 ico, 1 jpeg 2000, 1 jpeg xl, \
         1 pcx, 1 pnm, 1 psd, 1 raw, 1 svg, 1 tga; bad.parquet in the results lists how to convert them",
        "  2 entries are passed over by name: 1 .DS_Store, 1 ._*",
        "  5 other files are no pictures: 2 .txt, 1 without an ending, 1 .jpg~, 1 .json",
    ];
    let told = run.stderr.lines().skip_while(|line| !line.contains("images are read"));
    for (line, wanted) in told.zip(lines) {
        assert!(line.starts_with(wanted), "{wanted:?} is not {line:?}");
    }
    assert!(run.stderr.contains(lines[6]), "{}", run.stderr);
    let logged = space.run(&["log"]).ok().stdout;
    assert!(lines[1..].iter().all(|line| logged.contains(&format!("\n    {line}"))), "{logged}");
    let listed = bad(&space);
    assert_eq!(listed.len(), unread.len() + 1);
    for bad in &listed {
        assert!(bad.detail.contains("; "), "{bad:?} does not say what to do");
        assert!(!bad.detail.starts_with(&format!("{}:", bad.reason)), "{bad:?} says its reason twice");
        assert_eq!(bad.reason == "not_read", bad.path != "ring/cut.jpg");
    }
    assert!(!run.stderr.contains("truncated: truncated"), "{}", run.stderr);
    // Everything is cached, and is told all the same.
    let shown = space.run(&["show", "dataset", "tiny.yaml"]).ok().stdout;
    for words in
        ["images 63", "copies 3", "left_out.truncated 1", "skipped.heic 2", "passed_over.._* 1", "other_files.txt 2"]
    {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let shown = space.run(&["show", "dataset", "tiny.yaml", "--rows", "1"]).ok().stdout;
    assert!(shown.contains("  3 files are copies of others; files of a line have the same bytes\n"), "{shown}");
    assert!(shown.contains("/00.jpg, ring/a.jfif\n"), "{shown}");
    assert!(shown.contains("    2 more lines with --rows 3\n"), "{shown}");
}

#[test]
fn a_scan_that_fails_writes_its_whole_list_and_says_the_command_that_succeeds() {
    let space = Space::filled();
    for number in 0..9 {
        space.write(&format!("images/ring/cut{number}.jpg"), &image(number).1[..400]);
    }
    for set in [&["dataset.max_bad_share=0.01"][..], &[], &["dataset.on_bad_image=fail"]] {
        let refused = scan(&space, set).ended(1).complains_of(&["9 of 69 images cannot be used", "and 4 more"]);
        assert_eq!(list_named(&space, &refused).len(), 9);
        assert!(!refused.stderr.contains("truncated: truncated"), "{}", refused.stderr);
        let sets: Vec<_> = set.iter().copied().chain(sets_named(&refused)).collect();
        scan(&space, &sets).ok().complains_of(&["9 images are left out: 9 truncated"]);
        let left = fs::read_dir(space.path(".dcpipe/stat")).unwrap().map(|entry| entry.unwrap().path());
        assert!(
            left.into_iter().all(|path| path.extension() != Some(OsStr::new("tsv"))),
            "the old list is still there"
        );
        fs::remove_dir_all(space.path(".dcpipe")).unwrap();
    }
}

#[test]
fn a_scan_stops_as_soon_as_it_is_certain_to_fail() {
    let space = Space::filled();
    fs::create_dir_all(space.path("images/a")).unwrap();
    for number in 0..2_500 {
        let text = if number < 40 { "no picture".to_owned() } else { format!("P6 1 1 255\n{number:03}") };
        fs::write(space.path(&format!("images/a/{number:04}.ppm")), &text.as_bytes()[..14.min(text.len())]).unwrap();
    }
    for set in ["dataset.on_bad_image=fail", "dataset.max_bad_share=0.01"] {
        let refused = scan(&space, &[set]).ended(1).complains_of(&["the scan stopped after 1024 of 2560 files"]);
        assert_eq!(list_named(&space, &refused).len(), 40);
        scan(&space, &[&[set], &sets_named(&refused)[..]].concat()).ok().complains_of(&["2520 images are read"]);
        fs::remove_dir_all(space.path(".dcpipe")).unwrap();
    }
    scan(&space, &["dataset.max_bad_share=0.02"]).ok();
}

#[test]
fn a_folder_of_unread_kinds_alone_says_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| fs::write(folder.path().join(name), "x").unwrap();
    ["1.heic", "2.heic", "a.zip", "b"].into_iter().for_each(write);
    let told = list(folder.path()).unwrap_err().to_string();
    for words in
        ["no images under", "2 entries that cannot be used", "1.heic", "convert it to JPEG or PNG", "2 other files"]
    {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
}

#[test]
fn a_link_that_leads_back_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/1.jpg"), "x").unwrap();
    symlink("..", folder.path().join("a/up")).unwrap();
    symlink("user@host.1", folder.path().join("a/.#1.jpg")).unwrap();
    let listing = list(Path::new(folder.path())).unwrap();
    let found: Vec<_> = listing.problems.iter().map(|p| (p.path.as_str(), p.reason, p.lacks)).collect();
    assert_eq!(found, [("a/up", "link_loop", Lacks::Nothing)]);
    assert_eq!(listing.aside.left_behind[".#*"], 1);
}

#[test]
fn images_that_dcpipe_wrote_below_the_root_are_no_input_and_that_is_said() {
    let space = Space::filled();
    let gallery = "  gallery: { stage: gallery, from: { dataset: dataset, crops: crops, clusters: clusters, before: \
                   clusters@prev, vectors: vectors } }\n";
    space.write("tiny.yaml", crate::space::TINY.replace("images: \"images\"", "images: .") + gallery);
    // Drawn images, in the results of another run.
    space.write("demo.yaml", include_str!("../../pipelines/demo.yaml"));
    let few = ["--set", "dataset.images=40", "--to", "dataset"];
    space.run(&[&["run", "demo.yaml", "-q"], &few[..]].concat()).ok();
    assert!(fs::read_dir(space.path("runs/demo/images")).unwrap().count() > 2);
    space.run(&["run", "tiny.yaml"]).ok().complains_of(&[
        "60 images are read",
        "1 folder is passed over, where dcpipe wrote the images: runs/demo/images; to",
    ]);

    for what in ["montage", "folders", "fiftyone", "labelstudio"] {
        space.run(&["export", what, "tiny"]).ok();
    }
    let all = dcpipe::views::report::Asked { clusters: Some(100), per_cluster: None };
    let wanted = dcpipe::views::report::Wanted { asked: all, most: 0, ..Default::default() };
    crate::report::written(&space, wanted, &space.path("runs/tiny/report.html")).folder.unwrap();
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0], "the images are the same as before");
    let listing = list(space.root()).unwrap();
    assert_eq!((listing.images.len(), listing.aside.ours.len()), (IMAGES, 6));
    // A person who names such a folder means it.
    let montages = space.path("runs/tiny/export/montage/epoch=0002");
    assert!(list(&montages).unwrap().images.len() > 3);
    let above = list(montages.parent().unwrap()).unwrap_err().to_string();
    assert!(above.contains("no images under") && above.contains("folders that dcpipe wrote"), "{above}");
}
