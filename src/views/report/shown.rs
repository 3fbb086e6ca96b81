//! shown: an epoch's clusters, in the form in which the page reads them.

use super::more::More;
use super::pictures::{Asked, Pictures, row};
use crate::base::ClusterId;
use crate::format::gallery::{self, Member, Point, Stats, open_map, open_members};
use crate::format::projection::{PROJECTION, open_projection};
use crate::store::{Record, Store};
use crate::views::made::part;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Where a page finds the montages.
pub(in crate::views) enum Sheets<'a> {
    /// Below this address, each by the number of its cluster.
    At(&'a str),
    /// These, in the data; or in a folder at this address.
    Of(&'a Pictures, Option<&'a str>),
}

/// A gallery.
pub(in crate::views) struct Shown {
    stats: Stats,
    /// The montages, JPEG files one after the other.
    pack: Bytes,
    members: Vec<Member>,
    points: Vec<Point>,
    /// A second map: a place from 0 to 1 for each image.
    places: Option<Vec<[f32; 2]>>,
    more: More,
}

impl Shown {
    /// Opens a gallery, whose parts must be there.
    ///
    /// # Errors
    /// Where one is not, or has other content than its format allows.
    pub(in crate::views) fn open(store: &Store, record: &Record) -> anyhow::Result<Self> {
        let file = |name: &str| -> anyhow::Result<Bytes> { Ok(part(store, record, name)?.unwrap_or_default()) };
        let pack = file(gallery::MONTAGES)?;
        let stats = Stats::open(&file(gallery::STATS.file)?, pack.len() as u64)?;
        let k = stats.clusters.len() as u64;
        let points = match part(store, record, gallery::MAP.file)? {
            Some(bytes) => open_map(&bytes, k)?,
            None => Vec::new(),
        };
        let members = open_members(&file(gallery::MEMBERS.file)?, k)?;
        let more = More::open(store, record, k)?;
        Ok(Self { stats, pack, members, points, places: None, more })
    }

    /// What can be said of clusters without a gallery.
    pub(in crate::views) fn bare(stats: Stats) -> Self {
        Self { stats, pack: Bytes::new(), members: Vec::new(), points: Vec::new(), places: None, more: More::default() }
    }

    /// The same with the map that a record of the same epoch holds, if its bytes are there.
    ///
    /// # Errors
    /// Where it has other content than its format allows.
    pub(in crate::views) fn with_map(mut self, store: &Store, record: Option<&Record>) -> anyhow::Result<Self> {
        if let Some(record) = record
            && let Some(bytes) = part(store, record, PROJECTION.file)?
        {
            self.places = Some(open_projection(&bytes)?);
        }
        Ok(self)
    }

    /// The same with the images to look at, if their bytes are there. A node is its name and its record.
    ///
    /// # Errors
    /// Where it has other content than its format allows.
    pub(in crate::views) fn with_oddities(
        mut self,
        store: &Store,
        odd: Option<(&str, &Record)>,
    ) -> anyhow::Result<Self> {
        self.more = self.more.with_oddities(store, odd)?;
        Ok(self)
    }

    /// The pictures that it has, as far as they are asked for.
    ///
    /// # Errors
    /// Where a montage cannot be read.
    pub(super) fn pictures(&self, asked: Asked) -> anyhow::Result<Pictures> {
        Pictures::of(&self.stats, &self.members, &|id| self.montage(id), asked)
    }

    /// Side of a montage's tile, in pixels, and tiles in a row.
    pub(in crate::views) fn tiles(&self) -> (u32, u32) {
        (self.stats.tile, self.stats.columns)
    }

    /// A cluster's montage, where it has one.
    pub(in crate::views) fn montage(&self, id: ClusterId) -> Option<Bytes> {
        let (from, bytes) = self.stats.clusters.get(id.index())?.montage?;
        Some(self.pack.slice(from as usize..(from + bytes) as usize))
    }

    /// The page's data of the clusters.
    pub(in crate::views) fn json(&self, sheets: &Sheets<'_>) -> Value {
        let (stats, clusters, points) = (&self.stats, &self.stats.clusters, &self.points);
        let main = clusters.iter().filter_map(|cluster| cluster.main_label.as_ref().map(|(_, label)| &**label));
        let labels: BTreeSet<&str> = main.chain(points.iter().map(|point| &*point.label)).collect();
        let labels: Vec<&str> = labels.into_iter().filter(|label| !label.is_empty()).collect();
        let label = |name: &str| labels.binary_search(&name).map_or(-1, |at| at as i32);
        let (mut montages, mut members) = (Map::new(), Map::new());
        let (mut columns, mut below, mut folder) = (stats.columns, None, None);
        match sheets {
            Sheets::At(address) => {
                below = Some(*address);
                for member in &self.members {
                    let list = members.entry(member.cluster.to_string()).or_insert_with(|| Value::Array(Vec::new()));
                    list.as_array_mut().into_iter().for_each(|list| list.push(row(member)));
                }
            }
            Sheets::Of(chosen, beside) => {
                (columns, folder) = (chosen.columns, *beside);
                for (id, picture) in &chosen.of {
                    let sheet = folder.map_or_else(|| STANDARD.encode(&picture.sheet).into(), |_| Value::from(1));
                    montages.insert(id.to_string(), sheet);
                    members.insert(id.to_string(), picture.members.clone().into());
                }
            }
        }
        let all = || clusters.iter();
        let id = |id: Option<ClusterId>| id.map_or(-1, |id| id.0 as i32);
        let mut data = json!({
            "epoch": stats.epoch.0, "tile": stats.tile, "tiles_a_row": columns, "labels": labels,
            "columns": {
                "size": packed(all().map(|cluster| (cluster.size as i32).to_le_bytes())),
                "mean_distance": packed(all().map(|cluster| cluster.mean_distance.unwrap_or(-1.0).to_le_bytes())),
                "purity": packed(all().map(|c| c.main_label.as_ref().map_or(-1.0_f32, |(purity, _)| *purity).to_le_bytes())),
                "main_label": packed(all().map(|c| c.main_label.as_ref().map_or(-1, |(_, name)| label(name)).to_le_bytes())),
                "iou": packed(all().map(|cluster| cluster.previous.map_or(-1.0_f32, |(_, iou)| iou).to_le_bytes())),
                "previous_id": packed(all().map(|cluster| id(cluster.previous.map(|(id, _)| id)).to_le_bytes())),
                "neighbor_id": packed(all().map(|cluster| id(cluster.neighbor).to_le_bytes())),
            },
            "sheets": below,
            "folder": folder,
            "montages": montages,
            "members": members,
            "map": map(points, self.places.as_deref(), &label),
        });
        self.more.add(&mut data, below.is_some());
        data
    }
}

/// The points of the map; both axes fill 16 bits.
fn map(points: &[Point], places: Option<&[[f32; 2]]>, label: &dyn Fn(&str) -> i32) -> Value {
    if points.is_empty() {
        return Value::Null;
    }
    let axis = |axis: usize| {
        let values = || points.iter().map(|point| point.at[axis]);
        let (low, high) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
        let range = if high > low { high - low } else { 1.0 };
        packed(values().map(|value| ((((value - low) / range) * 65_535.0) as u16).to_le_bytes()))
    };
    let second = |axis: usize| {
        let place = |point: &Point| places?.get(point.image.index()).map(|place| place[axis]);
        let values = points.iter().map(|point| place(point).unwrap_or(0.5).clamp(0.0, 1.0));
        places.map(|_| packed(values.map(|value| ((value * 65_535.0) as u16).to_le_bytes())))
    };
    json!({
        "x": axis(0), "y": axis(1), "u": second(0), "v": second(1),
        "image": packed(points.iter().map(|point| (point.image.0 as i32).to_le_bytes())),
        "cluster": packed(points.iter().map(|point| (point.cluster.0 as i32).to_le_bytes())),
        "label": packed(points.iter().map(|point| label(&point.label).to_le_bytes())),
    })
}

fn packed<const N: usize>(values: impl IntoIterator<Item = [u8; N]>) -> String {
    STANDARD.encode(values.into_iter().flatten().collect::<Vec<u8>>())
}
