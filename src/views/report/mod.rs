//! report: `report.html`, one file that shows a run: curves, clusters with their images, a map, where the time went.

mod gather;
mod told;

use crate::engine::Plan;
use crate::store::Store;
use crate::views::files;
use anyhow::Context;
use serde_json::Value;
use std::path::Path;

/// The file's name in the results folder.
pub const FILE: &str = "report.html";

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the report of what the store has of a plan's last run, and returns its size in bytes. The same artifacts make
/// the same bytes. The file fetches nothing.
///
/// # Errors
/// Where an artifact cannot be read, or the file cannot be written.
pub fn write(plan: &Plan, store: &Store, epoch: Option<u32>, to: &Path) -> anyhow::Result<u64> {
    let page = page(&gather::gather(plan, store, epoch)?);
    files::replace(to, page.as_bytes()).with_context(|| format!("writing {}", to.display()))?;
    Ok(page.len() as u64)
}

fn page(data: &Value) -> String {
    // In a script element only `</script` and `<!--` mean something, and neither is left.
    let json = data.to_string().replace('<', "\\u003c");
    let (before, rest) = PAGE.split_once("{css}").expect("BUG: the page has a place for its style");
    let (middle, rest) = rest.split_once("{data}").expect("BUG: the page has a place for its data");
    let (between, after) = rest.split_once("{js}").expect("BUG: the page has a place for its script");
    [before, STYLE, middle, &json, between, SCRIPT, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_the_data_can_end_the_script_element() {
        let hostile = serde_json::json!({ "path": "</script><script>alert(1)</script><!-- {js} {css}" });
        let page = page(&hostile);
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), hostile);
        assert!(!page.contains("alert(1)</script>"));
    }
}
