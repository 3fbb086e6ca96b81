//! held: events kept back for as long as a run may still turn out to be none.

use crate::engine::{Event, Observer};
use std::cell::RefCell;

/// A listener behind a door. What is said before the door opens is heard then.
pub(super) struct Held<'a> {
    listener: &'a dyn Observer,
    /// What was said so far; nothing is kept once the door is open.
    kept: RefCell<Option<Vec<Event>>>,
}

impl<'a> Held<'a> {
    /// With the door open, or shut.
    pub(super) fn new(listener: &'a dyn Observer, open: bool) -> Self {
        Self { listener, kept: RefCell::new((!open).then(Vec::new)) }
    }

    /// Tells, now or later.
    pub(super) fn observe(&self, event: &Event) {
        match &mut *self.kept.borrow_mut() {
            Some(kept) => kept.push(event.clone()),
            None => self.listener.observe(event),
        }
    }

    /// Opens the door.
    pub(super) fn open(&self) {
        for event in self.kept.take().unwrap_or_default() {
            self.listener.observe(&event);
        }
    }
}
