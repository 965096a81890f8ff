//! What the policy will look at soon, for whoever can have it brought near. A guess, and nothing depends on it.

use super::{MAIN, Policy, SMALL};
use crate::rows::RowId;

impl Policy {
    /// Which row is looked at first for the next victim, and which one after it.
    #[inline]
    pub(crate) fn next_out(&self) -> (Option<RowId>, Option<RowId>) {
        let too_much = self.weight[SMALL] >= self.border.part_of(self.room());
        let queue = if self.len[MAIN] == 0 || too_much { SMALL } else { MAIN };
        let first = self.queues.front(queue);
        (first, first.and_then(|row| self.queues.after(&self.rows, row)))
    }

    /// Where a row's place in its queue is kept.
    #[inline]
    pub(crate) fn place_of(&self, row: RowId) -> &impl Sized {
        self.rows.get_ref(row)
    }

    /// Where it is kept that a key of this hash went, if it is.
    #[inline]
    pub(crate) fn memory_of(&self, hash: u32) -> Option<&u32> {
        self.ghost.memory_of(hash)
    }
}
