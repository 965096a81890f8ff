//! The wheel: rows by the second in which their deadline lies, however far away it is.
//!
//! A hierarchical timing wheel after G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels"
//! (SOSP 1987). It never knows a deadline, a key, a value, a lock or a clock: it is told a deadline once,
//! when a row is filed, and remembers only the slot; `now` is an argument. So a deadline can move later
//! without the wheel being told. When the slot comes due, the caller looks up the real deadline, and
//! either removes the row or files it again. A coarse slot that is broken up and an entry that was
//! touched are therefore one case.
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
//! What it costs: a time to live of up to a minute is filed once and popped once. A session of two
//! weeks is filed on level 3, and again on 2, 1 and 0: four moves in all if it is never touched. If it
//! is touched it moves once in eleven days or more, however often that is, because a touch moves nothing.
//! The slots of a level, and of those below it, take memory from the first row on that is filed there.
//!
//! Seconds: a deadline belongs to the second that ends at it or is running at it, so second `s` holds the
//! deadlines after its first tick up to and including the first tick of `s + 1`. All of them are over
//! when second `s` is completed, and none of them was a second before. So the deadlines 105.3 and 106.0 are in second 105,
//! which is due at 106.0.
//!
//! Invariants (`hand` is the first second that is not completed as far as the wheel was told):
//!
//! 1. A row on level 0 stands in the slot of one of the seconds `hand ..= hand + 63`.
//! 2. A row on a coarser level stands in a slot whose span has not begun: the one after the hand's slot, up
//!    to 63 further. A slot thus never means two spans, and the hand's own slot is empty.
//! 3. A row in the list `DUE` may be popped at any time. There is no other row whose slot has come due.
//! 4. A slot comes due no later than its row needs: at the end of the deadline's second or earlier; for
//!    a deadline whose second is completed already, at the end of the hand's second.
//! 5. Bit `i` of a level's occupancy word is set exactly if slot `i` of that level holds a row. Only levels without a
//!    row may be without lists.
//!
//! A deadline in the last, broken second of the timeline is never due: that second is never completed.

mod counts;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;

use crate::rows::{Chain, Lists, Row, RowId, Rows};
use crate::time::Tick;
use counts::Counts;

/// 64 slots on a level, or 4 under loom.
const SLOT_BITS: u32 = if cfg!(tidewheel_loom) { 2 } else { 6 };
/// Levels enough for every second of the timeline.
const LEVELS_NEEDED: usize = (Tick::NEVER.second().ilog2() / SLOT_BITS) as usize + 1;

/// Rows by deadline. `C` says which link of a row the wheel may use.
///
/// The rows themselves are lent to every call; they must be the same ones each time.
pub(crate) struct Wheel<C, const BITS: u32 = SLOT_BITS, const LEVELS: usize = LEVELS_NEEDED> {
    /// The list of what is due, and one for each slot, level by level, of the levels that were needed so far.
    lists: Lists<C>,
    occupancy: [u64; LEVELS],
    /// The first second that is not completed.
    hand: u64,
    /// Its end: until then the hand stays where it is.
    stays_until: Tick,
    len: usize,
    counts: Counts,
}

impl<C, const BITS: u32, const LEVELS: usize> Wheel<C, BITS, LEVELS> {
    const SLOTS: u32 = 1 << BITS;
    /// The list of the rows whose slot has come due.
    const DUE: usize = 0;
    /// The list of the first slot of the finest level.
    const FIRST: usize = 1;

    /// An empty wheel. What was due before `now` is overdue from the start.
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
            len: 0,
            counts: Counts::new(),
        }
    }

    /// The number of filed rows.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    /// The earliest tick at which [`pop`](Self::pop) could yield a row; `NEVER` if there is none.
    ///
    /// Exact for level 0; for a coarser slot it is the start of its span, where the row is popped and
    /// filed again. It may lie in the past: then a row is due now.
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

    /// The start of the first second that is not completed: the latest time that the wheel knows to have
    /// come.
    pub(crate) fn reached(&self) -> Tick {
        Tick::start_of(self.hand)
    }

    /// Whether the row is filed.
    #[inline]
    pub(crate) fn is_filed<T: Row>(&self, rows: &Rows<T>, row: RowId) -> bool
    where
        C: Chain<T>,
    {
        C::link(&rows[row]).is_linked()
    }

    /// Files a row, so that it is popped in time for `deadline`, which must not be `NEVER`.
    ///
    /// A deadline that is over already is due when the running second ends. (The distance from the hand
    /// must not be taken before it is known to be one: as an unsigned number it would be huge, and the row
    /// would go into the coarsest slot, a lap round.)
    ///
    /// The slot is chosen as seen from the hand. After a long idle time, [`advance`](Self::advance) first,
    /// or the row takes a coarser slot than it needs, and one move more.
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

    /// Files a row, which may be filed already by another deadline than it has now. It stays where it is if it would come there again;
    /// whether it did.
    #[inline(always)]
    pub(crate) fn file_anew<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, deadline: Tick) -> bool
    where
        C: Chain<T>,
    {
        let (level, span) = self.place(deadline);
        if self.is_filed(rows, row) {
            // Unless something is due: that has the labels of slots that have passed.
            if rows[row].label() == Self::label_of(level, span) && self.lists.is_empty(Self::DUE) {
                return true;
            }
            self.unfile(rows, row);
        }
        self.file_at(rows, row, (level, span));
        false
    }

    #[inline(always)]
    fn file_at<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, (level, span): (usize, u64))
    where
        C: Chain<T>,
    {
        if !self.count_in(&mut rows[row], level, span) {
            return self.file_on_new_level(rows, row, (level, span));
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
    fn file_on_new_level<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId, at: (usize, u64))
    where
        C: Chain<T>,
    {
        self.lists.grow(Self::list_of(at.0 + 1, 0));
        self.counts.grow(at.0 + 1);
        self.file_at(rows, row, at);
    }

    /// The level and the number of its span for a deadline, as seen from the hand: the finest level that
    /// reaches it.
    #[inline]
    fn place(&self, deadline: Tick) -> (usize, u64) {
        let second = second_of(deadline).max(self.hand);
        // No finer level reaches it; this one or the next does.
        let mut level = ((second - self.hand) | 1).ilog2() / BITS;
        if (second >> (level * BITS)) - (self.hand >> (level * BITS)) >= u64::from(Self::SLOTS) {
            level += 1;
        }
        (level as usize, second >> (level * BITS))
    }

    /// Takes a row out of the wheel, if it is filed. O(1).
    #[inline]
    pub(crate) fn unfile<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId)
    where
        C: Chain<T>,
    {
        if !self.is_filed(rows, row) {
            return;
        }
        self.count_off(rows[row].label());
        if let Some(emptied) = self.lists.unlink(rows, row) {
            if emptied != Self::DUE {
                let slot = emptied - Self::FIRST;
                self.occupancy[slot >> BITS] &= !(1 << (slot as u32 & (Self::SLOTS - 1)));
            }
        }
        self.len -= 1;
    }

    /// Takes out one row that is due at `now`: its second is completed, or the span of its coarse slot
    /// has begun. The caller looks up its deadline, and removes the row or files it again. (A row out of a
    /// coarse slot may be over before its second is completed: the caller need not wait for that.)
    ///
    /// What is filed again with a deadline after `now` is not popped at the same `now`, and what is filed
    /// with one before it isn't either, so a loop of pops ends. It may also be left after any number
    /// of them and taken up later; rows may be filed and unfiled in between.
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

    /// Puts a row back that was just popped. It may be popped again at once, after all others that are due.
    pub(crate) fn put_back<T: Row>(&mut self, rows: &mut Rows<T>, row: RowId)
    where
        C: Chain<T>,
    {
        self.lists.push_back(rows, Self::DUE, row);
        self.len += 1;
    }

    /// Moves the hand to `now`, and whole slots that have come due into the list `DUE`. Never back.
    ///
    /// # Complexity
    ///
    /// O(1) for each slot that holds rows and has come due, however many rows it holds and however long
    /// the empty stretch before it.
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
                // Neither does any coarser level see a new span begin.
                break;
            }
            // On level 0 the slot that the hand reaches is not due before its second is completed; on
            // the others it is due as its span begins.
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
        self.stays_until = Tick::start_of(to + 1);
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

    /// The occupancy of a level, turned so that bit 0 is the hand's slot and bit `i` the `i`th after it.
    #[inline]
    fn ahead(&self, level: usize) -> u64 {
        let word = self.occupancy[level];
        let hand = block(self.hand, level, BITS) as u32 & (Self::SLOTS - 1);
        let lap = if hand == 0 { 0 } else { word << (Self::SLOTS - hand) };
        (word >> hand | lap) & (u64::MAX >> (64 - Self::SLOTS))
    }

    /// The second at whose start the slot `distance` slots ahead of the hand comes due.
    #[inline]
    fn due_second(&self, level: usize, distance: u64) -> u64 {
        let block = block(self.hand, level, BITS) + distance;
        if level == 0 { block + 1 } else { block << (level as u32 * BITS) }
    }
}

/// The second that must be completed before a row with this deadline goes: the one that ends at the
/// deadline or is running at it.
#[inline]
fn second_of(deadline: Tick) -> u64 {
    Tick::from_nanos(deadline.as_nanos().saturating_sub(1)).second()
}

/// The number of the span of a level that a second lies in.
#[inline]
fn block(second: u64, level: usize, bits: u32) -> u64 {
    second >> (level as u32 * bits)
}
