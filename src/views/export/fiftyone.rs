//! fiftyone: labels.csv, which FiftyOne imports, and a script that opens it with the map.

use super::source::NO_VECTORS;
use super::{Job, csv, originals};
use crate::base::shell::shell;
use std::io::Write;

const SCRIPT: &str = include_str!("open_fiftyone.py");

/// Writes `labels.csv` and `open.py`.
pub(super) fn write(job: &Job<'_>) -> anyhow::Result<Vec<String>> {
    let map = job.source.projection()?;
    if map.is_none() {
        job.note(format!("there is no map: {NO_VECTORS}"));
    }
    csv::fiftyone(job, &originals::paths(job)?, map.as_deref())?;
    job.write("open.py", |out| Ok(out.write_all(SCRIPT.as_bytes())?))?;
    let script = job.to.join("open.py").display().to_string();
    Ok(vec![format!("python3 {}", shell(&script))])
}
