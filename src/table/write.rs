//! How a writer changes what readers find, and how buckets move to a larger array, or a smaller one.
//!
//! Everything here happens under the table's lock; `Writing` is the proof. It runs no user code but
//! `Eq`, and that only in `Writing::find`, before anything is changed. It never knows why.
//!
//! A table grows and shrinks by moving a few buckets with each insert, and with each visit of the reaper, so
//! that no single call copies the table: the hashes come from the rows, no node is touched.

use super::Table;
use super::array::{Array, Pages, room};
use super::bucket::{Bucket, Meta, SLOTS, Slot};
use super::epoch::Pin;
use super::node::Node;
use super::nodes::{Homes, Nodes};
use super::reclaim::{Debris, Ripe, Sealed, Unlinked, drop_contents};
use crate::hash::HashBits;
use crate::rows::RowId;
use crate::time::Tick;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

/// Buckets that an insert moves at least while a move is under way.
const MOVES: usize = 1;

/// The writer side of a table.
pub(super) struct Writer<K, V> {
    /// What the root names.
    current: Array,
    /// Where its buckets are moving.
    next: Option<Array>,
    /// All buckets of `current` before this one have moved.
    cursor: usize,
    /// The pages of `next`.
    pages: Pages,
    /// The size that the table was made with, as a power of two: it does not shrink below.
    least: u32,
    len: usize,
    nodes: Nodes<K, V>,
    debris: Debris<K, V>,
}

// SAFETY: T2, T6. The addresses in it are followed only under the lock that guards it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Writer<K, V> {}

/// Where an entry is. Good until the next change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    in_next: bool,
    bucket: usize,
    slot: Slot,
    /// What the slot names.
    row: RowId,
}

/// An array as its writer sees it. Everything here needs T1: the array is one of the `Writer`'s, under the lock.
impl Array {
    fn own(&self, index: usize) -> &Bucket {
        // SAFETY: T1, under the lock.
        unsafe { self.bucket(index) }
    }

    /// The first slot along the way from `home` that satisfies `is_it`.
    fn search(
        self,
        home: u32,
        mut is_it: impl FnMut(&Bucket, Meta) -> Option<Slot>,
    ) -> Option<(usize, Slot, RowId)> {
        for step in 0..self.buckets() {
            let index = (home as usize).wrapping_add(step) & self.mask();
            let bucket = self.own(index);
            let meta = bucket.own_meta();
            if !meta.is_moved() {
                if let Some(slot) = is_it(bucket, meta) {
                    return Some((index, slot, bucket.own_row(slot)));
                }
            }
            if !meta.has_overflow() {
                break;
            }
        }
        None
    }

    /// Stores an entry in the first free slot along its way. There is one: a table grows before it is full.
    fn put(self, home: u32, tag: u8, row: RowId, hits: u8) {
        for step in 0..self.buckets() {
            let bucket = self.own((home as usize).wrapping_add(step));
            if let Some(slot) = bucket.vacant() {
                bucket.set_row(slot, row);
                bucket.set_tag_and_hits(slot, tag, hits);
                return;
            }
            bucket.set_meta(bucket.own_meta().one_more_passed());
        }
        unreachable!("a table grows before it is full");
    }

    /// Clears a slot. The number stays (T5).
    fn clear(self, home: u32, at: usize, slot: Slot) {
        self.own(at).set_tag(slot, 0);
        let mut index = home as usize & self.mask();
        while index != at {
            let passed = self.own(index);
            passed.set_meta(passed.own_meta().one_less_passed());
            index = (index + 1) & self.mask();
        }
    }
}

/// The smallest array with this much room, as a power of two.
fn log2_for(entries: usize) -> u32 {
    (0..).find(|&log2| room(log2) >= entries).unwrap_or(0)
}

impl<K, V> Writer<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let least = log2_for(capacity);
        Self {
            current: Array::allocate(least),
            next: None,
            cursor: 0,
            pages: Pages::of(0),
            least,
            len: 0,
            nodes: Nodes::new(),
            debris: Debris::new(),
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

    fn search(&self, home: u32, mut is_it: impl FnMut(&Bucket, Meta) -> Option<Slot>) -> Option<Place> {
        let mut look = |array: Array, in_next| {
            array.search(home, &mut is_it).map(|(bucket, slot, row)| Place { in_next, bucket, slot, row })
        };
        look(self.current, false).or_else(|| look(self.next?, true))
    }

    /// Moves one bucket to the next array, unless it has moved already.
    fn move_bucket(&mut self, index: usize, home_of: impl Fn(RowId) -> u32) {
        let Some(next) = self.next else { return };
        let bucket = self.current.own(index);
        if bucket.own_meta().is_moved() {
            return;
        }
        // Where most of them go, in an array twice or half as large.
        for target in [index, index + self.current.buckets()] {
            if self.pages.is_first(target & next.mask()) {
                next.own(target).touch();
            }
        }
        // All homes first: the rows are far from each other, and so are fetched at once.
        let mut entries = [(RowId::FIRST, 0, 0, 0); SLOTS];
        let mut count = 0;
        for ((slot, tag), entry) in bucket.occupied().zip(&mut entries) {
            let row = bucket.own_row(slot);
            *entry = (row, home_of(row), tag, bucket.hits(slot));
            count += 1;
        }
        for &(row, home, tag, hits) in &entries[..count] {
            next.put(home, tag, row, hits);
        }
        // Only now: a reader that sees the mark must find the entries in the next array.
        bucket.set_meta(bucket.own_meta().moved());
    }

    /// Drops and frees everything.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one; called once.
    pub(super) unsafe fn dispose_all(&mut self, homes: &Homes<K, V>) {
        // SAFETY: T4, by contract.
        unsafe { self.debris.dispose_all(homes) };
        for array in std::iter::once(self.current).chain(self.next) {
            for index in 0..array.buckets() {
                let bucket = array.own(index);
                if bucket.own_meta().is_moved() {
                    continue;
                }
                for (slot, _) in bucket.occupied() {
                    // SAFETY: T4, T5, T9; each node is in one bucket that has not moved.
                    unsafe { drop_contents(NonNull::new_unchecked(homes.node(bucket.own_row(slot)))) };
                }
            }
            // SAFETY: T4.
            unsafe { array.free() };
        }
    }
}

/// The right to change a table: its lock is held.
pub(crate) struct Writing<'a, 't, K, V, L> {
    pub(super) table: &'t Table<K, V, L>,
    pub(super) writer: &'a mut Writer<K, V>,
}

impl<'t, K, V, L> Writing<'_, 't, K, V, L> {
    fn node_of(&self, row: RowId) -> NonNull<Node<K, V>> {
        // SAFETY: T9: the chunk of a number that is taken is there.
        unsafe { NonNull::new_unchecked(self.table.homes.node(row)) }
    }

    /// Where a key is. Runs the user's `Eq`, and changes nothing.
    #[inline]
    pub(crate) fn find(&self, hash: HashBits, is_key: impl Fn(&K) -> bool) -> Option<Place> {
        self.find_telling(hash, is_key, |_| {})
    }

    /// As `find`; tells `tell` of each row whose key is about to be looked at.
    #[inline(always)]
    pub(crate) fn find_telling(
        &self,
        hash: HashBits,
        is_key: impl Fn(&K) -> bool,
        tell: impl Fn(RowId),
    ) -> Option<Place> {
        let is_it = |bucket: &Bucket, meta| {
            bucket.own_matches(meta, hash.tag()).find(|&slot| {
                tell(bucket.own_row(slot));
                // SAFETY: T5: a tagged slot; T4: under the lock nobody retires it.
                let node = unsafe { self.node_of(bucket.own_row(slot)).as_ref() };
                node.canary.look();
                is_key(node.key())
            })
        };
        // Nearly always the bucket where the way begins is all there is to look at.
        let index = hash.home() as usize & self.writer.current.mask();
        let bucket = self.writer.current.own(index);
        let meta = bucket.own_meta();
        if !meta.is_moved() {
            if let Some(slot) = is_it(bucket, meta) {
                return Some(Place { in_next: false, bucket: index, slot, row: bucket.own_row(slot) });
            }
        }
        if meta.is_moved() || meta.has_overflow() { self.find_further(hash, is_it) } else { None }
    }

    #[cold]
    fn find_further(
        &self,
        hash: HashBits,
        is_it: impl FnMut(&Bucket, Meta) -> Option<Slot>,
    ) -> Option<Place> {
        self.writer.search(hash.home(), is_it)
    }

    /// Has the bucket where an entry of this home begins its way brought near, for whoever comes for it soon.
    #[inline]
    pub(crate) fn fetch(&self, home: u32) {
        for array in std::iter::once(self.writer.current).chain(self.writer.next) {
            array.fetch(home as usize);
        }
    }

    /// Has the node of a row brought near.
    #[inline]
    pub(crate) fn fetch_node(&self, row: RowId) {
        super::memory::fetch(self.table.homes.node(row));
    }

    #[inline(never)]
    fn find_row_further(&self, home: u32, row: RowId) -> Place {
        let found = self.writer.search(home, |bucket, _| bucket.slot_of(row));
        found.expect("a row without an entry")
    }

    /// Where a row's entry is. There must be one.
    #[inline]
    pub(crate) fn find_row(&self, home: u32, row: RowId) -> Place {
        // Nearly always in the bucket where its way begins, as in `find_telling`.
        let index = home as usize & self.writer.current.mask();
        let bucket = self.writer.current.own(index);
        match bucket.slot_of(row) {
            Some(slot) if !bucket.own_meta().is_moved() => Place { in_next: false, bucket: index, slot, row },
            _ => self.find_row_further(home, row),
        }
    }

    pub(crate) fn node(&self, place: Place) -> &Node<K, V> {
        // SAFETY: T5: places name tagged slots; T4: under the lock nobody retires it.
        let node = unsafe { self.node_of(place.row).as_ref() };
        node.canary.look();
        node
    }

    /// The node at a place, for as long as the caller is pinned.
    pub(crate) fn lend<'g>(&self, place: Place, _pin: &'g Pin) -> &'g Node<K, V>
    where
        't: 'g,
    {
        // SAFETY: T5: places name tagged slots; T4: the caller is pinned before anybody can unlink it, and
        // borrows the table.
        let node = unsafe { self.node_of(place.row).as_ref() };
        node.canary.look();
        node
    }

    #[inline]
    pub(crate) fn row(&self, place: Place) -> RowId {
        place.row
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.len
    }

    /// Publishes a new entry for a row that has none. Its key must not be in the table (`find` said so under this
    /// lock).
    pub(crate) fn insert(
        &mut self,
        hash: HashBits,
        (row, hits): (RowId, u8),
        (key, value): (K, V),
        deadline: Tick,
        home_of: impl Fn(RowId) -> u32,
    ) {
        self.make_room(&home_of);
        let home = hash.home();
        // Readers of this key begin at its home: the mark must be on their way before the key is.
        let at = home as usize & self.writer.current.mask();
        self.writer.move_bucket(at, &home_of);
        // SAFETY: T9: the row is new.
        unsafe { self.writer.nodes.put(&self.table.homes, row, Node::new(key, value, deadline)) };
        self.writer.next.unwrap_or(self.writer.current).put(home, hash.tag(), row, hits);
        self.writer.len += 1;
    }

    /// Begins or goes on with a move, if one is due or under way.
    #[inline]
    fn make_room(&mut self, home_of: impl Fn(RowId) -> u32) {
        let writer = &*self.writer;
        if writer.next.is_some() || writer.len >= writer.current.room() {
            self.go_on_moving(home_of);
        }
    }

    #[cold]
    fn go_on_moving(&mut self, home_of: impl Fn(RowId) -> u32) {
        if self.writer.next.is_none() {
            self.begin_move(self.writer.current.log2() + 1);
        }
        let Some(next) = self.writer.next else { return };
        // At such a pace that the move has ended before the next array is full.
        let left = self.writer.current.buckets() - self.writer.cursor;
        let room = next.room().saturating_sub(self.writer.len).max(1);
        self.advance(MOVES.max(left.div_ceil(room)), home_of);
    }

    fn begin_move(&mut self, log2: u32) {
        let next = Array::allocate(log2);
        // SAFETY: T1, under the lock.
        unsafe { self.writer.current.set_next(next) };
        self.writer.next = Some(next);
        self.writer.pages = Pages::of(next.buckets());
        self.writer.cursor = 0;
    }

    /// Moves up to `count` buckets; after the last one the next array becomes the root.
    fn advance(&mut self, count: usize, home_of: impl Fn(RowId) -> u32) {
        let writer = &mut *self.writer;
        let Some(next) = writer.next else { return };
        let buckets = writer.current.buckets();
        let end = writer.cursor.saturating_add(count).min(buckets);
        for index in writer.cursor..end {
            writer.move_bucket(index, &home_of);
        }
        writer.cursor = end;
        if end == buckets {
            writer.next = None;
            self.table.set_root(next);
            let old = std::mem::replace(&mut writer.current, next);
            // SAFETY: T3: the root names its successor, and all its buckets are marked moved.
            unsafe { writer.debris.add_array(old) };
        }
    }

    /// Whether the table is so empty that a much smaller array would do.
    pub(crate) fn is_lean(&self) -> bool {
        self.writer.next.is_none() && self.lean_log2() + 1 < self.writer.current.log2()
    }

    fn lean_log2(&self) -> u32 {
        log2_for(self.writer.len + self.writer.len / 8).max(self.writer.least)
    }

    /// Begins to move to a smaller array, if this one is too large, or goes on with a move, whichever way: up to
    /// `count` buckets. False when there is nothing to do.
    pub(crate) fn shrink(&mut self, count: usize, home_of: impl Fn(RowId) -> u32) -> bool {
        if self.writer.next.is_none() {
            if !self.is_lean() {
                self.writer.debris.shrink();
                return false;
            }
            self.begin_move(self.lean_log2());
        }
        self.advance(count, home_of);
        true
    }

    /// Gives back the memory of nodes whose numbers are vacant.
    pub(crate) fn discard(&mut self, chunk: usize, rows: Range<usize>) {
        // SAFETY: T9: so the caller says, who keeps the numbers.
        unsafe { self.writer.nodes.discard(&self.table.homes, chunk, rows) };
    }

    /// Puts a new node in the place of another, for another row: readers see one or the other, never a hole.
    pub(crate) fn replace(
        &mut self,
        place: Place,
        row: RowId,
        (key, value): (K, V),
        deadline: Tick,
    ) -> Unlinked<K, V> {
        // SAFETY: T9: the row is new.
        unsafe { self.writer.nodes.put(&self.table.homes, row, Node::new(key, value, deadline)) };
        self.writer.array(place.in_next).own(place.bucket).set_row(place.slot, row);
        Unlinked { row: place.row, node: self.node_of(place.row), weight: 0 }
    }

    /// Takes an entry out of the table.
    pub(crate) fn unlink(&mut self, place: Place, home: u32) -> Unlinked<K, V> {
        let row = place.row;
        self.writer.array(place.in_next).clear(home, place.bucket, place.slot);
        self.writer.len -= 1;
        Unlinked { row, node: self.node_of(row), weight: 0 }
    }

    /// How often the entry at a place was hit, up to three; lowers that by up to `by`.
    #[inline]
    pub(crate) fn lower_hits(&self, place: Place, by: u8) -> u8 {
        self.writer.array(place.in_next).own(place.bucket).lower_hits(place.slot, by)
    }

    /// From which weight on a batch of debris is full, however few nodes are in it.
    pub(crate) fn set_batch_weight(&mut self, weight: u64) {
        self.writer.debris.set_batch_weight(weight);
    }

    /// How many nodes are debris.
    pub(crate) fn debris(&self) -> usize {
        self.writer.debris.len()
    }

    /// Lists an unlinked node as debris.
    pub(crate) fn retire(&mut self, node: Unlinked<K, V>) {
        self.writer.debris.add(node);
    }

    /// Whether something waits to be sealed, to ripen or to be dropped.
    pub(crate) fn has_debris(&self) -> bool {
        self.writer.debris.has_open() || self.writer.debris.has_sealed()
    }

    /// Whether the open batch is to be sealed.
    #[inline]
    pub(crate) fn is_batch_full(&self) -> bool {
        self.writer.debris.is_full()
    }

    pub(crate) fn has_sealed_debris(&self) -> bool {
        self.writer.debris.has_sealed()
    }

    /// Seals the open batch if it is full, or in any case.
    pub(crate) fn seal(&mut self, even_if_not_full: bool) -> Option<Sealed> {
        if even_if_not_full || self.is_batch_full() { self.writer.debris.seal() } else { None }
    }

    /// Takes ripe debris off the list. Tells `vacate` of rows whose nodes need no destructor.
    pub(crate) fn take_ripe(&mut self, all: bool, vacate: impl FnMut(RowId)) -> Ripe<K, V> {
        self.writer.debris.take_ripe(all, vacate)
    }

    /// Recounts the table: calls `each` with the row and node of every entry, and panics where the
    /// counts of overflow or entries disagree with what is there.
    pub(crate) fn validate(&self, home_of: impl Fn(RowId) -> u32, mut each: impl FnMut(RowId, &Node<K, V>)) {
        let writer = &*self.writer;
        let mut entries = 0;
        for array in std::iter::once(writer.current).chain(writer.next) {
            let mut passed = vec![0u64; array.buckets()];
            for index in 0..array.buckets() {
                let bucket = array.own(index);
                if bucket.own_meta().is_moved() {
                    assert!(writer.next.is_some(), "a moved bucket and nowhere to go");
                    continue;
                }
                for (slot, _) in bucket.occupied() {
                    let row = bucket.own_row(slot);
                    let mut way = home_of(row) as usize & array.mask();
                    while way != index {
                        passed[way] += 1;
                        way = (way + 1) & array.mask();
                    }
                    // SAFETY: T5, under the lock.
                    each(row, unsafe { self.node_of(row).as_ref() });
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
