//! scan: a folder of images -> dataset: ids, digests, sizes, labels, and a list of the unusable.

mod blocks;
mod memory;
mod tally;
mod verdict;

use crate::base::Digest;
use crate::base::clock::unix_ms;
use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::dataset::{BAD, BadImage, IMAGES, Image, write_bad, write_images};
use crate::image::{self, Limits, Listed, Listing, OnDamage};
use crate::stages::{DATASET, originals};
use anyhow::{anyhow, ensure};
use blocks::Seen;
use memory::Memory;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tally::Tally;
use verdict::{Reached, bad_file};

/// Files between two words of progress.
const PROGRESS_EVERY: u64 = 256;
/// Files looked at between two looks whether the run is to stop.
const CHUNK: usize = 1024;
/// A younger file may change again without its time showing it, so a scan does not remember it.
const SETTLED_MS: i128 = 2000;
/// Bytes of a pixel of the widest kind, four samples of 16 bits. A scan reads no larger file.
const BYTES_A_PIXEL: u64 = 8;
const BYTES_BESIDE: u64 = 64 << 20;

/// What happens to an image that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadImage {
    /// It is left out and listed in bad.parquet.
    #[default]
    Skip,
    /// The scan fails, as soon as it meets one.
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
    /// Largest share of bad images that is left out, such as 0.01 for 1 %. The scan fails as soon as there are more.
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

    /// Names, sizes and times of the files. A touched file is scanned again. As its digest is the old one, nothing else
    /// runs.
    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        // Hashed as it is told: the text takes about 100 bytes a file.
        let mut hashed = Hashed(blake3::Hasher::new());
        tell(&image::list(&self.root)?, &mut hashed)?;
        Ok(Some(hashed.0.finalize().into()))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let began_ms = unix_ms();
        let listing = image::list(&self.root)?;
        let mut tally = Tally::of(&listing);
        let Looked { good, bad: looked_bad, unread, files } =
            self.look_at_all(&listing.images, &mut tally, began_ms, cx)?;
        match unread {
            Some((error, 1)) => return Err(error),
            Some((error, count)) => {
                return Err(error.context(format!("{count} files cannot be read, the first of them")));
            }
            None => {}
        }
        let problems = listing.problems.iter().map(|p| bad_file(&p.path, p.reason, &p.detail));
        let mut bad: Vec<BadImage> = problems.chain(looked_bad).collect();
        bad.sort_by(|a, b| a.path.cmp(&b.path));
        tally.images = good.len() as u64;
        self.judge(&tally, &bad, Reached { files, of: listing.images.len() }, cx)?;
        tally.copies = copies(&good);
        let images = good.iter().map(|(file, seen)| image_of(file, seen));
        cx.write_part(IMAGES.file, |out| write_images(out, images.clone()).map(drop))?;
        cx.write_part(BAD.file, |out| write_bad(out, &bad).map(drop))?;
        tally.facts().iter().for_each(|(name, count)| cx.fact(name, *count));
        cx.note(tally.lines(cx.name(), &verdict::named(&bad)));
        if let Some(warning) = tally.ours() {
            cx.warn("own_folders", &warning);
        }
        Ok(())
    }
}

/// What the files of a listing are.
#[derive(Default)]
struct Looked<'a> {
    good: Vec<(&'a Listed, Seen)>,
    bad: Vec<BadImage>,
    /// Why the first file that could not be read was not, and how many there are.
    unread: Option<(anyhow::Error, u64)>,
    /// How many files were looked at.
    files: usize,
}

impl<'a> Looked<'a> {
    fn add(&mut self, file: &'a Listed, look: anyhow::Result<Result<Seen, BadImage>>) {
        match look {
            Ok(Ok(seen)) => self.good.push((file, seen)),
            Ok(Err(problem)) => self.bad.push(problem),
            Err(error) => self.unread.get_or_insert((error, 0)).1 += 1,
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

    /// Looks at every file, on all cores, unless it is clear before the last that the scan fails. What was found out so
    /// far outlives a scan that is stopped or killed.
    fn look_at_all<'a>(
        &self,
        images: &'a [Listed],
        tally: &mut Tally,
        began_ms: u64,
        cx: &Context<'_>,
    ) -> anyhow::Result<Looked<'a>> {
        let mut memory = Memory::open(&cx.cache(), &self.memory_name());
        let limits = Limits { max_pixels: self.max_pixels };
        let (done, total) = (AtomicU64::new(0), images.len() as u64);
        let (mut looked, voice, all) = (Looked::default(), cx.voice(), total + tally.bad());
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
            let known_bad = looked.bad.len();
            looked.files += files.len();
            let looks: Vec<_> = files.par_iter().zip(known).map(look).collect();
            for (file, look) in files.iter().zip(looks) {
                if let Ok(Ok(seen)) = &look
                    && is_settled(seen, began_ms)
                {
                    memory.remember(&file.path, seen);
                }
                looked.add(file, look);
            }
            tally.add_bad(&looked.bad[known_bad..]);
            if looked.files < images.len() && (looked.unread.is_some() || self.fails_for_certain(tally, all)) {
                memory.pause();
                return Ok(looked);
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
        let bytes = originals::read(&path, most).map_err(|error| {
            anyhow!(
                "could not read {}: {error}. Make it readable or take it out of the folder, then run the same command again",
                path.display()
            )
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
        let large = || format!("the file is larger than the {most} bytes that max_pixels can need; raise max_pixels");
        Ok(bytes.map_or_else(|| Err(bad_file(&file.path, "too_large", &large())), judge))
    }
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

/// How many files have the bytes of another one that comes before them.
fn copies(good: &[(&Listed, Seen)]) -> u64 {
    let mut digests: Vec<&[u8; 32]> = good.iter().map(|(_, seen)| seen.digest.as_bytes()).collect();
    digests.par_sort_unstable();
    digests.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
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
