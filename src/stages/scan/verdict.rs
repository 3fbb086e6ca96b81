//! verdict: whether a scan succeeds without the unusable files, and what it reports where it fails.

use crate::engine::Context;
use crate::format::dataset::BadImage;
use crate::stages::scan::tally::{NAMED, Tally, spelled};
use crate::stages::scan::{OnBadImage, Scan};
use anyhow::bail;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A row of bad.parquet; the detail says what is wrong, and after a semicolon what to do.
pub(super) fn bad_file(path: &str, reason: &str, detail: &str) -> BadImage {
    BadImage { path: path.to_owned(), reason: reason.to_owned(), detail: detail.to_owned() }
}

/// How far a scan came when it was clear that it fails.
#[derive(Clone, Copy)]
pub(super) struct Reached {
    /// Files looked at.
    pub(super) files: usize,
    /// Files in all.
    pub(super) of: usize,
}

impl Reached {
    fn is_all(self) -> bool {
        self.files == self.of
    }
}

impl Scan {
    /// Whether so much is bad that the rest of the files cannot make up for it.
    pub(super) fn fails_for_certain(&self, tally: &Tally, all: u64) -> bool {
        match self.on_bad_image {
            OnBadImage::Fail => tally.bad() + tally.folders() > 0,
            OnBadImage::Skip if tally.folders() > 0 => self.max_bad_share < 1.0,
            OnBadImage::Skip => tally.bad() as f64 > self.max_bad_share * all as f64,
        }
    }

    /// Applies the policy to what is bad, of which the list is written where the scan fails.
    pub(super) fn judge(
        &self,
        tally: &Tally,
        bad: &[BadImage],
        reached: Reached,
        cx: &Context<'_>,
    ) -> anyhow::Result<()> {
        let list = cx.cache().join(format!("bad-{}.tsv", self.memory_name()));
        let why = match self.on_bad_image {
            _ if tally.images == 0 && reached.is_all() => {
                format!("no image file in {} can be used", self.root.display())
            }
            OnBadImage::Fail if tally.bad() + tally.folders() > 0 => "on_bad_image is fail".to_owned(),
            // A scan that did not look at all of them must not pass, whatever the quotient is.
            OnBadImage::Skip if tally.share() > self.max_bad_share || !reached.is_all() => {
                let unknown = "a folder that cannot be read may hold any number of images, and ";
                format!(
                    "{}max_bad_share = {} allows fewer",
                    if tally.folders() > 0 { unknown } else { "" },
                    self.max_bad_share
                )
            }
            _ => {
                let _ = std::fs::remove_file(&list); // Of a scan that failed: bad.parquet is newer.
                return Ok(());
            }
        };
        let mut told = format!("{} of {} images", tally.bad(), tally.bad() + tally.images);
        match tally.folders() {
            0 => {}
            1 => told.push_str(" and 1 folder"),
            folders => told.push_str(&format!(" and {folders} folders")),
        }
        told.push_str(" cannot be used");
        let reasons = tally.reasons();
        if !reasons.is_empty() {
            let _ = write!(told, " ({reasons})");
        }
        if !reached.is_all() {
            let _ = write!(told, ", and the scan stopped after {} of {} files", reached.files, reached.of);
        }
        let _ = write!(told, "; {why}");
        told.push_str(&named(bad));
        let _ = match write_list(&list, bad) {
            Ok(()) => write!(told, "\nAll of them are listed in {}", list.display()),
            Err(error) => write!(told, "\nThe list of them could not be written to {}: {error}", list.display()),
        };
        if tally.images > 0 {
            let _ = write!(told, "\n{}", self.way_on(tally, reached, cx.name()));
        }
        bail!("{told}")
    }

    /// The override with which the scan succeeds.
    fn way_on(&self, tally: &Tally, reached: Reached, node: &str) -> String {
        let mut sets = String::new();
        if self.on_bad_image == OnBadImage::Fail {
            let _ = write!(sets, " --set {node}.on_bad_image=skip");
        }
        if !reached.is_all() {
            let _ = write!(sets, " --set {node}.max_bad_share=1");
        } else if tally.share() > self.max_bad_share {
            let percent = (tally.share() * 100.0 - 1e-9).ceil();
            let _ = write!(sets, " --set {node}.max_bad_share={}", percent / 100.0);
        }
        format!("Mend or delete these files, or leave them out: run the same command with{sets}")
    }
}

/// The first of the bad images, a line each.
pub(super) fn named(bad: &[BadImage]) -> String {
    let mut named = String::new();
    let counts = |bad: &&BadImage| !matches!(&*bad.reason, "not_read" | "link_loop");
    for BadImage { path, reason, detail } in bad.iter().filter(counts).take(NAMED) {
        let _ = match letters(detail).contains(&letters(reason)) {
            true => write!(named, "\n  {path}: {detail}"),
            false => write!(named, "\n  {path}: {}: {detail}", reason.replace('_', " ")),
        };
    }
    let more = bad.iter().filter(counts).count().saturating_sub(NAMED);
    if more > 0 {
        let _ = write!(named, "\n  and {more} more");
    }
    named
}

/// A text's letters and digits alone, to tell whether one says what another says.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Writes the list as a table with tabs, for no artifact of a scan that fails is kept.
fn write_list(path: &Path, bad: &[BadImage]) -> std::io::Result<()> {
    let mut text = String::from("path\treason\tdetail\n");
    for bad in bad {
        let _ = writeln!(text, "{}\t{}\t{}", spelled(&bad.path), bad.reason, spelled(&bad.detail));
    }
    let tmp: PathBuf = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&tmp, text)?;
    std::fs::rename(&tmp, path)
}
