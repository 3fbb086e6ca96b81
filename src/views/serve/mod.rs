//! serve: the page of `report.html` over HTTP, with every member of every cluster, of a run that may still go.
//!
//! ```text
//! GET /                        The page, with /page.css, /page.js, /serve.css and /serve.js.
//! GET /state                   Epochs, the run at this moment, and a version that changes with /data.
//! GET /data?epoch=N            What report.html holds in itself, without pictures.
//! GET /members/EPOCH/CLUSTER   A page of a cluster's images: order=near, far or random; seed=N, from=N, count=N.
//! GET /find/EPOCH?text=TEXT    A page of the images whose path has the text: from=N, count=N.
//! GET /sheet/EPOCH/CLUSTER     A cluster's montage, or its nearest members.
//! GET /thumb/EPOCH/IMAGE       A small square.
//! GET /original/EPOCH/IMAGE    The file itself.
//! ```
//!
//! The server reads and never writes. It knows images by id alone, and sends a file only if that has the digest that was
//! scanned.

mod find;
mod index;
mod live;
mod recent;
mod routes;
mod server;
mod site;
mod snapshot;
mod thumbs;

pub use server::{Server, Stop};
pub use site::{Load, Place, Site};
