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

/// What a page is made of.
pub(super) struct Data<'a> {
    /// The data, as [`escaped`] gives them; none where they are in the folder.
    pub(super) json: Option<&'a str>,
    /// The address of the folder beside the page, where it has one.
    pub(super) folder: Option<&'a str>,
    /// Names what the page shows.
    pub(super) shows: &'a str,
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

/// The page.
pub(super) fn page(data: &Data<'_>) -> String {
    let Data { json, folder, shows } = data;
    // `file:` is what 'self' means where no server sends the page.
    let (images, scripts) = match (json, folder) {
        (_, None) => ("data:", "'unsafe-inline'"),
        (Some(_), Some(_)) => ("data: 'self' file:", "'unsafe-inline'"),
        (None, Some(_)) => ("data: 'self' file:", "'unsafe-inline' 'self' file:"),
    };
    let beside = folder.map_or(String::new(), |folder| format!("{BESIDE}{folder}\">\n"));
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src \
         {scripts}; img-src {images}\">\n<meta name=\"dcpipe-shows\" content=\"{shows}\">\n{beside}<style>\n{STYLE}</style>"
    );
    let script = ["<script>\n", SCRIPT, "</script>"].concat();
    let end = match json {
        Some(json) => ["<script type=\"application/json\" id=\"data\">", json, "</script>\n", &script].concat(),
        None => [&script, "\n<script src=\"", folder.unwrap_or_default(), DATA_FILE, "\"></script>"].concat(),
    };
    framed(&head, &end)
}

/// How a page says where its folder is.
const BESIDE: &str = "<meta name=\"dcpipe-beside\" content=\"";

/// The address of the folder beside a page that begins like this.
pub(super) fn folder_of(head: &str) -> Option<&str> {
    head.split_once(BESIDE)?.1.split_once('"').map(|(address, _)| address)
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
        let page = page(&Data { json: Some(&escaped(&hostile)), folder: None, shows: "" });
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(data).unwrap(), hostile);
        assert!(!page.contains("alert(1)</script>"));
    }
}
