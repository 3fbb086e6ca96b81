//! parts: crops and features of three parts and more: every seam is crossed, a kill between parts resumes, few are new.

use crate::space::{Space, TINY};
use dcpipe::base::Seed;
use dcpipe::engine::Event;
use dcpipe::image::demo::kinds;
use dcpipe::image::encode_jpeg;
use std::collections::BTreeSet;

/// A part ends after 256 to 1024 images: enough for three parts, and for whitening more rows than go the short way.
const IMAGES: usize = 1500;
/// Trained on, of all: what is after the clusters has one part whatever the images.
const DRAWN: usize = 40;
const RUN: [&str; 5] = ["run", "tiny.yaml", "--json", "--set", "manifest.length=40"];

/// A drawn image of 64 pixels; `number` sorts as the dataset does.
fn image(number: usize) -> (String, Vec<u8>) {
    let mut stream = Seed::of_node(7, "parts").stream("image", number as u64);
    (format!("images/all/{number:04}.jpg"), encode_jpeg(&kinds::draw(number, 64, &mut stream), 90))
}

pub fn filled() -> Space {
    let space = Space::empty();
    space.write("tiny.yaml", TINY);
    for (path, bytes) in (0..IMAGES).map(image) {
        space.write(&path, bytes);
    }
    space
}

/// The digests of the parts of a node.
fn parts(space: &Space, node: &str) -> Vec<String> {
    space.record(node).artifact.parts.iter().map(|part| part.object.to_string()).collect()
}

/// Parts of a node that a run has put down, or found put down.
fn put_down(events: &[Event], of: &str, found: bool) -> BTreeSet<String> {
    let part = |event: &Event| match event {
        Event::PutDown { node, part, hit } if node == of && *hit == found => Some(part.clone()),
        _ => None,
    };
    events.iter().filter_map(part).collect()
}

#[test]
fn an_epoch_of_many_parts_follows_from_the_one_before() {
    let space = filled();
    space.run(&RUN).ok();
    for node in ["crops@0", "features@1", "features@2"] {
        let parts = parts(&space, node);
        assert!(parts.len() >= 3, "{node} has {} parts", parts.len());
    }
    crate::walk::epochs_follow(&space, DRAWN);

    // An image more, the last of all: the parts before the last stay.
    let (before, (path, bytes)) = (["crops@0", "features@1"].map(|node| parts(&space, node)), image(IMAGES));
    space.write(&path, bytes);
    let run = space.run(&[&RUN[..], &["--to", "features@1"]].concat()).ok();
    for (node, before) in ["crops@0", "features@1"].into_iter().zip(before) {
        let after = parts(&space, node);
        assert_eq!(after[..before.len() - 1], before[..before.len() - 1], "{node}");
        assert!(after.last() != before.last(), "{node}");
        assert_eq!(put_down(&run.events(), node, false).len(), after.len() + 1 - before.len(), "{node}");
    }
}

#[test]
fn a_run_killed_between_parts_resumes_to_the_same_bytes() {
    let run = [&RUN[..], &["--to", "clusters@1"]].concat();
    let undisturbed = filled();
    undisturbed.run(&run).ok();

    let space = filled();
    let mut made = None;
    for node in ["crops@0", "features@1"] {
        let mut run = space.start(&run);
        assert!(run.until(|events| !put_down(events, node, false).is_empty()), "{:?}", run.wait());
        run.child.kill().unwrap();
        let killed = run.wait();
        assert_eq!(killed.signal, Some(9), "{node}");
        made.take().inspect(|made| goes_on(&killed.events(), made));
        made = Some((node, put_down(&killed.events(), node, false)));
    }
    let last = space.run(&run).ok();
    made.take().inspect(|made| goes_on(&last.events(), made));
    assert_eq!(space.digests(), undisturbed.digests());
}

/// Insists that a run took the parts of a node that the run before it has made.
fn goes_on(events: &[Event], (of, made): &(&str, BTreeSet<String>)) {
    let is_hit = events.iter().any(|event| matches!(event, Event::NodeHit { node, .. } if node == of));
    assert!(is_hit || put_down(events, of, true).is_superset(made), "{of}: {made:?} {events:?}");
}
