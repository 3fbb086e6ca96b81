//! originals: the image files of an export: links to them, copies, and what became of those that are lost.

use super::Job;
use super::names::{absolute, safe};
use crate::base::ImageId;
use crate::stages::originals::Originals;
use anyhow::{Context, ensure};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Images that could not be read: how many, and the first with the reason.
#[derive(Default)]
pub struct Lost(Mutex<(u64, Option<(ImageId, String)>)>);

impl Lost {
    /// What was found of an image; a failure is counted.
    pub fn count<T>(&self, image: ImageId, found: anyhow::Result<T>) -> Option<T> {
        let error = match found {
            Ok(found) => return Some(found),
            Err(error) => error,
        };
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.0 += 1;
        if lost.1.as_ref().is_none_or(|(first, _)| image < *first) {
            lost.1 = Some((image, format!("{error:#}")));
        }
        None
    }

    /// What to tell of them, after `what`; nothing of none.
    ///
    /// # Errors
    /// If all `images` are lost.
    pub fn told(self, what: &str, images: usize) -> anyhow::Result<Option<String>> {
        let (count, first) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some((_, why)) = first else { return Ok(None) };
        ensure!(count < images as u64, "not one image could be read: {why}");
        Ok(Some(format!("{count} of {images} images {what}; the first: {why}")))
    }
}

/// Puts the file of an image at `to`. A link, if it is a file and no copy is wanted; otherwise its bytes.
///
/// # Errors
/// The outer one if `to` cannot be written, the inner one if the image is lost. A link is made even so.
pub fn place(originals: &Originals, image: ImageId, copy: bool, to: &Path) -> anyhow::Result<anyhow::Result<()>> {
    let writing = || format!("writing {}", to.display());
    if let Some(path) = originals.path(image).filter(|_| !copy) {
        let path = absolute(&path);
        std::os::unix::fs::symlink(&path, to).with_context(writing)?;
        return Ok(path.metadata().map(drop).with_context(|| path.display().to_string()));
    }
    match originals.bytes(image) {
        Ok(bytes) => std::fs::write(to, bytes).with_context(writing).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// The path of every image's file, from the root folder on. Images that the dataset carries are written to `images/` of
/// the export first.
///
/// # Errors
/// If a path is not UTF-8, which no text file takes.
pub fn paths(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let (originals, folder) = (&job.source.originals, Path::new("images"));
    if job.source.ids().any(|image| originals.path(image).is_none()) {
        std::fs::create_dir(job.folder.join(folder))?;
    }
    let path = |image: ImageId| {
        let path = match originals.path(image) {
            Some(path) => path,
            None => {
                let name = format!("{image}-{}", safe(originals.dataset.image(image).path));
                place(originals, image, true, &job.folder.join(folder).join(&name))??;
                job.to.join(folder).join(name)
            }
        };
        let path = absolute(&path);
        path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
    };
    job.source.ids().map(path).collect()
}
