//! What the policy will look at soon, for whoever can have it prefetched. A guess, and nothing depends on it.

use super::{MAIN, Policy, SMALL};
use crate::rows::{Memory, RowId};

impl Policy {
    /// Which row is looked at first for the next victim.
    #[inline]
    pub(crate) fn next_out(&self) -> Option<RowId> {
        let too_much = self.weight[SMALL] >= self.target.part_of(self.room());
        let queue = if self.len[MAIN] == 0 || too_much { SMALL } else { MAIN };
        self.queues.front(queue)
    }

    /// And which one after it.
    #[inline]
    pub(crate) fn after(&self, row: RowId) -> Option<RowId> {
        self.queues.after(&self.rows, row)
    }

    /// Has a row's place in its queue prefetched.
    #[inline]
    pub(crate) fn prefetch(&self, row: RowId) {
        self.rows.0.prefetch(row);
    }

    /// Where it is kept that a key of this hash went, if it is.
    #[inline]
    pub(crate) fn memory_of(&self, hash: u32) -> Option<&u32> {
        self.ghost.memory_of(hash)
    }
}
