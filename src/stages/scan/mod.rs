//! scan: a folder of images -> dataset: ids, digests, sizes and labels, and a list of what could not be used.

mod blocks;
mod memory;

use crate::base::Digest;
use crate::base::clock::unix_ms;
use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::dataset::{BAD, BadImage, IMAGES, Image, write_bad, write_images};
use crate::image::{self, Limits, Listed, Listing, OnDamage};
use crate::stages::{DATASET, originals};
use anyhow::{Context as _, bail, ensure};
use blocks::Seen;
use memory::Memory;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files between two words of progress.
const PROGRESS_EVERY: u64 = 256;
/// Files looked at between two looks whether the run is to stop.
const CHUNK: usize = 1024;
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
    /// What happens to an image that is damaged inside and that Pillow takes: refuse (a bad image), or take.
    #[serde(default)]
    pub on_damage: OnDamage,
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

impl Stage for Scan {
    const VERB: &'static str = "scan";
    const VERSION: u32 = 2;
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
        // Hashed as it is told: the text takes about 100 bytes a file.
        let mut hashed = Hashed(blake3::Hasher::new());
        tell(&image::list(&self.root)?, &mut hashed)?;
        Ok(Some(hashed.0.finalize().into()))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let began_ms = unix_ms();
        let listing = image::list(&self.root)?;
        let Looked { good, bad: looked_bad, unread } = self.look_at_all(&listing.images, began_ms, cx)?;
        if let Some(error) = unread {
            return Err(error);
        }
        let problems = listing.problems.iter().map(|p| bad_file(&p.path, &p.reason, &p.detail));
        let mut bad: Vec<BadImage> = problems.chain(looked_bad).collect();
        bad.sort_by(|a, b| a.path.cmp(&b.path));
        self.judge(&bad, good.len(), cx)?;
        let images = good.iter().map(|(file, seen)| image_of(file, seen));
        cx.write_part(IMAGES.file, |out| write_images(out, images.clone()).map(drop))?;
        cx.write_part(BAD.file, |out| write_bad(out, &bad).map(drop))?;
        cx.fact("images", good.len() as u64);
        Ok(())
    }
}

/// What the files of a listing are.
#[derive(Default)]
struct Looked<'a> {
    good: Vec<(&'a Listed, Seen)>,
    bad: Vec<BadImage>,
    /// Why the first file that could not be read was not.
    unread: Option<anyhow::Error>,
}

impl<'a> Looked<'a> {
    fn add(&mut self, file: &'a Listed, look: anyhow::Result<Result<Seen, BadImage>>) {
        match look {
            Ok(Ok(seen)) => self.good.push((file, seen)),
            Ok(Err(problem)) => self.bad.push(problem),
            Err(error) => drop(self.unread.get_or_insert(error)),
        }
    }
}

impl Scan {
    /// A memory is of one folder and one set of rules: what cannot be used under others is no fact.
    fn memory_name(&self) -> String {
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        let name = format!("{} {:?} {} {}", Self::VERSION, self.on_damage, self.max_pixels, root.display());
        Digest::of(name.as_bytes()).short()
    }

    /// Looks at every file, on all cores. What was found out so far outlives a scan that is stopped or killed.
    fn look_at_all<'a>(&self, images: &'a [Listed], began_ms: u64, cx: &Context<'_>) -> anyhow::Result<Looked<'a>> {
        let mut memory = Memory::open(&cx.cache(), &self.memory_name());
        let limits = Limits { max_pixels: self.max_pixels };
        let (done, total) = (AtomicU64::new(0), images.len() as u64);
        let (mut looked, voice) = (Looked::default(), cx.voice());
        for (number, files) in images.chunks(CHUNK).enumerate() {
            if number > 0 && cx.is_interrupted() {
                memory.pause();
                cx.checkpoint()?;
            }
            let known = memory.recall(files);
            let look = |(file, known): (&Listed, Option<Seen>)| {
                let look = self.look(file, known, &limits);
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(PROGRESS_EVERY) {
                    voice.progress(done, total, "files");
                }
                look
            };
            let looks: Vec<_> = files.par_iter().zip(known).map(look).collect();
            for (file, look) in files.iter().zip(looks) {
                if let Ok(Ok(seen)) = &look
                    && is_settled(seen, began_ms)
                {
                    memory.remember(&file.path, seen);
                }
                looked.add(file, look);
            }
        }
        memory.finish();
        Ok(looked)
    }

    /// Digest and size of one file, remembered or found out.
    ///
    /// That a file is no image is a fact about it, and stays one. That it could not be read is not: it would leave an
    /// image out for ever, since nothing about the file changes when it can be read again. So that is an error.
    fn look(&self, file: &Listed, known: Option<Seen>, limits: &Limits) -> anyhow::Result<Result<Seen, BadImage>> {
        if let Some(seen) = &known
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
            let (width, height) = match known.filter(|seen| seen.digest == digest) {
                Some(seen) => (seen.width, seen.height), // Another file of the same bytes, or another name of it.
                None => image::decode_or_take(&bytes, limits, self.on_damage)
                    .map(|picture| (picture.width, picture.height))
                    .map_err(|error| bad_file(&file.path, error.reason(), &error.detail()))?,
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

fn image_of<'a>(file: &'a Listed, seen: &Seen) -> Image<'a> {
    Image {
        path: &file.path,
        digest: seen.digest,
        bytes: seen.bytes,
        width: seen.width,
        height: seen.height,
        split: "",
        label: file.label.as_deref().unwrap_or(""),
        offset: None,
    }
}

/// Whether a file had settled when the reading began.
fn is_settled(seen: &Seen, began_ms: u64) -> bool {
    i128::from(began_ms) * 1_000_000 - seen.mtime_ns.max(seen.ctime_ns) > SETTLED_MS * 1_000_000
}

/// A line for each file and each problem: all that a listing tells.
fn tell(listing: &Listing, out: &mut impl fmt::Write) -> fmt::Result {
    for Listed { bytes, mtime_ns, ctime_ns, inode, path, .. } in &listing.images {
        writeln!(out, "{bytes} {mtime_ns} {ctime_ns} {inode} {path}")?;
    }
    listing.problems.iter().try_for_each(|problem| writeln!(out, "{} {}", problem.reason, problem.path))
}

/// Hashes a text as it comes.
struct Hashed(blake3::Hasher);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_observed_text_and_its_digest_as_it_comes_are_one() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.jpg", "c/a.png", "c/no.jpg"] {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", folder.path().join("broken.jpg")).unwrap();
        let scan: Scan = serde_json::from_value(serde_json::json!({ "root": folder.path() })).unwrap();
        let mut text = String::new();
        tell(&image::list(folder.path()).unwrap(), &mut text).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.ends_with("broken_link broken.jpg\n"), "{text}");
        assert_eq!(Stage::observe(&scan).unwrap(), Some(Digest::of(text.as_bytes())));
    }
}
