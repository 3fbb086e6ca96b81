//! tally: how many files a scan read, left out, skipped and passed over, as lines and as facts.

use crate::engine::Facts;
use crate::format::dataset::BadImage;
use crate::image::{Lacks, Listing, OURS};
use std::collections::{BTreeMap, BTreeSet};

/// Endings of other files told one by one. There may be any number; the rest is one sum.
const TOLD: usize = 8;
/// Files or folders named in a message.
pub(super) const NAMED: usize = 5;

type Counts = BTreeMap<String, u64>;

/// The counts of a scan.
#[derive(Default)]
pub(super) struct Tally {
    /// Images of the data set.
    pub(super) images: u64,
    /// Those of them that have the bytes of an earlier one.
    pub(super) copies: u64,
    /// Images that are left out, by reason.
    bad: Counts,
    /// Folders that nobody can look into, by reason.
    folders: Counts,
    /// Pictures of kinds that are not read, by kind.
    skipped: Counts,
    /// Links that lead back, for which nothing is missing.
    loops: u64,
    /// What systems and tools leave behind, by rule.
    passed_over: Counts,
    /// Folders into which dcpipe wrote images.
    ours: BTreeSet<String>,
    /// Files that are no pictures, by ending.
    others: Counts,
}

impl Tally {
    /// What is known without looking into a file.
    pub(super) fn of(listing: &Listing) -> Self {
        let counts = |counts: &BTreeMap<&'static str, u64>| counts.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        let mut tally = Self {
            skipped: counts(&listing.aside.unread),
            passed_over: counts(&listing.aside.left_behind),
            ours: listing.aside.ours.clone(),
            others: listing.aside.others.clone(),
            ..Self::default()
        };
        for problem in &listing.problems {
            match problem.lacks {
                Lacks::Image => *tally.bad.entry(problem.reason.to_owned()).or_default() += 1,
                Lacks::Folder => *tally.folders.entry(problem.reason.to_owned()).or_default() += 1,
                Lacks::Nothing => {}
            }
        }
        let lists = |problem: &&crate::image::Problem| problem.lacks == Lacks::Nothing;
        let nothing = listing.problems.iter().filter(lists).count() as u64;
        tally.loops = nothing - tally.skipped.values().sum::<u64>();
        tally
    }

    /// Adds what could not be decoded.
    pub(super) fn add_bad(&mut self, bad: &[BadImage]) {
        bad.iter().for_each(|bad| *self.bad.entry(bad.reason.clone()).or_default() += 1);
    }

    /// Images that are left out.
    pub(super) fn bad(&self) -> u64 {
        sum(&self.bad)
    }

    /// Folders that are left out, with any number of images.
    pub(super) fn folders(&self) -> u64 {
        sum(&self.folders)
    }

    /// The share of images that is left out. A folder that nobody can look into may hold more than all others do.
    pub(super) fn share(&self) -> f64 {
        let (bad, all) = (self.bad() as f64, (self.bad() + self.images) as f64);
        if self.folders() > 0 { 1.0 } else { bad / all.max(1.0) }
    }

    /// Why images and folders are left out, such as `4 truncated, 2 corrupt`.
    pub(super) fn reasons(&self) -> String {
        let all: Counts = self.bad.iter().chain(&self.folders).map(|(reason, n)| (reason.clone(), *n)).collect();
        by_kind(&all, usize::MAX, |reason| reason.replace('_', " "))
    }

    /// All of it: the images that are read, then a line for each kind of what is not. `named` has lines of their own
    /// that name the first of the images left out.
    pub(super) fn lines(&self, node: &str, named: &str) -> String {
        let mut lines = vec![format!("{} read", are(self.images, "image", "images"))];
        let spaced = |name: &str| name.replace('_', " ");
        let list = "bad.parquet in the results lists";
        match self.copies {
            0 => {}
            1 => lines.push(format!("1 file is a copy of another; dcpipe show {node} names both")),
            copies => lines.push(format!("{copies} files are copies of others; dcpipe show {node} names them")),
        }
        let left_out = [(&self.bad, "image", "images"), (&self.folders, "folder", "folders")];
        for (counts, one, many) in left_out.into_iter().filter(|(counts, ..)| !counts.is_empty()) {
            let (count, reasons) = (are(sum(counts), one, many), by_kind(counts, usize::MAX, spaced));
            lines.push(format!("{count} left out: {reasons}; {list} what to do"));
        }
        if self.bad.len() + self.folders.len() > 0 {
            lines.last_mut().into_iter().for_each(|line| line.push_str(&named.replace('\n', "\n  ")));
        }
        if !self.skipped.is_empty() {
            let skipped = are(sum(&self.skipped), "picture", "pictures");
            let kinds = by_kind(&self.skipped, usize::MAX, spaced);
            lines.push(format!(
                "{skipped} skipped, of kinds that dcpipe does not read: {kinds}; {list} how to convert them"
            ));
        }
        match self.loops {
            0 => {}
            1 => lines.push("1 link leads back to a folder above it; the scan does not follow it".to_owned()),
            loops => {
                lines.push(format!("{loops} links lead back to folders above them; the scan does not follow them"));
            }
        }
        if !self.passed_over.is_empty() {
            let entries = are(sum(&self.passed_over), "entry", "entries");
            lines.push(format!(
                "{entries} passed over by name: {}",
                by_kind(&self.passed_over, usize::MAX, str::to_owned)
            ));
        }
        match (sum(&self.others), by_kind(&self.others, TOLD, of_ending)) {
            (0, _) => {}
            (1, others) => lines.push(format!("1 other file is no picture: {others}")),
            (count, others) => lines.push(format!("{count} other files are no pictures: {others}")),
        }
        lines.join("\n  ")
    }

    /// What to say of the folders that dcpipe wrote, if there are any. A person may have put images of their own there.
    pub(super) fn ours(&self) -> Option<String> {
        let paths: Vec<_> = self.ours.iter().take(NAMED).map(|path| spelled(path)).collect();
        let (folders, it) = match self.ours.len() {
            0 => return None,
            1 => ("1 folder is".to_owned(), "it"),
            many => (format!("{many} folders are"), "one"),
        };
        let more = match self.ours.len() - paths.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "{folders} passed over, where dcpipe wrote the images: {}{more}; to read {it}, delete its file {OURS}",
            paths.join(", ")
        ))
    }

    /// The same as numbers.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::from([("images".to_owned(), self.images)]);
        let single = [("copies", self.copies), ("link_loops", self.loops), ("own_folders", self.ours.len() as u64)];
        facts.extend(single.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n)));
        for (name, counts) in [
            ("left_out", &self.bad),
            ("left_out_folders", &self.folders),
            ("skipped", &self.skipped),
            ("passed_over", &self.passed_over),
        ] {
            facts.extend(counts.iter().map(|(kind, n)| (format!("{name}.{kind}"), *n)));
        }
        // There may be any number of endings; a record has room for those that count.
        let (first, rest) = largest(&self.others, TOLD);
        facts.extend(first.iter().map(|(ending, n)| (format!("other_files.{}", or_none(ending)), *n)));
        facts.extend((rest > 0).then(|| ("other_files.of_other_endings".to_owned(), rest)));
        facts
    }
}

fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// A text on one line, control characters spelled out.
pub(super) fn spelled(text: &str) -> String {
    let spell = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spell).collect()
}

/// `1 image is`, `2 images are`.
fn are(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one} is") } else { format!("{count} {many} are") }
}

/// The most frequent kinds, most first, and how many the others have in all.
fn largest(counts: &Counts, most: usize) -> (Vec<(&str, u64)>, u64) {
    let mut all: Vec<_> = counts.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rest = all.split_off(all.len().min(most)).iter().map(|(_, count)| count).sum();
    (all, rest)
}

fn by_kind(counts: &Counts, most: usize, name: impl Fn(&str) -> String) -> String {
    let (first, rest) = largest(counts, most);
    let mut told: Vec<_> = first.iter().map(|(kind, count)| format!("{count} {}", name(kind))).collect();
    told.extend((rest > 0).then(|| format!("{rest} more")));
    told.join(", ")
}

fn of_ending(ending: &str) -> String {
    if ending.is_empty() { "without an ending".to_owned() } else { format!(".{ending}") }
}

fn or_none(ending: &str) -> &str {
    if ending.is_empty() { "none" } else { ending }
}
