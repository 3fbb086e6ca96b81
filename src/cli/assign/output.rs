//! output: the file that a person names for the table, Parquet or CSV by its ending.

use crate::base::Artifact;
use crate::cli::error::CliError;
use crate::cli::run::apart;
use crate::format::Assignments;
use crate::format::assignments::ASSIGNMENTS;
use crate::store::{Store, blocked};
use crate::views::files::aside;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that can be written.
pub struct Output {
    path: PathBuf,
    is_csv: bool,
}

impl Output {
    /// Checks the file before the work: its ending, its place, and that its folder takes a new file.
    ///
    /// # Errors
    /// If one of them does not fit.
    pub fn at(path: &Path, store: &Path) -> Result<Self, CliError> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let is_csv = match ending.as_deref() {
            Some("csv") => true,
            Some("parquet") => false,
            _ => {
                let path = path.display();
                return Err(CliError::Usage(format!(
                    "-o {path} ends in neither .parquet nor .csv, so it has no format"
                )));
            }
        };
        apart("-o", path, store)?;
        let output = Self { path: path.to_owned(), is_csv };
        if path.is_dir() {
            return Err(output.unwritable(&io::ErrorKind::IsADirectory.into()));
        }
        let trial = aside(path);
        File::create(&trial).and_then(|_| std::fs::remove_file(&trial)).map_err(|error| output.unwritable(&error))?;
        Ok(output)
    }

    /// Writes the table of an artifact; the file has all of it or is as before.
    ///
    /// # Errors
    /// If the store or the file fails.
    pub fn write(&self, store: &Store, artifact: &Artifact) -> Result<(), CliError> {
        let part = artifact.part(ASSIGNMENTS.file).expect("BUG: assignments without their table");
        let bytes = store.map(part)?;
        let tmp = aside(&self.path);
        let write = || {
            let mut out = BufWriter::new(File::create(&tmp)?);
            if self.is_csv {
                Assignments::open(&bytes).map_err(io::Error::other)?.write_csv(&mut out)?;
            } else {
                out.write_all(&bytes)?;
            }
            out.into_inner()?.sync_all()?;
            std::fs::rename(&tmp, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&tmp);
            self.unwritable(&error)
        })
    }

    fn unwritable(&self, error: &io::Error) -> CliError {
        let why = self.path.parent().map_or_else(|| error.to_string(), |folder| blocked::why(folder, error));
        CliError::Files(format!("could not write {}: {why}; name another file with -o", self.path.display()))
    }
}
