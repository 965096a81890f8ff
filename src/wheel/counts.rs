//! The number of rows in each slot, kept up to date at O(1) for each row.
//!
//! A row that leaves a slot must be subtracted from the right count, and a list cannot tell its
//! number from a row in the middle. So a label in each row says where it was filed: the level, and
//! as many bits of the span's number as fit. When a slot comes due, it moves as a whole in one
//! step, and the labels stay. A label that the hand has passed tells that its row is due. This
//! fails only for a row that has been due for thousands of seconds without being popped. The
//! reaper's thread never lets that happen. An owner that runs the reaper's work by hand and forgets
//! it for an hour may. In that case the counts are not claimed to be exact until those slots are
//! empty again.

use super::{Wheel, block};
use crate::rows::Row;
use crate::time::Tick;

pub(super) struct Counts {
    /// The number of rows in each slot of the levels that were needed so far, level by level. A
    /// level may have fewer than 64 slots.
    slots: Vec<[u32; 64]>,
    /// The first second at which rows became due that have not all been popped.
    due_since: u64,
    /// Whether no row was ever due for so long that its label may be misread.
    exact: bool,
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

impl<C, const BITS: u32, const LEVELS: usize> Wheel<C, BITS, LEVELS> {
    /// The bits of a label that are for the span's number. The others are for the level.
    const SPAN_BITS: u32 = (LEVELS - 1).leading_zeros() - (usize::BITS - u16::BITS);
    /// The number of spans after a row's own that the label distinguishes from it.
    const TELLABLE: u64 = 1 << Self::SPAN_BITS;

    /// Counts a row that is filed on `level`, in the slot of `span`. Returns false, and does
    /// nothing, if that level was not needed so far.
    #[inline]
    pub(super) fn count_in<T: Row>(&mut self, row: &mut T, level: usize, span: u64) -> bool {
        let Some(counts) = self.counts.slots.get_mut(level) else { return false };
        counts[Self::slot_of(span)] += 1;
        row.set_label(Self::label_of(level, span));
        true
    }

    /// Returns the label of a row that is filed there.
    #[inline]
    pub(super) fn label_of(level: usize, span: u64) -> u16 {
        (level << Self::SPAN_BITS) as u16 | (span & (Self::TELLABLE - 1)) as u16
    }

    /// Subtracts a row that is about to leave its slot or, if that has come due, the list of due
    /// rows.
    #[inline(always)]
    pub(super) fn count_off(&mut self, label: u16) {
        let level = usize::from(label >> Self::SPAN_BITS);
        let here = block(self.hand, level, BITS);
        let ahead = u64::from(label).wrapping_sub(here) & (Self::TELLABLE - 1);
        // A coarse slot comes due when its span begins.
        if ahead < u64::from(Self::SLOTS) && (level == 0 || ahead != 0) {
            let count = &mut self.counts.slots[level][Self::slot_of(here + ahead)];
            *count = count.saturating_sub(1);
        }
    }

    /// Notes that the hand has moved. The label of a row that has been due for too long may be
    /// misread.
    pub(super) fn note_hand(&mut self) {
        if !self.lists.is_empty(Self::DUE) && self.hand - self.counts.due_since >= Self::TELLABLE - 64 {
            self.counts.exact = false;
        }
    }

    /// Subtracts a slot that comes due. Must be called before its rows are moved.
    pub(super) fn count_due(&mut self, level: usize, slot: usize, from: u64) {
        if self.lists.is_empty(Self::DUE) {
            self.counts.due_since = from;
        }
        self.counts.slots[level][slot] = 0;
    }

    /// Returns how many rows are in slots whose earliest deadline is not after `until`, including
    /// due rows and rows of the current second. The result is never less than the number of rows
    /// with such a deadline.
    ///
    /// # Complexity
    ///
    /// O(slots).
    pub(crate) fn due_by(&self, until: Tick) -> usize {
        let later = self.counts.slots.iter().enumerate().map(|(level, counts)| {
            let here = block(self.hand, level, BITS);
            // The hand's own slot on the finest level also holds rows whose deadline had passed
            // when they were filed.
            let slots = (1..u64::from(Self::SLOTS)).map(|distance| here + distance);
            // Deadlines lie after the start of the span.
            let late = slots.filter(|span| Tick::start_of(span << (level as u32 * BITS)) >= until);
            late.map(|span| counts[Self::slot_of(span)] as usize).sum::<usize>()
        });
        self.len - later.sum::<usize>().min(self.len)
    }

    #[inline]
    pub(super) fn slot_of(span: u64) -> usize {
        span as usize & (Self::SLOTS as usize - 1)
    }

    /// Recounts a slot.
    pub(super) fn check_count(&self, level: usize, slot: usize, found: usize) {
        if self.counts.exact {
            let counted = self.counts.slots[level][slot] as usize;
            assert_eq!(counted, found, "rows counted on level {level} in slot {slot}, rows found");
        }
    }

    /// Checks the label of a row in a slot.
    pub(super) fn check_label(label: u16, level: usize, span: u64) {
        assert_eq!(usize::from(label >> Self::SPAN_BITS), level, "level of a row");
        assert_eq!(u64::from(label) & (Self::TELLABLE - 1), span & (Self::TELLABLE - 1), "its span");
    }
}

#[cfg(any(test, fuzzing))]
impl<C, const BITS: u32, const LEVELS: usize> Wheel<C, BITS, LEVELS> {
    /// Compares `due_by` with the real deadlines of the filed rows: it is never too low, never
    /// lower for a later time, and all rows in the end.
    pub(super) fn check_due_by(&self, deadlines: impl Iterator<Item = Tick> + Clone) {
        use crate::time::{SECOND, Span};
        let mut before = 0;
        for seconds in [0, 1, 2, 3, 62, 63, 64, 65, 200, 4096, 100_000, 1 << 25, 1 << 31] {
            for nanos in [0, 1, SECOND / 2] {
                let until = Tick::start_of(self.hand).after(Span::from_nanos(seconds * SECOND + nanos));
                let (count, least) =
                    (self.due_by(until), deadlines.clone().filter(|&at| at <= until).count());
                assert!(count >= least, "{count} due by {until:?}, of {least}");
                assert!(count >= before, "{count} due by {until:?}, and {before} before that");
                before = count;
            }
        }
        assert_eq!(self.due_by(Tick::NEVER), self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Chain, Kept, Link, RowId, Rows};
    use crate::time::{SECOND, Span};

    struct Lone {
        link: Link,
        live: bool,
        label: u16,
    }

    impl Default for Lone {
        fn default() -> Self {
            Self { link: Link::LOOSE, live: false, label: 0 }
        }
    }

    impl Kept for Lone {
        type Memory = Vec<Box<[Self]>>;
    }

    impl Row for Lone {
        fn is_live(&self) -> bool {
            self.live
        }

        fn set_live(&mut self, live: bool) {
            self.live = live;
        }

        fn label(&self) -> u16 {
            self.label
        }

        fn set_label(&mut self, label: u16) {
            self.label = label;
        }
    }

    struct Only;

    impl Chain<Lone> for Only {
        fn link(row: &Lone) -> &Link {
            &row.link
        }

        fn link_mut(row: &mut Lone) -> &mut Link {
            &mut row.link
        }
    }

    fn at(seconds: u64, nanos: u64) -> Tick {
        Tick::from_nanos(seconds * SECOND + nanos)
    }

    struct Bench {
        rows: Rows<Lone>,
        wheel: Wheel<Only, 6, 6>,
    }

    impl Bench {
        /// Creates a wheel at second 100 with rows of these deadlines.
        fn with(deadlines: &[Tick]) -> (Self, Vec<RowId>) {
            let mut bench = Self { rows: Rows::new(), wheel: Wheel::new(at(100, 0)) };
            let rows = deadlines.iter().map(|&deadline| bench.file(deadline)).collect();
            (bench, rows)
        }

        fn file(&mut self, deadline: Tick) -> RowId {
            let row = self.rows.insert(Lone::default()).ok().unwrap();
            self.wheel.file(&mut self.rows, row, deadline);
            row
        }

        fn counts(&self, untils: &[Tick]) -> Vec<usize> {
            self.wheel.check(&self.rows, |_| Tick::NEVER);
            untils.iter().map(|&until| self.wheel.due_by(until)).collect()
        }
    }

    /// Up to a minute ahead, the count is exact to the second.
    #[test]
    fn exact_to_the_second_within_the_finest_level() {
        let (bench, _) = Bench::with(&[at(101, 0), at(101, 1), at(102, 0), at(105, 5), at(163, 0)]);
        let untils = [at(100, 0), at(100, 1), at(101, 0), at(101, 1), at(102, 0), at(105, 5), at(163, 0)];
        assert_eq!(bench.counts(&untils), [1, 1, 1, 3, 3, 4, 5]);
    }

    /// Farther ahead it counts whole slots, as soon as one of their deadlines may be included.
    #[test]
    fn a_coarse_slot_counts_as_a_whole() {
        let (bench, _) = Bench::with(&[at(200, 0), at(250, 0), at(300, 0)]);
        assert_eq!(bench.counts(&[at(191, 0), at(192, 1), at(255, 0), at(256, 1)]), [0, 2, 2, 3]);
    }

    #[test]
    fn what_leaves_is_counted_off_wherever_it_stands() {
        let (mut bench, rows) = Bench::with(&[at(101, 0), at(110, 0), at(110, 0), at(500, 0), at(101, 0)]);
        bench.wheel.unfile(&mut bench.rows, rows[1]);
        assert_eq!(bench.counts(&[at(101, 0), at(110, 0), at(600, 0)]), [2, 3, 4]);
        // Two rows become due, and a lap later other rows are in the same slots.
        bench.wheel.advance(&mut bench.rows, at(105, 0));
        bench.file(at(165, 0));
        bench.wheel.unfile(&mut bench.rows, rows[0]);
        assert_eq!(bench.counts(&[at(105, 0), at(110, 0), at(165, 0), at(600, 0)]), [1, 2, 3, 4]);
        assert_eq!(bench.wheel.pop(&mut bench.rows, at(105, 0)), Some(rows[4]));
        assert_eq!(bench.counts(&[at(105, 0), at(110, 0), at(165, 0), at(600, 0)]), [0, 1, 2, 3]);
    }

    /// Labels come round when there is no sweep for hours. The count is then a little too high at
    /// worst, and right again afterwards.
    #[test]
    fn labels_that_come_round_do_not_make_it_too_low() {
        let (mut bench, rows) = Bench::with(&[at(101, 0)]);
        let later = at(100, 0).after(Span::from_nanos(8192 * SECOND));
        bench.wheel.advance(&mut bench.rows, later);
        let young = bench.file(later.after(Span::from_nanos(1)));
        bench.wheel.unfile(&mut bench.rows, rows[0]);
        assert!(bench.wheel.due_by(later.after(Span::from_nanos(SECOND))) >= 1);
        bench.wheel.check(&bench.rows, |_| Tick::NEVER);
        bench.wheel.unfile(&mut bench.rows, young);
        assert_eq!(bench.wheel.due_by(Tick::NEVER), 0);
    }
}
