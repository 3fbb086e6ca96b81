//! dataset: the images, in the order that gives them their ids, and the files that could not be used.

use super::error::{Result, bad_value};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::{Table, Texts};
use super::table_writer::{Column, write_groups};
use crate::base::digest::NotADigest;
use crate::base::{Digest, ImageId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// The table of images.
pub static IMAGES: Kind = Kind {
    name: "images",
    version: 1,
    file: "images.parquet",
    container: Container::Parquet,
    fields: &[
        field("image_id", Holds::One(Scalar::I64), "rank in the dataset, from 0 without a gap"),
        field("path", Holds::Text, "file below the dataset's root, with /; or member of its archive"),
        field("digest", Holds::Text, "BLAKE3 of the file's bytes, 64 hex digits"),
        field("bytes", Holds::One(Scalar::I64), "size of the file"),
        field("width", Holds::One(Scalar::I32), "pixels"),
        field("height", Holds::One(Scalar::I32), "pixels"),
        field("split", Holds::Text, "such as train; empty: none"),
        field("label", Holds::Text, "name of the folder or class; empty: none"),
        field("label_id", Holds::One(Scalar::I32), "rank of the label among all, sorted by their bytes; -1: none"),
        field(
            "offset",
            Holds::One(Scalar::I64),
            "where its bytes start in the part images.pack; -1: not carried along",
        ),
    ],
    metadata: &[],
    rows: "by image_id",
};

/// The part of a dataset that carries its images: their files' bytes, one after the other.
pub const PACK: &str = "images.pack";

/// An image of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// File below the root, or member of the archive.
    pub path: &'a str,
    /// Of the file's bytes.
    pub digest: Digest,
    /// Size of the file.
    pub bytes: u64,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Empty: none.
    pub split: &'a str,
    /// Empty: none.
    pub label: &'a str,
    /// Where its bytes start in `images.pack`, for datasets that carry their originals.
    pub offset: Option<u64>,
}

/// Writes the images in the order of their ids.
pub fn write_images<'a, W: Write + Send>(out: W, images: impl Iterator<Item = Image<'a>> + Clone) -> Result<W> {
    let labels: BTreeSet<_> = images.clone().map(|image| image.label).filter(|label| !label.is_empty()).collect();
    let ranks: BTreeMap<_, _> = labels.into_iter().zip(0..).collect();
    let (total, mut rest) = (images.clone().count(), images);
    write_groups(out, &IMAGES, &Metadata::new(), total, |rows| {
        let group: Vec<_> = rest.by_ref().take(rows.len()).collect();
        let all = || group.iter();
        vec![
            Column::i64(rows.start as i64..rows.end as i64),
            Column::text(all().map(|image| image.path)),
            Column::text(all().map(|image| image.digest.to_string())),
            Column::i64(all().map(|image| image.bytes as i64)),
            Column::i32(all().map(|image| image.width as i32)),
            Column::i32(all().map(|image| image.height as i32)),
            Column::text(all().map(|image| image.split)),
            Column::text(all().map(|image| image.label)),
            Column::i32(all().map(|image| ranks.get(image.label).copied().unwrap_or(-1))),
            Column::i64(all().map(|image| image.offset.map_or(-1, |offset| offset as i64))),
        ]
    })
}

/// The images, in columns.
#[derive(Debug)]
pub struct Dataset {
    paths: Texts,
    digests: Vec<Digest>,
    bytes: Vec<u64>,
    widths: Vec<u32>,
    heights: Vec<u32>,
    splits: Texts,
    labels: Vec<String>,
    label_ids: Vec<i32>,
    offsets: Vec<i64>,
}

impl Dataset {
    /// Reads `images.parquet`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&IMAGES, bytes)?;
        table.counts_rows("image_id")?;
        let wrong = |column, row, reason: &str| bad_value(IMAGES.tag(), column, row, reason);
        let digests = table.text("digest")?;
        let digests = digests.iter().enumerate().map(|(row, text)| {
            text.parse().map_err(|error: NotADigest| bad_value(IMAGES.tag(), "digest", row, error.to_string()))
        });
        let texts = table.text("label")?;
        let names: BTreeSet<_> = texts.iter().filter(|label| !label.is_empty()).collect();
        let ranks: BTreeMap<_, _> = names.iter().copied().zip(0..).collect();
        let label_ids = table.i32("label_id")?;
        for (row, (label, id)) in texts.iter().zip(&label_ids).enumerate() {
            if ranks.get(label).copied().unwrap_or(-1) != *id {
                return Err(wrong("label_id", row, "not the rank of its label"));
            }
        }
        let offsets = table.i64("offset")?;
        if let Some(row) = offsets.iter().position(|offset| *offset < -1) {
            return Err(wrong("offset", row, "negative"));
        }
        let side = |column| Ok(table.counts(column, i32::MAX as u64)?.into_iter().map(|side| side as u32).collect());
        Ok(Self {
            digests: digests.collect::<Result<_>>()?,
            bytes: table.counts("bytes", i64::MAX as u64)?,
            widths: side("width")?,
            heights: side("height")?,
            labels: names.into_iter().map(ToOwned::to_owned).collect(),
            paths: table.text("path")?,
            splits: table.text("split")?,
            label_ids,
            offsets,
        })
    }

    /// How many images; their ids are below it.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// An image; panics beyond the last, as a slice does.
    pub fn image(&self, id: ImageId) -> Image<'_> {
        let row = id.index();
        let label = usize::try_from(self.label_ids[row]).map_or("", |label| &self.labels[label]);
        Image {
            path: self.paths.get(row),
            digest: self.digests[row],
            bytes: self.bytes[row],
            width: self.widths[row],
            height: self.heights[row],
            split: self.splits.get(row),
            label,
            offset: u64::try_from(self.offsets[row]).ok(),
        }
    }

    /// Every image, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = Image<'_>> + Clone {
        (0..self.len()).map(|row| self.image(ImageId(row as u32)))
    }

    /// Images of the same bytes, in groups of two or more by their ids. The groups are in the order of their first ids.
    pub fn copies(&self) -> Vec<Vec<ImageId>> {
        let mut by_digest: BTreeMap<&Digest, Vec<ImageId>> = BTreeMap::new();
        for (row, digest) in self.digests.iter().enumerate() {
            by_digest.entry(digest).or_default().push(ImageId(row as u32));
        }
        let mut groups: Vec<_> = by_digest.into_values().filter(|group| group.len() > 1).collect();
        groups.sort_unstable();
        groups
    }

    /// The labels, sorted; a label id is a rank among them.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The label id of every image, -1 where it has none.
    pub fn label_ids(&self) -> &[i32] {
        &self.label_ids
    }
}

/// The table of files that are not in the dataset.
pub static BAD: Kind = Kind {
    name: "bad",
    version: 1,
    file: "bad.parquet",
    container: Container::Parquet,
    fields: &[
        field("path", Holds::Text, "file below the dataset's root, or member of its archive"),
        field("reason", Holds::Text, "one word, such as truncated; not_read: a kind of picture that is not read"),
        field("detail", Holds::Text, "what is wrong with it, and after a semicolon what to do"),
    ],
    metadata: &[],
    rows: "in the order of the scan",
};

/// A file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadImage {
    /// File below the root, or member of the archive.
    pub path: String,
    /// One word.
    pub reason: String,
    /// What is wrong with it, and what to do.
    pub detail: String,
}

/// Writes the files that could not be used.
pub fn write_bad<W: Write + Send>(out: W, bad: &[BadImage]) -> Result<W> {
    write_groups(out, &BAD, &Metadata::new(), bad.len(), |rows| {
        let all = || bad[rows.clone()].iter();
        vec![
            Column::text(all().map(|bad| &bad.path)),
            Column::text(all().map(|bad| &bad.reason)),
            Column::text(all().map(|bad| &bad.detail)),
        ]
    })
}

/// Reads `bad.parquet`.
pub fn open_bad(bytes: &Bytes) -> Result<Vec<BadImage>> {
    let table = Table::open(&BAD, bytes)?;
    let (paths, reasons, details) = (table.text("path")?, table.text("reason")?, table.text("detail")?);
    let rows = paths.iter().zip(reasons.iter()).zip(details.iter());
    let bad = rows.map(|((path, reason), detail)| BadImage {
        path: path.to_owned(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
    });
    Ok(bad.collect())
}
