//! metrics: named numbers of an epoch, and the losses of its training steps.

use super::error::{Result, bad_value};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use bytes::Bytes;
use std::io::Write;

/// The table of named numbers.
pub static METRICS: Kind = Kind {
    name: "metrics",
    version: 1,
    file: "metrics.parquet",
    container: Container::Parquet,
    fields: &[
        field("name", Holds::Text, "such as nmi_previous"),
        field("value", Holds::One(Scalar::F64), "in the unit its name ends in"),
    ],
    metadata: &[],
    rows: "in the order they are shown in",
};

/// A named number.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// Writes `metrics.parquet`.
pub fn write_metrics<W: Write + Send>(out: W, metrics: &[Metric]) -> Result<W> {
    write_groups(out, &METRICS, &Metadata::new(), metrics.len(), |rows| metric_columns(&metrics[rows]))
}

/// The columns of some rows of `metrics.parquet`.
pub(super) fn metric_columns(metrics: &[Metric]) -> Vec<Column> {
    let all = || metrics.iter();
    vec![Column::text(all().map(|metric| &metric.name)), Column::f64(all().map(|metric| metric.value))]
}

/// Reads `metrics.parquet`.
pub fn open_metrics(bytes: &Bytes) -> Result<Vec<Metric>> {
    let table = Table::open(&METRICS, bytes)?;
    let (names, values) = (table.text("name")?, table.f64("value")?);
    Ok(names.iter().zip(values).map(|(name, value)| Metric { name: name.to_owned(), value }).collect())
}

/// The table of training steps.
pub static STEPS: Kind = Kind {
    name: "steps",
    version: 1,
    file: "steps.parquet",
    container: Container::Parquet,
    fields: &[
        field("step", Holds::One(Scalar::I64), "within the epoch, ascending"),
        field("images", Holds::One(Scalar::I64), "images in the step's batch"),
        field("loss", Holds::One(Scalar::F64), "mean cross-entropy of the batch, in nats"),
        field("lr", Holds::One(Scalar::F64), "learning rate of the body"),
    ],
    metadata: &[],
    rows: "by step",
};

/// A training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number within the epoch.
    pub step: u64,
    /// Images in its batch.
    pub images: u64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Learning rate of the body.
    pub lr: f64,
}

/// Mean loss of the last tenth of the steps, at least one; none of no steps.
pub fn end_loss(steps: &[Step]) -> Option<f64> {
    let last = &steps[steps.len() - steps.len().div_ceil(10)..];
    (!last.is_empty()).then(|| last.iter().map(|step| step.loss).sum::<f64>() / last.len() as f64)
}

/// Mean loss of an image over all steps; 0 of no steps.
pub fn mean_loss(steps: &[Step]) -> f64 {
    let images: u64 = steps.iter().map(|step| step.images).sum();
    steps.iter().map(|step| step.loss * step.images as f64).sum::<f64>() / images.max(1) as f64
}

/// Writes `steps.parquet`, with `metadata` beside the format's own.
pub fn write_steps<W: Write + Send>(out: W, steps: &[Step], metadata: &Metadata) -> Result<W> {
    write_groups(out, &STEPS, metadata, steps.len(), |rows| step_columns(&steps[rows]))
}

/// The columns of some rows of `steps.parquet`.
pub(super) fn step_columns(steps: &[Step]) -> Vec<Column> {
    let all = || steps.iter();
    vec![
        Column::i64(all().map(|step| step.step as i64)),
        Column::i64(all().map(|step| step.images as i64)),
        Column::f64(all().map(|step| step.loss)),
        Column::f64(all().map(|step| step.lr)),
    ]
}

/// Reads `steps.parquet`.
pub fn open_steps(bytes: &Bytes) -> Result<Vec<Step>> {
    let table = Table::open(&STEPS, bytes)?;
    let (steps, images) = (table.counts("step", i64::MAX as u64)?, table.counts("images", i64::MAX as u64)?);
    let (loss, lr) = (table.f64("loss")?, table.f64("lr")?);
    if let Some(row) = steps.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(bad_value(STEPS.tag(), "step", row + 1, "not after the step before"));
    }
    let rows = (0..steps.len()).map(|row| Step { step: steps[row], images: images[row], loss: loss[row], lr: lr[row] });
    Ok(rows.collect())
}
