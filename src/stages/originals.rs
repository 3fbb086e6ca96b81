//! originals: the one door to the image files themselves, wherever a dataset keeps them.

use crate::base::{Digest, ImageId};
use crate::engine::Input;
use crate::format::dataset::{self, PACK};
use crate::format::{Dataset, FormatError};
use crate::image::{self, Limits, OnDamage, Picture};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Beginnings of the names of those parts of a dataset that lead to its images.
pub const IMAGES: &[&str] = &["images."];

/// The images of a dataset, by id.
pub struct Originals {
    /// The table.
    pub dataset: Dataset,
    root: Option<PathBuf>,
    pack: Option<Bytes>,
}

impl Originals {
    /// Opens the dataset at an input; see [`Originals::of`].
    pub fn open(input: &Input<'_>) -> anyhow::Result<Self> {
        let dataset = Dataset::open(&input.part(dataset::IMAGES.file)?)?;
        Self::of(dataset, input.source.clone(), input.part_if_any(PACK)?)
    }

    /// The images of a table whose paths begin at `root`, or whose bytes are in `pack`. A table of which one path leads
    /// out of the data set's folder is refused whole.
    ///
    /// Links below the folder are followed wherever they lead, as the scan followed them. Only bytes of the scanned
    /// digest come through this door.
    pub fn of(dataset: Dataset, root: Option<PathBuf>, pack: Option<Bytes>) -> anyhow::Result<Self> {
        if let Some((row, image)) = dataset.iter().enumerate().find(|(_, image)| !is_below(image.path)) {
            bail!(
                "image {row}: images.parquet gives its path as {:?}, which is no file below the data set's folder. No scan \
                 writes that; delete this data set from the store, and it is scanned again",
                image.path
            );
        }
        Ok(Self { dataset, root, pack })
    }

    /// Reads and decodes an image, after checking that it still has the bytes that were scanned.
    pub fn picture(&self, id: ImageId) -> anyhow::Result<Picture> {
        let bytes = self.bytes(id)?;
        let image = self.dataset.image(id);
        // The scan has judged size and damage. This refuses nothing that passed there, and makes room for nothing
        // larger.
        let limits = Limits { max_pixels: u64::from(image.width) * u64::from(image.height) };
        let picture = image::decode_or_take(&bytes, &limits, OnDamage::Take)
            .with_context(|| format!("image {id} ({})", image.path))?;
        let size = (picture.width, picture.height);
        ensure!(
            size == (image.width, image.height),
            "image {id} ({}) is {} x {} pixels, images.parquet says {} x {}",
            image.path,
            size.0,
            size.1,
            image.width,
            image.height
        );
        Ok(picture)
    }

    /// Where an image's file is; none of a dataset that carries its images.
    pub fn path(&self, id: ImageId) -> Option<PathBuf> {
        let image = self.dataset.image(id);
        self.root.as_ref().filter(|_| image.offset.is_none()).map(|root| root.join(image.path))
    }

    /// The folder that the paths are relative to; none of a dataset that carries its images.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// The bytes of an image's file, after checking that they are those that were scanned.
    ///
    /// # Errors
    /// If the file is missing, unreadable or another one by now.
    pub fn bytes(&self, id: ImageId) -> anyhow::Result<Bytes> {
        let images = self.dataset.len();
        ensure!(id.index() < images, "image {id} is asked for, and the dataset has {images}");
        let image = self.dataset.image(id);
        if let Some(offset) = image.offset {
            let pack = self.pack.as_ref().context("the dataset carries its images and has no part images.pack")?;
            let (start, end) = (offset as usize, offset.saturating_add(image.bytes) as usize);
            let wrong = |what| {
                let reason = format!("image {id} ({}) {what}", image.path);
                FormatError::Damaged { kind: PACK.to_owned(), reason }
            };
            if start > end || end > pack.len() {
                return Err(wrong("lies outside it").into());
            }
            let bytes = pack.slice(start..end);
            if Digest::of(&bytes) != image.digest {
                return Err(wrong("has other bytes than images.parquet says").into());
            }
            return Ok(bytes);
        }
        let Some(root) = &self.root else {
            bail!(
                "this dataset names no folder of images, and holds none itself: connect it to a node of the stage scan, \
                 then run the same command"
            );
        };
        let path = root.join(image.path);
        let bytes = match read(&path, image.bytes) {
            Ok(bytes) => bytes.filter(|bytes| Digest::of(bytes) == image.digest),
            Err(error) => bail!(
                "image {id}: could not read {}: {error}. The scan has read it: put it back or make it readable. Or run the same command again, which scans the folder as it is",
                path.display()
            ),
        };
        let bytes = bytes.with_context(|| {
            format!(
                "image {id}: {} is not the file that was scanned: it changed since. Put the old file back, or run the same \
                 command again, which scans the folder as it is now. If this error comes back, the file kept its old size and \
                 times: touch it first",
                path.display()
            )
        })?;
        Ok(bytes.into())
    }
}

/// Whether a path of the table names something below the root it is joined to.
fn is_below(path: &str) -> bool {
    !path.contains('\0') && path.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

/// Reads a file of at most `most` bytes; of a larger one nothing, and `None`. A pipe or a device in a file's place is an
/// error, and is not waited for.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    if found.len() > most {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(found.len() as usize);
    // One more than there may be: a file that grows meanwhile is seen to.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}
