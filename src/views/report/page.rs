//! page: the file itself: frame, style, script and data, with what a browser may do on it.

use serde_json::Value;

/// The page, which a report and `dcpipe serve` have in common, with places for its head and its end.
const PAGE: &str = include_str!("page.html");
/// How it begins.
pub(super) const PAGE_BEGINS: &str = "<!doctype html>\n";
/// Its style.
pub(in crate::views) const STYLE: &str = concat!(include_str!("page.css"), include_str!("more.css"));
/// Its script.
pub(in crate::views) const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("more.js"));

/// Where the page's data are.
pub(super) enum Data<'a> {
    /// In the page, as [`escaped`] gives them; the montages, too, or else in a folder.
    Within { json: &'a str, has_folder: bool },
    /// In the folder at this address.
    Beside(&'a str),
}

/// The script with the data, in the folder.
pub(super) const DATA_FILE: &str = "data.js";

/// What that script says.
pub(super) fn data_file(json: &str) -> String {
    format!("show(JSON.parse({}));\n", Value::from(json))
}

/// As JSON within a script element. Only `</script` and `<!--` mean something there, and neither is left.
pub(super) fn escaped(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

/// The page. `shows` names what it shows.
pub(super) fn page(data: &Data<'_>, shows: &str) -> String {
    // `file:` is what 'self' means where no server sends the page.
    let (images, scripts) = match data {
        Data::Within { has_folder: false, .. } => ("data:", "'unsafe-inline'"),
        Data::Within { has_folder: true, .. } => ("data: 'self' file:", "'unsafe-inline'"),
        Data::Beside(_) => ("data: 'self' file:", "'unsafe-inline' 'self' file:"),
    };
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src \
         {scripts}; img-src {images}\">\n<meta name=\"dcpipe-shows\" content=\"{shows}\">\n<style>\n{STYLE}</style>"
    );
    let script = ["<script>\n", SCRIPT, "</script>"].concat();
    let end = match data {
        Data::Within { json, .. } => {
            ["<script type=\"application/json\" id=\"data\">", json, "</script>\n", &script].concat()
        }
        Data::Beside(address) => [&script, "\n<script src=\"", address, DATA_FILE, "\"></script>"].concat(),
    };
    framed(&head, &end)
}

/// The page with this in its head, and this at its end.
pub(in crate::views) fn framed(head: &str, end: &str) -> String {
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
        let page = page(&Data::Within { json: &escaped(&hostile), has_folder: false }, "");
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), hostile);
        assert!(!page.contains("alert(1)</script>"));
    }
}
