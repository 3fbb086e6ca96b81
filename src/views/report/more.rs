//! more: what the page says of clusters besides their members: changes, labels, and images to look at.

use crate::format::flows::{CONFUSION, Confused, FLOWS, Flow, open_confusion, open_flows};
use crate::format::oddities::{self, ODDITIES, Why};
use crate::store::{Record, Store};
use crate::views::made::part;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// Parts that a gallery of an earlier program, or a run without the stage `oddities`, does not have.
#[derive(Default)]
pub(super) struct More {
    flows: Option<Vec<Flow>>,
    confusion: Option<Vec<Confused>>,
    oddities: Option<Odd>,
}

/// Images to look at.
struct Odd {
    /// The node's name without its epoch, which is its folder in the results.
    folder: String,
    table: oddities::Oddities,
    pictures: Bytes,
}

impl More {
    /// Opens what a gallery of `k` clusters has.
    ///
    /// # Errors
    /// Where a part is there and has other content than its format allows.
    pub(super) fn open(store: &Store, record: &Record, k: u64) -> anyhow::Result<Self> {
        let flows = part(store, record, FLOWS.file)?.map(|bytes| open_flows(&bytes, k)).transpose()?;
        let confusion = part(store, record, CONFUSION.file)?.map(|bytes| open_confusion(&bytes)).transpose()?;
        Ok(Self { flows, confusion, oddities: None })
    }

    /// Opens what the stage `oddities` made of the same epoch, where its bytes are there.
    ///
    /// # Errors
    /// Where a part is there and has other content than its format allows.
    pub(super) fn with_oddities(mut self, store: &Store, odd: Option<(&str, &Record)>) -> anyhow::Result<Self> {
        if let Some((name, record)) = odd
            && let Some(bytes) = part(store, record, ODDITIES.file)?
        {
            let pictures = part(store, record, oddities::PICTURES)?.unwrap_or_default();
            self.oddities = Some(Odd { folder: name.to_owned(), table: oddities::Oddities::open(&bytes)?, pictures });
        }
        Ok(self)
    }

    /// Adds it to the page's data of the clusters. A page that is served asks for each picture by itself.
    pub(super) fn add(&self, gallery: &mut Value, is_served: bool) {
        gallery["flows"] = self.flows.as_deref().map_or(Value::Null, flows);
        let cells =
            |cells: &Vec<Confused>| cells.iter().map(|cell| json!([cell.label, cell.main, cell.images])).collect();
        gallery["confusion"] = self.confusion.as_ref().map_or(Value::Null, cells);
        gallery["oddities"] = self.oddities.as_ref().map_or(Value::Null, |odd| odd.json(is_served));
    }
}

/// The flows as columns of 32-bit numbers.
fn flows(flows: &[Flow]) -> Value {
    let column = |value: fn(&Flow) -> u64| -> Value {
        let bytes: Vec<u8> = flows.iter().flat_map(|flow| (value(flow) as i32).to_le_bytes()).collect();
        STANDARD.encode(bytes).into()
    };
    json!({
        "cluster": column(|flow| flow.cluster.0.into()), "before": column(|flow| flow.before.0.into()),
        "images": column(|flow| flow.images), "before_images": column(|flow| flow.before_images),
    })
}

impl Odd {
    /// Lists of groups; a row is image, path, label, cluster, distance, tile.
    fn json(&self, is_served: bool) -> Value {
        let mut lists = json!({});
        for why in Why::ALL {
            let rows: Vec<_> = (0..).zip(&self.table.rows).filter(|(_, row): &(u32, _)| row.why == why).collect();
            let groups = rows.chunk_by(|a, b| a.1.group == b.1.group).map(|group| {
                let row = |(tile, row): &(u32, &oddities::Oddity)| {
                    json!([row.image.0, row.path, row.label, row.cluster.0, row.distance, tile])
                };
                json!([group[0].1.images, group.iter().map(row).collect::<Vec<_>>()])
            });
            lists[why.name()] = groups.collect();
        }
        let pictures = (!is_served && !self.pictures.is_empty()).then(|| STANDARD.encode(&self.pictures));
        let [copies, within, across] = self.table.found;
        json!({
            "folder": self.folder, "tile": self.table.tile, "columns": self.table.columns, "pictures": pictures,
            "near": self.table.near, "found": { "copies": copies, "near_within": within, "near_across": across },
            "lists": lists,
        })
    }
}
