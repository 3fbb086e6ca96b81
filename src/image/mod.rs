//! image: the room of pixels. Bytes of a file become a `Picture`, a picture becomes a view of fixed size.
//!
//! Everything here equals Pillow and torchvision sample for sample: the published numbers were made with them. JPEG is
//! decoded by libjpeg-turbo's defaults, resizing is Pillow's fixed point, crops have torchvision's rounding.

pub mod demo;

mod augment;
mod blur;
mod colour;
mod crop;
mod damage;
mod decode;
mod error;
mod flavour;
mod format;
mod jpeg;
mod kernel;
mod list;
mod names;
mod picture;
mod raster;
mod resample;
mod sheet;
mod taps;
mod tone;
mod view;

pub use augment::Augment;
pub use blur::blur;
pub use crop::Crop;
pub use damage::OnDamage;
pub use decode::{Probe, decode, decode_or_take, probe};
pub use error::BadImage;
pub use format::Format;
pub use jpeg::{JPEG_LIBRARY, encode_jpeg};
pub use list::{Aside, Lacks, ListError, Listed, Listing, Problem, list};
pub use names::OURS;
pub use picture::{Limits, Picture};
pub use sheet::Sheet;
pub use tone::Tone;
pub use view::CentreView;
