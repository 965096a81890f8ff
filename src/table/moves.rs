//! How buckets move, to a larger array or to a smaller one. Each insert moves a few. The reaper
//! moves some each time it holds the lock, but only to shrink a table, or to complete a move that
//! has lasted for a while. So no critical section copies a large table. The homes come from the
//! nodes.
//!
//! `read.rs` and `walk.rs` say how readers deal with moves. This file knows neither who inserts nor
//! when the reaper comes.
//!
//! # Why an entry always finds a slot
//!
//! The *target* is the array in which entries are stored: the next array while buckets move,
//! otherwise the current one.
//!
//! - **M1** An array has more slots than room: its room is five of six slots. (Under loom's two
//!   slots a bucket they are nearly equal, so that a model that breaks M2 or M3 has no slot to
//!   spare.)
//! - **M2** A move begins only to an array that has room for at least one entry more than there
//!   are.
//! - **M3** While buckets move, an insert first moves its share of the remaining buckets: their
//!   number divided by the number of entries for which the target still has room. So the insert
//!   that takes the target's last room leaves no bucket behind. The target becomes the current
//!   array, and the next insert begins a move to a larger one, by M2.
//!
//! So whenever an insert stores an entry in the target, the table holds fewer entries than the
//! target has room for. And a move stores only entries there that the target does not hold yet. It
//! does not matter which threads insert between two visits of the reaper, nor how often.
//!
//! # How much an insert moves
//!
//! While a small table grows, one insert moves all of it, which takes a few microseconds. While a
//! larger table grows, an insert moves one bucket: the next array has room for ten more entries for
//! each bucket of the current one. While a table shrinks, an insert moves at most fifteen: the
//! smaller array has room for an eighth more entries than there are, and it is at least a sixteenth
//! of the current one. A table that has to become smaller than that does so in steps.
//!
//! A reader takes twice as long to find an entry that has moved, until the last bucket has moved.
//! So a move does not wait for inserts that may never come: the reaper completes it
//! (`shard/maintain.rs`).

use super::array::{Array, Pages, log2_for};
use super::bucket::SLOTS;
use super::nodes::Named;
use super::write::{Writer, Writing};
use crate::rows::RowId;
use std::num::NonZeroU8;

/// The least number of buckets that an insert moves while buckets are moving.
const MOVES: usize = 1;

/// A table of at most this many buckets moves at once. (None does under loom, where all are small.)
const SMALL: usize = if cfg!(tidewheel_loom) { 0 } else { 32 };

/// The largest difference in size between an array and the smaller one that replaces it, as a power
/// of two.
const STEP: u32 = 4;

impl<K, V> Writer<K, V> {
    /// Returns the array in which entries are stored.
    #[inline]
    pub(super) fn target(&self) -> Array {
        self.next.unwrap_or(self.current)
    }

    /// Returns whether the target has the room that M2 and M3 promise.
    pub(super) fn has_room(&self) -> bool {
        self.len + usize::from(self.next.is_some()) <= self.target().room()
    }

    /// Computes `full_at`.
    pub(super) fn move_at(&self) -> usize {
        if self.next.is_some() { 0 } else { self.current.room() }
    }

    /// Moves one bucket to the next array, if there is one, unless it has moved already.
    fn move_bucket(&mut self, index: usize) {
        let Some(next) = self.next else { return };
        let bucket = self.current.own(index);
        if bucket.own_meta().is_moved() {
            return;
        }
        // Most entries of the bucket go to these buckets, if the next array is twice or half as
        // large.
        let first = next.start((index as u64 * (1 << 32) / self.current.buckets() as u64) as u32);
        for target in [first, first + 1] {
            if self.pages.is_first(target & next.mask()) {
                next.own(target).touch();
            }
        }
        // All homes are read first: the nodes are far from each other, so their accesses overlap.
        let mut entries = [(Named::of(RowId::FIRST), 0, NonZeroU8::MIN, 0); SLOTS];
        let mut count = 0;
        for ((slot, tag), entry) in bucket.occupied().zip(&mut entries) {
            let named = bucket.own_named(slot);
            // SAFETY: T5: a tagged slot; T4: under the lock no thread retires the node.
            let home = unsafe { (*self.route.homes.named(named)).filed.home };
            *entry = (named, home, tag, bucket.hits(slot));
            count += 1;
        }
        for &(named, home, tag, hits) in &entries[..count] {
            next.put(home, tag, named, hits);
        }
        bucket.set_meta(bucket.own_meta().moved());
        // The tags are removed only now: a reader that finds no tags must see the mark, and find
        // the entries in the next array. No reader that pins after this follows the numbers that the slots
        // still hold, whose nodes may be unlinked there (T3).
        bucket.wipe();
    }

    /// Returns the size that would suffice, as a power of two. It has room for another entry in any
    /// case (M2).
    fn sparse_log2(&self) -> u32 {
        log2_for(self.len + self.len / 8 + 1).max(self.least)
    }
}

impl<K, V, L> Writing<'_, '_, K, V, L> {
    /// Begins or continues a move, which is due. Must be called before an entry of this home is
    /// stored in the target, which it returns.
    #[cold]
    #[inline(never)]
    pub(super) fn grow_if_full(&mut self, home: u32) -> Array {
        self.go_on_moving();
        // Readers of its key begin at its home bucket: the mark must be on their way before the
        // key is.
        self.writer.move_bucket(self.writer.current.start(home));
        self.writer.target()
    }

    fn go_on_moving(&mut self) {
        if self.writer.next.is_none() {
            self.begin_move(self.writer.current.log2() + 1);
        }
        let Some(next) = self.writer.next else { return };
        let left = self.writer.current.buckets() - self.writer.cursor;
        let room = next.room().saturating_sub(self.writer.len).max(1);
        let is_small = self.writer.current.buckets() <= SMALL;
        let least = if is_small { left } else { MOVES };
        self.advance(least.max(left.div_ceil(room)));
    }

    fn begin_move(&mut self, log2: u32) {
        let next = Array::allocate(log2);
        // SAFETY: T1, under the lock.
        unsafe { self.writer.current.set_next(next) };
        self.writer.next = Some(next);
        self.writer.pages = Pages::of(next.buckets());
        self.writer.cursor = 0;
        self.writer.full_at = self.writer.move_at();
        debug_assert!(self.writer.has_room(), "M2");
    }

    /// Moves up to `count` buckets. After the last one, the next array becomes the root.
    fn advance(&mut self, count: usize) {
        let writer = &mut *self.writer;
        let Some(next) = writer.next else { return };
        let buckets = writer.current.buckets();
        let end = writer.cursor.saturating_add(count).min(buckets);
        for index in writer.cursor..end {
            writer.move_bucket(index);
        }
        writer.cursor = end;
        if end == buckets {
            writer.next = None;
            self.route.set_root(next);
            let old = std::mem::replace(&mut writer.current, next);
            writer.full_at = writer.move_at();
            // SAFETY: T3: the root names its successor, and all its buckets are marked moved.
            unsafe { writer.garbage.add_array(old) };
        }
    }

    /// Returns whether a much smaller array would suffice than the target.
    pub(crate) fn is_sparse(&self) -> bool {
        self.writer.sparse_log2() + 1 < self.writer.target().log2()
    }

    /// Returns whether the table is moving.
    #[inline]
    pub(crate) fn is_moving(&self) -> bool {
        self.writer.next.is_some()
    }

    /// Begins to move to a smaller array, if the current one is too large, or continues a move in
    /// either direction: up to `count` buckets. Returns false if there is nothing to do.
    pub(crate) fn shrink(&mut self, count: usize) -> bool {
        if self.writer.next.is_none() {
            if !self.is_sparse() {
                self.writer.garbage.shrink();
                return false;
            }
            let least = self.writer.current.log2().saturating_sub(STEP);
            self.begin_move(self.writer.sparse_log2().max(least));
        }
        self.advance(count);
        true
    }
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::{MOVES, SMALL, STEP};
    use crate::hash::HashBits;
    use crate::rows::RowId;
    use crate::table::{NewNode, Routes, Table};
    use crate::time::Deadline;
    use proptest::prelude::*;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    /// Keys that come and go in their order, as in a queue. A row has the number of its key.
    struct Queue {
        table: Table<u64, u64, ()>,
        /// The homes of all keys that ever came.
        homes: Vec<u32>,
        /// The first key that is left.
        first: usize,
        /// The largest number of buckets that one insert moved.
        most_moved: usize,
    }

    /// Returns the hash of a key. Half of the keys share their hash with twenty others, so that
    /// some ways lead over several buckets.
    fn hash_of(key: usize) -> HashBits {
        let hashed = if key % 2 == 0 { key / 40 } else { usize::MAX - key };
        HashBits::of(&BuildHasherDefault::<DefaultHasher>::default(), &hashed)
    }

    impl Queue {
        fn new() -> Self {
            Self {
                table: Table::new(0, (), Routes::new(1).end(0)),
                homes: Vec::new(),
                first: 0,
                most_moved: 0,
            }
        }

        fn insert(&mut self, count: usize) {
            let mut locked = self.table.lock();
            let (mut table, ()) = locked.parts();
            for key in self.homes.len()..self.homes.len() + count {
                let left = |table: &crate::table::Writing<'_, '_, u64, u64, ()>| {
                    table.writer.next.map_or(0, |_| table.writer.current.buckets() - table.writer.cursor)
                };
                let before = left(&table);
                let hash = hash_of(key);
                self.homes.push(hash.home());
                let entry = (key as u64, key as u64);
                let named = table.new_node();
                let row = RowId::from_index(key as u32);
                let new = NewNode { named, row, deadline: Deadline::NEVER, hits: 0 };
                table.insert(hash, new, &mut Some(entry));
                self.most_moved = self.most_moved.max(before.saturating_sub(left(&table)));
            }
        }

        fn remove(&mut self, count: usize) {
            let mut locked = self.table.lock();
            let (mut table, ()) = locked.parts();
            for key in self.first..self.homes.len().min(self.first + count) {
                let place = table.find(hash_of(key), |&other| other == key as u64).expect("it is there");
                let old = table.unlink(place);
                table.retire(old);
                self.first += 1;
            }
        }

        /// Shrinks `times` times by `buckets`, like that many visits of the reaper. Returns whether
        /// there is more to do.
        fn shrink(&mut self, buckets: usize, times: usize) -> bool {
            (0..times).all(|_| self.table.lock().parts().0.shrink(buckets))
        }

        fn check(&self) {
            let mut locked = self.table.lock();
            let (table, ()) = locked.parts();
            table.validate(|row, home, _| assert_eq!(home, self.homes[row.index() as usize]));
            assert_eq!(table.len(), self.homes.len() - self.first);
            for key in self.first..self.homes.len() {
                assert!(table.find(hash_of(key), |&other| other == key as u64).is_some(), "{key} is lost");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Bursts of inserts come between the visits of a reaper that shrinks the table. There is
        /// always a slot, and no insert moves more buckets than it should, however much smaller the
        /// table becomes.
        #[test]
        fn a_table_that_shrinks_takes_whatever_comes(
            rounds in proptest::collection::vec(
                (1usize..12_000, 0usize..60, proptest::collection::vec((0usize..80, 0usize..5, 0usize..300), 1..12)),
                1..4,
            ),
        ) {
            let mut queue = Queue::new();
            for (much, little, bursts) in rounds {
                queue.insert(much);
                let left = queue.homes.len() - queue.first;
                queue.remove(left.saturating_sub(little));
                queue.check();
                for (buckets, times, inserts) in bursts {
                    queue.shrink(buckets, times);
                    queue.check();
                    queue.insert(inserts);
                    queue.check();
                }
            }
            let most = (MOVES << STEP).max(SMALL + 1);
            prop_assert!(queue.most_moved < most, "{} buckets moved at once", queue.most_moved);
            while queue.shrink(1_000, 1) {}
            queue.check();
        }
    }

    /// The table shrinks from tens of thousands of entries to none, in steps: each array is at
    /// least a sixteenth of the one before.
    #[test]
    fn a_table_becomes_as_small_as_it_was() {
        let mut queue = Queue::new();
        queue.insert(30_000);
        queue.remove(30_000);
        let mut sizes = vec![queue.table.route().root().log2()];
        while queue.shrink(1_000, 1) {
            sizes.push(queue.table.route().root().log2());
        }
        sizes.dedup();
        assert_eq!(sizes, [12, 8, 4, 0]);
    }
}
