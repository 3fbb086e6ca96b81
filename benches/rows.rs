//! rows: how long features take into the store: written, hashed and durable.
//!
//! Targets (row 6), 1 GB and more of single-precision numbers: no longer than `np.save` with an fsync, and at most 1/1.3 of the
//! time of pyarrow's IPC writer with one. The peers do not hash.

use crate::side::{Settings, floats, report, timed};
use dcpipe::format::{RowsWriter, features};
use dcpipe::store::Store;

/// Rows that come at a time, as from the network.
const BATCH: usize = 256;
/// Rows of a part: of 4,096 numbers about 134 MB, as a run makes them.
const PART: usize = 8192;

/// One repetition: all rows, as parts in a new store.
pub fn one(settings: &Settings) {
    let (numbers, dims) = (floats(&settings.path("features")), settings.number("dims"));
    let folder = settings.path("to");
    let store = Store::open(&folder.join("store")).unwrap();
    let write = |numbers: &[f32]| {
        let part = |(at, numbers): (usize, &[f32])| {
            let plan = features::plan(dims, numbers.len() / dims);
            let mut writer = RowsWriter::<f32, _>::create(store.create().unwrap(), plan).unwrap();
            numbers.chunks(BATCH * dims).for_each(|rows| writer.push(rows).unwrap());
            writer.finish().unwrap().finish(&format!("part-{at:05}.arrow")).unwrap()
        };
        numbers.chunks(PART * dims).enumerate().map(part).collect::<Vec<_>>()
    };
    write(&numbers[..BATCH * dims]);
    let (parts, spent) = timed(|| write(&numbers));
    let paths: Vec<_> = parts.iter().map(|part| store.path_of(part).display().to_string()).collect();
    report(&spent, &serde_json::json!({ "files": paths }));
}
