//! routes: which address gets which answer. Images are asked for by epoch and id; no address holds a path to open.

use super::index::Order;
use super::site::{Asked, NotThere, Site};
use crate::base::{ClusterId, ImageId};
use crate::image::Format;
use crate::views::report::{SCRIPT, STYLE, framed};
use bytes::Bytes;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::json;
use std::net::IpAddr;

/// Members on a page, at most.
const PAGE: usize = 240;
const HEAD: &str = "<link rel=\"stylesheet\" href=\"page.css\">\n<link rel=\"stylesheet\" href=\"serve.css\">";
const END: &str = "<script src=\"page.js\"></script>\n<script src=\"serve.js\"></script>";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Page,
    Style,
    Script,
    OwnStyle,
    OwnScript,
    Icon,
    State,
    Data(Option<u32>),
    Members(u32, ClusterId, Asked),
    /// Images whose path has a text: the text, the first to list, how many.
    Find(u32, String, usize, usize),
    Sheet(u32, ClusterId),
    Thumb(u32, ImageId),
    Original(u32, ImageId),
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) body: Bytes,
    /// The name under which a browser saves it.
    pub(super) name: Option<String>,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";
const JPEG: &str = "image/jpeg";

impl Reply {
    fn of(kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, kind, body: body.into(), name: None }
    }

    /// Says why there is no other answer.
    pub(super) fn refusal(status: StatusCode, why: &str) -> Self {
        Self { status, ..Self::of(JSON, json!({ "error": why }).to_string()) }
    }
}

/// What an address asks for; none if it is no address of this server. Nothing in it is ever joined to a path, and only the
/// text to find is decoded.
pub(super) fn ask(path: &str, query: Option<&str>) -> Option<Ask> {
    let steps: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let of = |key: &str| -> Option<&str> {
        let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
    };
    // A number that is none is refused, not passed over.
    let number = |key: &str| of(key).map_or(Some(None), |text| digits(text).map(Some));
    let page = || Some((number("from")?.unwrap_or(0) as usize, (number("count")?.unwrap_or(60) as usize).min(PAGE)));
    Some(match steps[..] {
        [""] => Ask::Page,
        ["page.css"] => Ask::Style,
        ["page.js"] => Ask::Script,
        ["serve.css"] => Ask::OwnStyle,
        ["serve.js"] => Ask::OwnScript,
        ["favicon.ico"] => Ask::Icon,
        ["state"] => Ask::State,
        ["data"] => Ask::Data(number("epoch")?),
        ["members", epoch, cluster] => {
            let order = match of("order") {
                None | Some("near") => Order::Near,
                Some("far") => Order::Far,
                Some("random") => Order::Random,
                Some(_) => return None,
            };
            let (from, count) = page()?;
            let asked = Asked { order, seed: number("seed")?.unwrap_or(0).into(), from, count };
            Ask::Members(digits(epoch)?, ClusterId(digits(cluster)?), asked)
        }
        ["find", epoch] => {
            let text = percent_decode_str(of("text")?).decode_utf8().ok()?;
            let (from, count) = page()?;
            Ask::Find(digits(epoch)?, text.into_owned(), from, count)
        }
        ["sheet", epoch, cluster] => Ask::Sheet(digits(epoch)?, ClusterId(digits(cluster)?)),
        ["thumb", epoch, image] => Ask::Thumb(digits(epoch)?, ImageId(digits(image)?)),
        ["original", epoch, image] => Ask::Original(digits(epoch)?, ImageId(digits(image)?)),
        _ => return None,
    })
}

/// A number of plain digits.
fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Answers. Every failure has a text for the page.
pub(super) fn answer(site: &Site, ask: Ask) -> Reply {
    let made = || -> anyhow::Result<Reply> {
        Ok(match ask {
            Ask::Page => Reply::of(HTML, framed(HEAD, END)),
            Ask::Style => Reply::of(CSS, STYLE),
            Ask::Script => Reply::of(JS, SCRIPT),
            Ask::OwnStyle => Reply::of(CSS, include_str!("serve.css")),
            Ask::OwnScript => Reply::of(JS, include_str!("serve.js")),
            Ask::Icon => Reply { status: StatusCode::NO_CONTENT, ..Reply::of(JPEG, "") },
            Ask::State => Reply::of(JSON, site.state()?.to_string()),
            Ask::Data(epoch) => Reply::of(JSON, (*site.data(epoch)?).clone()),
            Ask::Members(epoch, cluster, asked) => Reply::of(JSON, site.members(epoch, cluster, asked)?.to_string()),
            Ask::Find(epoch, text, from, count) => Reply::of(JSON, site.find(epoch, &text, from, count)?.to_string()),
            Ask::Sheet(epoch, cluster) => Reply::of(JPEG, site.sheet(epoch, cluster)?),
            Ask::Thumb(epoch, image) => Reply::of(JPEG, site.thumb(epoch, image)?),
            Ask::Original(epoch, image) => {
                let original = site.original(epoch, image)?;
                Reply { name: Some(original.name), ..Reply::of(kind(original.format), original.bytes) }
            }
        })
    };
    made().unwrap_or_else(|error| {
        let is_missing = error.downcast_ref::<NotThere>().is_some();
        let status = if is_missing { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
        Reply::refusal(status, &format!("{error:#}"))
    })
}

/// The content type of a format.
fn kind(format: Format) -> &'static str {
    match format {
        Format::Jpeg => JPEG,
        Format::Png => "image/png",
        Format::Bmp => "image/bmp",
        Format::Webp => "image/webp",
        Format::Pnm => "image/x-portable-anymap",
        Format::Tiff => "image/tiff",
        Format::Gif => "image/gif",
    }
}

/// Whether a Host header names this server, which listens at `own`. A page of another site can lead its own name here,
/// but no other name. The port may differ, as behind `ssh -L`.
pub(super) fn is_own(host: &str, own: IpAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(ip) => ip == own || own.is_unspecified() || (ip.is_loopback() && own.is_loopback()),
        Err(_) => name.eq_ignore_ascii_case("localhost") && (own.is_loopback() || own.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_own_host_is_own() {
        let own = |host| is_own(host, "127.0.0.1".parse().unwrap());
        for host in ["127.0.0.1", "127.0.0.1:80", "localhost:9", "LOCALHOST", "[::1]:1", "127.0.0.2:80"] {
            assert!(own(host), "{host}");
        }
        for host in
            ["", ":80", "example.org", "localhost.example.org", "127.0.0.1.example.org:80", "10.0.0.1", "localhost."]
        {
            assert!(!own(host), "{host}");
        }
        let any = |host| is_own(host, "0.0.0.0".parse().unwrap());
        assert!(any("10.0.0.1:80") && any("localhost") && !any("example.org"));
        assert!(!is_own("localhost", "10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn an_address_is_taken_as_it_is_written() {
        assert_eq!(ask("/original/3/17", None), Some(Ask::Original(3, ImageId(17))));
        assert_eq!(ask("/data", Some("epoch=3")), Some(Ask::Data(Some(3))));
        for path in [
            "",
            "original/3/17",
            "//",
            "/../x",
            "/original/3/../../etc/passwd",
            "/original/3/%31",
            "/original/3/-1",
            "/original/3/+1",
            "/original/3/4294967296",
            "/original/3/1\0",
            "/original//1",
            "/original/3/1/",
            "/original/3//etc",
            "/thumb/3/1.5",
            "/page.js/",
            "/thumb/3/\u{661}",
        ] {
            assert_eq!(ask(path, None), None, "{path}");
        }
        for query in ["epoch=x", "epoch=", "epoch=99999999999", "epoch=%33"] {
            assert!(!matches!(ask("/data", Some(query)), Some(Ask::Data(Some(_)))), "{query}");
        }
        assert_eq!(ask("/members/1/2", Some("order=sideways")), None);
        let find = |query| ask("/find/2", Some(query));
        assert_eq!(find("text=a%20%C3%A9%26&from=3"), Some(Ask::Find(2, "a \u{e9}&".to_owned(), 3, 60)));
        assert_eq!(find("text=x&count=9999"), Some(Ask::Find(2, "x".to_owned(), 0, PAGE)));
        for query in ["", "from=3", "text=%FF", "text=x&from=-1"] {
            assert_eq!(find(query), None, "{query}");
        }
    }
}
