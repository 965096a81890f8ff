//! How a writer changes what readers find, and how buckets move to a larger array.
//!
//! Everything here happens under the table's lock; `Writing` is the proof. It runs no user code but
//! `Eq`, and that only in `Writing::find`, before anything is changed. It never knows why.
//!
//! A table grows by moving a few buckets with each insert, so that no single insert copies the table:
//! the hashes come from the rows, no node is touched. `rows` mirrors the buckets with each slot's row;
//! readers never see it.

use super::Table;
use super::array::{Array, NodePtr, room};
use super::bucket::{Bucket, Meta, SLOTS};
use super::epoch::Pin;
use super::node::Node;
use super::reclaim::{Blank, Blanks, Debris, Ripe, Sealed, Unlinked, drop_contents};
use crate::hash::HashBits;
use crate::rows::RowId;
use crate::time::Tick;
use std::fmt;
use std::ptr::NonNull;

/// Buckets that an insert moves while a move is under way. The new array has room for more than five
/// times as many inserts as this needs.
const MOVES: usize = if cfg!(tidewheel_loom) { 1 } else { 4 };

/// The writer side of a table.
pub(super) struct Writer<K, V> {
    /// What the root names.
    current: Mirrored<K, V>,
    /// Where its buckets are moving.
    next: Option<Mirrored<K, V>>,
    /// All buckets of `current` before this one have moved.
    cursor: usize,
    len: usize,
    debris: Debris<K, V>,
}

/// An array with the row of each slot.
struct Mirrored<K, V> {
    array: Array<K, V>,
    rows: Vec<[u32; SLOTS]>,
}

// SAFETY: T2, T6. The pointers in it are followed only under the lock that guards it.
unsafe impl<K: Send + Sync, V: Send + Sync> Send for Writer<K, V> {}

/// Where an entry is. Good until the next change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    in_next: bool,
    bucket: usize,
    slot: usize,
}

impl<K, V> Mirrored<K, V> {
    fn allocate(log2: u32) -> Self {
        let array = Array::allocate(log2);
        Self { array, rows: vec![[0; SLOTS]; array.buckets()] }
    }

    /// The first slot along the way from `home` that satisfies `is_it`.
    fn search(
        &self,
        home: u32,
        mut is_it: impl FnMut(usize, usize, Meta) -> Option<usize>,
    ) -> Option<(usize, usize)> {
        for step in 0..self.array.buckets() {
            let index = (home as usize).wrapping_add(step) & self.array.mask();
            // SAFETY: T1, under the lock.
            let meta = unsafe { self.array.bucket(index) }.own_meta();
            if !meta.is_moved() {
                if let Some(slot) = is_it(index, step, meta) {
                    return Some((index, slot));
                }
            }
            if !meta.has_overflow() {
                break;
            }
        }
        None
    }

    fn node(&self, bucket: usize, slot: usize) -> NodePtr<K, V> {
        // SAFETY: T1, under the lock.
        unsafe { self.array.bucket(bucket) }.own_node(slot)
    }

    /// Stores an entry in the first free slot along its way. There is one: a table grows before it is full.
    fn put(&mut self, home: u32, tag: u8, node: NodePtr<K, V>, row: u32) {
        for step in 0..self.array.buckets() {
            let index = (home as usize).wrapping_add(step) & self.array.mask();
            // SAFETY: T1, under the lock.
            let bucket = unsafe { self.array.bucket(index) };
            let meta = bucket.own_meta();
            if let Some(slot) = meta.vacant().next() {
                self.rows[index][slot] = row;
                bucket.set_node(slot, node);
                bucket.set_meta(meta.with_tag(slot, tag));
                return;
            }
            bucket.set_meta(meta.one_more_passed());
        }
        unreachable!("a table grows before it is full");
    }

    /// Clears a slot. The pointer stays (T5).
    fn clear(&mut self, home: u32, at: usize, slot: usize) {
        // SAFETY: T1, under the lock.
        let bucket = unsafe { self.array.bucket(at) };
        bucket.set_meta(bucket.own_meta().with_tag(slot, 0));
        let mut index = home as usize & self.array.mask();
        while index != at {
            // SAFETY: T1, under the lock.
            let passed = unsafe { self.array.bucket(index) };
            passed.set_meta(passed.own_meta().one_less_passed());
            index = (index + 1) & self.array.mask();
        }
    }
}

impl<K, V> Writer<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let mut log2 = 0;
        while room(log2) < capacity {
            log2 += 1;
        }
        Self { current: Mirrored::allocate(log2), next: None, cursor: 0, len: 0, debris: Debris::new() }
    }

    pub(super) fn root(&self) -> *mut Bucket<K, V> {
        self.current.array.tagged()
    }

    fn mirrored(&self, place: Place) -> &Mirrored<K, V> {
        match &self.next {
            Some(next) if place.in_next => next,
            _ => &self.current,
        }
    }

    fn search(
        &self,
        home: u32,
        mut is_it: impl FnMut(&Mirrored<K, V>, usize, Meta) -> Option<usize>,
    ) -> Option<Place> {
        let mut look = |mirrored: &Mirrored<K, V>, in_next| {
            let found = mirrored.search(home, |index, _, meta| is_it(mirrored, index, meta));
            found.map(|(bucket, slot)| Place { in_next, bucket, slot })
        };
        look(&self.current, false).or_else(|| look(self.next.as_ref()?, true))
    }

    /// Moves one bucket to the next array, unless it has moved already.
    fn move_bucket(&mut self, index: usize, home_of: impl Fn(RowId) -> u32) {
        let Some(next) = &mut self.next else { return };
        // SAFETY: T1, under the lock.
        let bucket = unsafe { self.current.array.bucket(index) };
        let meta = bucket.own_meta();
        if meta.is_moved() {
            return;
        }
        for slot in meta.occupied() {
            let row = self.current.rows[index][slot];
            next.put(home_of(RowId::from_index(row)), meta.tag(slot), bucket.own_node(slot), row);
        }
        // Only now: a reader that sees the mark must find the entries in the next array.
        bucket.set_meta(meta.moved());
    }

    /// Drops and frees everything.
    ///
    /// # Safety
    ///
    /// T4: no reader of this table is left, nor will there be one; called once.
    pub(super) unsafe fn dispose_all(&mut self) {
        // SAFETY: T4, by contract.
        unsafe { self.debris.dispose_all() };
        for mirrored in std::iter::once(&self.current).chain(&self.next) {
            for index in 0..mirrored.array.buckets() {
                // SAFETY: T1: not freed yet.
                let bucket = unsafe { mirrored.array.bucket(index) };
                let meta = bucket.own_meta();
                if meta.is_moved() {
                    continue;
                }
                for slot in meta.occupied() {
                    if let Some(node) = NonNull::new(bucket.own_node(slot)) {
                        // SAFETY: T4; each node is in one bucket that has not moved.
                        unsafe { drop_contents(node) };
                        if !cfg!(tidewheel_loom) {
                            // SAFETY: T4, once.
                            drop(unsafe { Blank::of(node) });
                        }
                    }
                }
            }
            // SAFETY: T4.
            unsafe { mirrored.array.free() };
        }
    }
}

/// The right to change a table: its lock is held.
pub(crate) struct Writing<'a, 't, K, V, L> {
    pub(super) table: &'t Table<K, V, L>,
    pub(super) writer: &'a mut Writer<K, V>,
}

impl<'t, K, V, L> Writing<'_, 't, K, V, L> {
    /// Where a key is. Runs the user's `Eq`, and changes nothing.
    pub(crate) fn find(&self, hash: HashBits, is_key: impl Fn(&K) -> bool) -> Option<Place> {
        self.writer.search(hash.home(), |mirrored, index, meta| {
            meta.matches(hash.tag()).find(|&slot| {
                // SAFETY: T5: a tagged slot; T4: under the lock nobody retires it.
                let node = unsafe { &*mirrored.node(index, slot) };
                node.canary.look();
                is_key(node.key())
            })
        })
    }

    /// Where a row's entry is. There must be one.
    pub(crate) fn find_row(&self, home: u32, row: RowId) -> Place {
        let found = self.writer.search(home, |mirrored, index, meta| {
            meta.occupied().find(|&slot| mirrored.rows[index][slot] == row.index())
        });
        found.expect("a row without an entry")
    }

    pub(crate) fn node(&self, place: Place) -> &Node<K, V> {
        // SAFETY: T5: places name tagged slots; T4: under the lock nobody retires it.
        let node = unsafe { &*self.writer.mirrored(place).node(place.bucket, place.slot) };
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
        let node = unsafe { &*self.writer.mirrored(place).node(place.bucket, place.slot) };
        node.canary.look();
        node
    }

    pub(crate) fn row(&self, place: Place) -> RowId {
        RowId::from_index(self.writer.mirrored(place).rows[place.bucket][place.slot])
    }

    pub(crate) fn len(&self) -> usize {
        self.writer.len
    }

    fn make(&mut self, (key, value): (K, V), deadline: Tick) -> NonNull<Node<K, V>> {
        self.writer.debris.blank().fill(Node::new(key, value, deadline))
    }

    /// Publishes a new entry. Its key must not be in the table (`find` said so under this lock).
    pub(crate) fn insert(
        &mut self,
        hash: HashBits,
        row: RowId,
        entry: (K, V),
        deadline: Tick,
        home_of: impl Fn(RowId) -> u32,
    ) {
        self.grow(&home_of);
        let home = hash.home();
        // Readers of this key begin at its home: the mark must be on their way before the key is.
        let at = home as usize & self.writer.current.array.mask();
        self.writer.move_bucket(at, &home_of);
        let node = self.make(entry, deadline);
        let target = self.writer.next.as_mut().unwrap_or(&mut self.writer.current);
        target.put(home, hash.tag(), node.as_ptr(), row.index());
        self.writer.len += 1;
    }

    /// Begins or goes on with a move, if one is due or under way.
    fn grow(&mut self, home_of: impl Fn(RowId) -> u32) {
        let writer = &mut *self.writer;
        let target = writer.next.as_ref().unwrap_or(&writer.current).array;
        if writer.len >= target.room() {
            // By the pace of the moves, one that is under way has long ended by now; if not, end it.
            self.advance(usize::MAX, &home_of);
            let current = self.writer.current.array;
            let next = Mirrored::allocate(current.log2() + 1);
            // SAFETY: T1, under the lock.
            unsafe { current.set_next(next.array) };
            self.writer.next = Some(next);
            self.writer.cursor = 0;
        }
        self.advance(MOVES, home_of);
    }

    /// Moves up to `count` buckets; after the last one the next array becomes the root.
    fn advance(&mut self, count: usize, home_of: impl Fn(RowId) -> u32) {
        let writer = &mut *self.writer;
        if writer.next.is_none() {
            return;
        }
        let buckets = writer.current.array.buckets();
        let end = writer.cursor.saturating_add(count).min(buckets);
        for index in writer.cursor..end {
            writer.move_bucket(index, &home_of);
        }
        writer.cursor = end;
        if end == buckets {
            if let Some(next) = writer.next.take() {
                self.table.set_root(next.array);
                let old = std::mem::replace(&mut writer.current, next);
                // SAFETY: T3: the root names its successor, and all its buckets are marked moved.
                unsafe { writer.debris.add_array(old.array) };
            }
        }
    }

    /// Puts a new node in the place of another: readers see one or the other, never a hole.
    pub(crate) fn replace(&mut self, place: Place, entry: (K, V), deadline: Tick) -> Unlinked<K, V> {
        let new = self.make(entry, deadline);
        let mirrored = self.writer.mirrored(place);
        let old = mirrored.node(place.bucket, place.slot);
        // SAFETY: T1, under the lock.
        unsafe { mirrored.array.bucket(place.bucket) }.set_node(place.slot, new.as_ptr());
        // SAFETY: T5: a tagged slot's pointer is a node's.
        Unlinked(unsafe { NonNull::new_unchecked(old) })
    }

    /// Takes an entry out of the table.
    pub(crate) fn unlink(&mut self, place: Place, home: u32) -> Unlinked<K, V> {
        let mirrored = match &mut self.writer.next {
            Some(next) if place.in_next => next,
            _ => &mut self.writer.current,
        };
        let old = mirrored.node(place.bucket, place.slot);
        mirrored.clear(home, place.bucket, place.slot);
        self.writer.len -= 1;
        // SAFETY: T5: a tagged slot's pointer is a node's.
        Unlinked(unsafe { NonNull::new_unchecked(old) })
    }

    /// Lists an unlinked node as debris.
    pub(crate) fn retire(&mut self, node: Unlinked<K, V>) {
        self.writer.debris.add(node);
    }

    pub(crate) fn has_open_debris(&self) -> bool {
        self.writer.debris.has_open()
    }

    pub(crate) fn has_sealed_debris(&self) -> bool {
        self.writer.debris.has_sealed()
    }

    /// Seals the open batch if it is full, or in any case.
    pub(crate) fn seal(&mut self, even_if_not_full: bool) -> Option<Sealed> {
        if even_if_not_full || self.writer.debris.is_full() { self.writer.debris.seal() } else { None }
    }

    pub(crate) fn take_ripe(&mut self, all: bool) -> Ripe<K, V> {
        self.writer.debris.take_ripe(all)
    }

    /// Keeps blank nodes for the next inserts. What stays in `blanks` is to be freed outside the lock.
    pub(crate) fn recycle(&mut self, blanks: &mut Blanks<K, V>) {
        self.writer.debris.recycle(&mut blanks.0);
    }

    /// Recounts the table: calls `each` with the row and node of every entry, and panics where the
    /// counts of overflow or entries disagree with what is there.
    pub(crate) fn validate(&self, home_of: impl Fn(RowId) -> u32, mut each: impl FnMut(RowId, &Node<K, V>)) {
        let writer = &*self.writer;
        let mut entries = 0;
        for mirrored in std::iter::once(&writer.current).chain(&writer.next) {
            let array = mirrored.array;
            let mut passed = vec![0u64; array.buckets()];
            for index in 0..array.buckets() {
                // SAFETY: T1, under the lock.
                let bucket = unsafe { array.bucket(index) };
                let meta = bucket.own_meta();
                if meta.is_moved() {
                    assert!(writer.next.is_some(), "a moved bucket and nowhere to go");
                    continue;
                }
                for slot in meta.occupied() {
                    let row = RowId::from_index(mirrored.rows[index][slot]);
                    let mut way = home_of(row) as usize & array.mask();
                    while way != index {
                        passed[way] += 1;
                        way = (way + 1) & array.mask();
                    }
                    // SAFETY: T5, under the lock.
                    each(row, unsafe { &*bucket.own_node(slot) });
                    entries += 1;
                }
            }
            for (index, &passed) in passed.iter().enumerate() {
                // SAFETY: T1, under the lock.
                let meta = unsafe { array.bucket(index) }.own_meta();
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
