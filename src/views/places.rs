//! places: where the results folder shows a node's parts, by the table of nouns.

use crate::base::noun::{FileName, Folder, PartRow, Place, When};
use crate::base::{Artifact, Part};
use crate::engine::{Node, NodeId, Plan};
use crate::format::noun::DATASET;
use crate::views::files;
use anyhow::bail;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a table is called in the folder of its epoch.
const TABLE: &str = "part-0.parquet";

/// Whether the store has the bytes of a node's parts at the end of a run.
pub(super) fn is_kept(plan: &Plan, node: &Node) -> bool {
    node.asked_for || node.keep.stays(node.epoch, plan.epochs)
}

fn is_due(plan: &Plan, node: &Node, when: When) -> bool {
    match when {
        When::Always => true,
        When::Kept => is_kept(plan, node),
        When::AskedFor => node.asked_for,
    }
}

/// The places of a node's parts. A table has the name of the part that it is made of.
fn places<'p>(plan: &'p Plan, node: &'p Node) -> impl Iterator<Item = (&'static PartRow, Place)> + 'p {
    let of = namesake(plan, node).stage.def().output;
    let rows = node.stage.def().output.parts.iter().filter(move |row| of.row(row.name).is_some());
    rows.filter_map(|row| Some((row, row.place?)))
}

/// Whether the results show anything of a node.
pub(super) fn has_place(plan: &Plan, node: &Node) -> bool {
    places(plan, node).any(|(_, place)| is_due(plan, node, place.when))
}

/// The files of a node's artifact below the results, each with its part.
pub(super) fn files<'a>(plan: &Plan, node: &Node, artifact: &'a Artifact) -> Vec<(PathBuf, &'a Part)> {
    let noun = node.stage.def().output;
    let file = |part: &'a Part| {
        let place = noun.row(&part.name)?.place.filter(|place| is_due(plan, node, place.when))?;
        let folder = folder(plan, node, place.folder);
        let path = match place.file {
            FileName::Plain => folder.join(epoch(node)).join(part.plain_name()),
            FileName::Table => folder.join(epoch(node)).join(TABLE),
            FileName::Epoch(ending) => folder.join(format!("epoch={:04}.{ending}", node.epoch.0)),
        };
        Some((path, part))
    };
    artifact.parts.iter().filter_map(file).collect()
}

/// The node that gives the folders of `node` their name: for tables, the node that they belong to.
fn namesake<'p>(plan: &'p Plan, node: &'p Node) -> &'p Node {
    let followed = node.inputs.first().filter(|_| node.is_implied);
    followed.map_or(node, |(_, from)| plan.node(*from))
}

fn folder(plan: &Plan, node: &Node, folder: Folder) -> PathBuf {
    let of = namesake(plan, node);
    match folder {
        Folder::Top => top(plan, node),
        Folder::Own => PathBuf::from(&of.noun),
        // Two nodes of one kind must not share a folder.
        Folder::Beside(word) if of.noun == of.stage.def().output.name => PathBuf::from(word),
        Folder::Beside(word) => PathBuf::from(format!("{}-{word}", of.noun)),
    }
}

/// The folder of a data set. The one called `dataset`, or else the first, has the results folder itself.
fn top(plan: &Plan, node: &Node) -> PathBuf {
    let nodes = plan.order().iter().map(|id| plan.node(*id));
    let all: Vec<_> = nodes.filter(|node| is_dataset(node)).map(|node| &node.noun).collect();
    let chosen = all.iter().find(|noun| **noun == DATASET.name).or(all.first());
    if chosen == Some(&&node.noun) { PathBuf::new() } else { PathBuf::from(&node.noun) }
}

/// Whether a node is a data set, whose images may be in a pack.
pub(super) fn is_dataset(node: &Node) -> bool {
    node.stage.def().output.name == DATASET.name
}

/// The folder into which the images that a data set carries are unpacked.
pub(super) fn images(plan: &Plan, node: &Node) -> PathBuf {
    top(plan, node).join("images")
}

/// The names of the files that dcpipe exports to a folder below the results.
pub(super) struct Shelf {
    pub(super) folder: PathBuf,
    node: NodeId,
    row: &'static PartRow,
    file: FileName,
    /// Whether they are in the folder itself, and not in those of epochs.
    pub(super) is_flat: bool,
}

impl Shelf {
    /// Whether dcpipe gives this name to a file of the folder.
    pub(super) fn takes(&self, name: &str) -> bool {
        let numbered = |rest: &str| rest.len() >= 5 && rest.bytes().all(|digit| digit.is_ascii_digit());
        files::is_aside(Path::new(name))
            || match self.file {
                FileName::Table => name == TABLE,
                FileName::Plain if self.row.is_many => {
                    let rest = name.strip_prefix(self.row.name).and_then(|rest| rest.strip_suffix(".arrow"));
                    rest.is_some_and(numbered)
                }
                FileName::Plain => name == self.row.name,
                FileName::Epoch(ending) => {
                    let stem = name.strip_suffix(ending).and_then(|stem| stem.strip_suffix('.'));
                    stem.is_some_and(is_epoch)
                }
            }
    }
}

/// Whether a name is that of an epoch's folder.
pub(super) fn is_epoch(name: &str) -> bool {
    let number = name.strip_prefix("epoch=");
    number.is_some_and(|number| number.len() >= 4 && number.parse::<u32>().is_ok())
}

/// The folders of a plan's files; every epoch's node of a name shares its folders. Files at the top have no own folder.
pub(super) fn shelves(plan: &Plan) -> Vec<Shelf> {
    let mut seen = BTreeSet::new();
    let firsts = plan.order().iter().filter(|id| {
        let node = plan.node(**id);
        seen.insert((node.noun.as_str(), node.epoch.0 == 0))
    });
    let of = |id: &NodeId| {
        let node = plan.node(*id);
        let own = places(plan, node).filter(|(_, place)| place.folder != Folder::Top);
        let shelf = |(row, place): (&'static PartRow, Place)| Shelf {
            folder: folder(plan, node, place.folder),
            node: *id,
            row,
            file: place.file,
            is_flat: node.epoch.0 == 0 || matches!(place.file, FileName::Epoch(_)),
        };
        own.map(shelf).collect::<Vec<_>>()
    };
    firsts.flat_map(of).collect()
}

/// Refuses a plan that exports two of its nodes to one folder.
pub(super) fn check(plan: &Plan) -> anyhow::Result<()> {
    let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for Shelf { folder, node, .. } in shelves(plan) {
        let noun = &namesake(plan, plan.node(node)).noun;
        if let Some(other) = taken.insert(folder.clone(), noun).filter(|other| other != noun) {
            let folder = folder.display();
            bail!("{other} and {noun} would both be exported to {folder}/: rename one of them");
        }
    }
    Ok(())
}

/// The Hive folder of an epoch; none for what is made once.
fn epoch(node: &Node) -> String {
    if node.epoch.0 == 0 { String::new() } else { format!("epoch={:04}", node.epoch.0) }
}
