//! report: one file shows a run, says what the tables say, and is never the reason for a run to fail.

use crate::space::{Space, finished};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dcpipe::base::ClusterId;
use dcpipe::format::Clusters;
use dcpipe::format::gallery::{MEMBERS, MONTAGES, STATS, Stats, open_members};
use dcpipe::format::neighbors::{NEIGHBORS, Neighbors};
use dcpipe::format::projection::{PROJECTION, open_projection};
use dcpipe::format::vectors;
use dcpipe::image::{Limits, decode};
use dcpipe::pipeline::load;
use dcpipe::views::graph::graph;
use dcpipe::views::report::{Asked, Wanted, Written, write};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const GALLERY: &str = "  gallery: { stage: gallery, epochs: { every: 100 }, with: { per_cluster: 5, clusters: 4 }, from: { dataset: \
                       dataset, crops: crops, clusters: clusters, before: clusters@prev, vectors: vectors } }\n";

const MAP: &str = "  neighbors: { stage: neighbors, epochs: { every: 100 }, with: { n: 5 }, from: { vectors: vectors } }\n  \
                   map: { stage: map, epochs: { every: 100 }, from: { vectors: vectors, neighbors: neighbors } }\n";

/// A space whose pipeline has a gallery, with a class of a hostile name.
fn space() -> Space {
    let space = Space::filled();
    let pipeline = fs::read_to_string(space.path("tiny.yaml")).unwrap();
    space.write("tiny.yaml", pipeline + GALLERY);
    let (_, bytes) = crate::space::image(3);
    space.write("images/<script>alert(1)<!--/\u{202e}\"'%.jpg", bytes);
    space
}

fn data(page: &str) -> Value {
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(data).unwrap()
}

fn part(space: &Space, node: &str, name: &str) -> Bytes {
    let record = space.record(node);
    space.store().map(record.artifact.part(name).unwrap()).unwrap()
}

#[test]
fn the_scripts_of_the_page_declare_no_name_twice() {
    let mut names = BTreeMap::new();
    for script in ["report/page.js", "report/more.js", "serve/serve.js"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/views").join(script)).unwrap();
        let declared = text.lines().filter_map(|line| line.strip_prefix("const ").or(line.strip_prefix("let ")));
        for name in
            declared.map(|rest| rest.split([' ', '=', ';']).next().unwrap()).filter(|name| !name.starts_with('['))
        {
            if let Some(other) = names.insert(name.to_owned(), script) {
                panic!("{name} is declared in {other} and in {script}");
            }
        }
    }
    assert!(names.len() > 40, "{names:?}");
}

#[test]
fn the_report_shows_the_clusters_that_the_tables_hold() {
    let space = space();
    let told = space.run(&["run", "tiny.yaml"]).ok();
    assert!(told.stderr.contains("report: runs/tiny/report.html"), "{}", told.stderr);
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    let data = data(&page);
    assert_eq!(data["epochs"].as_array().unwrap().len(), 2);
    assert!(
        data["epochs"][1]["metrics"]["nmi_previous"].is_number() && data["epochs"][0]["metrics"]["loss"].is_number()
    );

    let clusters = Clusters::open(&part(&space, "clusters@2", "clusters.parquet")).unwrap();
    let before = Clusters::open(&part(&space, "clusters@1", "clusters.parquet")).unwrap();
    let pack = part(&space, "gallery@2", MONTAGES);
    let stats = Stats::open(&part(&space, "gallery@2", STATS.file), pack.len() as u64).unwrap();
    let sizes: Vec<u64> = stats.clusters.iter().map(|cluster| cluster.size).collect();
    assert_eq!(sizes, clusters.sizes());
    let members = open_members(&part(&space, "gallery@2", MEMBERS.file), 7).unwrap();
    assert_eq!(stats.clusters.iter().filter(|cluster| cluster.montage.is_some()).count(), 4);
    for (id, cluster) in (0..).map(ClusterId).zip(&stats.clusters) {
        let is_in = |all: &Clusters, other: ClusterId, at: usize| all.cluster_id[at] == other;
        if let Some((other, iou)) = cluster.previous {
            let both = (0..61).filter(|at| is_in(&clusters, id, *at) && is_in(&before, other, *at)).count();
            let either = (0..61).filter(|at| is_in(&clusters, id, *at) || is_in(&before, other, *at)).count();
            assert!((f64::from(iou) - both as f64 / either as f64).abs() < 1e-6);
        }
        let shown: Vec<_> = members.iter().filter(|member| member.cluster == id).collect();
        let Some((from, bytes)) = cluster.montage else {
            assert!(shown.is_empty());
            continue;
        };
        assert_eq!(shown.len(), 5.min(cluster.size as usize));
        assert!(shown.iter().all(|member| clusters.cluster_id[member.image.index()] == id));
        assert!(shown.windows(2).all(|pair| pair[0].distance <= pair[1].distance));
        let sheet = decode(&pack[from as usize..(from + bytes) as usize], &Limits::default()).unwrap();
        assert_eq!((sheet.width, sheet.height), (5 * 72, 72));
        assert!(data["gallery"]["montages"][id.to_string()].is_string());
    }
}

#[test]
fn a_report_fetches_nothing_escapes_every_name_and_is_the_same_bytes_again() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    // The namespace of SVG is no address that is fetched.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http:") && !addresses.contains("https:") && !addresses.contains("@import"));
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("<script>alert(1)") && !page.contains("<!--"));
    space.run(&["report", "tiny", "--epoch", "9"]).ended(1).complains_of(&["epoch 9 has no gallery", "gallery@2"]);
    space.run(&["report", "tiny", "-o", "folder/again.html"]).ok();
    assert!(fs::read(space.path("folder/again.html")).unwrap() == page.as_bytes());
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert!(fs::read(space.path("runs/tiny/report.html")).unwrap() == page.as_bytes());
}

#[test]
fn a_report_shows_the_last_run_also_where_that_had_nothing_to_do() {
    let space = space();
    let report = || fs::read(space.path("runs/tiny/report.html")).unwrap();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let two = report();
    space.run(&["run", "tiny.yaml", "-q", "--set", "epochs=1"]).ok();
    assert_eq!(data(&String::from_utf8(report()).unwrap())["epochs"].as_array().unwrap().len(), 1);
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
    assert!(report() == two);
}

#[test]
fn a_run_with_nothing_to_do_writes_a_report_again_whose_folder_somebody_removed() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let to = space.path("runs/tiny/report.html");
    let bare = fs::read(&to).unwrap();
    // As of a run whose page is too large: it shows all that its gallery has.
    let all = Asked { clusters: Some(4), per_cluster: None };
    let folder = written(&space, Wanted { asked: all, most: 0, ..Wanted::default() }, &to).folder.unwrap().0;
    let beside = fs::read(&to).unwrap();
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
    assert!(fs::read(&to).unwrap() == beside && folder.join("data.js").exists(), "it has all that it needs");
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(space.run(&["run", "tiny.yaml", "--json"]).ok().ran(), [""; 0]);
    assert!(fs::read(&to).unwrap() == bare, "it is written again, by the run's own limits");
}

#[test]
fn a_report_of_a_run_that_did_not_reach_a_node_shows_none_of_an_earlier_run() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=6", "--to", "metrics@1"]).ok();
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    let epochs = data["epochs"].as_array().unwrap();
    assert_eq!((epochs.len(), &epochs[0]["metrics"]["clusters"]), (1, &6.0.into()));
    assert!(epochs[0]["metrics"]["loss"].is_null() && data["gallery"].is_null(), "{data}");
}

#[test]
fn a_report_is_no_reason_for_a_run_to_fail() {
    let space = space();
    fs::create_dir_all(space.path("runs/tiny/report.html/in the way")).unwrap();
    let told = space.run(&["run", "tiny.yaml"]).ok();
    assert!(told.stderr.contains("no report was written"), "{}", told.stderr);
    space.run(&["report"]).ended(1).complains_of(&["report.html"]);
}

#[test]
fn a_run_without_a_gallery_has_a_report_on_request_that_says_how_to_get_one() {
    let space = Space::after_a_run();
    assert!(!space.path("runs/tiny/report.html").exists());
    let told = space.run(&["report"]).ok();
    assert!(told.stdout.contains("runs/tiny/report.html ("), "{}", told.stdout);
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    assert!(data["gallery"].is_null() && data["run"]["no_gallery"].as_str().unwrap().contains("stage: gallery"));
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + GALLERY);
    space.run(&["run", "tiny.yaml", "-q", "--to", "clusters@1"]).ok();
    space.run(&["report"]).ok();
    let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
    assert!(page.contains("appear when gallery@2 has run"));
    space.run(&["report", "other"]).ended(2).complains_of(&["there is no run other"]);
}

#[test]
fn images_that_a_report_is_asked_for_and_no_gallery_has_are_an_error_that_says_how_to_get_them() {
    let space = Space::after_a_run();
    let refused = |why: &[&str]| {
        for flag in ["--clusters", "--per-cluster"] {
            let told = space.run(&["report", "tiny", flag, "3"]).ended(1);
            told.complains_of(&["--clusters and --per-cluster choose images of a gallery, and run tiny has none"])
                .complains_of(why);
        }
        assert!(!space.path("runs/tiny/report.html").exists());
    };
    refused(&["stage: gallery"]);
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + GALLERY);
    space.run(&["run", "tiny.yaml", "-q", "--to", "clusters@1"]).ok();
    let _ = fs::remove_file(space.path("runs/tiny/report.html"));
    refused(&["appear when gallery@2 has run"]);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    fs::remove_file(space.path("runs/tiny/report.html")).unwrap();
    let store = space.store();
    space.record("gallery@2").artifact.parts.iter().for_each(|part| store.evict(part.object).unwrap());
    refused(&["The bytes of gallery@2 were evicted", "keep: [gallery]"]);
}

#[test]
fn the_map_lies_beside_the_gallery_and_its_neighbours_are_the_nearest() {
    let space = space();
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + MAP);
    space.run(&["run", "tiny.yaml", "--set", "keep=[vectors]"]).ok();
    let record = space.record("vectors@2");
    let vectors =
        vectors::open(&[space.store().map(record.artifact.part("part-00000.arrow").unwrap()).unwrap()]).unwrap();
    let far = |a: usize, b: usize| -> f64 {
        let pairs = vectors.row(a).unwrap().iter().zip(vectors.row(b).unwrap());
        pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let neighbors = Neighbors::open(&part(&space, "neighbors@2", NEIGHBORS.file)).unwrap();
    assert_eq!((neighbors.rows(), neighbors.n), (vectors.rows(), 5));
    for row in 0..neighbors.rows() {
        let mut others: Vec<_> = (0..vectors.rows()).filter(|id| *id != row).map(|id| (far(row, id), id)).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let due: Vec<usize> = others.iter().take(5).map(|(_, id)| *id).collect();
        assert_eq!(neighbors.of(row).map(|(id, _)| id).collect::<Vec<_>>(), due, "image {row}");
    }
    let places = open_projection(&part(&space, "map@2", PROJECTION.file)).unwrap();
    assert_eq!(places.len(), vectors.rows());
    assert!(places.iter().flatten().all(|axis| (0.0..=1.0).contains(axis)));
    let data = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    assert!(data["gallery"]["map"]["u"].is_string() && data["gallery"]["map"]["v"].is_string());
}

/// What `dcpipe report` writes, for a page of at most so many bytes.
pub fn written(space: &Space, wanted: Wanted, to: &Path) -> Written {
    let store = space.store();
    let resolved = space.path(".dcpipe/runs/tiny/pipeline.yaml");
    let plan = load(&resolved, &[], dcpipe::stages::described(), &|_| None).unwrap().plan;
    write(&plan, &store, &space.path("runs/tiny/events.jsonl"), wanted, to).unwrap()
}

#[test]
fn a_report_shows_as_many_clusters_and_images_as_it_is_asked_for_and_says_what_it_leaves_out() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let whole = data(&fs::read_to_string(space.path("runs/tiny/report.html")).unwrap());
    assert_eq!(whole["gallery"]["left_out"], "images of 4 of 7 clusters, the tightest and the loosest");
    let told = space.run(&["report", "--clusters", "3", "--per-cluster", "2", "-o", "few.html"]).ok().stdout;
    assert!(told.contains("; images of 3 of 7 clusters, the tightest and the loosest; 2 of up to 5 images"), "{told}");
    let few = data(&fs::read_to_string(space.path("few.html")).unwrap());
    let left_out = few["gallery"]["left_out"].as_str().unwrap();
    assert!(told.contains(left_out), "{told}");
    for what in ["columns", "labels", "map"] {
        assert_eq!(few["gallery"][what], whole["gallery"][what], "{what}");
    }
    let pack = part(&space, "gallery@2", MONTAGES);
    let stats = Stats::open(&part(&space, "gallery@2", STATS.file), pack.len() as u64).unwrap();
    let mean = |id: &String| stats.clusters[id.parse::<usize>().unwrap()].mean_distance.unwrap();
    let [few_shown, all_shown] = [&few, &whole].map(|data| data["gallery"]["montages"].as_object().unwrap());
    let mut ids: Vec<&String> = all_shown.keys().collect();
    ids.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
    let mut due = vec![ids[0], ids[1], ids[3]];
    due.sort();
    assert_eq!(few_shown.keys().collect::<Vec<_>>(), due);
    for (id, montage) in few_shown {
        let of = |data: &Value| data["gallery"]["members"][id].as_array().unwrap().clone();
        let (kept, all) = (of(&few), of(&whole));
        assert_eq!(kept, all[..2.min(all.len())]);
        let pixels = |text: &Value| {
            let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
            decode(&bytes, &Limits::default()).unwrap()
        };
        let (small, large) = (pixels(montage), pixels(&all_shown[id]));
        assert_eq!((small.width, small.height), (2 * 72, 72));
        // Both were written as JPEG, so their samples are close and not equal.
        for y in 0..72 {
            let [a, b] = [&small, &large].map(|from| &from.rgb[y * from.width as usize * 3..][..kept.len() * 72 * 3]);
            let far = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
            assert!(far < 12 * a.len() as u64, "cluster {id}, line {y}: {far}");
        }
    }
    let more = space.run(&["report", "--clusters", "6", "--per-cluster", "9", "-o", "more.html"]).ok().stdout;
    assert!(more.contains("gallery.clusters=N") && more.contains("gallery.per_cluster=N"), "{more}");
    for nonsense in ["0", "-1", "many", "1.5", "99999999999999999999999"] {
        for flag in ["--clusters", "--per-cluster"] {
            space.run(&["report", &format!("{flag}={nonsense}")]).ended(2).complains_of(&[flag]);
        }
    }
}

#[test]
fn a_page_that_is_too_large_shows_fewer_images_or_has_a_folder_beside_it() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let whole = fs::read(space.path("runs/tiny/report.html")).unwrap();
    // The name of the file has characters that mean something in addresses, in HTML and in CSS.
    let to = space.path("out/a \"<b>'%41?#:(\u{e9}).html");
    fs::create_dir(space.path("out")).unwrap();
    let there = || {
        let names = fs::read_dir(space.path("out")).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| *path != to).collect::<Vec<_>>()
    };
    let all = Asked { clusters: Some(4), per_cluster: None };
    for asked in [Asked::default(), all] {
        let same = written(&space, Wanted { asked, ..Wanted::default() }, &to);
        assert!(same.folder.is_none() && fs::read(&to).unwrap() == whole);
    }

    let most = whole.len() - 1_000;
    let fits = written(&space, Wanted { most, ..Wanted::default() }, &to);
    let page = fs::read_to_string(&to).unwrap();
    assert!(page.len() <= most && fits.bytes == page.len() as u64 && fits.folder.is_none() && there().is_empty());
    let shown = data(&page)["gallery"]["montages"].as_object().unwrap().len();
    assert!((1..4).contains(&shown), "{shown}");
    let left_out = fits.left_out.unwrap();
    assert!(left_out.starts_with(&format!("images of {shown} of 7 clusters")), "{left_out}");
    assert!(left_out.contains("dcpipe report tiny --clusters 4 puts them into a folder"), "{left_out}");

    for most in [most, 0] {
        let large = written(&space, Wanted { asked: all, most, ..Wanted::default() }, &to);
        let (folder, files, _) = large.folder.unwrap();
        assert_eq!(there(), std::slice::from_ref(&folder));
        let page = fs::read_to_string(&to).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let address = format!("a%20%22%3Cb%3E%27%2541%3F%23%3A%28%C3%A9%29.html{}/", &name[name.len() - 15..]);
        assert!(page.contains(&address) && !page.contains("<script>alert(1)"), "{address}");
        let data = if most > 0 {
            assert!(page.len() <= most && files == 4);
            data(&page)
        } else {
            assert!(page.len() < 100_000 && page.contains("script-src 'unsafe-inline' 'self' file:"));
            let script = fs::read_to_string(folder.join("data.js")).unwrap();
            let text = script.strip_prefix("show(JSON.parse(").unwrap().strip_suffix("));\n").unwrap();
            serde_json::from_str(&serde_json::from_str::<String>(text).unwrap()).unwrap()
        };
        assert_eq!(data["gallery"]["folder"], address.as_str());
        let pack = part(&space, "gallery@2", MONTAGES);
        let stats = Stats::open(&part(&space, "gallery@2", STATS.file), pack.len() as u64).unwrap();
        for id in data["gallery"]["montages"].as_object().unwrap().keys() {
            let (from, bytes) = stats.clusters[id.parse::<usize>().unwrap()].montage.unwrap();
            let due = &pack[from as usize..(from + bytes) as usize];
            assert!(fs::read(folder.join(format!("{id}.jpg"))).unwrap() == due);
        }
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let (bytes, before) = (page, inode(&folder));
        written(&space, Wanted { asked: all, most, ..Wanted::default() }, &to);
        assert!(fs::read_to_string(&to).unwrap() == bytes && inode(&folder) == before && there() == [folder]);
    }
    written(&space, Wanted::default(), &to);
    assert!(there().is_empty() && fs::read(&to).unwrap() == whole);
}

#[test]
fn the_head_tells_what_was_run_on_what_and_how_often_it_was_interrupted() {
    let space = space();
    let (_, whole) = crate::space::image(4);
    space.write("images/broken.jpg", &whole[..whole.len() / 2]);
    space.write("images/photo.heic", b"no matter what");
    let head = || -> BTreeMap<String, Value> {
        space.run(&["report"]).ok();
        let page = fs::read_to_string(space.path("runs/tiny/report.html")).unwrap();
        let facts = data(&page)["run"]["facts"].clone();
        serde_json::from_value::<Vec<(String, Value)>>(facts).unwrap().into_iter().collect()
    };
    let mut run = space.start(&["run", "tiny.yaml", "--json"]);
    assert!(run.until(|events| finished(events).len() > 3), "{}", run.told());
    run.child.kill().unwrap();
    run.wait();
    assert_eq!(head()["interruptions"], "killed once");
    let mut run = space.start(&["run", "tiny.yaml", "--json"]);
    assert!(run.until(|events| !finished(events).is_empty()), "{}", run.told());
    run.signal(libc::SIGSTOP);
    assert_eq!(head()["now"], "a run is at work");
    run.signal(libc::SIGCONT);
    run.signal(libc::SIGINT);
    run.wait().ended(75);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let found = head();
    let due: [(&str, Value); 9] = [
        ("pipeline", "tiny".into()),
        ("data", "images".into()),
        ("images", 61.into()),
        ("left out", "1 truncated".into()),
        ("skipped", "1 heic".into()),
        ("k", 7.into()),
        ("epochs", "2 of 2".into()),
        ("device", "cpu".into()),
        ("interruptions", "interrupted once, killed once".into()),
    ];
    for (name, value) in due {
        assert_eq!(found[name], value, "{found:?}");
    }
    assert_eq!(found["wall time"]["runs"], 3);
    assert!(found["wall time"]["seconds"].as_f64().unwrap() > 0.0 && !found.contains_key("now"), "{found:?}");
    let page = || fs::read(space.path("runs/tiny/report.html")).unwrap();
    let before = page();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    assert_eq!(head(), found);
    assert!(page() == before, "a run that had nothing to do changes nothing");
    // Other clusters are another run.
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=6"]).ok();
    assert_eq!(head()["k"], 6);
    fs::remove_file(space.path("runs/tiny/events.jsonl")).unwrap();
    assert!(head().values().any(|value| value.as_str().is_some_and(|text| text.contains("no events.jsonl"))));
}

#[test]
fn in_the_graph_of_an_epoch_no_box_covers_another_and_no_edge_crosses_one() {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for file in fs::read_dir(pipelines).unwrap().map(|entry| entry.unwrap().path()) {
        let plan = load(&file, &[], dcpipe::stages::described(), &|_| Some("images".to_owned())).unwrap().plan;
        let graph = graph(&plan);
        // A box is 104 by 38 pixels around its middle.
        let inside = |(x, y): (f64, f64), at: (f64, f64)| (x - at.0).abs() < 51.0 && (y - at.1).abs() < 18.0;
        for (nth, spot) in graph.spots.iter().enumerate() {
            let (x, y) = spot.at;
            assert!(x > 52.0 && x + 52.0 < graph.size.0 && y > 19.0 && y + 19.0 < graph.size.1, "{}", spot.name);
            for other in &graph.spots[nth + 1..] {
                let is_apart = (x - other.at.0).abs() >= 104.0 || (y - other.at.1).abs() >= 38.0;
                assert!(is_apart, "{} covers {}", spot.name, other.name);
            }
            for line in graph.lines.iter().filter(|line| ![line.ends.0, line.ends.1].contains(&nth)) {
                let hit = !line.is_to_next_epoch && line.points.iter().any(|point| inside(*point, spot.at));
                assert!(!hit, "{}: {:?} crosses {}", file.display(), line.ends, spot.name);
            }
        }
        let name = |at: usize| (graph.spots[at].name.as_str(), graph.spots[at].is_of_epoch);
        let next = graph.lines.iter().filter(|line| line.is_to_next_epoch);
        let next: Vec<_> = next.map(|line| (name(line.ends.0), name(line.ends.1))).collect();
        // DeepCluster-v2 has no features: it clusters what training banked.
        let clustered = if graph.spots.iter().any(|spot| spot.name == "bank") { "bank" } else { "features" };
        for to in [clustered, "weights"] {
            assert!(next.contains(&(("weights", true), (to, true))), "{}: {next:?}", file.display());
        }
        assert_eq!(graph.svg().matches("<rect").count(), graph.spots.len());
        assert_eq!(graph.dot().matches(" -> ").count(), graph.lines.len());
    }
}
