//! scan: a folder of images -> dataset: ids, digests, sizes and labels, and a list of what could not be used.

use crate::base::Digest;
use crate::base::clock::unix_ms;
use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::dataset::{BadImage, Image, write_bad, write_images};
use crate::image::{self, Limits, Listed};
use crate::stages::{DATASET, originals};
use crate::store::{Disk, StoreIo};
use anyhow::{Context as _, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files between two words of progress.
const PROGRESS_EVERY: u64 = 256;
/// Files looked at between two looks whether the run is to stop.
const CHUNK: usize = 1024;
/// So many chunks are looked at again, at most, after a scan was killed.
const REMEMBER_EVERY: usize = 64;
/// A file younger than this when it is read may change again without its time showing it, so it is not remembered.
const SETTLED_MS: i128 = 2000;
/// Bad images named in an error.
const NAMED: usize = 5;
/// A pixel of the widest kind, four samples of 16 bits, and what may stand beside the pixels: a larger file is not read.
const BYTES_A_PIXEL: u64 = 8;
const BYTES_BESIDE: u64 = 64 << 20;

/// What happens to an image that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadImage {
    /// It is left out and listed.
    #[default]
    Skip,
    /// The scan fails.
    Fail,
}

/// Lists the images below a folder, in the order of torchvision's ImageFolder, and checks that each can be decoded.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Folder to search, with all its subfolders; the topmost subfolder is an image's label.
    #[serde(skip_serializing)]
    pub root: PathBuf,
    /// What happens to an image that cannot be decoded.
    #[serde(default)]
    pub on_bad_image: OnBadImage,
    /// Largest share of bad images that is skipped; above it the scan fails.
    #[serde(default = "default_share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad_share: f64,
    /// Largest width times height that is decoded.
    #[serde(default = "default_pixels")]
    pub max_pixels: u64,
}

fn default_share() -> f64 {
    0.1
}

fn default_pixels() -> u64 {
    Limits::default().max_pixels
}

/// What is remembered of a good file.
#[derive(Clone, Serialize, Deserialize)]
struct Seen {
    bytes: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
    digest: Digest,
    width: u32,
    height: u32,
}

type Memory = BTreeMap<String, Seen>;

impl Stage for Scan {
    const VERB: &'static str = "scan";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = DATASET;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;
    const OBSERVES: bool = true;

    fn source(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        ensure!(
            (0.0..=1.0).contains(&self.max_bad_share),
            "max_bad_share is {}, not between 0 and 1",
            self.max_bad_share
        );
        Ok(())
    }

    /// Names, sizes and times of the files: a touched file scans again, and as its digest is the old one, nothing else.
    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        let listing = image::list(&self.root)?;
        let mut text = String::with_capacity(listing.images.len() * 64);
        for file in &listing.images {
            let Listed { bytes, mtime_ns, ctime_ns, inode, path, .. } = file;
            text.push_str(&format!("{bytes} {mtime_ns} {ctime_ns} {inode} {path}\n"));
        }
        for problem in &listing.problems {
            text.push_str(&format!("{} {}\n", problem.reason, problem.path));
        }
        Ok(Some(Digest::of(text.as_bytes())))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let began_ms = unix_ms();
        let listing = image::list(&self.root)?;
        let memory_path = cx.cache().join(self.memory_name());
        let memory = recall(&memory_path);
        let limits = Limits { max_pixels: self.max_pixels };
        let total = listing.images.len() as u64;
        let done = AtomicU64::new(0);
        let voice = cx.voice();
        let look = |file: &Listed| {
            let seen = self.look(file, &memory, &limits);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(PROGRESS_EVERY) {
                voice.progress(done, total, "files");
            }
            seen
        };
        let mut bad: Vec<BadImage> =
            listing.problems.into_iter().map(|p| bad_file(&p.path, &p.reason, &p.detail)).collect();
        let (mut good, mut unread) = (Vec::with_capacity(listing.images.len()), None);
        let chunks = listing.images.chunks(CHUNK);
        let last = chunks.len();
        for (number, files) in (1..).zip(chunks) {
            let looks: Vec<_> = files.par_iter().map(look).collect();
            for (file, look) in files.iter().zip(looks) {
                match look {
                    Ok(Ok(seen)) => good.push((file, seen)),
                    Ok(Err(problem)) => bad.push(problem),
                    Err(error) => unread = unread.or(Some(error)),
                }
            }
            if number < last && (number.is_multiple_of(REMEMBER_EVERY) || cx.is_interrupted()) {
                let not_yet = memory.iter().map(|(path, seen)| (path.as_str(), seen));
                let now = good.iter().map(|(file, seen)| (file.path.as_str(), seen));
                remember(&memory_path, began_ms, not_yet.chain(now));
                cx.checkpoint()?;
            }
        }
        remember(&memory_path, began_ms, good.iter().map(|(file, seen)| (file.path.as_str(), seen)));
        if let Some(error) = unread {
            return Err(error);
        }
        bad.sort_by(|a, b| a.path.cmp(&b.path));
        self.judge(&bad, good.len(), cx)?;
        let images = good.iter().map(|(file, seen)| Image {
            path: &file.path,
            digest: seen.digest,
            bytes: seen.bytes,
            width: seen.width,
            height: seen.height,
            split: "",
            label: file.label.as_deref().unwrap_or(""),
            offset: None,
        });
        cx.write_part("images.parquet", |out| write_images(out, images.clone()).map(drop))?;
        cx.write_part("bad.parquet", |out| write_bad(out, &bad).map(drop))?;
        cx.fact("images", good.len() as u64);
        Ok(())
    }
}

impl Scan {
    fn memory_name(&self) -> String {
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let name = format!("{} {}", self.max_pixels, root.display());
        format!("{}.json", Digest::of(name.as_bytes()).short())
    }

    /// Digest and size of one file, remembered or found out.
    ///
    /// That a file is no image is a fact about it, and stays one. That it could not be read is not: it would leave an
    /// image out for ever, since nothing about the file changes when it can be read again. So that is an error.
    fn look(&self, file: &Listed, memory: &Memory, limits: &Limits) -> anyhow::Result<Result<Seen, BadImage>> {
        if let Some(seen) = memory.get(&file.path)
            && (seen.bytes, seen.mtime_ns, seen.ctime_ns, seen.inode)
                == (file.bytes, file.mtime_ns, file.ctime_ns, file.inode)
        {
            return Ok(Ok(seen.clone()));
        }
        let most = limits.max_pixels.saturating_mul(BYTES_A_PIXEL).saturating_add(BYTES_BESIDE);
        let path = self.root.join(&file.path);
        let bytes = originals::read(&path, most).with_context(|| {
            format!("could not read {}; make it readable or take it out of the folder, and run again", path.display())
        })?;
        let judge = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            let (width, height) = match memory.get(&file.path).filter(|seen| seen.digest == digest) {
                Some(seen) => (seen.width, seen.height), // Another file of the same bytes, or another name of it.
                None => image::decode(&bytes, limits)
                    .map(|picture| (picture.width, picture.height))
                    .map_err(|error| bad_file(&file.path, error.reason(), &error.to_string()))?,
            };
            let Listed { mtime_ns, ctime_ns, inode, .. } = *file;
            Ok(Seen { bytes: bytes.len() as u64, mtime_ns, ctime_ns, inode, digest, width, height })
        };
        let large = || format!("the file is larger than the {most} bytes that max_pixels can need");
        Ok(bytes.map_or_else(|| Err(bad_file(&file.path, "too_large", &large())), judge))
    }

    /// Applies the policy to the bad images.
    fn judge(&self, bad: &[BadImage], good: usize, cx: &Context<'_>) -> anyhow::Result<()> {
        let named = || {
            let named: Vec<_> =
                bad.iter().take(NAMED).map(|b| format!("\n  {} ({}: {})", b.path, b.reason, b.detail)).collect();
            let more = if bad.len() > NAMED { format!("\n  and {} more", bad.len() - NAMED) } else { String::new() };
            named.concat() + &more
        };
        let share = bad.len() as f64 / (bad.len() + good).max(1) as f64;
        if good == 0 {
            bail!("none of the {} image files in {} can be used:{}", bad.len(), self.root.display(), named());
        }
        match self.on_bad_image {
            OnBadImage::Fail if !bad.is_empty() => bail!(
                "{} of {} images cannot be used, and on_bad_image is fail:{}",
                bad.len(),
                bad.len() + good,
                named()
            ),
            OnBadImage::Skip if share > self.max_bad_share => bail!(
                "{} of {} images cannot be used, more than max_bad_share = {} allows:{}",
                bad.len(),
                bad.len() + good,
                self.max_bad_share,
                named()
            ),
            OnBadImage::Skip if !bad.is_empty() => {
                cx.note(format!("{} images are left out; bad.parquet lists them:{}", bad.len(), named()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn bad_file(path: &str, reason: &str, detail: &str) -> BadImage {
    BadImage { path: path.to_owned(), reason: reason.to_owned(), detail: detail.to_owned() }
}

/// What an earlier scan of this folder knew; nothing, if that cannot be read or is not as it was written: a wrong digest
/// taken from here would be looked for in every file from then on.
fn recall(path: &Path) -> Memory {
    let text = Disk.read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let sound =
        text.trim_end().rsplit_once('\n').filter(|(body, check)| Digest::of(body.as_bytes()).to_string() == *check);
    sound.and_then(|(body, _)| serde_json::from_str(body).ok()).unwrap_or_default()
}

/// Remembers the files that had settled when the reading began. Losing this costs a rescan, so it is neither synced nor
/// complained about.
fn remember<'a>(path: &Path, began_ms: u64, good: impl Iterator<Item = (&'a str, &'a Seen)>) {
    let began_ns = i128::from(began_ms) * 1_000_000;
    let settled = |seen: &Seen| began_ns - seen.mtime_ns.max(seen.ctime_ns) > SETTLED_MS * 1_000_000;
    let memory: BTreeMap<&str, &Seen> = good.filter(|(_, seen)| settled(seen)).collect();
    let write = || -> anyhow::Result<()> {
        let tmp = path.with_extension(format!("{}.tmp", std::process::id()));
        let body = serde_json::to_string(&memory)?;
        std::fs::write(&tmp, format!("{body}\n{}\n", Digest::of(body.as_bytes())))?;
        std::fs::rename(&tmp, path).context("renaming")
    };
    let _ = write();
}
