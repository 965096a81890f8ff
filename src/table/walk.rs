//! Walking a table. Readers visit the nodes of every entry, a few buckets at a time and without a
//! lock. Writers visit the rows of every entry, and take the lock each time.
//!
//! This file does not know who walks, nor how long a walk pauses between two calls. It knows no
//! clock: the caller asks a node whether its entry is alive. Between two calls a walk is a number,
//! its [`Cursor`]. It holds no pin and remembers no array, so buckets may move as often as they
//! like.
//!
//! # Positions
//!
//! The *position* of an entry is its home, whose highest bits choose the bucket. So the entries
//! whose home is in one bucket are a *stretch* of positions, in an array of any size. In an array
//! twice as large, the same stretch is two consecutive buckets:
//!
//! ```text
//! positions        0 ............................................ 2^32
//! 2 buckets    |          0            |          1            |
//! 4 buckets    |    0      |    1      |    2      |    3      |
//! 8 buckets    |  0  |  1  |  2  |  3  |  4  |  5  |  6  |  7  |
//! ```
//!
//! A walk goes by positions: it visits a stretch and then the one that follows. The length of a
//! stretch may be chosen anew each time. (The idea is that of the cursor of `SCAN` in Redis, by
//! Pieter Noordhuis. There the lowest bits choose the bucket, so that positions are homes with
//! their bits reversed; and a table has no overflow and does not move during a call.)
//!
//! # Why an entry that stays is met exactly once
//!
//! An entry *stays* if it is in the table from before the first call until after the last. It may
//! be replaced any number of times.
//!
//! - **W1 Positions stay.** A position comes from the key's hash alone. Neither a replacement nor a
//!   move changes it.
//! - **W2 Stretches are adjacent.** A stretch begins at the cursor. It ends where the positions of
//!   the bucket end in which it begins, in the array that was the root at the time of the visit.
//!   Then the cursor moves there. So each position is in one stretch, and an entry that is found
//!   during the visit of a stretch and has a position outside it is skipped. By W1, no entry is met
//!   in two stretches.
//! - **W3 At least once.** At each moment, an entry of the stretch is in a bucket on the way from
//!   its home in one array, under a tag that stays until that bucket has moved. The way to it leads
//!   through buckets that count it as passed. The walk goes that way in the root. If it sees the
//!   tag, it meets the entry there, and follows its number, or the number of a replacement. If it
//!   does not see the tag, the bucket had moved: the entry was put into the next array before the
//!   mark was set, and the mark was set before the tag was removed. So the walk finds the mark, and
//!   searches that home in the next array. An entry that was never in the root was inserted after
//!   its home bucket had moved, so there is a mark on its way too.
//! - **W4 At most once.** In one array an entry has one slot as long as it stays, and each home is
//!   visited once. An entry may be met in two arrays: in a bucket that had not moved when it was
//!   visited, and in the next array, to which that bucket has moved meanwhile. Its number does not
//!   tell that (the entry may have been replaced in between), nor does the mark (it is set after
//!   the entries are stored). So the keys of those few entries are compared.
//! - **W5 Not too early.** An entry is met by the number in its slot, which is stored after its
//!   tag, as in a lookup. So a thread that meets an entry finds it with a lookup that follows,
//!   unless the entry is gone.
//!
//! An entry that is removed and inserted again may be met in both slots, or in none.
//!
//! A writer's walk goes by the same positions, for the same reason: nothing that happens to an
//! entry between two calls moves it from the positions that are still to come to those that have
//! passed. Nothing moves while it visits a stretch. So an entry is in one slot, on the way from its
//! home in one of the at most two arrays.

use super::array::Array;
use super::bucket::Bucket;
use super::epoch::Pin;
use super::{Node, Table, Writing, memory};
use crate::hash::HashBits;
use crate::rows::RowId;

/// The number of buckets that one call visits. Meanwhile the nodes of the next call are prefetched,
/// and the buckets of the call after that.
const HANDFUL: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };

/// The progress of a walk: the first position that it has not visited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cursor(u64);

/// One more than the last position.
const END: u64 = 1 << 32;

impl Cursor {
    pub(crate) const START: Self = Self(0);

    pub(crate) fn is_at_end(self) -> bool {
        self.0 == END
    }
}

/// A range of positions. After a cut, all of them belong to one bucket of the array for which the
/// stretch was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stretch {
    from: u64,
    to: u64,
}

impl Stretch {
    /// Returns the stretch from a position to the end of its bucket in an array of 2^`log2`
    /// buckets.
    fn cut(from: u64, log2: u32) -> Self {
        let length = 32 - log2;
        Self { from, to: ((from >> length) + 1) << length }
    }

    /// Returns such stretches one after the other, up to `to`.
    fn cut_all(from: u64, to: u64, log2: u32) -> impl Iterator<Item = Self> {
        let first = (from < to).then(|| Self::cut(from, log2));
        let mut stretches =
            std::iter::successors(first, move |last| (last.to < to).then(|| Self::cut(last.to, log2)));
        std::iter::from_fn(move || {
            stretches.next().map(|Self { from, to: end }| Self { from, to: end.min(to) })
        })
    }

    /// Returns a home in the stretch. All of them are in one bucket, in the array for which the
    /// stretch was cut.
    fn home(self) -> u32 {
        self.from as u32
    }

    fn has(self, hash: HashBits) -> bool {
        self.has_home(hash.home())
    }

    /// Returns this stretch and the one that follows it, as one.
    pub(crate) fn with_next(self, next: Self) -> Self {
        debug_assert_eq!(self.to, next.from, "stretches are adjacent (W2)");
        Self { from: self.from, to: next.to }
    }

    pub(crate) fn has_home(self, home: u32) -> bool {
        (self.from..self.to).contains(&u64::from(home))
    }
}

/// What a walk met: the hash of a key, and the node.
pub(crate) type Met<'g, K, V> = (HashBits, &'g Node<K, V>);

impl<K, V, L> Table<K, V, L> {
    /// Meets the entries of the next few buckets, and moves the cursor on. Runs the user's `Hash`,
    /// and `Eq` while buckets move. If one of them panics, the cursor stays.
    pub(crate) fn walk<'g>(
        &'g self,
        cursor: &mut Cursor,
        hash_of: &impl Fn(&K) -> HashBits,
        met: &mut Vec<Met<'g, K, V>>,
        _pin: &'g Pin,
    ) where
        K: Eq,
    {
        let root = self.route.at.root();
        let next = |from: u64| Stretch::cut_all(from, END, root.log2()).take(HANDFUL);
        let behind = |from: u64| next(from).last().map_or(END, |stretch| stretch.to);
        let end = behind(cursor.0);
        // The buckets of the call after the next are prefetched: the next call uses their numbers
        // to prefetch nodes.
        next(behind(end)).for_each(|stretch| root.prefetch(stretch.home()));
        next(end).for_each(|stretch| self.prefetch_nodes(root, stretch));
        for stretch in next(cursor.0) {
            self.walk_stretch(root, stretch, hash_of, met);
        }
        *cursor = Cursor(end);
    }

    /// Prefetches the nodes of a bucket: they are far from each other, so their accesses overlap.
    fn prefetch_nodes(&self, array: Array, stretch: Stretch) {
        if cfg!(tidewheel_loom) {
            return;
        }
        // SAFETY: T1: the caller was pinned before it loaded the array's address.
        let bucket = unsafe { array.first_of(stretch.home()) };
        for named in bucket.tagged().filter_map(|slot| bucket.named(slot)) {
            memory::prefetch(self.route.at.homes.named(named));
        }
    }

    /// Meets the entries of one home bucket. The caller must be pinned.
    fn walk_stretch<'g>(
        &'g self,
        array: Array,
        stretch: Stretch,
        hash_of: &impl Fn(&K) -> HashBits,
        met: &mut Vec<Met<'g, K, V>>,
    ) where
        K: Eq,
    {
        let first = met.len();
        let mut moved = false;
        for step in 0..array.buckets() {
            // SAFETY: T1: the caller was pinned before it loaded the array's address.
            let bucket = unsafe { array.bucket(array.way(stretch.home(), step)) };
            self.meet(bucket, stretch, hash_of, met);
            // The mark is loaded only after the tags, as in a lookup.
            let meta = bucket.meta();
            moved |= meta.is_moved();
            if !meta.has_overflow() {
                break;
            }
        }
        if !moved {
            return;
        }
        // SAFETY: T1: the caller is still pinned.
        let Some(next) = (unsafe { array.next() }) else { return };
        let here = met.len();
        for part in Stretch::cut_all(stretch.from, stretch.to, next.log2()) {
            self.walk_stretch(next, part, hash_of, met);
        }
        forget_doubles(met, first, here);
    }

    /// Meets those entries of a bucket that belong to a stretch.
    fn meet<'g>(
        &'g self,
        bucket: &Bucket,
        stretch: Stretch,
        hash_of: &impl Fn(&K) -> HashBits,
        met: &mut Vec<Met<'g, K, V>>,
    ) {
        // A slot that names no node is skipped: see W5.
        for named in bucket.tagged().filter_map(|slot| bucket.named(slot)) {
            // SAFETY: T5: a number in a slot is that of a node. T3: the caller is pinned.
            let node = unsafe { &*self.route.at.homes.named(named) };
            node.canary.look();
            let hash = hash_of(node.key());
            if stretch.has(hash) {
                met.push((hash, node));
            }
        }
    }
}

impl<K, V, L> Writing<'_, '_, K, V, L> {
    /// Meets the rows of the entries of the next few buckets, and moves the cursor on. Returns the
    /// positions that it passed: every entry in the table that has one of them was met.
    pub(crate) fn walk(&self, cursor: &mut Cursor, met: &mut Vec<RowId>) -> Stretch {
        // The stretch is cut for the larger array, so that it covers few buckets of that one.
        let log2 = self.arrays().map(Array::log2).max().unwrap_or(0);
        let next = |from: u64| Stretch::cut_all(from, END, log2).take(HANDFUL);
        let from = cursor.0;
        let end = next(from).last().filter(|_| self.len() != 0).map_or(END, |last| last.to);
        cursor.0 = end;
        if self.len() != 0 {
            next(end).for_each(|stretch| self.prefetch(stretch.home()));
            let homes = || next(from).flat_map(|home| self.arrays().map(move |array| (array, home)));
            for (array, home) in homes() {
                let bucket = array.own(array.start(home.home()));
                bucket.occupied().for_each(|(slot, _)| self.prefetch_node(bucket.own_named(slot)));
            }
            homes().for_each(|(array, home)| self.meet_all(array, home, met));
        }
        Stretch { from, to: end }
    }

    /// Meets the rows of the entries of one home bucket, or of a part of it.
    fn meet_all(&self, array: Array, stretch: Stretch, met: &mut Vec<RowId>) {
        for step in 0..array.buckets() {
            let bucket = array.own(array.way(stretch.home(), step));
            let meta = bucket.own_meta();
            let filed = bucket.occupied().map(|(slot, _)| self.node_in(bucket, slot).filed);
            met.extend(filed.filter(|filed| stretch.has_home(filed.home)).map(|filed| filed.row));
            if !meta.has_overflow() {
                break;
            }
        }
    }
}

/// Removes duplicates from the entries after `first`: those that were met in the old array, before
/// `here`, and again in the next one (see W4). The later ones stay.
fn forget_doubles<K: Eq, V>(met: &mut Vec<Met<'_, K, V>>, first: usize, here: usize) {
    let mut old = here;
    for at in (first..here).rev() {
        let (hash, node) = met[at];
        if met[here..].iter().any(|&(other, again)| other == hash && again.key() == node.key()) {
            old -= 1;
            met.swap(at, old);
        }
    }
    met.drain(old..here);
}

#[cfg(all(test, not(tidewheel_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the size of the table at each step, each home's position is in one stretch,
        /// which is cut for the bucket of that home.
        #[test]
        fn each_home_is_in_one_stretch(homes in proptest::collection::vec(any::<u32>(), 1..20),
                                       sizes in proptest::collection::vec(0u32..8, 1..300)) {
            let mut seen = vec![0; homes.len()];
            let (mut cursor, mut sizes) = (Cursor::START, sizes.into_iter().cycle());
            while !cursor.is_at_end() {
                let log2 = sizes.next().unwrap();
                let stretch = Stretch::cut(cursor.0, log2);
                for (&home, seen) in homes.iter().zip(&mut seen) {
                    let position = u64::from(home);
                    if stretch.from <= position && position < stretch.to {
                        *seen += 1;
                        let bucket = |home| u64::from(home) >> (32 - log2);
                        prop_assert_eq!(bucket(home), bucket(stretch.home()));
                    }
                }
                cursor = Cursor(stretch.to);
            }
            prop_assert!(seen.iter().all(|&seen| seen == 1), "{:?}", seen);
        }

        /// Cutting a stretch for a larger array yields the same positions. Cutting it for a smaller
        /// one leaves it as it is.
        #[test]
        fn parts_are_the_whole(from in 0..END, small in 0u32..12, large in 0u32..12) {
            let whole = Stretch::cut(from, small);
            let parts: Vec<_> = Stretch::cut_all(whole.from, whole.to, large).collect();
            prop_assert_eq!(parts.first().map(|part| part.from), Some(whole.from));
            prop_assert_eq!(parts.last().map(|part| part.to), Some(whole.to));
            prop_assert!(parts.windows(2).all(|pair| pair[0].to == pair[1].from));
            prop_assert!(parts.len() <= 1 << large.saturating_sub(small));
        }
    }
}
