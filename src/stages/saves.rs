//! saves: when a stage saves what it has done, and what marks the files of a save.

use crate::base::clock::Stopwatch;
use crate::engine::{Context, Input};
use crate::format::Metadata;
use anyhow::Context as _;
use std::time::Duration;

/// Between two saves: each writes the weights and their momentum, 0.5 GB for AlexNet.
const SAVE_AFTER: Duration = Duration::from_secs(120);
/// In the files of a save: the node's key and the save's name. A later save deletes an earlier one by its content. No
/// other save and no result may have that content.
const OWNER_KEY: &str = "dcpipe.save";

/// The time of the next save.
pub(super) struct Saves {
    every: Option<u32>,
    since: Stopwatch,
}

impl Saves {
    /// Saves after so many steps, or every two minutes.
    pub(super) fn new(every: Option<u32>) -> Self {
        Self { every, since: Stopwatch::new() }
    }

    /// Whether a pass of `total` steps saves after `done`. An interrupted one does at once; the last step makes the
    /// result itself.
    pub(super) fn is_due(&self, done: u64, total: u64, cx: &Context<'_>) -> bool {
        let is_time = match self.every {
            Some(every) => done.is_multiple_of(u64::from(every)),
            None => self.since.elapsed() >= SAVE_AFTER,
        };
        done < total && (is_time || cx.is_interrupted())
    }

    /// Counts from now.
    pub(super) fn restart(&mut self) {
        self.since = Stopwatch::new();
    }
}

/// The name of a save after so many steps.
pub(super) fn after_step(steps: u64) -> String {
    format!("after step {steps}")
}

/// The newest save behind one of the steps 1 to `last`, and which step that is.
pub(super) fn newest<'a>(cx: &mut Context<'a>, last: u64) -> anyhow::Result<Option<(u64, Input<'a>)>> {
    let Some((name, saved)) = cx.saved((1..=last).rev().map(after_step))? else { return Ok(None) };
    let step = (1..=last).rev().find(|step| after_step(*step) == name);
    let step = step.with_context(|| format!("BUG: no save of this name was asked for: {name:?}"))?;
    Ok(Some((step, saved)))
}

/// What the files of the save `name` say of themselves.
pub(super) fn owner(name: &str, cx: &Context<'_>) -> Metadata {
    [(OWNER_KEY.to_owned(), format!("{} {name}", cx.key()))].into()
}
