//! target: where an export goes: written beside its place under another name, and renamed when it is whole.

use crate::base::Digest;
use crate::image::OURS;
use crate::store::blocked::{make, why};
use crate::views::files::aside;
use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// The file that says of a folder that an export wrote it. No scan of a folder above reads what is in it.
const MARK: &str = OURS;

/// What it says of a folder that is not whole yet.
const BEGUN: &str = "{\"begun\":true}";

/// Counts up when the listing is made of other things. Version 1 had the times of the files.
const VERSION: u32 = 2;

/// What it says of a whole one.
#[derive(Serialize, Deserialize)]
struct Mark {
    version: u32,
    /// Such as `atlas of clusters@3`.
    what: String,
    /// All other entries with their contents: a folder that differs has something of a person's. A copy does not.
    listing: Digest,
}

/// A folder on its way. Dropped before its end, it leaves nothing.
pub struct Folder {
    to: PathBuf,
    tmp: PathBuf,
}

impl Folder {
    /// Begins a folder that will be at `to`. It replaces nothing but an empty folder, or one that an export wrote and
    /// nobody changed.
    ///
    /// # Errors
    /// If anything else is there, or the folder cannot be made.
    pub fn begin(to: &Path) -> anyhow::Result<Self> {
        check(to)?;
        clear(make_parent(to)?, to);
        let tmp = aside(to);
        fs::create_dir(&tmp).with_context(|| format!("making {}", tmp.display()))?;
        let folder = Self { to: to.to_owned(), tmp };
        // Only a folder with this mark is ever removed: a person may give a folder such a name.
        fs::write(folder.tmp.join(MARK), BEGUN).with_context(|| format!("writing into {}", folder.tmp.display()))?;
        Ok(folder)
    }

    /// Where its files are written.
    pub fn path(&self) -> &Path {
        &self.tmp
    }

    /// Puts the folder in its place, and returns how many files it has and their bytes.
    ///
    /// # Errors
    /// If its place was taken meanwhile.
    pub fn finish(self, what: &str) -> anyhow::Result<(u64, u64)> {
        let (listing, files, bytes) = listing(&self.tmp)?;
        let mark = serde_json::to_vec(&Mark { version: VERSION, what: what.to_owned(), listing })?;
        write(&self.tmp.join(MARK), |out| Ok(out.write_all(&mark)?))?;
        check(&self.to)?;
        let placed = || format!("writing {}", self.to.display());
        let mut old = self.to.clone().into_os_string();
        old.push(".old");
        let old = aside(Path::new(&old));
        let had_one = fs::symlink_metadata(&self.to).is_ok();
        if had_one {
            fs::rename(&self.to, &old).with_context(placed)?;
        }
        if let Err(error) = fs::rename(&self.tmp, &self.to) {
            if had_one {
                let _ = fs::rename(&old, &self.to);
            }
            return Err(error).with_context(placed);
        }
        let _ = fs::remove_dir_all(&old);
        Ok((files, bytes))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.tmp); // Renamed by now, if it is whole.
    }
}

/// Makes the folder that a place is in.
///
/// # Errors
/// If that fails.
pub fn make_parent(to: &Path) -> anyhow::Result<&Path> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(parent).map_err(|why| anyhow!("could not make {}: {why}; name another place with -o", parent.display()))?;
    Ok(parent)
}

/// Writes a file by `fill`, and names it when it is whole and durable.
///
/// # Errors
/// If `fill` fails or the file cannot be written; then what was there stays.
pub fn write(to: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    check_file(to)?;
    let tmp = aside(to);
    let make = || {
        let mut out = BufWriter::with_capacity(1 << 16, File::create(&tmp)?);
        fill(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&tmp, to)?;
        Ok(bytes)
    };
    let made: anyhow::Result<u64> = make();
    made.inspect_err(|_| drop(fs::remove_file(&tmp))).with_context(|| format!("writing {}", to.display()))
}

/// Refuses a place that has something other than an unchanged export.
fn check(to: &Path) -> anyhow::Result<()> {
    let advice = "name another place with -o, or move it away";
    let is_folder = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("could not look at {}: {}; {advice}", to.display(), why(to, &error)),
        Ok(found) => found.is_dir(),
    };
    if !is_folder {
        bail!("{} is no folder: {advice}", to.display());
    }
    if fs::read_dir(to).with_context(|| format!("looking into {}", to.display()))?.next().is_none() {
        return Ok(());
    }
    let mark = fs::read(to.join(MARK)).ok().and_then(|text| serde_json::from_slice::<Mark>(&text).ok());
    let Some(mark) = mark else { bail!("{} has files that no export wrote: {advice}", to.display()) };
    if mark.version != VERSION {
        bail!("another version of dcpipe wrote {}, so nobody can tell whether it changed: {advice}", to.display());
    }
    if !listing(to).is_ok_and(|(found, ..)| found == mark.listing) {
        bail!("{} has changed since dcpipe wrote it: {advice}", to.display());
    }
    Ok(())
}

/// Whether an export wrote this folder, and nobody changed it since.
pub fn is_unchanged(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(MARK)).is_ok() && check(folder).is_ok()
}

/// Removes a folder that a killed export began or was replacing, and no other.
pub fn remove_left(folder: &Path) {
    let is_begun = fs::read(folder.join(MARK)).is_ok_and(|mark| mark == BEGUN.as_bytes());
    if is_begun || is_unchanged(folder) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Refuses a place that has something other than a file: a device or a pipe would be replaced.
///
/// # Errors
/// If a folder, a device or the like is there.
pub fn check_file(to: &Path) -> anyhow::Result<()> {
    match fs::metadata(to) {
        Ok(found) if found.is_dir() => bail!("{} is a folder; name the file", to.display()),
        Ok(found) if !found.is_file() => bail!("{} is no file; name another with -o", to.display()),
        _ => Ok(()),
    }
}

/// Whether no process of this machine has that number.
pub fn process_is_gone(process: u32) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}

/// The digest of all entries but the mark, how many files and links they are, and the files' bytes.
fn listing(folder: &Path) -> anyhow::Result<(Digest, u64, u64)> {
    let (mut told, mut files, mut bytes) = (Vec::new(), 0, 0);
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let (path, meta) = (entry.path().strip_prefix(folder)?, entry.metadata()?);
        if path == Path::new(MARK) {
            continue;
        }
        told.extend_from_slice(path.as_os_str().as_bytes());
        files += u64::from(!meta.is_dir());
        if meta.is_file() {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(entry.path())?)?;
            bytes += hasher.count();
            told.extend_from_slice(format!("\0file {}\0", Digest::from(hasher.finalize())).as_bytes());
        } else if meta.is_symlink() {
            told.extend_from_slice(b"\0link ");
            told.extend_from_slice(fs::read_link(entry.path())?.as_os_str().as_bytes());
            told.push(0);
        } else {
            told.extend_from_slice(if meta.is_dir() { b"\0folder\0" } else { b"\0other\0" });
        }
    }
    Ok((Digest::of(&told), files, bytes))
}

/// Removes what exports to `to` left that were killed: folders named after processes that are gone.
fn clear(parent: &Path, to: &Path) {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for path in fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let of = path.file_name().and_then(|found| found.to_str());
        let rest = of.and_then(|found| found.strip_prefix(&name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        let process = rest.and_then(|rest| rest.trim_start_matches("old.").parse::<u32>().ok());
        if process.is_some_and(process_is_gone) {
            remove_left(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(to: &Path, text: &str) -> anyhow::Result<(u64, u64)> {
        let folder = Folder::begin(to)?;
        write(&folder.path().join("a"), |out| Ok(out.write_all(text.as_bytes())?))?;
        folder.finish("toy")
    }

    #[test]
    fn an_export_replaces_its_own_folder_and_no_other() {
        let space = tempfile::tempdir().unwrap();
        let to = space.path().join("x/out");
        assert_eq!(export(&to, "one").unwrap(), (1, 3));
        assert_eq!(export(&to, "three").unwrap(), (1, 5));
        assert_eq!(fs::read(to.join("a")).unwrap(), b"three");
        fs::create_dir(to.join("mine")).unwrap();
        assert!(export(&to, "four").unwrap_err().to_string().contains("has changed"));
        fs::remove_dir(to.join("mine")).unwrap();
        let (path, whole) = (to.join("a"), fs::metadata(to.join("a")).unwrap());
        fs::write(&path, "THREE").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(whole.modified().unwrap()).unwrap();
        assert!(export(&to, "four").unwrap_err().to_string().contains("has changed"), "of the same size and time");
        fs::remove_file(to.join(MARK)).unwrap();
        assert!(export(&to, "four").unwrap_err().to_string().contains("no export wrote"));
        assert_eq!(fs::read(to.join("a")).unwrap(), b"THREE");
        assert_eq!(fs::read_dir(space.path().join("x")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_copy_of_an_export_is_one_and_a_folder_of_another_version_stays() {
        let space = tempfile::tempdir().unwrap();
        let (to, copy) = (space.path().join("out"), space.path().join("copy"));
        export(&to, "one").unwrap();
        fs::create_dir(&copy).unwrap();
        for name in ["a", MARK] {
            fs::write(copy.join(name), fs::read(to.join(name)).unwrap()).unwrap();
            File::options().write(true).open(copy.join(name)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        assert!(is_unchanged(&copy));
        export(&copy, "two").unwrap();
        assert_eq!(fs::read(copy.join("a")).unwrap(), b"two");
        let mark = |folder: &Path| fs::read_to_string(folder.join(MARK)).unwrap();
        export(&to, "two").unwrap();
        assert_eq!(mark(&to), mark(&copy), "the same export has the same mark");
        fs::write(to.join(MARK), mark(&to).replace(":2", ":1")).unwrap();
        assert!(export(&to, "two").unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn what_a_killed_export_left_goes_with_the_next() {
        let space = tempfile::tempdir().unwrap();
        let to = space.path().join("out");
        let place = |name: &str| space.path().join(name);
        let (dead, alive, mine) = (place("out.4294967295.tmp"), place("out.1.tmp"), place("out.4000000000.tmp"));
        for folder in [&dead, &alive, &mine] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(if *folder == mine { "thesis.tex" } else { MARK }), BEGUN).unwrap();
        }
        export(&to, "one").unwrap();
        assert!(!dead.exists() && alive.exists());
        assert!(mine.join("thesis.tex").exists(), "a person's folder of such a name stays");
        let pipe = place("pipe");
        std::os::unix::net::UnixListener::bind(&pipe).unwrap();
        assert!(write(&pipe, |_| Ok(())).unwrap_err().to_string().contains("is no file"));
    }
}
