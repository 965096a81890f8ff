//! How a writer changes what readers find. How buckets move meanwhile is in `moves.rs`.
//!
//! Everything here happens under the table's lock; `Writing` is the proof. It runs no user code but
//! `Eq`, and that only in `Writing::find`, before anything is changed. It never knows why.

use super::array::{Array, Pages};
use super::bucket::{Bucket, Meta, Slot};
use super::epoch::Pin;
use super::moves::log2_for;
use super::node::{Filed, Node};
use super::nodes::{Homes, Named, Nodes};
use super::pace::{Load, Moment};
use super::reclaim::{Dropped, Garbage, Reclaimable, Sealed, Unlinked, drop_contents};
use super::route::At;
use crate::hash::{HashBits, tag_of};
use crate::rows::RowId;
use crate::time::{Deadline, Tick};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU8;
use std::ptr::NonNull;

/// The writer side of a table.
pub(super) struct Writer<K, V> {
    /// The readers' side: as the table has it, but near to what else a writer needs.
    pub(super) route: At<K, V>,
    /// What the root names.
    pub(super) current: Array,
    /// Where its buckets are moving.
    pub(super) next: Option<Array>,
    /// All buckets of `current` before this one have moved.
    pub(super) cursor: usize,
    /// The pages of `next`.
    pub(super) pages: Pages,
    /// The size that the table was made with, as a power of two: it does not shrink below.
    pub(super) least: u32,
    pub(super) len: usize,
    pub(super) nodes: Nodes<K, V>,
    pub(super) garbage: Garbage<K, V>,
}

// SAFETY: T2, T6. The addresses in it are followed only under the lock that guards it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Writer<K, V> {}

/// Where an entry is. Good until the next change. Two words, so that it is handed around in registers.
pub(crate) struct Place<K, V> {
    /// What the slot names.
    node: NonNull<Node<K, V>>,
    /// The number of that, the slot, which array it is, and the bucket: from the lowest bits on.
    at: u64,
}

impl<K, V> Clone for Place<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Place<K, V> {}

impl<K, V> Place<K, V> {
    const SLOT: u32 = 32;
    const NEXT: u32 = 36;
    const BUCKET: u32 = 37;

    #[inline]
    fn new(in_next: bool, bucket: usize, slot: Slot, named: Named, node: NonNull<Node<K, V>>) -> Self {
        const { assert!(Self::BUCKET + Array::MOST_LOG2 <= u64::BITS) };
        let place = u64::from(slot.bits()) << Self::SLOT | u64::from(in_next) << Self::NEXT;
        Self { node, at: u64::from(named.bits()) | place | (bucket as u64) << Self::BUCKET }
    }

    /// The number of the node that is there.
    #[inline]
    pub(crate) fn named(self) -> Named {
        Named::again(self.at as u32)
    }

    #[inline]
    fn slot(self) -> Slot {
        Slot::again((self.at >> Self::SLOT) as u32 & 0xF)
    }

    #[inline]
    fn in_next(self) -> bool {
        self.at >> Self::NEXT & 1 != 0
    }

    #[inline]
    fn bucket(self) -> usize {
        (self.at >> Self::BUCKET) as usize
    }
}

/// An array as its writer sees it. Everything here needs T1: the array is one of the `Writer`'s, under the lock.
impl Array {
    pub(super) fn own(&self, index: usize) -> &Bucket {
        // SAFETY: T1, under the lock.
        unsafe { self.bucket(index) }
    }

    /// The bucket where the way of a home begins.
    #[inline]
    pub(super) fn own_first(&self, home: u32) -> &Bucket {
        // SAFETY: T1, under the lock.
        unsafe { self.first_of(home) }
    }

    /// The first slot along the way from `home` that satisfies `is_it`.
    fn search(
        self,
        home: u32,
        mut is_it: impl FnMut(&Bucket) -> Option<Slot>,
    ) -> Option<(usize, Slot, Named)> {
        for step in 0..self.buckets() {
            let index = self.way(home, step);
            let bucket = self.own(index);
            let meta = bucket.own_meta();
            if !meta.is_moved() {
                if let Some(slot) = is_it(bucket) {
                    return Some((index, slot, bucket.own_named(slot)));
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

    /// The buckets on the way of a home that come before this one.
    fn way_to(self, home: u32, at: usize) -> impl Iterator<Item = usize> {
        (0..self.buckets()).map(move |step| self.way(home, step)).take_while(move |&index| index != at)
    }

    /// Empties a slot.
    #[inline]
    fn clear(self, home: u32, at: usize, slot: Slot) {
        self.own(at).vacate(slot);
        if self.start(home) != at {
            self.count_back(home, at);
        }
    }

    /// An entry is gone that had passed the buckets on its way to this one.
    #[inline(never)]
    fn count_back(self, home: u32, at: usize) {
        for index in self.way_to(home, at) {
            let passed = self.own(index);
            passed.set_meta(passed.own_meta().one_less_passed());
        }
    }
}

impl<K, V> Writer<K, V> {
    pub(super) fn new(capacity: usize, route: At<K, V>) -> Self {
        let least = log2_for(capacity);
        Self {
            route,
            current: Array::allocate(least),
            next: None,
            cursor: 0,
            pages: Pages::of(0),
            least,
            len: 0,
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
            let (bucket, slot, named) = array.search(home, &mut is_it)?;
            Some(Place::new(in_next, bucket, slot, named, self.node_of(named)))
        };
        look(self.current, false).or_else(|| look(self.next?, true))
    }

    #[inline]
    fn node_of(&self, named: Named) -> NonNull<Node<K, V>> {
        // SAFETY: T9: the chunk of a number that is taken is there.
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

/// What a new entry's node is to be, beside its key and value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewNode {
    /// Its number, from `Writing::new_node`.
    pub(crate) named: Named,
    pub(crate) row: RowId,
    pub(crate) deadline: Deadline,
    /// How often it counts as hit.
    pub(crate) hits: u8,
}

/// The right to change a table: its lock is held.
pub(crate) struct Writing<'a, 't, K, V, L> {
    pub(super) route: At<K, V>,
    pub(super) writer: &'a mut Writer<K, V>,
    /// What lies under the lock beside it.
    pub(super) of: PhantomData<(&'t (), L)>,
}

impl<'t, K, V, L> Writing<'_, 't, K, V, L> {
    /// The node in a slot that has a tag.
    #[inline]
    pub(super) fn node_in(&self, bucket: &Bucket, slot: Slot) -> &Node<K, V> {
        // SAFETY: T5: a tagged slot; T4: under the lock nobody retires it.
        let node = unsafe { self.writer.node_of(bucket.own_named(slot)).as_ref() };
        node.canary.look();
        node
    }

    /// Where a key is. Runs the user's `Eq`, and changes nothing.
    #[inline(always)]
    pub(crate) fn find(&self, hash: HashBits, is_key: impl Fn(&K) -> bool) -> Option<Place<K, V>> {
        let is_it = |bucket: &Bucket| {
            bucket.own_matches(hash.tag()).find(|&slot| is_key(self.node_in(bucket, slot).key()))
        };
        // Nearly always the bucket where the way begins is all there is to look at.
        let current = self.writer.current;
        let bucket = current.own_first(hash.home());
        // (One that has moved has no tags.)
        if let Some(slot) = is_it(bucket) {
            let index = current.start(hash.home());
            return Some(self.place(index, bucket, slot));
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

    /// A place in a bucket of the current array.
    #[inline]
    fn place(&self, index: usize, bucket: &Bucket, slot: Slot) -> Place<K, V> {
        let named = bucket.own_named(slot);
        Place::new(false, index, slot, named, self.writer.node_of(named))
    }

    /// The current array, and the next one if there is one.
    #[inline]
    pub(super) fn arrays(&self) -> impl Iterator<Item = Array> + use<K, V, L> {
        std::iter::once(self.writer.current).chain(self.writer.next)
    }

    /// Has the bucket where an entry of this home begins its way prefetched, for whoever comes for it soon.
    #[inline]
    pub(crate) fn prefetch(&self, home: u32) {
        for array in self.arrays() {
            array.prefetch(array.start(home));
        }
    }

    /// As `prefetch`, in the array where nearly all of them are.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, home: u32) {
        self.writer.current.prefetch(self.writer.current.start(home));
    }

    /// Has a node prefetched: a hint.
    #[inline]
    pub(super) fn prefetch_node(&self, named: Named) {
        super::memory::prefetch(self.route.homes.named(named));
    }

    /// Has the node of an entry of this home prefetched, whose bucket is: most likely the one that is meant.
    #[inline]
    pub(crate) fn prefetch_node_at(&self, home: u32) {
        let bucket = self.writer.current.own_first(home);
        if let Some(slot) = bucket.own_matches(tag_of(home)).next() {
            self.prefetch_node(bucket.own_named(slot));
        }
    }

    /// Has the place of the next node prefetched.
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

    /// Where a row's entry is. There must be one.
    #[inline]
    pub(crate) fn find_row(&self, home: u32, row: RowId) -> Place<K, V> {
        // Nearly always in the bucket where its way begins, as in `find`: if nothing of this home is elsewhere, and its tag is there
        // but once, it is in that slot, whose node need not be looked at.
        let current = self.writer.current;
        let bucket = current.own_first(home);
        let mut slots = bucket.own_matches(tag_of(home));
        match (slots.next(), slots.next()) {
            (Some(slot), None) if bucket.own_meta().is_the_end() => {
                debug_assert_eq!(self.node_in(bucket, slot).filed, Filed { row, home }, "a row's only slot");
                self.place(current.start(home), bucket, slot)
            }
            _ => self.find_row_further(home, row),
        }
    }

    pub(crate) fn node(&self, place: Place<K, V>) -> &Node<K, V> {
        // SAFETY: T5: places name tagged slots; T4: under the lock nobody retires it.
        let node = unsafe { place.node.as_ref() };
        node.canary.look();
        node
    }

    /// The row of an entry that a reader has found, if it still has the same node.
    pub(crate) fn row_of(&self, found: &Node<K, V>) -> Option<RowId> {
        let Filed { row, home } = found.filed;
        let is_it = |bucket: &Bucket| {
            bucket.own_matches(tag_of(home)).find(|&slot| std::ptr::eq(self.node_in(bucket, slot), found))
        };
        self.writer.search(home, is_it).map(|_| row)
    }

    /// The node at a place, for as long as the caller is pinned.
    pub(crate) fn lend<'g>(&self, place: Place<K, V>, _pin: &'g Pin) -> &'g Node<K, V>
    where
        't: 'g,
    {
        // SAFETY: T5: places name tagged slots; T4: the caller is pinned before anybody can unlink it, and
        // borrows the table.
        let node = unsafe { place.node.as_ref() };
        node.canary.look();
        node
    }

    /// The row of the entry at a place.
    #[inline]
    pub(crate) fn row(&self, place: Place<K, V>) -> RowId {
        self.node(place).filed.row
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.len
    }

    /// A number for a node that is about to be put somewhere.
    ///
    /// # Panics
    ///
    /// If there is none left. To be asked for before anything is changed.
    #[inline]
    pub(crate) fn new_node(&mut self) -> Named {
        self.writer.nodes.take().expect("a shard holds at most 2^27 entries")
    }

    /// Publishes a new entry for a row that has none, and takes it from where it is. Its key must not be in the table (`find` said so under this
    /// lock).
    pub(crate) fn insert(&mut self, hash: HashBits, new: NewNode, entry: &mut Option<(K, V)>) {
        let NewNode { named, row, deadline, hits } = new;
        self.grow_if_full();
        let home = hash.home();
        // Readers of this key begin at its home: the mark must be on their way before the key is.
        let at = self.writer.current.start(home);
        self.writer.move_bucket(at);
        let filed = Filed { row, home };
        // SAFETY: T9: the number is new.
        unsafe { self.writer.nodes.put(&self.route.homes, named, entry, deadline, filed) };
        self.writer.target().put(home, hash.tag(), named, hits);
        self.writer.len += 1;
    }

    /// Puts a new node in the place of another, of the same entry, made of what is taken from `entry`: readers see one or the other, never
    /// a hole.
    #[inline]
    pub(crate) fn replace(
        &mut self,
        place: Place<K, V>,
        named: Named,
        entry: &mut Option<(K, V)>,
        deadline: Deadline,
    ) -> Unlinked<K, V> {
        let filed = self.node(place).filed;
        // SAFETY: T9: the number is new.
        unsafe { self.writer.nodes.put(&self.route.homes, named, entry, deadline, filed) };
        self.writer.array(place.in_next()).own(place.bucket()).set_named(place.slot(), named);
        Unlinked { named: place.named(), node: place.node, weight: 0 }
    }

    /// Takes an entry out of the table.
    #[inline]
    pub(crate) fn unlink(&mut self, place: Place<K, V>) -> Unlinked<K, V> {
        // The home of the key that is stored, whatever hash the caller came with.
        let home = self.node(place).filed.home;
        self.writer.array(place.in_next()).clear(home, place.bucket(), place.slot());
        self.writer.len -= 1;
        Unlinked { named: place.named(), node: place.node, weight: 0 }
    }

    /// How often the entry at a place was hit, up to three; lowers that by up to `by`.
    #[inline]
    pub(crate) fn lower_hits(&self, place: Place<K, V>, by: u8) -> u8 {
        self.writer.array(place.in_next()).own(place.bucket()).lower_hits(place.slot(), by)
    }

    /// From which weight on a batch of garbage is full, however few nodes are in it.
    pub(crate) fn set_batch_weight(&mut self, weight: u64) {
        self.writer.garbage.set_batch_weight(weight);
    }

    /// Has garbage wait for a moment at most, while others write.
    pub(crate) fn be_prompt(&mut self, shards: usize) {
        self.writer.garbage.be_prompt(shards);
    }

    /// How many nodes are garbage.
    pub(crate) fn garbage(&self) -> usize {
        self.writer.garbage.len()
    }

    /// Lists an unlinked node as garbage.
    pub(crate) fn retire(&mut self, node: Unlinked<K, V>) {
        self.writer.garbage.add(node);
    }

    /// Whether something waits to be sealed, to become reclaimable or to be dropped.
    pub(crate) fn has_garbage(&self) -> bool {
        self.writer.garbage.has_open() || self.writer.garbage.has_sealed()
    }

    /// Whether a writer has to do something about garbage: there is a batch of it, or so much that writers wait.
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

    /// What a writer has to do about garbage, where the entries weigh so much: seals the open batch if it is full, and perhaps has him wait.
    pub(crate) fn stop(&mut self, now: Tick, weight: u64) -> (Option<Sealed>, Option<Moment>) {
        let entries = Load { nodes: self.writer.len as u64, weight };
        self.writer.garbage.stop(now, entries)
    }

    /// Seals the open batch in any case.
    pub(crate) fn seal(&mut self) -> Option<Sealed> {
        self.writer.garbage.seal()
    }

    /// Takes reclaimable garbage off the list: all of it, or so many of the oldest batches. Nodes that need no destructor are not in it: their
    /// numbers are vacant.
    pub(crate) fn take_reclaimable(&mut self, most: Option<usize>) -> Reclaimable<K, V> {
        let Writer { garbage, nodes, .. } = &mut *self.writer;
        garbage.take_reclaimable(most, |named| nodes.vacate(named))
    }

    /// These nodes were dropped: their numbers are vacant.
    pub(crate) fn vacate(&mut self, dropped: Dropped) {
        dropped.0.into_iter().for_each(|named| self.writer.nodes.vacate(named));
    }

    /// Whether `trim` would give much back.
    pub(crate) fn has_sparse_nodes(&self) -> bool {
        self.writer.nodes.is_sparse()
    }

    /// Gives back the memory of nodes that are gone, of so many numbers at a time. False when there is no more to give.
    pub(crate) fn trim(&mut self, most: usize) -> bool {
        self.writer.nodes.trim(&self.route.homes, most)
    }

    /// Recounts the table: calls `each` with the row, the home and the node of every entry, and panics where the
    /// counts of overflow or entries disagree with what is there.
    pub(crate) fn validate(&self, mut each: impl FnMut(RowId, u32, &Node<K, V>)) {
        let writer = &*self.writer;
        assert!(writer.has_room(), "{} entries, and too little room for them", writer.len);
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
