//! template: what a node is at every epoch, with nothing left open but the epoch.

use crate::base::Epoch;
use crate::base::tree::Entry;
use crate::engine::{AnyStage, Keep, StageDef};
use crate::pipeline::every::Every;
use crate::pipeline::spec::Section;
use std::sync::Arc;

/// A pipeline with nothing left open.
pub(super) struct Resolved {
    pub(super) name: String,
    pub(super) seed: u64,
    pub(super) epochs: u32,
    pub(super) keep: Vec<(String, Keep)>,
    pub(super) once: Vec<Template>,
    pub(super) each_epoch: Vec<Template>,
}

/// A stage, and the epoch from which on it is this one.
pub(super) type FromEpoch = (u32, Arc<dyn AnyStage>);

/// What a node is at every epoch.
pub(super) struct Template {
    pub(super) noun: String,
    pub(super) def: &'static StageDef,
    /// The parameters with their variables replaced; schedules are still schedules.
    pub(super) with: Vec<Entry>,
    /// The first is from epoch 1.
    pub(super) stages: Vec<FromEpoch>,
    pub(super) wires: Vec<Wire>,
    /// At which epochs it is there.
    pub(super) every: Every,
    /// How long its bytes stay, where the file says.
    pub(super) asked: Option<Keep>,
    /// Whether the file does not write it.
    pub(super) is_implied: bool,
}

/// What a port reads; numbers count the nodes of a section in the file's order.
pub(super) struct Wire {
    pub(super) port: &'static str,
    pub(super) reads: Reads,
    /// `NOUN` or `NOUN@prev`.
    pub(super) written: String,
}

/// Where a wire begins.
pub(super) enum Reads {
    /// A node under once.
    Once(usize),
    /// This epoch's node; nothing at an epoch that has none.
    Now(usize),
    /// The newest node of an earlier epoch; before the first of them that under once, where there is one.
    Last { each_epoch: usize, once: Option<usize> },
}

impl Template {
    /// The stage at an epoch; all epochs with equal parameters share one.
    pub(super) fn stage(&self, epoch: Epoch) -> &Arc<dyn AnyStage> {
        let after = self.stages.partition_point(|(from, _)| *from <= epoch.0);
        &self.stages[after.saturating_sub(1)].1
    }

    /// How long the bytes stay.
    pub(super) fn keep(&self) -> Keep {
        self.asked.unwrap_or(self.def.keep)
    }

    /// Whether somebody asked for the bytes of an epoch, so that a run rebuilds missing ones. The last epoch's weights
    /// are what a run is for, and need not be asked for.
    pub(super) fn is_asked_for(&self, epoch: Epoch, epochs: u32) -> bool {
        let is_result = matches!(self.keep(), Keep::Every(_)) && epoch.0 == epochs && epoch.0 > 0;
        is_result || self.asked.is_some_and(|keep| keep.stays(epoch, epochs))
    }
}

/// What is known of all nodes before any is made: registry lines and epochs, in the order of the file.
pub(super) struct Defs {
    pub(super) once: Vec<&'static StageDef>,
    pub(super) each_epoch: Vec<&'static StageDef>,
    /// Of those under `each_epoch`.
    pub(super) every: Vec<Every>,
}

impl Defs {
    pub(super) fn section(&self, section: Section) -> &[&'static StageDef] {
        match section {
            Section::Once => &self.once,
            Section::EachEpoch => &self.each_epoch,
        }
    }
}
