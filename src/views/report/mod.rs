//! report: `report.html`, one file that shows a run: curves, clusters with their images, a map, where the time went.

mod course;
mod gather;
mod told;

use crate::base::Digest;
use crate::engine::Plan;
use crate::format::noun::{DATASET, GALLERY, MAP, METRICS, WEIGHTS};
use crate::store::Store;
use crate::views::files;
use anyhow::Context;
use serde_json::Value;
use std::fmt::Write;
use std::io::Read;
use std::path::Path;

/// The file's name in the results folder.
pub const FILE: &str = "report.html";

/// Counts up when the page is made in another way.
const VERSION: u32 = 2;
/// Bytes within which the page says what it shows.
const HEAD: u64 = 1024;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the report of what the store has of a plan's last run, and returns its size in bytes. The same artifacts make
/// the same bytes. The file fetches nothing.
///
/// # Errors
/// Where an artifact cannot be read, or the file cannot be written.
pub fn write(plan: &Plan, store: &Store, epoch: Option<u32>, to: &Path) -> anyhow::Result<u64> {
    let (data, digests) = gather::gather(plan, store, epoch)?;
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
        let is_read =
            [DATASET, METRICS, WEIGHTS, GALLERY, MAP].iter().any(|noun| noun.name == node.stage.def().output.name);
        if let Some(digest) = digests[id.index()].filter(|_| is_read) {
            let _ = writeln!(text, "{} {digest}", node.name());
        }
    }
    Digest::of(text.as_bytes())
}

fn page(data: &Value, shows: Digest) -> String {
    // In a script element only `</script` and `<!--` mean something, and neither is left.
    let json = data.to_string().replace('<', "\\u003c");
    let (head, rest) = PAGE.split_once("{shows}").expect("BUG: the page has a place for what it shows");
    let (before, rest) = rest.split_once("{css}").expect("BUG: the page has a place for its style");
    let (middle, rest) = rest.split_once("{data}").expect("BUG: the page has a place for its data");
    let (between, after) = rest.split_once("{js}").expect("BUG: the page has a place for its script");
    [head, &shows.to_string(), before, STYLE, middle, &json, between, SCRIPT, after].concat()
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
