//! serve: the server gives each image of a run once and as it is, follows the run, and lets nobody else in or stop it.

use crate::made;
use crate::space::{DCPIPE, Space, image, start};
use bytes::Bytes;
use dcpipe::base::clock::Stopwatch;
use dcpipe::base::{ClusterId, Digest, ImageId};
use dcpipe::engine::Node;
use dcpipe::format::dataset::{IMAGES, PACK, write_bad, write_images};
use dcpipe::format::gallery::{self, ClusterStat, Stats, write_members};
use dcpipe::format::{BadImage, Centroids, Clusters, Dataset, Image};
use dcpipe::image::{Limits, decode};
use dcpipe::pipeline::{load, load_text};
use dcpipe::views::serve::{Place, Server, Site, Stop};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

const GALLERY: &str = "  gallery: { stage: gallery, with: { per_cluster: 5, clusters: 4 }, from: { dataset: dataset, crops: crops, \
                       clusters: clusters, before: clusters@prev, vectors: vectors } }\n";
const HOSTILE: &str = "images/<script>alert(1)<!--/\u{202e}\"'% \n.jpg";
/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server in this process.
struct Served {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Served {
    fn of(space: &Space) -> Self {
        let resolved = space.path(".dcpipe/runs/tiny/pipeline.yaml");
        let place = Place {
            store: space.path(".dcpipe"),
            run: space.path(".dcpipe/runs/tiny"),
            journal: space.path("runs/tiny/events.jsonl"),
            base: space.root().to_owned(),
            epoch: None,
        };
        let plan = move || Ok(load(&resolved, &[], dcpipe::stages::described(), &|_| None)?.plan);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), Site::of(place, Box::new(plan))).unwrap();
        let (address, stop) = (server.address().unwrap(), server.stop());
        Self { address, stop, thread: Some(std::thread::spawn(move || server.run().unwrap())) }
    }

    /// What comes back for these bytes.
    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let end = got.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8(got[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: got[end + 4..].to_vec() }
    }

    fn ask(&self, method: &str, path: &str) -> Answer {
        let host = self.address;
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer
    }

    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Looks at the state until it is as wanted.
    fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Stopwatch::new();
        loop {
            let state = self.json("/state");
            if wanted(&state) {
                return state;
            }
            assert!(begun.elapsed() < PATIENCE, "{state}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.request();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server ended badly");
    }
}

/// A space whose pipeline has a gallery in each epoch, and an image of a hostile name in a class of a hostile name.
fn space() -> Space {
    let space = Space::filled();
    space.write("tiny.yaml", fs::read_to_string(space.path("tiny.yaml")).unwrap() + GALLERY);
    space.write(HOSTILE, image(3).1);
    space
}

fn ran() -> Space {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    space
}

fn part(space: &Space, node: &str, name: &str) -> Bytes {
    let record = space.record(node);
    space.store().map(record.artifact.part(name).unwrap()).unwrap()
}

/// All pages of a cluster: image, path, label, distance.
fn pages(served: &Served, epoch: u32, cluster: u32, order: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    loop {
        let from = rows.len();
        let page = served.json(&format!("/members/{epoch}/{cluster}?order={order}&seed=5&from={from}&count=3"));
        let new = page["rows"].as_array().unwrap().clone();
        assert!(new.len() <= 3);
        if new.is_empty() {
            assert_eq!(page["total"], rows.len());
            return rows;
        }
        rows.extend(new);
    }
}

#[test]
fn pages_of_a_cluster_have_each_member_once_and_every_original_is_the_file() {
    let space = ran();
    let served = Served::of(&space);
    let dataset = Dataset::open(&part(&space, "dataset@0", IMAGES.file)).unwrap();
    for epoch in [1, 2] {
        let clusters = Clusters::open(&part(&space, &format!("clusters@{epoch}"), "clusters.parquet")).unwrap();
        for id in 0..clusters.k {
            let mut due: Vec<usize> =
                (0..dataset.len()).filter(|at| clusters.cluster_id[*at] == ClusterId(id)).collect();
            due.sort_by(|a, b| clusters.distance[*a].total_cmp(&clusters.distance[*b]).then(a.cmp(b)));
            let ids = |order| -> Vec<usize> {
                pages(&served, epoch, id, order).iter().map(|row| row[0].as_u64().unwrap() as usize).collect()
            };
            assert_eq!(ids("near"), due);
            assert_eq!(ids("far"), due.iter().rev().copied().collect::<Vec<_>>());
            let mut random = ids("random");
            assert_eq!(random, ids("random"), "a seed gives one order");
            random.sort_unstable();
            due.sort_unstable();
            assert_eq!(random, due);
            if !due.is_empty() {
                assert!(decode(&served.get(&format!("/sheet/{epoch}/{id}")).body, &Limits::default()).is_ok());
            }
        }
    }
    for id in 0..dataset.len() {
        let known = dataset.image(ImageId(id as u32));
        let original = served.get(&format!("/original/2/{id}"));
        assert!(original.body == fs::read(space.path("images").join(known.path)).unwrap(), "{}", known.path);
        assert!(original.head.contains("content-type: image/jpeg"), "{}", original.head);
        let thumb = decode(&served.get(&format!("/thumb/2/{id}")).body, &Limits::default()).unwrap();
        assert_eq!((thumb.width, thumb.height), (128, 128));
    }
}

#[test]
fn a_text_finds_every_image_that_has_it_in_its_path_and_its_cluster() {
    let space = ran();
    let served = Served::of(&space);
    let dataset = Dataset::open(&part(&space, "dataset@0", IMAGES.file)).unwrap();
    let clusters = Clusters::open(&part(&space, "clusters@2", "clusters.parquet")).unwrap();
    let last = dataset.image(ImageId(dataset.len() as u32 - 1)).path.to_uppercase();
    for text in ["jpg", "A", &last, "<", "\u{202e}", "%", "no such name", "../"] {
        let coded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let due: Vec<Value> = (0..)
            .zip(dataset.iter())
            .filter(|(_, image)| image.path.to_lowercase().contains(&text.to_lowercase()))
            .map(|(id, image): (usize, _)| json!([id, image.path, image.label, clusters.cluster_id[id]]))
            .collect();
        let mut rows = Vec::new();
        while rows.len() < due.len() {
            let page = served.json(&format!("/find/2?text={coded}&from={}&count=5", rows.len()));
            assert_eq!(page["total"], due.len(), "{text}");
            for row in page["rows"].as_array().unwrap() {
                let image = row[0].as_u64().unwrap() as usize;
                assert!((row[3].as_f64().unwrap() - f64::from(clusters.distance[image])).abs() < 1e-6, "{row}");
                rows.push(json!([row[0], row[1], row[2], row[4]]));
            }
        }
        assert_eq!(rows, due, "{text}");
        assert_eq!(served.json(&format!("/find/2?text={coded}&from=9999"))["total"], due.len(), "{text}");
    }
}

#[test]
fn thumbnails_of_evicted_crops_come_from_the_originals() {
    let space = ran();
    space.store().evict(space.record("crops@0").artifact.parts[0].object).unwrap();
    let served = Served::of(&space);
    assert!(decode(&served.get("/thumb/2/0").body, &Limits::default()).is_ok());
}

#[test]
fn a_file_that_is_not_the_scanned_one_is_never_sent() {
    let space = ran();
    let served = Served::of(&space);
    let dataset = Dataset::open(&part(&space, "dataset@0", IMAGES.file)).unwrap();
    let at = |id: u32| space.path("images").join(dataset.image(ImageId(id)).path);
    fs::write(at(0), "something else").unwrap();
    fs::remove_file(at(1)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at(1)).unwrap();
    fs::remove_file(at(2)).unwrap();
    let moved = space.path("elsewhere.jpg");
    fs::rename(at(3), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, at(3)).unwrap();
    for (id, says) in
        [(0, "is not the file that was scanned"), (1, "is not the file that was scanned"), (2, "could not read")]
    {
        let answer = served.ask("GET", &format!("/original/1/{id}"));
        let body = String::from_utf8(answer.body).unwrap();
        assert!(answer.status == 500 && body.contains(says), "{id}: {} {body}", answer.status);
    }
    assert!(served.get("/original/1/3").body == fs::read(moved).unwrap(), "a link to the same bytes");
}

#[test]
fn a_request_of_another_host_or_method_or_for_a_path_is_refused() {
    let space = ran();
    let served = Served::of(&space);
    let status = |request: String| served.send(request.as_bytes()).status;
    let of = |host: &str| status(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    assert_eq!(["localhost", "127.0.0.1:1", "[::1]"].map(of), [200; 3]);
    assert_eq!(["example.org", "127.0.0.1.example.org", "localhost:80:80", "10.1.2.3", "@"].map(of), [421; 5]);
    assert_eq!(status("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned()), 400, "no host");
    assert_eq!(status("GET / HTTP/1.1\r\nHost: localhost\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned()), 400);
    let absolute = "GET http://example.org/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(absolute.to_owned()), 421);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"] {
        let answer = served.ask(method, "/");
        assert!(answer.status == 405 && answer.head.contains("allow: get, head"), "{method}: {}", answer.head);
    }
    for path in [
        "/image/../..",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/original/1/../../../etc/passwd",
        "/original/1//etc/passwd",
        "/original/1/%2fetc%2fpasswd",
        "/original/1/1%00",
        "/original/1/99999999999999999999",
        "/original/1/-1",
        "/original/1/61",
        "/original/9/0",
        "/thumb/1/4294967295",
        "/sheet/1/7",
        "/members/1/4294967295",
        "/members/1/0?from=x",
        "/data?epoch=77",
        "/runs/tiny/events.jsonl",
        "/.dcpipe/FORMAT",
        "/page.js/..",
        "/original/1/0/",
    ] {
        let answer = served.ask("GET", path);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(answer.status == 404 && !body.contains("root:"), "{path}: {} {body}", answer.status);
    }
    assert!((400..500).contains(&served.send(b"GET /original/1/0\0 HTTP/1.1\r\nHost: localhost\r\n\r\n").status));
    assert!((400..500).contains(&status(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(70_000)))));
    for path in ["/", "/data", "/thumb/1/0", "/nothing"] {
        let (got, head) = (served.ask("GET", path), served.ask("HEAD", path));
        let length = format!("content-length: {}", got.body.len());
        assert!(
            head.body.is_empty() && head.status == got.status && head.head.contains(&length),
            "{path}: {}",
            head.head
        );
        for word in
            ["default-src 'none'", "x-content-type-options: nosniff", "cross-origin-resource-policy: same-origin"]
        {
            assert!(got.head.contains(word), "{path}: {word} is not in {}", got.head);
        }
    }
}

#[test]
fn names_of_files_and_labels_leave_as_json_only() {
    let space = ran();
    let served = Served::of(&space);
    let all = |path: &str| String::from_utf8(served.get(path).body).unwrap();
    for path in ["/", "/page.js", "/serve.js", "/page.css", "/serve.css"] {
        assert!(!all(path).contains("alert(1)"), "{path}");
    }
    let dataset = Dataset::open(&part(&space, "dataset@0", IMAGES.file)).unwrap();
    let id = dataset.iter().position(|image| HOSTILE.ends_with(image.path)).unwrap();
    let clusters = Clusters::open(&part(&space, "clusters@2", "clusters.parquet")).unwrap();
    let rows = pages(&served, 2, clusters.cluster_id[id].0, "near");
    let row = rows.iter().find(|row| row[0] == id).unwrap();
    assert_eq!(
        (format!("images/{}", row[1].as_str().unwrap()), row[2].as_str().unwrap()),
        (HOSTILE.to_owned(), "<script>alert(1)<!--")
    );
    assert!(served.json("/data").to_string().contains("alert(1)"), "the main label or a point of the map");
    let head = served.get(&format!("/original/2/{id}")).head;
    assert!(head.contains("inline; filename*=utf-8''%e2%80%ae%22%27%25%20%0a.jpg"), "{head}");
}

#[test]
fn clients_that_send_half_a_request_or_hang_up_keep_nobody_waiting() {
    let space = ran();
    let served = Served::of(&space);
    let slow = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(served.address).unwrap();
        let _ = stream.write_all(bytes);
        stream
    };
    let mut open: Vec<TcpStream> = (0..300).map(|_| slow(b"GET /thumb/1/0 HTTP/1.1\r\nHost: local")).collect();
    assert_eq!(served.get("/thumb/1/1").status, 200);
    // Those that ask and read nothing, and those that are gone before they are answered.
    open.extend((0..40).map(|_| slow(b"GET /data HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    (0..400).for_each(|_| drop(slow(b"GET /data HTTP/1.1\r\nHost: localhost\r\n\r\n")));
    (0..100).for_each(|_| drop(slow(b"\x16\x03\x01\0\0 no HTTP at all \0\xff\r\n\r\n")));
    assert_eq!(served.get("/members/1/0").status, 200);
    let mut stream = TcpStream::connect(served.address).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..10_000 {
        stream.write_all(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
    }
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn a_run_that_gains_an_epoch_shows_it_and_a_gc_need_not_wait_for_the_server() {
    let space = space();
    space.run(&["run", "tiny.yaml", "-q", "--set", "epochs=1"]).ok();
    let served = Served::of(&space);
    let first = served.until(|state| state["run"]["state"] == "done");
    assert_eq!((first["epochs"].to_string(), &first["newest"]), ("[[1,true]]".to_owned(), &1.into()));
    assert_eq!(served.json("/data")["gallery"]["epoch"], 1);
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    let second = served.until(|state| state["newest"] == 2);
    assert_ne!(first["version"], second["version"]);
    let data = served.json("/data");
    assert_eq!((&data["gallery"]["epoch"], data["epochs"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!(served.json("/data?epoch=1")["gallery"]["epoch"], 1);
    space.run(&["gc"]).ok();
    space.run(&["run", "tiny.yaml", "-q", "--set", "clusters.k=5", "--to", "gallery@1"]).ok();
    let other =
        served.until(|state| state["version"] != second["version"] && state["epochs"].as_array().unwrap().len() == 1);
    assert_eq!(served.ask("GET", "/members/1/5").status, 404, "{other}");
}

#[test]
fn a_running_node_is_shown_and_a_killed_run_is_told_from_one_at_work() {
    let space = space();
    let mut run = space.start(&["run", "tiny.yaml", "--json"]);
    assert!(run.until(|events| !crate::space::finished(events).is_empty()));
    let served = Served::of(&space);
    served.until(|state| state["run"]["state"] == "running" && !state["run"]["running"].as_array().unwrap().is_empty());
    run.signal(9);
    run.wait();
    served.until(|state| state["run"]["state"] == "killed");
    space.run(&["run", "tiny.yaml", "-q"]).ok();
    served.until(|state| state["run"]["state"] == "done" && state["newest"] == 2);
}

#[test]
fn an_evicted_gallery_is_said_and_its_clusters_are_still_shown() {
    let space = ran();
    let record = space.record("gallery@2");
    space.store().evict(record.artifact.part(gallery::MONTAGES).unwrap().object).unwrap();
    let served = Served::of(&space);
    let state = served.json("/state");
    assert_eq!((state["epochs"].to_string(), &state["newest"]), ("[[1,true],[2,false]]".to_owned(), &1.into()));
    let data = served.json("/data?epoch=2");
    assert!(data["said"].as_str().unwrap().contains("gallery@2 were evicted"), "{}", data["said"]);
    assert!(data["gallery"]["columns"]["size"].is_string() && data["gallery"]["map"].is_null());
    let sheet = (0..7).find(|id| !pages(&served, 2, *id, "near").is_empty()).unwrap();
    assert!(decode(&served.get(&format!("/sheet/2/{sheet}")).body, &Limits::default()).is_ok());
    let clusters = space.record("clusters@2");
    space.store().evict(clusters.artifact.part("clusters.parquet").unwrap().object).unwrap();
    let again = Served::of(&space);
    let data = again.json("/data?epoch=2");
    assert!(data["gallery"].is_null() && data["run"]["no_gallery"].as_str().unwrap().contains("evicted"), "{data}");
}

#[test]
fn the_program_prints_its_address_ends_at_a_signal_and_says_which_address_is_taken() {
    let space = ran();
    let mut command = space.command(DCPIPE);
    command.args(["serve", "--address", "127.0.0.1:0"]);
    let mut served = start(command);
    assert!(served.until_said("serving the run tiny; Ctrl-C ends it"));
    let told = served.told();
    let address = told.trim().strip_prefix("http://").unwrap().trim_end_matches('/');
    assert!(TcpStream::connect(address).is_ok());
    space.run(&["serve", "--address", address]).ended(6).complains_of(&[
        address,
        "another program listens",
        "--address 127.0.0.1:0",
    ]);
    served.signal(2);
    served.wait().ended(0);
    space.run(&["serve", "--epoch", "9"]).ended(2).complains_of(&["epoch 9 has no clusters; there are: 1, 2"]);
    space.run(&["serve", "other"]).ended(2).complains_of(&["there is no run other"]);
}

const ROWS: u32 = 1_280_000;
const K: u32 = 10_000;
const LABELS: u32 = 1000;

/// Parts of a data set of ImageNet's size, all of one image, and of its clusters and gallery.
fn large(node: &Node) -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = image(0).1;
    let hashed = |id: u32| u32::from_le_bytes(Digest::of(&id.to_le_bytes()).as_bytes()[..4].try_into().unwrap());
    let cluster = |id: u32| ClusterId(hashed(id) % K);
    let label = |id: u32| format!("n{:08}", id % LABELS);
    let path = |id: u32| format!("{0}/{0}_{id:08}.JPEG", label(id));
    match node.stage.def().output.name {
        "dataset" => {
            let (paths, labels): (Vec<_>, Vec<_>) = (0..ROWS).map(|id| (path(id), label(id))).unzip();
            let digest = Digest::of(&jpeg);
            let images = paths.iter().zip(&labels).map(|(path, label)| Image {
                path,
                label,
                digest,
                bytes: jpeg.len() as u64,
                width: 64,
                height: 64,
                split: "",
                offset: Some(0),
            });
            let bad = write_bad(Vec::new(), &[] as &[BadImage]).unwrap();
            vec![
                ("images.parquet", write_images(Vec::new(), images).unwrap()),
                ("bad.parquet", bad),
                (PACK, jpeg.clone()),
            ]
        }
        "clusters" => {
            let distance: Vec<f32> = (0..ROWS).map(|id| hashed(!id) as f32 / u32::MAX as f32).collect();
            let clusters =
                Clusters { k: K, cluster_id: (0..ROWS).map(cluster).collect(), margin: distance.clone(), distance };
            let centroids = Centroids { dims: 1, sizes: clusters.sizes(), centroids: vec![0.0; K as usize] };
            let iterations = dcpipe::format::clusters::write_iterations(Vec::new(), &[]).unwrap();
            vec![
                ("clusters.parquet", clusters.write(Vec::new()).unwrap()),
                ("centroids.arrow", centroids.write(Vec::new()).unwrap()),
                ("iterations.parquet", iterations),
            ]
        }
        "gallery" => {
            let stat = |id: u32| ClusterStat {
                size: u64::from(ROWS / K),
                mean_distance: Some(0.5),
                main_label: Some((0.5, label(id))),
                previous: Some((ClusterId(id), 0.5)),
                neighbor: Some(ClusterId(0)),
                montage: None,
            };
            let clusters = (0..K).map(stat).collect();
            let members: Vec<_> = (0..4800)
                .map(|nth| gallery::Member {
                    cluster: ClusterId(nth / 24),
                    tile: nth % 24,
                    role: "nearest".to_owned(),
                    image: ImageId(nth),
                    path: path(nth),
                    label: label(nth),
                    distance: 0.5,
                })
                .collect();
            let points: Vec<_> = (0..20_000)
                .map(|id| gallery::Point {
                    image: ImageId(id),
                    at: [id as f32, hashed(id) as f32],
                    cluster: cluster(id),
                    label: label(id),
                })
                .collect();
            let stats = Stats { epoch: node.epoch, tile: 72, columns: 6, clusters };
            vec![
                (gallery::STATS.file, stats.write(Vec::new()).unwrap()),
                (gallery::MEMBERS.file, write_members(Vec::new(), &members).unwrap()),
                (gallery::MAP.file, gallery::write_map(Vec::new(), &points).unwrap()),
                (gallery::MONTAGES, Vec::new()),
            ]
        }
        _ => made::parts(node),
    }
}

/// A minute, and a gigabyte of the disk.
#[test]
#[ignore = "large; run it by name"]
#[expect(clippy::print_stdout, reason = "the measurements for who asks with --nocapture")]
fn a_run_of_imagenets_size_is_shown_within_a_second_and_half_a_gigabyte() {
    let space = Space::empty();
    let pipeline = include_str!("../../pipelines/imagenet.yaml");
    space.write("images/kind/0.jpg", image(0).1);
    let sets = ["epochs=1".to_owned(), format!("vars.images={}", space.path("images").display())];
    let plan = made::make_of(&space.path(".dcpipe"), pipeline, &sets, &large);
    assert_eq!(plan.name, "imagenet");
    let resolved = load_text("made.yaml", pipeline, &sets, dcpipe::stages::described(), &|_| None).unwrap();
    space.write(".dcpipe/runs/imagenet/pipeline.yaml", resolved.resolved);
    let mut command = space.command(DCPIPE);
    command.args(["serve", "imagenet", "--address", "127.0.0.1:0"]);
    let mut served = start(command);
    assert!(served.until_said("serving"));
    let address = served.told().trim().strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();
    let client = Served { address, stop: Stop::default(), thread: Some(std::thread::spawn(|| ())) };
    let watch = Stopwatch::new();
    let told: Vec<usize> = ["/", "/page.js", "/serve.js", "/page.css", "/serve.css", "/state", "/data"]
        .map(|path| client.get(path).body.len())
        .into();
    let first = watch.seconds();
    let members = client.json("/members/1/77?count=60");
    let (first_members, kb) = (watch.seconds(), served.peak_kb().unwrap());
    (0..60).for_each(|id| drop(client.get(&format!("/sheet/1/{id}"))));
    let sheets = watch.seconds() - first_members;
    (0..200).for_each(|id| drop(client.get(&format!("/members/1/{id}?order=random&from=60"))));
    let pages = (watch.seconds() - first_members - sheets) / 200.0;
    println!(
        "{told:?} bytes after {first:.3} s, members after {first_members:.3} s, 60 sheets {sheets:.3} s, a page {pages:.4} s; \
         {kb} kB, in the end {} kB",
        served.peak_kb().unwrap()
    );
    assert_eq!(members["rows"].as_array().unwrap().len(), 60);
    assert!(first < 1.0 && served.peak_kb().unwrap() < 500_000);
    served.signal(2);
    served.wait().ended(0);
}

/// Half a minute.
#[test]
#[ignore = "large; run it by name"]
#[expect(clippy::print_stdout, reason = "the measurement for who asks with --nocapture")]
fn a_run_of_five_hundred_epochs_is_shown_within_a_second() {
    let space = Space::empty();
    let (demo, sets) = (include_str!("../../pipelines/demo.yaml"), ["epochs=500".to_owned(), "name=tiny".to_owned()]);
    made::make(&space.path(".dcpipe"), demo, &sets);
    let resolved = load_text("made.yaml", demo, &sets, dcpipe::stages::described(), &|_| None).unwrap().resolved;
    space.write(".dcpipe/runs/tiny/pipeline.yaml", resolved);
    let watch = Stopwatch::new();
    let served = Served::of(&space);
    let data = served.get("/data").body.len();
    println!("{data} bytes after {:.3} s", watch.seconds());
    assert_eq!(served.json("/state")["epochs"].as_array().unwrap().len(), 500);
    assert!(watch.seconds() < 1.0);
}
