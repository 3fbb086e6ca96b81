//! retention: deletes bytes that nothing of this run will read any more, while it runs.

use crate::base::ObjectId;
use crate::engine::executor::Executor;
use crate::engine::plan::NodeId;
use crate::engine::{Event, Keep};

impl Executor<'_> {
    /// Deletes inputs of `id` that are kept until used and that nothing of this run will read any more.
    pub(super) fn retire_inputs(&mut self, id: NodeId) {
        let plan = self.plan;
        for (_, from) in &plan.node(id).inputs {
            let producer = plan.node(*from);
            let used = plan.consumers(*from).iter().all(|consumer| self.board.state(*consumer).is_satisfied());
            if producer.keep == Keep::All || !used || self.settings.to.contains(from) {
                continue;
            }
            let Some(record) = &self.records[from.index()] else { continue };
            let mut freed = 0;
            for part in &record.artifact.parts {
                if !self.is_kept_elsewhere(*from, part.object) && self.store.contains(part) {
                    freed += part.bytes;
                    if let Err(error) = self.store.evict(part.object) {
                        self.observer.observe(&Event::Note { node: producer.name(), text: error.to_string() });
                    }
                }
            }
            if freed > 0 {
                self.observer.observe(&Event::Evicted { node: producer.name(), bytes: freed });
            }
        }
    }

    /// Whether another artifact of this plan holds the same bytes and is still to be read or kept.
    fn is_kept_elsewhere(&self, owner: NodeId, object: ObjectId) -> bool {
        let near = self.plan.order().iter().filter(|id| **id != owner);
        near.filter(|id| {
            let live = |c: &NodeId| !self.board.state(*c).is_satisfied();
            self.plan.node(**id).keep == Keep::All || self.plan.consumers(**id).iter().any(live)
        })
        .filter_map(|id| self.records[id.index()].as_ref())
        .any(|record| record.artifact.parts.iter().any(|part| part.object == object))
    }
}
