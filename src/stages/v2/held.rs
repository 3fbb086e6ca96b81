//! held: what decides the rest of a pass, between two steps: the network, and the bank so far.

use crate::base::ImageId;
use crate::engine::{Context, Input, Output};
use crate::format::metrics::{STEPS, open_steps, write_steps};
use crate::format::vectors::{self, bank_name};
use crate::format::{Metadata, RowsWriter, Step};
use crate::learn::arch::NetShape;
use crate::learn::tensors::StateDict;
use crate::learn::train_v2::{BANKED, TrainerV2};
use crate::stages::saves::{after_step, owner};
use crate::stages::weights;
use anyhow::ensure;

/// The projections of the first crops of each image.
pub(super) struct Rows {
    dims: usize,
    /// For each crop images x dims, by image.
    crops: [Vec<f32>; BANKED],
}

impl Rows {
    pub(super) fn new(images: usize, dims: usize) -> Self {
        Self { dims, crops: std::array::from_fn(|_| vec![0.; images * dims]) }
    }

    /// Takes the projections of some images, crop by crop.
    pub(super) fn put(&mut self, images: &[ImageId], banked: &[f32]) {
        let of_crop = banked.chunks_exact(images.len() * self.dims);
        for (rows, banked) in self.crops.iter_mut().zip(of_crop) {
            for (image, row) in images.iter().zip(banked.chunks_exact(self.dims)) {
                rows[image.index() * self.dims..][..self.dims].copy_from_slice(row);
            }
        }
    }

    /// Writes a part for each crop, with this metadata.
    pub(super) fn write(&self, out: &mut Output<'_>, metadata: &Metadata) -> anyhow::Result<()> {
        for (crop, rows) in self.crops.iter().enumerate() {
            let mut plan = vectors::plan(self.dims, ImageId(0), rows.len() / self.dims);
            plan.metadata = metadata.clone();
            out.write_part(&bank_name(crop), |out| {
                let mut writer = RowsWriter::<f32, _>::create(out, plan)?;
                writer.push(rows)?;
                writer.finish().map(drop)
            })?;
        }
        Ok(())
    }

    fn read(input: &Input<'_>, images: usize) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for crop in 0..BANKED {
            let rows = vectors::open(&[input.part(&bank_name(crop))?])?;
            ensure!(rows.rows() == images, "a bank of {} images, and the dataset has {images}", rows.rows());
            all.push((rows.width(), rows.iter().flat_map(|(_, numbers)| numbers.iter().copied()).collect::<Vec<_>>()));
        }
        let dims = all[0].0;
        let crops: [Vec<f32>; BANKED] = std::array::from_fn(|crop| std::mem::take(&mut all[crop].1));
        ensure!(crops.iter().all(|rows| rows.len() == images * dims), "crops of a bank that differ in their numbers");
        Ok(Self { dims, crops })
    }
}

/// Where a pass begins, or resumes.
pub(super) struct Held {
    pub(super) shape: NetShape,
    pub(super) state: StateDict,
    /// Empty where nothing is learned.
    pub(super) momentum: StateDict,
    /// What an interrupted pass had of the bank.
    pub(super) rows: Option<Rows>,
    pub(super) steps: Vec<Step>,
}

impl Held {
    /// What an interrupted run saved of a pass of so many batches.
    pub(super) fn saved(cx: &mut Context<'_>, total: u64, images: usize) -> anyhow::Result<Option<Self>> {
        let reopened = cx.saved((1..total).rev().map(after_step))?.map(|(_, saved)| reopen(&saved, images));
        match reopened {
            Some(Err(error)) => {
                cx.note(format!("what an interrupted run saved cannot be read ({error:#}); the pass starts anew"));
                Ok(None)
            }
            saved => saved.transpose(),
        }
    }
}

fn reopen(saved: &Input<'_>, images: usize) -> anyhow::Result<Held> {
    let (shape, state) = weights::read(saved)?;
    let momentum = weights::read_momentum(saved)?;
    let rows = Some(Rows::read(saved, images)?);
    Ok(Held { shape, state, momentum, rows, steps: open_steps(&saved.part(STEPS.file)?)? })
}

/// Saves a pass after its newest step. What is drawn is drawn by image, so nothing of it is saved.
pub(super) fn save(
    cx: &mut Context<'_>,
    shape: &NetShape,
    trainer: &TrainerV2,
    rows: &Rows,
    steps: &[Step],
) -> anyhow::Result<()> {
    let name = after_step(steps.len() as u64);
    let owner = owner(&name, cx);
    cx.save(&name, |out| {
        weights::write(out, shape, &trainer.weights()?, Some(&trainer.momentum()?), &owner)?;
        rows.write(out, &owner)?;
        out.write_part(STEPS.file, |out| write_steps(out, steps, &owner).map(drop))
    })
}
