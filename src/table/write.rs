//! How a writer changes what readers find. How buckets move is in `moves.rs`.
//!
//! Everything here happens under the table's lock; `Writing` is the proof. The only user code that
//! it runs is `Eq`, in `Writing::find`, before any change. It never knows the cause of a change.

use super::array::{Array, Pages, log2_for};
use super::bucket::{Bucket, Meta, Slot};
use super::epoch::Pin;
use super::node::{Filed, Node};
use super::nodes::{Homes, Named, Nodes};
use super::pace::{Load, Moment};
use super::place::Place;
use super::reclaim::{Dropped, Garbage, Reclaimable, Sealed, Unlinked, drop_contents};
use super::route::At;
use super::words::Words;
use crate::hash::{HashBits, tag_of};
use crate::rows::RowId;
use crate::time::{Deadline, Tick};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU8;
use std::ptr::NonNull;

/// What a panic says for want of a number.
const FULL: &str = "a shard holds at most 2^27 - 64 entries, with the values that wait to be dropped";

/// The writer side of a table.
pub(super) struct Writer<K, V> {
    /// The readers' side: a copy of the table's, near to the other data of a writer.
    pub(super) route: At<K, V>,
    /// The array that the root names.
    pub(super) current: Array,
    /// The array to which its buckets are moving.
    pub(super) next: Option<Array>,
    /// All buckets of `current` before this one have moved.
    pub(super) cursor: usize,
    /// The pages of `next`.
    pub(super) pages: Pages,
    /// The size with which the table was created, as a power of two. The table does not shrink
    /// below it.
    pub(super) least: u32,
    pub(super) len: usize,
    /// From this number of entries on, an insert has to move buckets. 0 while a move is under way.
    pub(super) full_at: usize,
    pub(super) nodes: Nodes<K, V>,
    pub(super) garbage: Garbage<K, V>,
}

// SAFETY: T2, T6. The addresses in it are followed only under the lock that guards it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Writer<K, V> {}

/// An array as its writer sees it. Everything here needs T1: the array is one of the `Writer`'s,
/// under the lock.
impl Array {
    pub(super) fn own(&self, index: usize) -> &Bucket {
        // SAFETY: T1, under the lock.
        unsafe { self.bucket(index) }
    }

    /// Returns the bucket where the way of a home begins.
    #[inline]
    pub(super) fn own_first(&self, home: u32) -> &Bucket {
        // SAFETY: T1, under the lock.
        unsafe { self.first_of(home) }
    }

    /// Returns the first slot along the way from `home` that satisfies `is_it`.
    fn search(&self, home: u32, mut is_it: impl FnMut(&Bucket) -> Option<Slot>) -> Option<(&Bucket, Slot)> {
        for step in 0..self.buckets() {
            let bucket = self.own(self.way(home, step));
            let meta = bucket.own_meta();
            if !meta.is_moved() {
                if let Some(slot) = is_it(bucket) {
                    return Some((bucket, slot));
                }
            }
            if !meta.has_overflow() {
                break;
            }
        }
        None
    }

    /// Stores an entry in the first free slot along its way. There is one: see `moves.rs`.
    #[inline]
    pub(super) fn put(self, home: u32, tag: NonZeroU8, named: Named, hits: u8) {
        if !self.own_first(home).fill(tag, named, hits) {
            self.put_further(home, tag, named, hits);
        }
    }

    #[inline(never)]
    fn put_further(self, home: u32, tag: NonZeroU8, named: Named, hits: u8) {
        for step in 0..self.buckets() {
            let bucket = self.own(self.way(home, step));
            if bucket.fill(tag, named, hits) {
                return;
            }
            bucket.set_meta(bucket.own_meta().one_more_passed());
        }
        unreachable!("a table grows before it is full");
    }

    /// Returns the buckets on the way of a home that come before this one.
    fn way_to(self, home: u32, at: usize) -> impl Iterator<Item = usize> {
        (0..self.buckets()).map(move |step| self.way(home, step)).take_while(move |&index| index != at)
    }

    /// Lowers the overflow counts on the way of an entry that is gone and had passed those buckets.
    #[cold]
    #[inline(never)]
    fn count_back(self, home: u32, at: &Bucket) {
        let way = (0..self.buckets()).map(|step| self.own(self.way(home, step)));
        for passed in way.take_while(|&bucket| !std::ptr::eq(bucket, at)) {
            passed.set_meta(passed.own_meta().one_less_passed());
        }
    }
}

impl<K, V> Writer<K, V> {
    pub(super) fn new(capacity: usize, route: At<K, V>) -> Self {
        let least = log2_for(capacity);
        let current = Array::allocate(least);
        Self {
            route,
            current,
            next: None,
            cursor: 0,
            pages: Pages::of(0),
            least,
            len: 0,
            full_at: current.room(),
            nodes: Nodes::new(),
            garbage: Garbage::new(),
        }
    }

    pub(super) fn root(&self) -> Array {
        self.current
    }

    fn array(&self, in_next: bool) -> Array {
        match self.next {
            Some(next) if in_next => next,
            _ => self.current,
        }
    }

    fn search(&self, home: u32, mut is_it: impl FnMut(&Bucket) -> Option<Slot>) -> Option<Place<K, V>> {
        let mut look = |array: Array, in_next| {
            let (bucket, slot) = array.search(home, &mut is_it)?;
            Some(Place::new(in_next, bucket, slot, self.node_of(bucket.own_named(slot))))
        };
        look(self.current, false).or_else(|| look(self.next?, true))
    }

    #[inline]
    fn node_of(&self, named: Named) -> NonNull<Node<K, V>> {
        // SAFETY: T9: the chunk of a taken number exists.
        unsafe { NonNull::new_unchecked(self.route.homes.named(named)) }
    }

    /// Drops and frees everything.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one; called once.
    pub(super) unsafe fn dispose_all(&mut self, homes: &Homes<K, V>) {
        // SAFETY: T4, by contract.
        unsafe { self.garbage.dispose_all(homes) };
        for array in std::iter::once(self.current).chain(self.next) {
            for index in 0..array.buckets() {
                let bucket = array.own(index);
                if bucket.own_meta().is_moved() {
                    continue;
                }
                for (slot, _) in bucket.occupied() {
                    // SAFETY: T4, T5, T9; each node is in one bucket that has not moved.
                    unsafe { drop_contents(NonNull::new_unchecked(homes.named(bucket.own_named(slot)))) };
                }
            }
            // SAFETY: T4.
            unsafe { array.free() };
        }
    }
}

/// The properties of a new entry's node beside its key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewNode {
    /// Its number, from `Writing::new_node`.
    pub(crate) named: Named,
    pub(crate) row: RowId,
    pub(crate) deadline: Deadline,
    /// The number of hits with which it begins.
    pub(crate) hits: u8,
}

/// The right to change a table, whose lock is held.
pub(crate) struct Writing<'a, 't, K, V, L> {
    pub(super) route: At<K, V>,
    pub(super) writer: &'a mut Writer<K, V>,
    /// The ledger under the same lock.
    pub(super) of: PhantomData<(&'t (), L)>,
}

impl<'t, K, V, L> Writing<'_, 't, K, V, L> {
    /// Returns the node in a slot that has a tag.
    #[inline]
    pub(super) fn node_in(&self, bucket: &Bucket, slot: Slot) -> &Node<K, V> {
        // SAFETY: T5: a tagged slot; T4: under the lock no thread retires the node.
        let node = unsafe { self.writer.node_of(bucket.own_named(slot)).as_ref() };
        node.canary.look();
        node
    }

    /// Returns the place of a key. Runs the user's `Eq`, and changes nothing.
    #[inline(always)]
    pub(crate) fn find(&self, hash: HashBits, is_key: impl Fn(&K) -> bool) -> Option<Place<K, V>> {
        let is_it = |bucket: &Bucket| {
            bucket.own_matches(hash.tag()).find(|&slot| is_key(self.node_in(bucket, slot).key()))
        };
        // The bucket where the way begins nearly always suffices.
        let current = self.writer.current;
        let bucket = current.own_first(hash.home());
        // (A bucket that has moved has no tags.)
        if let Some(slot) = is_it(bucket) {
            return Some(self.place(bucket, slot));
        }
        if bucket.own_meta().is_the_end() { None } else { self.find_further(hash, is_it) }
    }

    #[cold]
    fn find_further(
        &self,
        hash: HashBits,
        is_it: impl FnMut(&Bucket) -> Option<Slot>,
    ) -> Option<Place<K, V>> {
        self.writer.search(hash.home(), is_it)
    }

    /// Returns a place in the bucket of the current array where the entry's way begins.
    #[inline]
    fn place(&self, bucket: &Bucket, slot: Slot) -> Place<K, V> {
        Place::new(false, bucket, slot, self.writer.node_of(bucket.own_named(slot)))
    }

    /// Returns the bucket of a place.
    #[inline]
    fn bucket(&self, place: Place<K, V>) -> &Bucket {
        // SAFETY: T1: places name buckets of the writer's arrays, under the lock.
        unsafe { place.bucket() }
    }

    /// Returns the number of the node at a place.
    #[inline]
    pub(crate) fn named(&self, place: Place<K, V>) -> Named {
        self.bucket(place).own_named(place.slot())
    }

    /// Returns the current array, and the next one if there is one.
    #[inline]
    pub(super) fn arrays(&self) -> impl Iterator<Item = Array> + use<K, V, L> {
        std::iter::once(self.writer.current).chain(self.writer.next)
    }

    /// Prefetches the bucket where the way of this home begins, in all arrays.
    #[inline]
    pub(crate) fn prefetch(&self, home: u32) {
        for array in self.arrays() {
            array.prefetch(home);
        }
    }

    /// Prefetches like `prefetch`, in the array where nearly all entries are.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, home: u32) {
        self.writer.current.prefetch(home);
    }

    /// Prefetches a node. A hint.
    #[inline]
    pub(super) fn prefetch_node(&self, named: Named) {
        super::memory::prefetch(self.route.homes.named(named));
    }

    /// Prefetches the node of an entry of this home, whose bucket has been prefetched: most likely
    /// the intended one.
    #[inline]
    pub(crate) fn prefetch_node_at(&self, home: u32) {
        let bucket = self.writer.current.own_first(home);
        if let Some(slot) = bucket.own_matches(tag_of(home)).next() {
            self.prefetch_node(bucket.own_named(slot));
        }
    }

    /// Prefetches the place of the next node.
    #[inline]
    pub(crate) fn prefetch_new_node(&self) {
        if let Some(named) = self.writer.nodes.next() {
            self.prefetch_node(named);
        }
    }

    #[cold]
    #[inline(never)]
    fn find_row_further(&self, home: u32, row: RowId) -> Place<K, V> {
        let is_it = |bucket: &Bucket| {
            bucket.own_matches(tag_of(home)).find(|&slot| self.node_in(bucket, slot).filed.row == row)
        };
        self.writer.search(home, is_it).expect("a row without an entry")
    }

    /// Returns the place of a row's entry. There must be one.
    #[inline]
    pub(crate) fn find_row(&self, home: u32, row: RowId) -> Place<K, V> {
        // The entry is nearly always in the bucket where its way begins, as in `find`. If no entry
        // of this home is elsewhere, and its tag is there once, the entry is in that slot, and its
        // node need not be accessed.
        let current = self.writer.current;
        let bucket = current.own_first(home);
        let mut slots = bucket.own_matches(tag_of(home));
        match (slots.next(), slots.next()) {
            (Some(slot), None) if bucket.own_meta().is_the_end() => {
                debug_assert_eq!(self.node_in(bucket, slot).filed, Filed { row, home }, "a row's only slot");
                self.place(bucket, slot)
            }
            _ => self.find_row_further(home, row),
        }
    }

    pub(crate) fn node(&self, place: Place<K, V>) -> &Node<K, V> {
        // SAFETY: T5: places name tagged slots; T4: under the lock no thread retires the node.
        let node = unsafe { place.node.as_ref() };
        node.canary.look();
        node
    }

    /// Returns the row of an entry that a reader has found, if the entry still has the same node.
    pub(crate) fn row_of(&self, found: &Node<K, V>) -> Option<RowId> {
        let Filed { row, home } = found.filed;
        let is_it = |bucket: &Bucket| {
            bucket.own_matches(tag_of(home)).find(|&slot| std::ptr::eq(self.node_in(bucket, slot), found))
        };
        self.writer.search(home, is_it).map(|_| row)
    }

    /// Returns the node at a place, for as long as the caller is pinned.
    pub(crate) fn lend<'g>(&self, place: Place<K, V>, _pin: &'g Pin) -> &'g Node<K, V>
    where
        't: 'g,
    {
        // SAFETY: T5: places name tagged slots; T4: the caller was pinned before any thread can
        // unlink it, and borrows the table.
        let node = unsafe { place.node.as_ref() };
        node.canary.look();
        node
    }

    /// Returns the row of the entry at a place.
    #[inline]
    pub(crate) fn row(&self, place: Place<K, V>) -> RowId {
        self.node(place).filed.row
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.len
    }

    /// Takes a number for a new node.
    ///
    /// # Panics
    ///
    /// Panics if there is none left. So it must be called before any change.
    #[inline]
    pub(crate) fn new_node(&mut self) -> Named {
        self.writer.nodes.take().expect(FULL)
    }

    /// Makes sure that `new_node` finds a number.
    ///
    /// # Panics
    ///
    /// Panics if there is none left.
    #[inline]
    pub(crate) fn expect_new_node(&mut self) {
        assert!(self.writer.nodes.has_vacant(), "{FULL}");
    }

    /// Takes all numbers that are left, as if there were as many nodes.
    #[cfg(all(test, not(tidewheel_loom)))]
    pub(crate) fn exhaust(&mut self) {
        self.writer.nodes.exhaust();
    }

    /// Publishes a new entry for a row that has none, and moves it out of `entry`. Its key must not
    /// be in the table (as `find` said under this lock).
    #[inline(always)]
    pub(crate) fn insert(&mut self, hash: HashBits, new: NewNode, entry: &mut Option<(K, V)>) {
        let NewNode { named, row, deadline, hits } = new;
        let home = hash.home();
        let target =
            if self.writer.len < self.writer.full_at { self.writer.current } else { self.grow_if_full(home) };
        let filed = Filed { row, home };
        // SAFETY: T9: the number is new.
        unsafe { self.writer.nodes.put(&self.route.homes, named, entry, deadline, filed) };
        target.put(home, hash.tag(), named, hits);
        self.writer.len += 1;
    }

    /// Replaces the node of an entry by a new node, whose contents are moved out of `entry`.
    /// Readers see one or the other, never neither.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        place: Place<K, V>,
        named: Named,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
    ) -> Unlinked<K, V> {
        let (filed, old) = (self.node(place).filed, self.named(place));
        // SAFETY: T9: the number is new.
        unsafe { self.writer.nodes.put(&self.route.homes, named, entry, deadline, filed) };
        self.bucket(place).set_named(place.slot(), named);
        Unlinked { named: old, node: place.node, weight: 0 }
    }

    /// Removes an entry from the table.
    #[inline]
    pub(crate) fn unlink(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        let (bucket, named) = (self.bucket(place), self.named(place));
        bucket.vacate(place.slot());
        // This is the home of the stored key, whatever hash the caller passed.
        let (array, home) = (self.writer.array(place.in_next()), self.node(place).filed.home);
        if !std::ptr::eq(array.own_first(home), bucket) {
            array.count_back(home, bucket);
        }
        self.writer.len -= 1;
        Unlinked { named, node: place.node, weight: 0 }
    }

    /// Returns how often the entry at a place was hit, up to three, and lowers that by up to `by`.
    #[inline]
    pub(crate) fn lower_hits(&self, place: Place<K, V>, by: u8) -> u8 {
        self.bucket(place).lower_hits(place.slot(), by)
    }

    /// Sets the weight above which a batch of garbage is full, however few nodes are in it.
    pub(crate) fn set_batch_weight(&mut self, weight: u64) {
        self.writer.garbage.set_batch_weight(weight);
    }

    /// From now on, a batch of garbage is also full when it has been open for long.
    pub(crate) fn be_prompt(&mut self) {
        self.writer.garbage.be_prompt();
    }

    /// Returns the number of nodes that are garbage.
    pub(crate) fn garbage(&self) -> usize {
        self.writer.garbage.len()
    }

    /// Lists an unlinked node as garbage.
    pub(crate) fn retire(&mut self, node: Unlinked<K, V>) {
        self.writer.garbage.add(node);
    }

    /// Returns whether garbage waits to be sealed, to become reclaimable or to be dropped.
    pub(crate) fn has_garbage(&self) -> bool {
        self.writer.garbage.has_open() || self.writer.garbage.has_sealed()
    }

    /// Returns whether a writer has to do something about garbage: a batch is full, or so much
    /// waits that writers have to wait.
    #[inline]
    pub(crate) fn is_at_stop(&self, now: Tick) -> bool {
        self.writer.garbage.is_at_stop(now)
    }

    pub(crate) fn has_sealed_garbage(&self) -> bool {
        self.writer.garbage.has_sealed()
    }

    /// Seals the open batch if it is full.
    pub(crate) fn seal_full(&mut self, now: Tick) -> Option<Sealed> {
        self.writer.garbage.seal_full(now)
    }

    /// Does what a writer has to do about garbage: seals the open batch if it is full, and returns
    /// the moment that the writer has to wait, if any. `weight` is the weight of the entries.
    pub(crate) fn stop(&mut self, now: Tick, weight: u64) -> (Option<Sealed>, Option<Moment>) {
        let entries = Load { nodes: self.writer.len as u64, weight };
        self.writer.garbage.stop(now, entries)
    }

    /// Seals the open batch in any case.
    pub(crate) fn seal(&mut self) -> Option<Sealed> {
        self.writer.garbage.seal()
    }

    /// Takes reclaimable garbage off the list: for a writer up to `most` batches, or parts of them; for
    /// the reaper (`None`) as much as one critical section is to handle. It does not contain nodes
    /// that need no destructor: their numbers are already vacant.
    pub(crate) fn take_reclaimable(&mut self, most: Option<usize>) -> Reclaimable<K, V> {
        let Writer { garbage, nodes, .. } = &mut *self.writer;
        garbage.take_reclaimable(most, |named| nodes.vacate(named))
    }

    /// Vacates the numbers of dropped nodes.
    pub(crate) fn vacate(&mut self, dropped: Dropped) {
        dropped.0.into_iter().for_each(|named| self.writer.nodes.vacate(named));
    }

    /// Returns whether `trim` would give much memory back.
    pub(crate) fn has_sparse_nodes(&self) -> bool {
        self.writer.nodes.is_sparse()
    }

    /// Gives back the memory of vacant nodes, `most` numbers at a time, and the pages of their
    /// words. Returns false if there is no more to give back.
    pub(crate) fn trim(&mut self, most: usize, words: Option<&Words>) -> bool {
        self.writer.nodes.trim(&self.route.homes, most, |chunk, numbers| {
            if let Some(words) = words {
                words.discard(chunk, numbers);
            }
        })
    }

    /// Recounts the table: calls `each` with the row, the home and the node of every entry. Panics
    /// where the counts of overflow or of entries are wrong.
    pub(crate) fn validate(&self, mut each: impl FnMut(RowId, u32, &Node<K, V>)) {
        let writer = &*self.writer;
        assert!(writer.has_room(), "{} entries, and too little room for them", writer.len);
        assert_eq!(writer.full_at, writer.move_at(), "from when on an insert moves buckets");
        let mut entries = 0;
        for array in std::iter::once(writer.current).chain(writer.next) {
            let mut passed = vec![0u64; array.buckets()];
            for index in 0..array.buckets() {
                let bucket = array.own(index);
                if bucket.own_meta().is_moved() {
                    assert!(writer.next.is_some(), "a moved bucket and nowhere to go");
                    continue;
                }
                for (slot, tag) in bucket.occupied() {
                    let node = self.node_in(bucket, slot);
                    let Filed { row, home } = node.filed;
                    assert_eq!(tag, tag_of(home), "a slot's tag, and its node's");
                    array.way_to(home, index).for_each(|index| passed[index] += 1);
                    each(row, home, node);
                    entries += 1;
                }
            }
            for (index, &passed) in passed.iter().enumerate() {
                let meta = array.own(index).own_meta();
                // While buckets move, the old array's counts include entries that have moved.
                let exact = writer.next.is_none() && meta.overflow() != Meta::STUCK;
                let right = if exact {
                    meta.overflow() == passed
                } else {
                    meta.overflow() >= passed.min(Meta::STUCK)
                };
                assert!(right, "bucket {index} counts {} passed, {passed} are", meta.overflow());
            }
        }
        assert_eq!(entries, writer.len, "entries in buckets against the table's count");
    }
}

impl<K, V, L> fmt::Debug for Writing<'_, '_, K, V, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("len", &self.writer.len).finish_non_exhaustive()
    }
}
