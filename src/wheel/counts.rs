//! The number of rows in each slot, kept up to date at O(1) for each row.
//!
//! A row that leaves a slot must be subtracted from the right count, but a row in the middle of a
//! list does not show which list that is. So a label in each row says where it was filed: the level, and
//! as many bits of the span's number as fit. When a slot comes due, it moves as a whole in one
//! step, and the labels stay. A label that the hand has passed tells that its row is due. This
//! fails only for a row that has been due for thousands of seconds without being popped. The
//! reaper's thread never lets that happen. An owner that runs the reaper's work by hand and forgets
//! it for an hour may. In that case some counts are too low until their slots are empty, and `check`
//! no longer compares any.

pub(super) struct Counts {
    /// The number of rows in each slot of the levels that were needed so far, level by level. A
    /// level may have fewer than 64 slots.
    pub(super) slots: Vec<[u32; 64]>,
    /// The first second at which rows became due that have not all been popped.
    pub(super) due_since: u64,
    /// Whether no row was ever due for so long that its label may be misread.
    pub(super) exact: bool,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), due_since: 0, exact: true }
    }

    /// Extends the counts to this many levels.
    pub(super) fn grow(&mut self, levels: usize) {
        self.slots.reserve_exact(levels.saturating_sub(self.slots.len()));
        self.slots.resize(levels, [0; 64]);
    }
}
