//! blocked: the file that lies where a folder is wanted.

use std::io;
use std::path::{Path, PathBuf};

/// The first of a path and the folders above it that is there and is no folder.
pub fn in_the_way(path: &Path) -> Option<PathBuf> {
    let is_file = |path: &&Path| !path.as_os_str().is_empty() && path.exists() && !path.is_dir();
    path.ancestors().find(is_file).map(ToOwned::to_owned)
}

/// Why the system does not make or enter a folder: the file in its way, or what the system says.
pub fn why(folder: &Path, error: &io::Error) -> String {
    let is_blocked = matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists);
    match in_the_way(folder).filter(|_| is_blocked) {
        Some(file) => format!("{} is a file, and a folder is needed there", file.display()),
        None => error.to_string(),
    }
}

/// Makes a folder and those above it; an error is [`why`] not.
pub fn make(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| why(folder, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_above_a_path_is_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("a"), file.join("a/b")] {
            assert_eq!(in_the_way(&path), Some(file.clone()));
            let error = std::fs::create_dir_all(&path).unwrap_err();
            assert!(why(&path, &error).ends_with("file is a file, and a folder is needed there"), "{error}");
        }
        assert_eq!(in_the_way(&folder.path().join("other/a")), None);
        assert_eq!(why(folder.path(), &io::Error::other("full")), "full");
    }
}
