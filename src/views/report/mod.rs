//! report: `report.html`, one file that shows a run: curves, clusters with their images, a map, where the time went.

mod course;
mod facts;
pub(super) mod filters;
pub(super) mod gather;
mod more;
mod page;
mod pictures;
mod place;
pub(super) mod shown;
mod told;
mod worth;

pub(super) use page::{SCRIPT, STYLE, framed};
pub use pictures::Asked;

use crate::base::{Digest, Epoch};
use crate::engine::{Node, Plan};
use crate::format::noun::{DATASET, EVALUATION, GALLERY, MAP, METRICS, ODDITIES, WEIGHTS};
use crate::store::{Record, Stand, Store};
use crate::views::made;
use anyhow::bail;
use page::{Data, escaped, page};
use pictures::Pictures;
use place::Beside;
use shown::{Sheets, Shown};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file's name in the results folder.
pub const FILE: &str = "report.html";

/// Counts up when the page is made in another way.
const VERSION: u32 = 5;
/// Bytes within which the page says what it shows.
const HEAD: u64 = 1024;
/// Bytes that the page has at most, unless a caller says otherwise.
const MOST: usize = 15_000_000;
/// What the text that tells what is left out takes at most.
const TOLD: usize = 1_000;

/// What a page is to show.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Epoch whose clusters are shown; without one, the last that has a gallery.
    pub epoch: Option<u32>,
    /// How much of them.
    pub asked: Asked,
    /// Bytes that the page has at most.
    pub most: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { epoch: None, asked: Asked::default(), most: MOST }
    }
}

/// What was written.
pub struct Written {
    /// Bytes of the page.
    pub bytes: u64,
    /// The folder beside it, its files and their bytes.
    pub folder: Option<(PathBuf, usize, u64)>,
    /// What the page leaves out.
    pub left_out: Option<String>,
}

/// Writes the report of what the store has of a plan's last run, and of what its journal tells. The same artifacts and
/// journal make the same bytes. A page that would be too large has a folder beside it. It fetches nothing else.
///
/// # Errors
/// Where an artifact cannot be read, or a file cannot be written.
pub fn write(plan: &Plan, store: &Store, journal: &Path, wanted: Wanted, to: &Path) -> anyhow::Result<Written> {
    let records = made::records(plan, store)?;
    let galleries = || {
        let nodes = plan.order().iter().rev().filter_map(|id| Some((plan.node(*id), records[id.index()].as_ref()?)));
        nodes.filter(|(_, record)| record.artifact.kind == GALLERY.name)
    };
    let is_wanted = |(node, _): &(&Node, &Record)| wanted.epoch.is_none_or(|epoch| node.epoch == Epoch(epoch));
    let found = galleries().filter(is_wanted).find(|(_, record)| store.stand(&record.artifact) == Stand::Whole);
    if let (Some(epoch), None) = (wanted.epoch, found) {
        let mut all: Vec<_> = galleries().map(|(node, _)| node.name()).collect();
        all.reverse();
        bail!("epoch {epoch} has no gallery; there are: {}", all.join(", "));
    }
    let mut data = gather::gather(plan, store, &records, journal)?;
    if let (None, true, Some(why)) = (&found, wanted.asked.is_given(), data["run"]["no_gallery"].as_str()) {
        bail!(
            "--clusters and --per-cluster choose images of a gallery, and run {} has none to show. Without them, \
             dcpipe report {0} shows the rest. {why}",
            plan.name
        );
    }
    let newest =
        || made::made(plan, &records).iter().filter(|made| made.is(&WEIGHTS)).map(|made| made.node.epoch).max();
    if let Some(epoch) = found.map(|(node, _)| node.epoch).or_else(newest) {
        data["filters"] = filters::filters(plan, store, &records, epoch);
    }
    let digests: Vec<_> = records.iter().map(|record| record.as_ref().map(|record| record.artifact.digest())).collect();
    let mut clusters = None;
    if let Some((node, record)) = found {
        let map = made::map_of(plan, node.epoch, &records).and_then(|map| records[map.index()].as_ref());
        let odd = made::of_epoch(plan, &ODDITIES, node.epoch, &records);
        let odd = odd.and_then(|odd| Some((plan.node(odd).noun.as_str(), records[odd.index()].as_ref()?)));
        let shown = Shown::open(store, record)?.with_map(store, map)?.with_oddities(store, odd)?;
        let pictures = shown.pictures(wanted.asked)?;
        clusters = Some((shown, pictures, &*node.noun));
    }
    let newest = galleries().find(|(_, record)| store.stand(&record.artifact) == Stand::Whole);
    let is_newest = newest.map(|(node, _)| node.epoch) == found.map(|(node, _)| node.epoch);
    let is_part = clusters.as_ref().is_some_and(|(_, pictures, _)| pictures.is_part());
    let part = if is_newest && !is_part { String::new() } else { format!("{:?} {:?}", wanted.epoch, wanted.asked) };
    let shows = shows(plan, &digests, &part).to_string();
    let whole = |json: &str| page(&Data { json: Some(json), folder: None, shows: &shows });
    let Some((shown, pictures, noun)) = &mut clusters else {
        let page = whole(&escaped(&data));
        place::put(to, &page, None)?;
        return Ok(Written { bytes: page.len() as u64, folder: None, left_out: None });
    };
    let mut with = |pictures: &Pictures, folder: Option<&str>| {
        data["gallery"] = shown.json(&Sheets::Of(pictures, folder));
        data["gallery"]["left_out"] = pictures.left_out(noun, &plan.name, wanted.most).into();
        escaped(&data)
    };
    if !wanted.asked.is_given() {
        let bare = whole(&with(&pictures.none(), None)).len() + TOLD;
        pictures.fit(wanted.most.saturating_sub(bare));
    }
    let left_out = pictures.left_out(noun, &plan.name, wanted.most);
    let sheets: usize = pictures.of.iter().map(|(_, picture)| picture.sheet.len()).sum();
    // As text they are larger still, so what is too much already need not be written.
    if sheets <= wanted.most {
        let one = whole(&with(pictures, None));
        if one.len() <= wanted.most {
            place::put(to, &one, None)?;
            return Ok(Written { bytes: one.len() as u64, folder: None, left_out });
        }
    }
    // The address is in the data, and as long for any digest.
    let mut holds = with(pictures, Some(""));
    let address = Beside::of(to, Digest::of(b"")).address;
    let bare = Data { json: Some(&holds), folder: Some(&address), shows: &shows };
    let has_data = page(&bare).len() + address.len() > wanted.most;
    pictures.of.iter().for_each(|(_, picture)| holds.push_str(&Digest::of(&picture.sheet).to_string()));
    holds.push_str(if has_data { page::DATA_FILE } else { "" });
    let beside = Beside::of(to, Digest::of(holds.as_bytes()));
    let json = with(pictures, Some(&beside.address));
    let script = if has_data { page::data_file(&json) } else { String::new() };
    let sheets = pictures.of.iter().map(|(id, picture)| (format!("{id}.jpg"), &*picture.sheet));
    let mut files: Vec<(String, &[u8])> = sheets.collect();
    files.extend(has_data.then(|| (page::DATA_FILE.to_owned(), script.as_bytes())));
    let json = (!has_data).then_some(&*json);
    let page = page(&Data { json, folder: Some(&beside.address), shows: &shows });
    let (folder, bytes) = beside.write(&files)?;
    place::put(to, &page, Some(&beside))?;
    Ok(Written { bytes: page.len() as u64, folder: Some((folder, files.len(), bytes)), left_out })
}

/// Whether the file shows the artifacts of these digests, by node, as a run writes it, and has its folder. Then it stays.
pub fn is_of(plan: &Plan, digests: &[Option<Digest>], file: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    read.is_ok() && head.contains(&shows(plan, digests, "").to_string()) && place::has_its_folder(file, &head)
}

/// Names what a page shows: the artifacts that it reads, and which part of them was asked for.
fn shows(plan: &Plan, digests: &[Option<Digest>], part: &str) -> Digest {
    let mut text = format!("dcpipe-report {VERSION}\n{part}\n");
    for id in plan.order() {
        let node = plan.node(*id);
        let is_read = [DATASET, METRICS, WEIGHTS, EVALUATION, GALLERY, MAP, ODDITIES]
            .iter()
            .any(|noun| noun.name == node.stage.def().output.name);
        if let Some(digest) = digests[id.index()].filter(|_| is_read) {
            let _ = writeln!(text, "{} {digest}", node.name());
        }
    }
    Digest::of(text.as_bytes())
}
