//! originals: the one door to the image files themselves, wherever a dataset keeps them.

use crate::base::{Digest, ImageId};
use crate::engine::Input;
use crate::format::Dataset;
use crate::image::{self, Limits, Picture};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use std::path::PathBuf;

/// The images of a dataset, by id.
pub struct Originals {
    /// The table.
    pub dataset: Dataset,
    root: Option<PathBuf>,
    pack: Option<Bytes>,
}

impl Originals {
    /// Opens the dataset at an input.
    pub fn open(input: &Input) -> anyhow::Result<Self> {
        let dataset = Dataset::open(&input.part("images.parquet")?)?;
        Ok(Self { dataset, root: input.source.clone(), pack: input.part_if_any("images.pack") })
    }

    /// Reads and decodes an image, after checking that it still has the bytes that were scanned.
    pub fn picture(&self, id: ImageId) -> anyhow::Result<Picture> {
        let image = self.dataset.image(id);
        let bytes = self.bytes(id)?;
        // The scan has judged the size; what passed there must not be refused here.
        let limits = Limits { max_pixels: u64::MAX };
        let picture = image::decode(&bytes, &limits).with_context(|| format!("image {id} ({})", image.path))?;
        let size = (picture.width, picture.height);
        ensure!(size == (image.width, image.height), "BUG: image {id} ({}) decodes to another size", image.path);
        Ok(picture)
    }

    fn bytes(&self, id: ImageId) -> anyhow::Result<Bytes> {
        let image = self.dataset.image(id);
        if let Some(offset) = image.offset {
            let pack = self.pack.as_ref().context("the dataset carries its images and has no part images.pack")?;
            let (start, end) = (offset as usize, offset.saturating_add(image.bytes) as usize);
            ensure!(start <= end && end <= pack.len(), "image {id} ({}) lies outside images.pack", image.path);
            return Ok(pack.slice(start..end));
        }
        let Some(root) = &self.root else { bail!("nothing says where the images of this dataset are") };
        let path = root.join(image.path);
        let bytes = std::fs::read(&path).with_context(|| format!("image {id}: could not read {}", path.display()))?;
        ensure!(
            Digest::of(&bytes) == image.digest,
            "image {id}: {} is not the file that was scanned. Run the pipeline again; if it says the same, the file changed \
             under its old size and time: touch it, and it is scanned anew",
            path.display()
        );
        Ok(bytes.into())
    }
}
