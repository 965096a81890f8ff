//! What the policy will probably access soon, for callers that can prefetch it. Nothing depends on
//! these guesses.

use super::{MAIN, Policy, SMALL};
use crate::rows::{Memory, RowId};

impl Policy {
    /// Returns the row that is considered first for the next victim.
    #[inline]
    pub(crate) fn next_out(&self) -> Option<RowId> {
        let too_much = self.weight[SMALL] >= self.target.part_of(self.room());
        let queue = if self.len[MAIN] == 0 || too_much { SMALL } else { MAIN };
        self.queues.front(queue)
    }

    /// Returns the row that is considered after `row`.
    #[inline]
    pub(crate) fn after(&self, row: RowId) -> Option<RowId> {
        self.queues.after(&self.rows, row)
    }

    /// Prefetches a row's place in its queue.
    #[inline]
    pub(crate) fn prefetch(&self, row: RowId) {
        self.rows.0.prefetch(row);
    }

    /// Returns the memory in which the ghost keeps a key of this hash, if the ghost has any.
    #[inline]
    pub(crate) fn memory_of(&self, hash: u32) -> Option<&u32> {
        self.ghost.memory_of(hash)
    }
}
