//! serve: the page of `report.html` over HTTP, with every member of every cluster, of a run that may still go.
//!
//! ```text
//! GET /                        the page; /page.css, /page.js, /serve.css, /serve.js
//! GET /state                   epochs, the run at this moment, a version that changes with what /data says
//! GET /data?epoch=N            what report.html holds in itself, without pictures
//! GET /members/EPOCH/CLUSTER   ?order=near|far|random&seed=N&from=N&count=N: a page of a cluster's images
//! GET /sheet/EPOCH/CLUSTER     a cluster's montage, or its nearest members
//! GET /thumb/EPOCH/IMAGE       a small square
//! GET /original/EPOCH/IMAGE    the file itself
//! ```
//!
//! The server reads and never writes. It knows images by id alone, and sends a file only if that has the digest that was
//! scanned.

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
