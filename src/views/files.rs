//! files: exports a file of the store to where a person looks for it, without a second copy if possible.

use crate::format::Dataset;
use crate::image::OURS;
use anyhow::{Context, ensure};
use bytes::Bytes;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// More carried images than this stay in their pack.
const UNPACKED_AT_MOST: usize = 20_000;

/// Exports the object `from` to `to`: as a hard link, or as a copy if the file system has none.
pub fn share(from: &Path, to: &Path) -> anyhow::Result<()> {
    if same_file(from, to) {
        return Ok(()); // Renaming a link onto another link of the same file leaves both.
    }
    let tmp = aside(to);
    let link = || match std::fs::hard_link(from, &tmp) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EXDEV | libc::EPERM | libc::EMLINK | libc::ENOTSUP)) =>
        {
            // What the list says of a file must be true after a power cut.
            std::fs::copy(from, &tmp).and_then(|_| std::fs::File::open(&tmp)?.sync_all())
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

/// A name beside `path` that no other process takes; [`clear`] removes a killed process's file of this kind.
pub fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{}.tmp", std::process::id()))
}

/// Whether a file's name is one that [`aside`] gives.
pub fn is_aside(path: &Path) -> bool {
    let number = path.file_stem().and_then(|stem| Path::new(stem).extension()).and_then(OsStr::to_str);
    path.extension().is_some_and(|end| end == "tmp") && number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Removes the file `file` below `folder`, and its own folder if that is then empty. A file behind a link on the way is
/// not dcpipe's, and stays.
pub fn remove(folder: &Path, file: &Path) {
    let is_folder = |path: &Path| std::fs::symlink_metadata(folder.join(path)).is_ok_and(|meta| meta.is_dir());
    let Some(parent) = file.parent() else { return };
    if parent.ancestors().filter(|above| !above.as_os_str().is_empty()).all(is_folder) {
        let _ = std::fs::remove_file(folder.join(file));
        if !parent.as_os_str().is_empty() {
            let _ = std::fs::remove_dir(folder.join(parent));
        }
    }
}

/// Removes the unfinished files of killed processes from `folder`: this process has the turn, so no other process is
/// writing.
pub fn clear(folder: &Path) {
    let there = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    there.filter(|path| is_aside(path)).for_each(|path| drop(std::fs::remove_file(path)));
}

/// Replaces a small file by one that is durable.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = aside(path);
    let write = || {
        let mut file = std::fs::File::create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_data()
    };
    let done = write().and_then(|()| std::fs::rename(&tmp, path));
    done.inspect_err(|_| drop(std::fs::remove_file(&tmp)))
}

/// Writes the images that a dataset carries as files, so that a person can look at them.
pub fn unpack(folder: &Path, images: &Dataset, pack: &Bytes) -> anyhow::Result<()> {
    if images.len() > UNPACKED_AT_MOST {
        return Ok(());
    }
    let mut is_marked = false;
    for image in images.iter() {
        let Some(offset) = image.offset else { continue };
        if !is_marked {
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join(OURS), "{\"images\":true}")?;
            is_marked = true;
        }
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
