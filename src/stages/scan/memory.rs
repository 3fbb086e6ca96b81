//! memory: what earlier scans of a folder knew of its files, in a file read front to back.
//!
//! ```text
//! stat/<name>.seen         what the last scan knew, in the order of the listing
//! stat/<name>.<pid>.part   what a scan at work knows so far; the next scan adds it to the first
//! ```
//!
//! Both consist of blocks that prove themselves, so damage costs a second look at some hundred files. It never gives a
//! wrong digest: every later run would look for those bytes and not find them.

use crate::image::Listed;
use crate::stages::scan::blocks::{Reader, Seen, Writer};
use crate::store::small::replace_by;
use crate::store::{Disk, StoreIo};
use std::fs::File;
use std::io;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// What is known of the files of one folder. Losing it costs a rescan, so nothing here is synced or complained about.
pub(super) struct Memory {
    known: Peekable<Reader>,
    new: Option<Writer<File>>,
    path: PathBuf,
    part: PathBuf,
}

impl Memory {
    /// Opens the memory called `name` in `folder`; a damaged or absent one knows less, or nothing.
    pub(super) fn open(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("{name}.seen"));
        let part = folder.join(format!("{name}.{}.part", std::process::id()));
        let _ = gather(folder, name, &path);
        let new = File::create_new(&part).ok().map(|file| Writer::to(file, name));
        Self { known: Reader::open(&path, name).peekable(), new, path, part }
    }

    /// What was known of each of these files, which must come in the listing's order from call to call.
    pub(super) fn recall(&mut self, files: &[Listed]) -> Vec<Option<Seen>> {
        files.iter().map(|file| self.recall_one(&file.path)).collect()
    }

    fn recall_one(&mut self, path: &str) -> Option<Seen> {
        while self.known.next_if(|(known, _)| order(known) < order(path)).is_some() {} // Files that are gone.
        self.known.next_if(|(known, _)| known == path).map(|(_, seen)| seen)
    }

    /// Adds a file; again in the listing's order.
    pub(super) fn remember(&mut self, path: &str, seen: &Seen) {
        // What was written so far stays good, and the next scan finds it.
        self.new.take_if(|new| new.push(path, seen).is_err());
    }

    /// Has the next scan know what this one does, which stops here.
    pub(super) fn pause(&mut self) {
        self.new.take_if(|new| new.flush().is_err());
    }

    /// Replaces what the next scan will know by what this one remembered.
    pub(super) fn finish(mut self) {
        self.pause();
        if self.new.take().is_some() {
            let _ = std::fs::rename(&self.part, &self.path);
        }
    }
}

/// The place of a path in the listing: classes by name, then folders by their whole path, then files by name. Files
/// without a class come last. See [`crate::image::list`].
fn order(path: &str) -> (bool, &str, &str, &str) {
    match path.rsplit_once('/') {
        None => (true, "", "", path),
        Some((folder, name)) => (false, folder.split('/').next().unwrap_or(folder), folder, name),
    }
}

/// Adds what scans that were stopped or killed had come to know to the memory at `path`.
fn gather(folder: &Path, name: &str, path: &Path) -> io::Result<()> {
    let start = format!("{name}.");
    let is_part = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&start) && file.ends_with(".part")
    };
    let parts: Vec<_> = Disk.list(folder)?.into_iter().filter(is_part).collect();
    let _ = std::fs::remove_file(folder.join(format!("{name}.json"))); // An older form of the same.
    if parts.is_empty() {
        return Ok(());
    }
    let tmp = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = std::fs::remove_file(&tmp);
    replace_by(&Disk, (&tmp, Disk.create(&tmp)?), path, |file| {
        let known = parts.iter().map(PathBuf::as_path).chain([path]);
        let mut all = Writer::to(file, name);
        merge(known.map(|path| Reader::open(path, name).peekable()).collect(), |path, seen| all.push(path, seen))?;
        all.flush()
    })?;
    parts.iter().for_each(|part| drop(std::fs::remove_file(part)));
    Ok(())
}

/// Hands on the entries of all readers in the listing's order; of one path the first reader's.
fn merge(mut readers: Vec<Peekable<Reader>>, mut to: impl FnMut(&str, &Seen) -> io::Result<()>) -> io::Result<()> {
    loop {
        let mut next: Option<(usize, &str)> = None;
        for (at, reader) in readers.iter_mut().enumerate() {
            let Some((path, _)) = reader.peek() else { continue };
            if next.is_none_or(|(_, least)| order(path) < order(least)) {
                next = Some((at, path));
            }
        }
        let Some((at, _)) = next else { return Ok(()) };
        let Some((path, seen)) = readers[at].next() else { return Ok(()) };
        to(&path, &seen)?;
        readers.iter_mut().for_each(|reader| while reader.next_if(|(other, _)| *other == path).is_some() {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::stages::scan::blocks::BLOCK;
    use proptest::prelude::*;

    fn seen(n: u64) -> Seen {
        let digest = Digest::of(&n.to_le_bytes());
        let mtime_ns = -(i128::from(n) << 64);
        Seen { bytes: n, mtime_ns, ctime_ns: 7, inode: !n, digest, width: n as u32, height: 9 }
    }

    fn listed(path: String) -> Listed {
        Listed { path, label: None, bytes: 0, mtime_ns: 0, ctime_ns: 0, inode: 0 }
    }

    /// Paths of about 500 bytes, so that a block holds a hundred; file `n` is seen as `seen(n)`.
    fn files(count: u64) -> Vec<Listed> {
        let folder = "f".repeat(480);
        (0..count).map(|n| listed(format!("{folder}/{n:06}.jpg"))).collect()
    }

    fn scan(folder: &Path, files: &[Listed], from: usize, to: usize) -> Memory {
        let mut memory = Memory::open(folder, "m");
        memory.recall(&files[..from]);
        (from..to).for_each(|n| memory.remember(&files[n].path, &seen(n as u64)));
        memory
    }

    fn known(folder: &Path, files: &[Listed]) -> Vec<Option<Seen>> {
        Memory { new: None, part: PathBuf::new(), ..Memory::open(folder, "m") }.recall(files)
    }

    /// Whatever is known is right; returns how much.
    fn known_and_right(folder: &Path, files: &[Listed]) -> usize {
        let known = known(folder, files);
        for (n, found) in known.iter().enumerate().filter_map(|(n, found)| Some((n, found.as_ref()?))) {
            assert_eq!(*found, seen(n as u64), "{n}");
        }
        known.into_iter().flatten().count()
    }

    #[test]
    fn the_order_is_that_of_the_listing() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["b/x.jpg", "a/z.jpg", "a/b-c/1.jpg", "a/b/c/1.jpg", "a/b/2.jpg", "a-b/1.jpg", "a/b.jpg", "a.jpg"];
        for name in names.iter().chain(&["a!/q/1.jpg", "a/b/c-/1.jpg", "a/b/c/0/1.jpg", "A.jpg", "ä/ß/1.jpg"]) {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let listing = crate::image::list(folder.path()).unwrap().images;
        assert_eq!(listing.len(), 13);
        assert!(listing.is_sorted_by(|a, b| order(&a.path) < order(&b.path)), "{listing:#?}");
    }

    #[test]
    fn a_scan_that_stops_any_number_of_times_loses_nothing() {
        let (folder, files) = (tempfile::tempdir().unwrap(), files(1_000));
        scan(folder.path(), &files, 0, 1_000).finish();
        assert_eq!(known_and_right(folder.path(), &files), 1_000);
        // Killed before the first block was full, after some, and stopped on request.
        drop(scan(folder.path(), &files, 0, 20));
        drop(scan(folder.path(), &files, 0, 700));
        scan(folder.path(), &files, 300, 400).pause();
        assert_eq!(known_and_right(folder.path(), &files), 1_000);
        // A file that is gone is forgotten by the scan that ends.
        scan(folder.path(), &files, 1, 1_000).finish();
        assert_eq!(known_and_right(folder.path(), &files), 999);
    }

    #[test]
    fn one_changed_byte_costs_one_block_and_another_name_everything() {
        let (folder, files) = (tempfile::tempdir().unwrap(), files(1_000));
        scan(folder.path(), &files, 0, 1_000).finish();
        let path = folder.path().join("m.seen");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3 * BLOCK + 5_000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let left = known_and_right(folder.path(), &files);
        assert!((850..900).contains(&left), "{left}");
        std::fs::rename(&path, folder.path().join("other.seen")).unwrap();
        assert_eq!(Reader::open(&folder.path().join("other.seen"), "other").count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_damage_makes_a_wrong_entry(
            at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<Option<prop::sample::Index>>(),
            moved in any::<Option<(prop::sample::Index, prop::sample::Index)>>(), as_part in any::<bool>(),
        ) {
            let (folder, files) = (tempfile::tempdir().unwrap(), files(500));
            scan(folder.path(), &files, 0, 500).finish();
            let path = folder.path().join("m.seen");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Some((from, to)) = moved {
                let blocks = bytes.len() / BLOCK;
                let (from, to) = (from.index(blocks) * BLOCK, to.index(blocks) * BLOCK);
                bytes.copy_within(from..from + BLOCK, to);
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            std::fs::write(if as_part { folder.path().join("m.1.part") } else { path }, bytes).unwrap();
            known_and_right(folder.path(), &files);
        }
    }

    /// With `cargo test --release --lib -- --ignored ten_million`; it writes 1.1 GB below TMPDIR.
    #[test]
    #[ignore = "takes 1.1 GB of disk"]
    fn ten_million_files_are_remembered_in_bounded_memory() {
        const COUNT: u64 = 10_000_000;
        let before = peak_kb();
        let folder = tempfile::tempdir().unwrap();
        let path = |n: u64| format!("class{:04}/{n:08}.jpg", n / 10_000);
        let mut memory = Memory::open(folder.path(), "m");
        (0..COUNT).for_each(|n| memory.remember(&path(n), &seen(n)));
        memory.finish();
        let bytes = std::fs::metadata(folder.path().join("m.seen")).unwrap().len();
        assert!(bytes < 120 * COUNT, "{bytes}");
        let mut memory = Memory::open(folder.path(), "m");
        for first in (0..COUNT).step_by(1_000) {
            let files: Vec<_> = (first..first + 1_000).map(|n| listed(path(n))).collect();
            let known = memory.recall(&files);
            assert!((first..).zip(known).all(|(n, found)| found == Some(seen(n))));
        }
        assert!(peak_kb() < before + 10_000, "from {before} to {} kB", peak_kb());
    }

    /// The most memory that this process has held.
    fn peak_kb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap().parse().unwrap()
    }
}
