//! state: the ladder that every node climbs, and the moves that are legal on it.

/// The state of a node.
///
/// ```text
/// Unwanted -> Wanted -> Hit          its record is there
///                \       \-> Ready   ... but needed bytes are missing
///                 \-> Ready -> Running -> Ran
///                      |  ^\-> Hit   another process made it in the meantime
///                      v  |
///                    Waiting         another process is making it
/// Running -> Ready         bytes that it reads are missing
/// Wanted | Ready | Waiting | Running -> Failed, Skipped
/// Hit | Ready | Waiting | Ran -> Wanted   something before it gave other bytes than it used to
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Nothing needs it.
    Unwanted,
    /// Needed; its key is not known yet, or not looked up.
    Wanted,
    /// Its key has a record. Its bytes may have been evicted: that is no reason to run it.
    Hit,
    /// It must run, and waits for its pool, or for an input whose bytes are being rebuilt.
    Ready,
    /// Like Ready, but another process has the right to make it (see [`crate::store::KeyLock`]).
    Waiting,
    /// A worker has it.
    Running,
    /// It ran and its record is committed.
    Ran,
    /// It ran and failed.
    Failed,
    /// It will not run any more.
    Skipped,
}

impl NodeState {
    /// Whether the node's result is known.
    pub const fn is_satisfied(self) -> bool {
        matches!(self, Self::Hit | Self::Ran)
    }

    /// Whether nothing more will happen to it.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Unwanted | Self::Hit | Self::Ran | Self::Failed | Self::Skipped)
    }

    /// Moves to `next`.
    ///
    /// # Panics
    /// On a move that the ladder does not have, which is a bug of the executor.
    pub fn advance(&mut self, next: Self) {
        use NodeState::{Failed, Hit, Ran, Ready, Running, Skipped, Unwanted, Waiting, Wanted};
        let legal = matches!(
            (*self, next),
            (Unwanted, Wanted)
                | (Wanted, Hit | Ready | Skipped | Failed)
                | (Hit, Ready | Wanted) // the bytes are needed and missing | an input drifted
                | (Ready, Running | Waiting | Hit | Skipped | Failed | Wanted)
                | (Waiting, Ready | Skipped | Failed | Wanted)
                | (Running, Ran | Failed | Skipped | Ready) // what it reads is missing
                | (Ran, Wanted | Ready) // an input drifted | evicted, and needed again
        );
        assert!(legal, "BUG: a node moves from {self:?} to {next:?}");
        *self = next;
    }
}
