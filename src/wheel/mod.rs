//! The wheel: rows by the second of their deadline, however far away it is.
//!
//! A hierarchical timing wheel after G. Varghese and T. Lauck, "Hashed and Hierarchical Timing
//! Wheels" (SOSP 1987). The wheel knows no key, no value, no lock and no clock. It is told a
//! deadline once, when a row is filed, and remembers only the slot; `now` is an argument. So a
//! deadline can move later without the wheel being told. When the slot comes due, the caller looks
//! up the real deadline, and either removes the row or files it again. So a row from a coarse slot
//! and a row of a touched entry are handled in the same way.
//!
//! | level | one slot is         | the level reaches |
//! |-------|---------------------|-------------------|
//! | 0     | 1 second            | a minute          |
//! | 1     | 64 seconds          | 67 minutes        |
//! | 2     | 68 minutes          | 3 days            |
//! | 3     | 3 days              | 191 days          |
//! | 4     | 194 days            | 33 years          |
//! | 5     | 34 years            | 2,100 years, and the timeline ends after 146 |
//!
//! The cost: a row with a time to live of up to a minute is filed once and popped once. A session
//! of two weeks is filed on level 3, and again on 2, 1 and 0: four moves in all if it is never
//! touched. If it is touched, it moves at most once in eleven days, however often that is, because
//! a touch moves no row. A level and those below it take memory from the first row on that is filed
//! there.
//!
//! Seconds: a deadline belongs to the second that ends at it or contains it. So second `s` holds
//! the deadlines after its first tick up to and including the first tick of `s + 1`. All of them
//! have passed when second `s` is completed, and none of them had passed a second before. For
//! example, the deadlines 105.3 and 106.0 are in second 105, which is due at 106.0.
//!
//! Invariants (`hand` is the first second that is not completed as far as the wheel was told):
//!
//! 1. A row on level 0 is in the slot of one of the seconds `hand ..= hand + 63`.
//! 2. A row on a coarser level is in a slot whose span has not begun: one of the 63 slots after the
//!    hand's slot. So a slot never stands for two spans, and the hand's own slot is empty.
//! 3. A row in the list `DUE` may be popped at any time. No other row is in a slot that has come
//!    due.
//! 4. A slot comes due no later than its row needs: at the end of the deadline's second or earlier.
//!    If the second of the deadline is completed already, the slot comes due at the end of the
//!    hand's second.
//! 5. Bit `i` of a level's occupancy word is set exactly if slot `i` of that level holds a row.
//!    Only levels without a row may be without lists.
//!
//! A deadline in the last, incomplete second of the timeline is never due: that second is never
//! completed.

mod counts;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;
#[cfg(all(any(test, fuzzing), not(tidewheel_loom)))]
mod trial;

#[cfg(fuzzing)]
pub use trial::fuzz;

use crate::rows::{Chain, Link, Lists, Row, RowId, Rows};
use crate::time::Tick;
use counts::Counts;

/// 64 slots on a level, or 4 under loom.
const SLOT_BITS: u32 = if cfg!(tidewheel_loom) { 2 } else { 6 };
/// Enough levels for every second of the timeline.
const LEVELS_NEEDED: usize = (Tick::NEVER.second().ilog2() / SLOT_BITS) as usize + 1;

/// The slot where a row was filed last. The next row often belongs there too, and this finds out
/// in fewer steps.
struct Latest {
    /// Deadlines after `after`, up to and including `until`, belong to the slot while the hand
    /// does not move.
    after: Tick,
    until: Tick,
    level: usize,
    span: u64,
}

impl Latest {
    /// The slot of no deadline.
    const NONE: Self = Self { after: Tick::NEVER, until: Tick::LONG_AGO, level: 0, span: 0 };
}

/// A slot, by its level and the number of its span.
#[derive(Clone, Copy)]
struct Slot {
    level: usize,
    span: u64,
}

/// Rows by deadline. `C` selects the link of a row that the wheel uses.
///
/// Every call borrows the rows. They must be the same ones each time.
pub(crate) struct Wheel<C, const BITS: u32 = SLOT_BITS, const LEVELS: usize = LEVELS_NEEDED> {
    /// The list of due rows, and one list for each slot of the levels that were needed so far,
    /// level by level.
    lists: Lists<C>,
    occupancy: [u64; LEVELS],
    /// The first second that is not completed.
    hand: u64,
    /// The end of that second. Until then the hand does not move.
    stays_until: Tick,
    latest: Latest,
    len: usize,
    counts: Counts,
}

impl<C, const BITS: u32, const LEVELS: usize> Wheel<C, BITS, LEVELS> {
    const SLOTS: u32 = 1 << BITS;
    /// The list of the rows whose slot has come due.
    const DUE: usize = 0;
    /// The list of the first slot of the finest level.
    const FIRST: usize = 1;

    /// Creates an empty wheel. What was due before `now` is overdue from the start.
    pub(crate) fn new(now: Tick) -> Self {
        const {
            assert!(BITS >= 1 && BITS <= 6, "a level's occupancy is one word");
            assert!(Tick::NEVER.second() >> (BITS * LEVELS as u32) == 0, "too few levels");
        }
        Self {
            lists: Lists::new(Self::FIRST),
            occupancy: [0; LEVELS],
            hand: now.second(),
            stays_until: Tick::start_of(now.second() + 1),
            latest: Latest::NONE,
            len: 0,
            counts: Counts::new(),
        }
    }

    /// Returns the number of filed rows.
    #[cfg(any(test, fuzzing))]
    fn len(&self) -> usize {
        self.len
    }

    /// Returns the earliest tick at which [`pop`](Self::pop) could yield a row, or `NEVER` if there
    /// is none.
    ///
    /// The result is exact for level 0. For a coarser slot it is the start of the slot's span,
    /// where the row is popped and filed again. It may lie in the past: then a row is due now.
    ///
    /// # Complexity
    ///
    /// O(levels).
    pub(crate) fn next_due(&self) -> Tick {
        if !self.lists.is_empty(Self::DUE) {
            return Tick::start_of(self.hand);
        }
        let due = (0..LEVELS).filter_map(|level| {
            let ahead = self.ahead(level);
            (ahead != 0).then(|| self.due_second(level, u64::from(ahead.trailing_zeros())))
        });
        due.min().map_or(Tick::NEVER, Tick::start_of)
    }

    /// Returns the start of the first second that is not completed: the latest time that the wheel
    /// knows to have come.
    pub(crate) fn reached(&self) -> Tick {
        Tick::start_of(self.hand)
    }

    /// Returns whether the row is filed.
    #[inline]
    pub(crate) fn is_filed<T: Row>(&self, rows: &Rows<T>, row: RowId) -> bool
    where
        C: Chain<T>,
    {
        C::link(&rows[row]).is_linked()
    }

    /// Files a row, so that it is popped in time for `deadline`, which must not be `NEVER`.
    ///
    /// A deadline that has passed is due when the current second ends. (The distance from the hand
    /// must be taken only after the deadline is known not to lie before the hand: an unsigned
    /// difference would be huge, and the row would go into the coarsest slot.)
    ///
    /// The slot is chosen as seen from the hand. After a long idle time, call
    /// [`advance`](Self::advance) first. Otherwise the row takes a coarser slot than it needs, and
    /// one move more.
    ///
    /// # Panics
    ///
    /// Panics if the row is filed already.
    #[inline]
    pub(crate) fn file<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, deadline: Tick)
    where
        C: Chain<T>,
    {
        debug_assert!(deadline < Tick::NEVER, "what never expires is not filed");
        let at = self.place(deadline);
        self.file_at(rows, row, at);
    }

    /// Files a row that may still be filed, by a previous deadline. The row stays where it is if it
    /// belongs in the same slot. Returns whether it stayed.
    #[inline(always)]
    pub(crate) fn file_anew<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, deadline: Tick) -> bool
    where
        C: Chain<T>,
    {
        let at @ Slot { level, span } = self.place(deadline);
        if self.is_filed(rows, row) {
            // The labels say nothing while something is due: a due row still has the label of its
            // slot, which has passed, and that label may be the same as that of a slot to come.
            if rows[row].label() == Self::label_of(level, span) && self.lists.is_empty(Self::DUE) {
                return true;
            }
            self.unfile(rows, row);
        }
        self.file_at(rows, row, at);
        false
    }

    #[inline(always)]
    fn file_at<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, at: Slot)
    where
        C: Chain<T>,
    {
        let Slot { level, span } = at;
        if !self.count_in(&mut rows[row], level, span) {
            return self.file_on_new_level(rows, row, at);
        }
        let slot = Self::slot_of(span);
        self.lists.push_back(rows, Self::list_of(level, slot), row);
        self.occupancy[level] |= 1 << slot;
        self.len += 1;
    }

    #[inline]
    fn list_of(level: usize, slot: usize) -> usize {
        Self::FIRST + (level << BITS | slot)
    }

    /// Adds lists for the levels up to the one where a row is to be filed, and files it.
    #[cold]
    #[inline(never)]
    fn file_on_new_level<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, at: Slot)
    where
        C: Chain<T>,
    {
        self.lists.grow(Self::list_of(at.level + 1, 0));
        self.counts.grow(at.level + 1);
        self.file_at(rows, row, at);
    }

    /// Returns the slot for a deadline, as seen from the hand: on the finest level that reaches the
    /// deadline.
    #[inline(always)]
    fn place(&mut self, deadline: Tick) -> Slot {
        if deadline <= self.latest.after || deadline > self.latest.until {
            self.find_place(deadline);
        }
        Slot { level: self.latest.level, span: self.latest.span }
    }

    /// Sets `latest` for a deadline. For a later second of the same span the level is the same: no
    /// finer level reaches it, and this one does.
    #[inline(never)]
    fn find_place(&mut self, deadline: Tick) {
        let second = second_of(deadline).max(self.hand);
        // No finer level reaches the deadline. This level or the next one does.
        let mut level = ((second - self.hand) | 1).ilog2() / BITS;
        if (second >> (level * BITS)) - (self.hand >> (level * BITS)) >= u64::from(Self::SLOTS) {
            level += 1;
        }
        let span = second >> (level * BITS);
        let (after, until) = (Tick::start_of(second), Tick::start_of((span + 1) << (level * BITS)));
        self.latest = Latest { after, until, level: level as usize, span };
    }

    /// Takes a row out of the wheel, if it is filed. O(1).
    #[inline]
    pub(crate) fn unfile<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId)
    where
        C: Chain<T>,
    {
        let filed = &mut rows[row];
        let link = std::mem::replace(C::link_mut(filed), Link::LOOSE);
        if !link.is_linked() {
            return;
        }
        let label = filed.label();
        self.count_off(label);
        if let Some(emptied) = self.lists.close(rows, link) {
            if emptied != Self::DUE {
                let slot = emptied - Self::FIRST;
                self.occupancy[slot >> BITS] &= !(1 << (slot as u32 & (Self::SLOTS - 1)));
            }
        }
        self.len -= 1;
    }

    /// Takes out one row that is due at `now`: its second is completed, or the span of its coarse
    /// slot has begun. The caller looks up its deadline, and removes the row or files it again.
    /// (The entry of a row from a coarse slot may have expired before its second is completed. The
    /// caller need not wait for that.)
    ///
    /// A row that is filed again is not popped at the same `now`, whether its deadline is after
    /// `now` or before. So a loop of pops ends. The loop may also be left after any number of pops
    /// and continued later. Rows may be filed and unfiled in between.
    ///
    /// # Complexity
    ///
    /// O(1), and [`advance`](Self::advance) for the first call of a second.
    #[inline]
    pub(crate) fn pop<T: Row>(&mut self, rows: &mut Rows<T>, now: Tick) -> Option<RowId>
    where
        C: Chain<T>,
    {
        self.advance(rows, now);
        let row = self.lists.pop_front(rows, Self::DUE)?;
        self.len -= 1;
        Some(row)
    }

    /// Puts a row back that was just popped. It may be popped again at once, after all other due
    /// rows.
    pub(crate) fn put_back<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId)
    where
        C: Chain<T>,
    {
        self.lists.push_back(rows, Self::DUE, row);
        self.len += 1;
    }

    /// Moves the hand to `now`, and moves whole slots that have come due into the list `DUE`. The
    /// hand never moves back.
    ///
    /// # Complexity
    ///
    /// O(1) for each slot that holds rows and has come due, however many rows it holds and however
    /// long the empty stretch before it is.
    #[inline]
    pub(crate) fn advance<T: Row>(&mut self, rows: &mut Rows<T>, now: Tick)
    where
        C: Chain<T>,
    {
        if now >= self.stays_until {
            self.advance_to(rows, now.second());
        }
    }

    #[inline(never)]
    fn advance_to<T: Row>(&mut self, rows: &mut Rows<T>, to: u64)
    where
        C: Chain<T>,
    {
        let from = self.hand;
        for level in 0..LEVELS {
            let (here, passed) =
                (block(from, level, BITS), block(to, level, BITS) - block(from, level, BITS));
            if passed == 0 {
                // No new span of any coarser level has begun either.
                break;
            }
            // On level 0, the slot that the hand reaches is not due before its second is completed.
            // On the other levels, a slot is due when its span begins.
            let count = if level == 0 { passed } else { passed + 1 };
            let mut due = self.ahead(level);
            if count < u64::from(Self::SLOTS) {
                due &= (1 << count) - 1;
            }
            while due != 0 {
                let slot = (here as u32).wrapping_add(due.trailing_zeros()) & (Self::SLOTS - 1);
                self.count_due(level, slot as usize, from);
                self.lists.append(rows, Self::list_of(level, slot as usize), Self::DUE);
                self.occupancy[level] &= !(1 << slot);
                due &= due - 1;
            }
        }
        self.hand = to;
        self.latest.until = Tick::LONG_AGO;
        self.stays_until = Tick::start_of(to + 1);
        self.note_hand();
    }

    /// Recounts the wheel.
    ///
    /// # Panics
    ///
    /// Panics where an invariant of this module is broken, given each row's real deadline.
    pub(crate) fn check<T: Row>(&self, rows: &Rows<T>, mut deadline_of: impl FnMut(RowId) -> Tick)
    where
        C: Chain<T>,
    {
        let mut found = self.lists.check(rows, Self::DUE, |_| {});
        for level in 0..LEVELS {
            let ahead = self.ahead(level);
            for distance in 0..Self::SLOTS {
                let slot = (block(self.hand, level, BITS) as u32).wrapping_add(distance) & (Self::SLOTS - 1);
                let due = self.due_second(level, u64::from(distance));
                let span = block(self.hand, level, BITS) + u64::from(distance);
                let list = Self::list_of(level, slot as usize);
                if list >= self.lists.count() {
                    assert_eq!(ahead, 0, "occupancy of level {level}, which has no lists");
                    break;
                }
                let count = self.lists.check(rows, list, |row| {
                    Self::check_label(rows[row].label(), level, span);
                    let needed = second_of(deadline_of(row)).max(self.hand) + 1;
                    assert!(
                        due <= needed,
                        "row {} on level {level} comes due at second {due}, its deadline needs {needed}",
                        row.index(),
                    );
                });
                assert_eq!(
                    ahead >> distance & 1 == 1,
                    count != 0,
                    "occupancy of level {level}, slot {slot}, which holds {count} rows",
                );
                self.check_count(level, slot as usize, count);
                assert!(
                    level == 0 || distance != 0 || count == 0,
                    "the span of slot {slot} on level {level} has begun, and it holds rows",
                );
                found += count;
            }
        }
        assert_eq!(found, self.len, "rows found in slots, rows counted");
        let filed = rows.ids().filter(|&id| C::link(&rows[id]).is_linked()).count();
        assert_eq!(filed, self.len, "rows that believe to be filed, rows counted");
    }

    /// Returns the occupancy of a level, rotated so that bit 0 is the hand's slot and bit `i` is
    /// the `i`th slot after it.
    #[inline]
    fn ahead(&self, level: usize) -> u64 {
        let word = self.occupancy[level];
        let hand = block(self.hand, level, BITS) as u32 & (Self::SLOTS - 1);
        let lap = if hand == 0 { 0 } else { word << (Self::SLOTS - hand) };
        (word >> hand | lap) & (u64::MAX >> (64 - Self::SLOTS))
    }

    /// Returns the second at whose start the slot `distance` slots ahead of the hand comes due.
    #[inline]
    fn due_second(&self, level: usize, distance: u64) -> u64 {
        let block = block(self.hand, level, BITS) + distance;
        if level == 0 { block + 1 } else { block << (level as u32 * BITS) }
    }
}

/// Returns the second that must be completed before a row with this deadline goes: the one that
/// ends at the deadline or contains it.
#[inline]
fn second_of(deadline: Tick) -> u64 {
    Tick::from_nanos(deadline.as_nanos().saturating_sub(1)).second()
}

/// Returns the number of the span of a level in which a second lies.
#[inline]
fn block(second: u64, level: usize, bits: u32) -> u64 {
    second >> (level as u32 * bits)
}

/// Counts how many rows stand where: see `counts.rs`.
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
