//! Rows: a slab addressed by small numbers.
//!
//! A row is a writer's book-keeping of one entry. It lives in a chunk that never moves, so growth
//! copies no row. Each chunk is twice as large as the one before, and its memory comes as it is touched; so a
//! row's number is its chunk and its place in it, and whoever keeps something else by these numbers in chunks
//! of the same sizes gets from a number to an address without a search. What a row's
//! fields mean is not known here.
//!
//! A row keeps its number as long as its entry is there, however often that is replaced. New rows take
//! low vacant numbers, so that the rest empties, and its memory can be given back.
//!
//! | file | what |
//! |---|---|
//! | `rows.rs` | rows by number |
//! | `numbers.rs` | which numbers are taken |
//! | `lists.rs` | lists of rows |

mod lists;
mod numbers;
#[cfg(all(test, not(tidewheel_loom)))]
mod tests;

pub(crate) use lists::{Chain, Link, Linked, Lists};

pub(crate) use numbers::Numbers;
use std::fmt;
use std::ops::{Index, IndexMut, Range};

/// Rows in the first chunk, as a power of two.
const FIRST_BITS: u32 = if cfg!(tidewheel_loom) { 1 } else { 6 };
/// The bits of a number that are the place in the chunk.
const OFFSET_BITS: u32 = 26;
/// So many chunks there can be; the last one is of as many rows as a place has values.
pub(crate) const CHUNKS: usize = (OFFSET_BITS - FIRST_BITS + 1) as usize;

/// The number of a row. Small, and used again after the row is vacant. The highest bit is free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct RowId(u32);

impl RowId {
    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }

    /// The number as it is: in the order of chunks and places, with gaps.
    pub(crate) const fn index(self) -> u32 {
        self.0
    }

    pub(crate) const FIRST: Self = Self(0);

    /// The first number of a stretch of a chunk.
    pub(crate) const fn at(chunk: usize, offset: usize) -> Self {
        Self::new(chunk, offset)
    }

    /// The number after this one; there may be no such row.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    #[inline]
    const fn new(chunk: usize, offset: usize) -> Self {
        Self((chunk as u32) << OFFSET_BITS | offset as u32)
    }

    #[inline]
    pub(crate) const fn chunk(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    /// The place in the chunk.
    #[inline]
    pub(crate) const fn offset(self) -> usize {
        self.0 as usize & ((1 << OFFSET_BITS) - 1)
    }

    /// The number without gaps.
    #[inline]
    pub(crate) const fn dense(self) -> usize {
        chunk_size(self.chunk()) - chunk_size(0) + self.offset()
    }
}

/// Rows in a chunk.
#[inline]
pub(crate) const fn chunk_size(chunk: usize) -> usize {
    1 << (FIRST_BITS as usize + chunk)
}

/// What is kept by the numbers of rows.
pub(crate) trait Kept: Sized {
    type Memory: Memory<Self>;
}

/// A row.
pub(crate) trait Row: Kept {
    /// One of the row's links, always the same, which says whether the row is live.
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;

    /// For whoever keeps the list that the link is of: which list, as far as a few bits can say it.
    fn label(&self) -> u16;
    fn set_label(&mut self, label: u16);
}

/// Chunks of rows. What was not written yet, or was discarded, is some row or other.
pub(crate) trait Memory<T> {
    fn new() -> Self;
    fn has_chunk(&self, chunk: usize) -> bool;
    /// Memory for a whole chunk. Takes no more time for a larger one.
    fn add_chunk(&mut self, chunk: usize);
    /// Gives memory back of rows that are vacant: the chunk itself if that is all of it.
    fn discard(&mut self, chunk: usize, rows: Range<usize>);
    /// # Panics
    ///
    /// Panics if there is no such chunk.
    fn get(&self, row: RowId) -> &T;
    /// # Panics
    ///
    /// Panics if there is no such chunk.
    fn get_mut(&mut self, row: RowId) -> &mut T;
    /// Asks the processor to bring a row near. A hint, and no access.
    fn prefetch(&self, _: RowId) {}
}

/// A writer's book-keeping of an entry: what readers do not need, so that it is not in their way. Numbers
/// throughout, so that it is one whatever its bytes are.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Metadata {
    /// The home bucket in a table of any size.
    pub(crate) home: u32,
    pub(crate) wheel: Link,
    /// When the entry was created, as whoever keeps it packs it: in halves, so that a row takes 24 bytes.
    pub(crate) born: [u32; 2],
    pub(crate) label: u16,
    /// Whether somebody was told that the entry is about to expire: 0, or 1 if so.
    pub(crate) warned: u16,
}

/// A row's place in the policy's queues. Beside the rows, since not every cache has them; numbers throughout, too.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Queued {
    pub(crate) link: Link,
    /// As whoever keeps it packs it.
    pub(crate) since: u32,
}

/// A slab of rows.
pub(crate) struct Rows<T: Row> {
    memory: T::Memory,
    numbers: Numbers,
    live: usize,
}

impl<T: Row> Rows<T> {
    pub(crate) fn new() -> Self {
        Self { memory: T::Memory::new(), numbers: Numbers::new(), live: 0 }
    }

    /// Puts `row` into the slab; gives it back if there is no number left for it (2^27 are in use).
    #[inline]
    pub(crate) fn insert(&mut self, row: T) -> Result<RowId, T> {
        debug_assert!(!row.link().is_vacant(), "a live row must not look like one that is not");
        let Some(id) = self.take() else { return Err(row) };
        *self.memory.get_mut(id) = row;
        self.live += 1;
        Ok(id)
    }

    #[inline]
    fn take(&mut self) -> Option<RowId> {
        self.numbers.take().or_else(|| self.gather())
    }

    #[cold]
    fn gather(&mut self) -> Option<RowId> {
        let memory = &mut self.memory;
        for &id in self.numbers.gather() {
            if !memory.has_chunk(id.chunk()) {
                memory.add_chunk(id.chunk());
            }
            *memory.get_mut(id).link_mut() = Link::VACANT;
        }
        self.numbers.take()
    }

    /// The row's entry is gone. It must have left every list. Its number is vacant.
    #[inline]
    pub(crate) fn remove(&mut self, id: RowId) {
        let link = self.memory.get_mut(id).link_mut();
        assert!(!link.is_vacant(), "row {} was removed twice", id.0);
        debug_assert!(!link.is_linked(), "row {} was removed while in a list", id.0);
        *link = Link::VACANT;
        self.live -= 1;
        self.numbers.give(id);
    }

    /// The number that the next row will probably have.
    #[inline]
    pub(crate) fn next_new(&self) -> Option<RowId> {
        self.numbers.next()
    }

    /// Has a row prefetched, for whoever comes for it soon.
    #[inline]
    pub(crate) fn prefetch(&self, id: RowId) {
        self.memory.prefetch(id);
    }

    /// The row, if it is live.
    pub(crate) fn get(&self, id: RowId) -> Option<&T> {
        (self.numbers.is_taken(id) && !self.memory.get(id).link().is_vacant()).then(|| self.memory.get(id))
    }

    pub(crate) fn contains(&self, id: RowId) -> bool {
        self.get(id).is_some()
    }

    /// The number of live rows.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The row with the lowest number from `from` on that is live, or vacant and about to be used.
    pub(crate) fn next_taken(&self, from: RowId) -> Option<RowId> {
        self.numbers.next_taken(from)
    }

    /// All live rows, in the order of their numbers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = RowId> {
        let next = |id: &RowId| self.next_taken(id.next());
        std::iter::successors(self.next_taken(RowId::FIRST), next).filter(|&id| self.contains(id))
    }

    /// Whether `trim` would give much back.
    pub(crate) fn is_sparse(&self) -> bool {
        self.numbers.is_sparse()
    }

    /// Gives memory back: whole chunks, or vacant stretches of them, at most so many rows at a time. Tells
    /// `also` of each stretch; all of a chunk means that the chunk itself went. False when there is no more to
    /// give.
    pub(crate) fn trim(&mut self, most: usize, mut also: impl FnMut(usize, Range<usize>)) -> bool {
        let memory = &mut self.memory;
        self.numbers.trim(most, |chunk, rows| {
            memory.discard(chunk, rows.clone());
            also(chunk, rows);
        })
    }

    /// Recounts the rows.
    ///
    /// # Panics
    ///
    /// Panics where numbers and rows disagree.
    pub(crate) fn check(&self) {
        self.numbers.check();
        assert_eq!(self.ids().count(), self.live, "live rows found, live rows counted");
    }
}

impl<T: Row> Index<RowId> for Rows<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: RowId) -> &T {
        let row = self.memory.get(id);
        debug_assert!(!row.link().is_vacant(), "row {} is not live", id.0);
        row
    }
}

impl<T: Row> IndexMut<RowId> for Rows<T> {
    #[inline]
    fn index_mut(&mut self, id: RowId) -> &mut T {
        let row = self.memory.get_mut(id);
        debug_assert!(!row.link().is_vacant(), "row {} is not live", id.0);
        row
    }
}

impl<T: Row> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("live", &self.live).finish_non_exhaustive()
    }
}

/// Chunks on the heap, for tests.
#[cfg(test)]
impl<T: Default> Memory<T> for Vec<Box<[T]>> {
    fn new() -> Self {
        Self::new()
    }

    fn has_chunk(&self, chunk: usize) -> bool {
        <[_]>::get(self, chunk).is_some_and(|chunk| !chunk.is_empty())
    }

    fn add_chunk(&mut self, chunk: usize) {
        if chunk >= self.len() {
            self.resize_with(chunk + 1, || Box::new([]));
        }
        self[chunk] = (0..chunk_size(chunk)).map(|_| T::default()).collect();
    }

    fn discard(&mut self, chunk: usize, rows: Range<usize>) {
        if rows.len() == chunk_size(chunk) {
            self[chunk] = Box::new([]);
        } else {
            self[chunk][rows].fill_with(T::default);
        }
    }

    fn get(&self, row: RowId) -> &T {
        &self[row.chunk()][row.offset()]
    }

    fn get_mut(&mut self, row: RowId) -> &mut T {
        &mut self[row.chunk()][row.offset()]
    }
}
