//! places: where a node's files are, below the results folder.

use crate::base::Artifact;
use crate::engine::{Node, Plan};
use crate::views::{files, tables};
use anyhow::bail;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The noun whose files are at the top.
pub(super) const DATASET: &str = "dataset";
pub(super) const IMAGES: &str = "images.parquet";
pub(super) const BAD: &str = "bad.parquet";
pub(super) const STEPS: &str = "steps.parquet";
/// Large, and laid out only where they were asked for.
const LARGE: [&str; 3] = ["crops", "features", "vectors"];

/// Whether anything of a node is laid out as the plan has it; if not, there is no need to look for its bytes.
pub(super) fn has_place(node: &Node) -> bool {
    node.asked_for || !is_large(node)
}

/// Whether a node's bytes are worth more than to be read by people.
pub(super) fn is_large(node: &Node) -> bool {
    LARGE.contains(&node.stage.def().output.name)
}

/// The files that a node's artifact is laid out in.
pub(super) fn files(plan: &Plan, node: &Node, artifact: &Artifact) -> Vec<PathBuf> {
    let folders = folders(node);
    let at = |which: usize, file: &str| Path::new(&folders[which]).join(epoch(node)).join(file);
    match node.stage.def().output.name {
        DATASET => [IMAGES, BAD].map(|file| top(plan, node).join(file)).to_vec(),
        "clusters" => vec![at(0, tables::FILE), at(1, tables::FILE), at(2, "centroids.arrow")],
        "manifest" | "metrics" => vec![at(0, tables::FILE)],
        "weights" => {
            let steps = artifact.part(STEPS).map(|_| at(1, tables::FILE));
            let weights = node.keep.stays(node.epoch, plan.epochs).then(|| weights_file(node));
            steps.into_iter().chain(weights).collect()
        }
        noun if LARGE.contains(&noun) && node.asked_for => {
            artifact.parts.iter().map(|part| at(folder_of(&part.name), &part.plain_name())).collect()
        }
        _ => Vec::new(),
    }
}

/// The folder of a data set: the results folder itself for the one called so, or, where none is, for the first.
pub(super) fn top(plan: &Plan, node: &Node) -> PathBuf {
    let nodes = plan.order().iter().map(|id| plan.node(*id));
    let all: Vec<_> = nodes.filter(|node| node.stage.def().output.name == DATASET).map(|node| &node.noun).collect();
    let chosen = all.iter().find(|noun| **noun == DATASET).or(all.first());
    if chosen == Some(&&node.noun) { PathBuf::new() } else { PathBuf::from(&node.noun) }
}

/// Refuses a plan two of whose nodes would be laid out in one folder.
pub(super) fn check(plan: &Plan) -> anyhow::Result<()> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for node in plan.order().iter().map(|id| plan.node(*id)).filter(|node| node.epoch.0 <= 1) {
        for folder in folders(node) {
            if let Some(other) = taken.insert(folder.clone(), &node.noun).filter(|other| *other != node.noun) {
                bail!("{other} and {} would both be laid out in {folder}/: give one of them another name", node.noun);
            }
        }
    }
    Ok(())
}

/// Which of its folders a part of something large is in.
pub(super) fn folder_of(part: &str) -> usize {
    usize::from(!part.starts_with("part-"))
}

/// The folders that a node's files are in, below the results; the first is named after the node.
pub(super) fn folders(node: &Node) -> Vec<String> {
    let noun = &node.noun;
    // Two nodes of one kind must not share a folder: what is not called as usual gets its name in front.
    let beside = |word: &str, usual: &str| if noun == usual { word.to_owned() } else { format!("{noun}-{word}") };
    let more = match node.stage.def().output.name {
        DATASET => return Vec::new(),
        "clusters" => vec![beside("iterations", "clusters"), beside("centroids", "clusters")],
        "weights" => vec![beside("steps", "weights")],
        "vectors" => vec![beside("whitening", "vectors")],
        _ => Vec::new(),
    };
    std::iter::once(noun.clone()).chain(more).collect()
}

/// Whether dcpipe gives a file of an epoch's folder this name.
pub(super) fn is_name(file: &str) -> bool {
    [tables::FILE, "centroids.arrow", "whitening.arrow", "mean.arrow"].contains(&file)
        || (file.starts_with("part-") && file.ends_with(".arrow"))
        || files::is_aside(Path::new(file))
}

/// The file of a node's weights.
pub(super) fn weights_file(node: &Node) -> PathBuf {
    Path::new(&node.noun).join(format!("epoch={:04}.safetensors", node.epoch.0))
}

/// The Hive folder of an epoch; none for what is made once.
pub(super) fn epoch(node: &Node) -> String {
    if node.epoch.0 == 0 { String::new() } else { format!("epoch={:04}", node.epoch.0) }
}
