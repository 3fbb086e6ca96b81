//! place: puts a page, and a folder beside it, where a person looks for them, both or none.

use super::page::{PAGE_BEGINS, folder_of};
use crate::base::Digest;
use crate::views::export::target::{Folder, check_file, is_unchanged, process_is_gone, remove_left};
use crate::views::files;
use anyhow::Context;
use percent_encoding::percent_decode_str;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Digits of the digest in a folder's name.
const DIGITS: usize = 8;
const END: &str = ".files";

/// A folder that is to lie beside a page. Its name tells what is in it, so that no page ever shows the folder of another.
pub(super) struct Beside {
    path: PathBuf,
    /// Its address on the page, with a slash at its end.
    pub(super) address: String,
}

impl Beside {
    /// The folder beside the page at `to`.
    pub(super) fn of(to: &Path, holds: Digest) -> Self {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}{END}", &holds.to_string()[..DIGITS]));
        let address = address(&name) + "/";
        Self { path: to.with_file_name(name), address }
    }

    /// Writes its files, and returns where it is and its bytes. It stays as it is where these files are there.
    pub(super) fn write(&self, files: &[(String, &[u8])]) -> anyhow::Result<(PathBuf, u64)> {
        let bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let is_there = |(name, bytes): &(String, &[u8])| {
            let path = self.path.join(name);
            let is_long = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == bytes.len() as u64);
            is_long && fs::read(&path).is_ok_and(|there| there == *bytes)
        };
        if !files.iter().all(is_there) {
            let folder = Folder::begin(&self.path)?;
            for (name, bytes) in files {
                let path = folder.path().join(name);
                fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
            }
            folder.finish("a report")?;
        }
        Ok((self.path.clone(), bytes))
    }
}

/// Puts the page in its place at once. Then it removes the folders of earlier pages, and what killed reports left.
pub(super) fn put(to: &Path, page: &str, beside: Option<&Beside>) -> anyhow::Result<()> {
    check_file(to)?;
    files::replace(to, page.as_bytes()).with_context(|| format!("writing {}", to.display()))?;
    let (Some(name), Some(parent)) = (to.file_name().and_then(OsStr::to_str), to.parent()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let Some(rest) = found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix('.')) else { continue };
        let path = parent.join(&found);
        let is_folder = |rest: &str| {
            rest.strip_suffix(END)
                .is_some_and(|of| of.len() == DIGITS && of.bytes().all(|digit| digit.is_ascii_hexdigit()))
        };
        let begun = rest.strip_suffix(".tmp").and_then(|rest| {
            let (of, process) = rest.rsplit_once('.').unwrap_or(("", rest));
            let is_ours = of.is_empty() || is_folder(of.strip_suffix(".old").unwrap_or(of));
            process.parse::<u32>().ok().filter(|_| is_ours)
        });
        if begun.is_some_and(process_is_gone) {
            // A person may give a file or a folder such a name.
            if is_page_begun(&path) {
                let _ = fs::remove_file(&path);
            }
            remove_left(&path);
        } else if is_folder(rest)
            && beside.is_none_or(|beside| beside.path.file_name() != Some(&found))
            && is_unchanged(&path)
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

/// Whether the folder beside a page is there, or the page needs none. `head` is how the page begins.
pub(super) fn has_its_folder(page: &Path, head: &str) -> bool {
    folder_of(head).is_none_or(|address| {
        let name: Vec<u8> = percent_decode_str(address).collect();
        fs::symlink_metadata(page.with_file_name(OsStr::from_bytes(&name))).is_ok_and(|meta| meta.is_dir())
    })
}

/// Whether a file begins as a page does, as far as it goes.
fn is_page_begun(path: &Path) -> bool {
    let mut head = Vec::new();
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    let mut read = || fs::File::open(path)?.take(PAGE_BEGINS.len() as u64).read_to_end(&mut head);
    is_file && read().is_ok() && PAGE_BEGINS.as_bytes().starts_with(&head)
}

/// A file name as an address: nothing in it means anything to a browser, to HTML or to CSS.
fn address(name: &OsStr) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let step = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    // A first step with a colon would be a scheme, and it has none left.
    name.as_encoded_bytes().iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_only_plain_characters() {
        assert_eq!(address(OsStr::new("a b\"<'%?#:/\u{e9}.html")), "a%20b%22%3C%27%25%3F%23%3A%2F%C3%A9.html");
    }

    #[test]
    fn a_page_takes_the_folder_of_the_one_before_and_no_file_of_a_person() {
        let space = tempfile::tempdir().unwrap();
        let to = space.path().join("report.html");
        let place = |text: &str, has_folder: bool| {
            let beside = has_folder.then(|| Beside::of(&to, Digest::of(text.as_bytes())));
            let written =
                beside.as_ref().map(|beside| beside.write(&[("1.jpg".to_owned(), text.as_bytes())]).unwrap().0);
            put(&to, text, beside.as_ref()).unwrap();
            assert_eq!(fs::read_to_string(&to).unwrap(), text);
            written
        };
        let mine =
            ["report.html.0a1b2c3d.files", "report.html.0a1b2c3d.files.x", "report.html.files", "report.html.1.tmp"];
        mine.iter().for_each(|name| fs::create_dir(space.path().join(name)).unwrap());
        fs::write(space.path().join(mine[0]).join("photo.jpg"), "mine").unwrap();
        let killed = ["report.html.4294967295.tmp", "report.html.0a1b2c3d.files.4294967295.tmp"];
        fs::write(space.path().join(killed[0]), &PAGE_BEGINS[..9]).unwrap();
        std::mem::forget(Folder::begin(&space.path().join("report.html.0a1b2c3d.files.x")).unwrap());
        let begun = files::aside(&space.path().join("report.html.0a1b2c3d.files.x"));
        fs::rename(begun, space.path().join(killed[1])).unwrap();
        let theirs = ["report.html.4000000000.tmp", "report.html.0a1b2c3d.files.4000000000.tmp"];
        fs::write(space.path().join(theirs[0]), "mine").unwrap();
        fs::create_dir(space.path().join(theirs[1])).unwrap();
        fs::write(space.path().join(theirs[1]).join("1.jpg"), "mine").unwrap();
        let first = place("one", true).unwrap();
        assert!(killed.iter().all(|name| !space.path().join(name).exists()));
        assert_eq!(fs::read(first.join("1.jpg")).unwrap(), b"one");
        assert_eq!(place("one", true).unwrap(), first);
        // As a copy of both, in another place or from an archive.
        for name in ["1.jpg", ".dcpipe-export.json"] {
            let file = fs::File::options().write(true).open(first.join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let second = place("two", true).unwrap();
        assert!(!first.exists() && second.exists());
        fs::write(second.join("note.txt"), "mine").unwrap();
        place("three", false);
        assert!(second.join("note.txt").exists(), "a person has changed it");
        assert!(theirs.iter().chain(&mine).all(|name| space.path().join(name).exists()));
        assert_eq!(fs::read(space.path().join(mine[0]).join("photo.jpg")).unwrap(), b"mine");
    }

    #[test]
    fn a_report_killed_before_its_page_leaves_the_old_page_whole_and_the_next_one_clears_up() {
        let space = tempfile::tempdir().unwrap();
        let to = space.path().join("report.html");
        let begin = |text: &str| {
            let beside = Beside::of(&to, Digest::of(text.as_bytes()));
            let folder = beside.write(&[("1.jpg".to_owned(), text.as_bytes())]).unwrap().0;
            (beside, folder)
        };
        let (one, old) = begin("one");
        put(&to, "one", Some(&one)).unwrap();
        let (_, stray) = begin("two");
        assert_eq!(fs::read_to_string(&to).unwrap(), "one");
        assert_eq!(fs::read(old.join("1.jpg")).unwrap(), b"one");
        let (three, new) = begin("three");
        put(&to, "three", Some(&three)).unwrap();
        assert!(!old.exists() && !stray.exists() && new.exists());
        assert_eq!(fs::read_dir(space.path()).unwrap().count(), 2, "a page and its folder");
    }

    #[test]
    fn a_folder_of_a_person_in_the_way_stays_and_the_page_too() {
        let space = tempfile::tempdir().unwrap();
        let to = space.path().join("report.html");
        let beside = Beside::of(&to, Digest::of(b"x"));
        fs::create_dir(&beside.path).unwrap();
        fs::write(beside.path.join("1.jpg"), "mine").unwrap();
        let error = beside.write(&[("1.jpg".to_owned(), b"ours")]).unwrap_err().to_string();
        assert!(error.contains("no export wrote") && error.contains("-o"), "{error}");
        assert_eq!(fs::read(beside.path.join("1.jpg")).unwrap(), b"mine");
    }
}
