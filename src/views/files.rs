//! files: puts a file of the store where a person looks for it, without a second copy where that can be had.

use crate::format::Dataset;
use anyhow::{Context, ensure};
use bytes::Bytes;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// More carried images than this are left in their pack.
const UNPACKED_AT_MOST: usize = 20_000;

/// Makes `to` hold the bytes of the object `from`: as a hard link, or where the file system has none, as a copy.
pub fn share(from: &Path, to: &Path) -> anyhow::Result<()> {
    if same_file(from, to) {
        return Ok(()); // Renaming one link of a file onto another does nothing, and leaves the first.
    }
    let tmp = aside(to);
    let link = || match std::fs::hard_link(from, &tmp) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EXDEV | libc::EPERM | libc::EMLINK | libc::ENOTSUP)) =>
        {
            std::fs::copy(from, &tmp).map(drop)
        }
        done => done,
    };
    let done = link().and_then(|()| std::fs::rename(&tmp, to));
    if done.is_err() {
        let _ = std::fs::remove_file(&tmp);
    }
    done.with_context(|| format!("writing {}", to.display()))
}

fn same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    place(a).is_some() && place(a) == place(b)
}

/// A name beside `path` that no other process takes; [`super::ledger`] removes what a killed one left.
pub fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{}.tmp", std::process::id()))
}

/// The names of the files in a folder, none where it cannot be read; without what a killed run was about to put there.
pub fn names_in(folder: &Path) -> impl Iterator<Item = OsString> + use<> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.file_name()).filter(|name| Path::new(name).extension().is_none_or(|end| end != "tmp"))
}

/// Replaces a small file.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = aside(path);
    let done = std::fs::write(&tmp, bytes).and_then(|()| std::fs::rename(&tmp, path));
    done.inspect_err(|_| drop(std::fs::remove_file(&tmp)))
}

/// Writes the images that a dataset carries as files, so that a person can look at them.
pub fn unpack(folder: &Path, images: &Dataset, pack: &Bytes) -> anyhow::Result<()> {
    if images.len() > UNPACKED_AT_MOST {
        return Ok(());
    }
    for image in images.iter() {
        let Some(offset) = image.offset else { continue };
        let inside = Path::new(image.path).components().all(|part| matches!(part, Component::Normal(_)));
        ensure!(inside, "{:?} is no path below a folder", image.path);
        let bytes = pack.get(offset as usize..(offset + image.bytes) as usize);
        let bytes = bytes.with_context(|| format!("{} lies outside images.pack", image.path))?;
        let path = folder.join(image.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
