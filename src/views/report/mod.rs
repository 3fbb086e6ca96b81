//! report: `report.html`, one file that shows a run: curves, clusters with their images, a map, where the time went.

mod course;
pub(super) mod gather;
pub(super) mod shown;
mod told;
mod worth;

use crate::base::{Digest, Epoch};
use crate::engine::{Node, Plan};
use crate::format::noun::{DATASET, EVALUATION, GALLERY, MAP, METRICS, WEIGHTS};
use crate::store::{Record, Stand, Store};
use crate::views::{files, made};
use anyhow::{Context, bail};
use serde_json::Value;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

/// The file's name in the results folder.
pub const FILE: &str = "report.html";

/// Counts up when the page is made in another way.
const VERSION: u32 = 4;
/// Bytes within which the page says what it shows.
const HEAD: u64 = 1024;

/// The page, which a report and `dcpipe serve` have in common, with places for its head and its end.
const PAGE: &str = include_str!("page.html");
/// Its style.
pub(super) const STYLE: &str = include_str!("page.css");
/// Its script.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Writes the report of what the store has of a plan's last run, and returns its size in bytes. The same artifacts make
/// the same bytes. The file fetches nothing.
///
/// # Errors
/// Where an artifact cannot be read, or the file cannot be written.
pub fn write(plan: &Plan, store: &Store, epoch: Option<u32>, to: &Path) -> anyhow::Result<u64> {
    let records = made::records(plan, store)?;
    let galleries = || {
        let nodes = plan.order().iter().rev().filter_map(|id| Some((plan.node(*id), records[id.index()].as_ref()?)));
        nodes.filter(|(_, record)| record.artifact.kind == GALLERY.name)
    };
    let wanted = |(node, _): &(&Node, &Record)| epoch.is_none_or(|epoch| node.epoch == Epoch(epoch));
    let shown = galleries().filter(wanted).find(|(_, record)| store.stand(&record.artifact) == Stand::Whole);
    if let (Some(epoch), None) = (epoch, shown) {
        let mut all: Vec<_> = galleries().map(|(node, _)| node.name()).collect();
        all.reverse();
        bail!("epoch {epoch} has no gallery; there are: {}", all.join(", "));
    }
    let mut data = gather::gather(plan, store, &records)?;
    if let Some((node, record)) = shown {
        let map = made::map_of(plan, node.epoch, &records).and_then(|map| records[map.index()].as_ref());
        data["gallery"] = shown::Shown::open(store, record)?.with_map(store, map)?.json(None);
    }
    let digests: Vec<_> = records.iter().map(|record| record.as_ref().map(|record| record.artifact.digest())).collect();
    let page = page(&data, shows(plan, &digests));
    files::replace(to, page.as_bytes()).with_context(|| format!("writing {}", to.display()))?;
    Ok(page.len() as u64)
}

/// Whether the file shows the artifacts of these digests, by node: then it need not be written again.
pub fn is_of(plan: &Plan, digests: &[Option<Digest>], file: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(&shows(plan, digests).to_string())
}

/// Names what a page shows: the artifacts of all nodes but those that it does not read.
fn shows(plan: &Plan, digests: &[Option<Digest>]) -> Digest {
    let mut text = format!("dcpipe-report {VERSION}\n");
    for id in plan.order() {
        let node = plan.node(*id);
        let is_read = [DATASET, METRICS, WEIGHTS, EVALUATION, GALLERY, MAP]
            .iter()
            .any(|noun| noun.name == node.stage.def().output.name);
        if let Some(digest) = digests[id.index()].filter(|_| is_read) {
            let _ = writeln!(text, "{} {digest}", node.name());
        }
    }
    Digest::of(text.as_bytes())
}

fn page(data: &Value, shows: Digest) -> String {
    // In a script element only `</script` and `<!--` mean something, and neither is left.
    let json = data.to_string().replace('<', "\\u003c");
    let head = [
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n<meta name=\"dcpipe-shows\" content=\"",
        &shows.to_string(),
        "\">\n<style>\n",
        STYLE,
        "</style>",
    ];
    let end = ["<script type=\"application/json\" id=\"data\">", &json, "</script>\n<script>\n", SCRIPT, "</script>"];
    framed(&head.concat(), &end.concat())
}

/// The page with this in its head, and this at its end.
pub(super) fn framed(head: &str, end: &str) -> String {
    let (before, rest) = PAGE.split_once("{head}").expect("BUG: the page has a place for its head");
    let (middle, after) = rest.split_once("{end}").expect("BUG: the page has a place for its end");
    [before, head, middle, end, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_the_data_can_end_the_script_element() {
        let hostile = serde_json::json!({ "path": "</script><script>alert(1)</script><!-- {js} {css}" });
        let page = page(&hostile, Digest::of(b""));
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), hostile);
        assert!(!page.contains("alert(1)</script>"));
    }
}
