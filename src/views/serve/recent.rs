//! recent: the last few of what takes long to open, by the digest of what it was opened from.

use crate::base::Digest;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A value that one thread opens while others that want the same wait.
type Slot<T> = Arc<Mutex<Option<Arc<T>>>>;

/// Opened values, the last used first.
pub(super) struct Recent<T> {
    most: usize,
    kept: Mutex<VecDeque<(Digest, Slot<T>)>>,
}

impl<T> Recent<T> {
    /// Keeps at most so many.
    pub(super) fn of(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The value of this digest; opens it where it is not kept. A failure is not kept.
    pub(super) fn get(&self, of: Digest, open: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Arc<T>> {
        let slot = self.slot(of);
        let mut slot = held(&slot);
        if let Some(there) = &*slot {
            return Ok(Arc::clone(there));
        }
        let opened = Arc::new(open()?);
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn slot(&self, of: Digest) -> Slot<T> {
        let mut kept = held(&self.kept);
        let at = kept.iter().position(|(digest, _)| *digest == of);
        let found = at.and_then(|at| kept.remove(at)).unwrap_or_else(|| (of, Slot::default()));
        kept.truncate(self.most.saturating_sub(1));
        kept.push_front(found);
        Arc::clone(&kept[0].1)
    }
}

/// Locks; what a panicking thread left is whole, for every change here is one assignment.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_are_kept_and_a_failure_is_tried_again() {
        let recent = Recent::of(2);
        let of = |n: u8| Digest::of(&[n]);
        assert!(recent.get(of(1), || anyhow::bail!("no")).is_err());
        let opened = |n| *recent.get(of(n), || Ok(n)).unwrap();
        assert_eq!([1, 2, 1, 3].map(opened), [1, 2, 1, 3]);
        assert_eq!(*recent.get(of(1), || panic!("1 is kept")).unwrap(), 1);
        assert!(recent.get(of(2), || anyhow::bail!("2 is not kept")).is_err());
    }
}
