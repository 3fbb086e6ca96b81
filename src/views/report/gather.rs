//! gather: what the store has of a run, brought into the form in which the page reads it.

use super::told::CURVES;
use crate::base::{Artifact, ClusterId, Epoch};
use crate::engine::Plan;
use crate::format::dataset::{self, open_bad};
use crate::format::gallery::{self, Point, Stats, open_map, open_members};
use crate::format::noun::{DATASET, GALLERY};
use crate::learn::health::{Learning, PREFIX, text};
use crate::store::Store;
use crate::views::made::{Made, NO_GALLERY, artifacts, made, numbers};
use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Examples of paths with each reason for which files were left out.
const EXAMPLES: usize = 3;

/// The page's data, of `epoch` or of the last one that has a gallery; and the artifacts of the run, by node.
pub(super) fn gather(plan: &Plan, store: &Store, epoch: Option<u32>) -> anyhow::Result<(Value, Vec<Option<Artifact>>)> {
    let made = made(plan, store)?;
    let artifacts = artifacts(plan, &made);
    let epochs = numbers(store, &made)?.into_iter();
    let epochs: Vec<_> = epochs.map(|(epoch, numbers)| json!({ "epoch": epoch.0, "metrics": numbers })).collect();
    let wanted = |made: &&Made<'_>| made.is(&GALLERY) && epoch.is_none_or(|epoch| made.node.epoch == Epoch(epoch));
    let shown = made.iter().rev().filter(wanted).find(|made| made.is_whole(store));
    if let (Some(epoch), None) = (epoch, shown) {
        let all = made.iter().filter(|made| made.is(&GALLERY)).map(|made| made.node.name());
        bail!("epoch {epoch} has no gallery; there are: {}", all.collect::<Vec<_>>().join(", "));
    }
    let gallery = shown.map(|made| show(store, made)).transpose()?.unwrap_or(Value::Null);
    let curves: Vec<_> = CURVES.iter().map(|(name, title, how)| json!([name, title, how])).collect();
    let data = json!({
        "version": 1,
        "run": { "name": plan.name, "facts": facts(plan, &epochs), "no_gallery": no_gallery(plan, &made) },
        "warnings": warnings(&epochs),
        "curves": curves,
        "epochs": epochs,
        "gallery": gallery,
        "time": time(&made),
        "bad": bad(store, &made)?,
    });
    Ok((data, artifacts))
}

/// What the numbers of an epoch warn of, the last epoch first; each kind once.
fn warnings(epochs: &[Value]) -> Vec<String> {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for epoch in epochs {
        let Some(numbers) = epoch["metrics"].as_object() else { continue };
        let number = |name: &str| numbers.get(name).and_then(Value::as_f64);
        let signs = numbers.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_f64()?)));
        let mut found: Vec<(&str, f64)> = signs.collect();
        let count = |name: &str| number(name).map_or(0, |count| count as u64);
        let learning = Learning {
            epoch: epoch["epoch"].as_u64().unwrap_or_default() as u32,
            steps: count("steps") as usize,
            classes: count("clusters").saturating_sub(count("empty_clusters")),
        };
        if let Some(loss) = number("loss").filter(|loss| learning.is_chance(*loss)) {
            found.push(("loss_at_chance", loss));
        }
        for (code, value) in found {
            told.insert(code.to_owned(), format!("Epoch {}: {}", epoch["epoch"], text(code, value)));
        }
    }
    told.into_values().collect()
}

/// Why there are no images, and how to get them.
fn no_gallery(plan: &Plan, made: &[Made<'_>]) -> String {
    let mut galleries = plan.order().iter().map(|id| plan.node(*id));
    let next = galleries.find(|node| {
        node.stage.def().output.name == GALLERY.name && !made.iter().any(|made| made.node.name() == node.name())
    });
    match next {
        Some(next) => format!("The images of the clusters appear when {} has run.", next.name()),
        None => NO_GALLERY.to_owned(),
    }
}

fn facts(plan: &Plan, epochs: &[Value]) -> Vec<Value> {
    let last = epochs.last();
    let number = |name: &str| last.and_then(|epoch| epoch["metrics"][name].as_f64());
    let mut facts = vec![json!(["epochs", format!("{} of {}", epochs.len(), plan.epochs)])];
    facts.extend(number("images").map(|images| json!(["images", format!("{images}")])));
    facts.extend(number("clusters").map(|k| json!(["k", format!("{k}")])));
    facts
}

/// How long the nodes of each name took, the longest first: name, seconds, nodes.
fn time(made: &[Made<'_>]) -> Vec<Value> {
    let mut by_noun: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
    for made in made.iter().filter(|made| !made.node.is_implied) {
        let (seconds, count) = by_noun.entry(&made.node.noun).or_default();
        *seconds += made.record.wall_ms as f64 / 1e3;
        *count += 1;
    }
    let mut rows: Vec<_> = by_noun.into_iter().collect();
    rows.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    rows.into_iter().map(|(noun, (seconds, count))| json!([noun, seconds, count])).collect()
}

/// What was left out of the data set: reason, files, some paths.
fn bad(store: &Store, made: &[Made<'_>]) -> anyhow::Result<Vec<Value>> {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for made in made.iter().filter(|made| made.is(&DATASET)) {
        if let Some(bytes) = made.part(store, dataset::BAD.file)? {
            for bad in open_bad(&bytes)? {
                by_reason.entry(bad.reason).or_default().push(bad.path);
            }
        }
    }
    let row = |(reason, paths): (String, Vec<String>)| {
        let examples = paths.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
        json!([reason, paths.len(), examples])
    };
    Ok(by_reason.into_iter().map(row).collect())
}

fn show(store: &Store, made: &Made<'_>) -> anyhow::Result<Value> {
    let file = |name: &str| -> anyhow::Result<Bytes> { Ok(made.part(store, name)?.unwrap_or_default()) };
    let pack = file(gallery::MONTAGES)?;
    let stats = Stats::open(&file(gallery::STATS.file)?, pack.len() as u64)?;
    let (clusters, k) = (&stats.clusters, stats.clusters.len() as u64);
    let points = match made.part(store, gallery::MAP.file)? {
        Some(bytes) => open_map(&bytes, k)?,
        None => Vec::new(),
    };
    let main = clusters.iter().filter_map(|cluster| cluster.main_label.as_ref().map(|(_, label)| &**label));
    let labels: BTreeSet<&str> = main.chain(points.iter().map(|point| &*point.label)).collect();
    let labels: Vec<&str> = labels.into_iter().filter(|label| !label.is_empty()).collect();
    let label = |name: &str| labels.binary_search(&name).map_or(-1, |at| at as i32);
    let montages: Map<String, Value> = (0..)
        .zip(clusters)
        .filter_map(|(id, cluster): (u32, _)| {
            let (from, bytes) = cluster.montage?;
            let jpeg = pack.get(from as usize..(from + bytes) as usize)?;
            Some((id.to_string(), STANDARD.encode(jpeg).into()))
        })
        .collect();
    let mut members: Map<String, Value> = Map::new();
    for member in open_members(&file(gallery::MEMBERS.file)?, k)? {
        let row = json!([member.image.0, member.path, member.label, member.role, member.distance]);
        let list = members.entry(member.cluster.to_string()).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().into_iter().for_each(|list| list.push(row.clone()));
    }
    let all = || clusters.iter();
    let id = |id: Option<ClusterId>| id.map_or(-1, |id| id.0 as i32);
    Ok(json!({
        "epoch": stats.epoch.0, "tile": stats.tile, "tiles_a_row": stats.columns, "labels": labels,
        "columns": {
            "size": packed(all().map(|cluster| (cluster.size as i32).to_le_bytes())),
            "mean_distance": packed(all().map(|cluster| cluster.mean_distance.unwrap_or(-1.0).to_le_bytes())),
            "purity": packed(all().map(|c| c.main_label.as_ref().map_or(-1.0_f32, |(purity, _)| *purity).to_le_bytes())),
            "main_label": packed(all().map(|c| c.main_label.as_ref().map_or(-1, |(_, name)| label(name)).to_le_bytes())),
            "iou": packed(all().map(|cluster| cluster.previous.map_or(-1.0_f32, |(_, iou)| iou).to_le_bytes())),
            "previous_id": packed(all().map(|cluster| id(cluster.previous.map(|(id, _)| id)).to_le_bytes())),
            "neighbor_id": packed(all().map(|cluster| id(cluster.neighbor).to_le_bytes())),
        },
        "montages": montages,
        "members": members,
        "map": map(&points, &label),
    }))
}

/// The points of the map; both axes fill 16 bits.
fn map(points: &[Point], label: &dyn Fn(&str) -> i32) -> Value {
    if points.is_empty() {
        return Value::Null;
    }
    let axis = |axis: usize| {
        let values = || points.iter().map(|point| point.at[axis]);
        let (low, high) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
        let range = if high > low { high - low } else { 1.0 };
        packed(values().map(|value| ((((value - low) / range) * 65_535.0) as u16).to_le_bytes()))
    };
    json!({
        "x": axis(0), "y": axis(1),
        "cluster": packed(points.iter().map(|point| (point.cluster.0 as i32).to_le_bytes())),
        "label": packed(points.iter().map(|point| label(&point.label).to_le_bytes())),
    })
}

fn packed<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> String {
    STANDARD.encode(values.into_iter().flatten().collect::<Vec<u8>>())
}
