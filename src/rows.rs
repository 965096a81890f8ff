//! Rows: a slab addressed by small numbers.
//!
//! A row is a writer's book-keeping of one entry. It lives in a chunk that never moves, so growth
//! copies no row. Each chunk is twice as large as the one before, and its memory comes as it is touched; so a
//! row's number is its chunk and its place in it, and whoever keeps something else by these numbers in chunks
//! of the same sizes gets from a number to an address without a search. What a row's
//! fields mean is not known here.
//!
//! A row is *live*, then *retired* (its number still means an entry to somebody), then *vacant*. New rows take
//! the lowest vacant numbers, so that the rest empties, and its memory can be given back.
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

pub(crate) use lists::{Chain, Link, Lists};

use numbers::Numbers;
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

/// A row, and where rows of its kind are kept.
pub(crate) trait Row: Sized {
    /// The memory of a chunk.
    type Chunk: ChunkOf<Self>;

    /// One of the row's links, always the same, which says whether the row is live.
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;
}

/// The memory of a chunk of rows. What was not written yet, or was discarded, is some row or other.
pub(crate) trait ChunkOf<T> {
    /// Memory for so many rows. Takes no more time for more of them.
    fn new(rows: usize) -> Self;
    fn get(&self, offset: usize) -> &T;
    fn get_mut(&mut self, offset: usize) -> &mut T;
    /// Gives memory back of rows that are vacant.
    fn discard(&mut self, rows: Range<usize>);
}

/// A writer's book-keeping of an entry: what readers do not need, so that it is not in their way. Numbers
/// throughout, so that it is one whatever its bytes are.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Booked {
    /// The home bucket in a table of any size.
    pub(crate) home: u32,
    pub(crate) wheel: Link,
    /// Times as whoever keeps them packs them: in halves, so that a row takes 28 bytes and not 32.
    pub(crate) times: [u32; 4],
}

/// A slab of rows.
pub(crate) struct Rows<T: Row> {
    /// As many as `numbers` has; `None` where all rows are vacant and the memory was given back.
    chunks: Vec<Option<T::Chunk>>,
    numbers: Numbers,
    live: usize,
}

impl<T: Row> Rows<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), numbers: Numbers::new(), live: 0 }
    }

    /// Puts `row` into the slab; gives it back if there is no number left for it (2^27 are in use).
    #[inline]
    pub(crate) fn insert(&mut self, row: T) -> Result<RowId, T> {
        debug_assert!(!row.link().is_gone(), "a live row must not look like one that is not");
        let Some(id) = self.numbers.take() else { return Err(row) };
        if !matches!(self.chunks.get(id.chunk()), Some(Some(_))) {
            self.add_chunk(id.chunk());
        }
        *self.place_mut(id) = row;
        self.live += 1;
        Ok(id)
    }

    #[cold]
    fn add_chunk(&mut self, chunk: usize) {
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        self.chunks[chunk] = Some(T::Chunk::new(chunk_size(chunk)));
    }

    /// The row is not live any more. It must have left every list. Its number stays taken.
    #[inline]
    pub(crate) fn retire(&mut self, id: RowId) {
        let link = self.place_mut(id).link_mut();
        assert!(!link.is_gone(), "row {} was retired twice", id.0);
        debug_assert!(!link.is_linked(), "row {} was retired while in a list", id.0);
        *link = Link::GONE;
        self.live -= 1;
    }

    /// The number of a retired row means nothing to anybody any more.
    #[inline]
    pub(crate) fn vacate(&mut self, id: RowId) {
        debug_assert!(self.place(id).link().is_gone(), "row {} is vacant and live", id.0);
        self.numbers.give(id);
    }

    /// The row, if it is live.
    pub(crate) fn get(&self, id: RowId) -> Option<&T> {
        (self.numbers.is_taken(id) && !self.place(id).link().is_gone()).then(|| self.place(id))
    }

    pub(crate) fn contains(&self, id: RowId) -> bool {
        self.get(id).is_some()
    }

    /// The number of live rows.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// The live or retired row with the lowest number from `from` on.
    pub(crate) fn next_taken(&self, from: RowId) -> Option<RowId> {
        self.numbers.next_taken(from)
    }

    /// A number beyond all that are taken.
    pub(crate) fn end(&self) -> RowId {
        RowId::new(self.chunks.len(), 0)
    }

    /// All live rows, in the order of their numbers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = RowId> {
        let next = |id: &RowId| self.next_taken(id.next());
        std::iter::successors(self.next_taken(RowId::FIRST), next).filter(|&id| self.contains(id))
    }

    /// Gives memory back: whole chunks, or vacant stretches of them, at most so many rows at a time. Tells
    /// `also` of each stretch; all of a chunk means that the chunk itself went. False when there is no more to
    /// give.
    pub(crate) fn trim(&mut self, most: usize, mut also: impl FnMut(usize, Range<usize>)) -> bool {
        let chunks = &mut self.chunks;
        self.numbers.trim(most, |chunk, rows| {
            let all = rows.len() == chunk_size(chunk);
            match chunks.get_mut(chunk) {
                Some(memory) if all => *memory = None,
                Some(Some(memory)) => memory.discard(rows.clone()),
                _ => {}
            }
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

    #[inline]
    fn place(&self, id: RowId) -> &T {
        match self.chunks.get(id.chunk()) {
            Some(Some(chunk)) => chunk.get(id.offset()),
            _ => no_chunk(id),
        }
    }

    #[inline]
    fn place_mut(&mut self, id: RowId) -> &mut T {
        match self.chunks.get_mut(id.chunk()) {
            Some(Some(chunk)) => chunk.get_mut(id.offset()),
            _ => no_chunk(id),
        }
    }
}

#[cold]
fn no_chunk(id: RowId) -> ! {
    panic!("there is no row {}", id.0)
}

impl<T: Row> Index<RowId> for Rows<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: RowId) -> &T {
        let row = self.place(id);
        debug_assert!(!row.link().is_gone(), "row {} is not live", id.0);
        row
    }
}

impl<T: Row> IndexMut<RowId> for Rows<T> {
    #[inline]
    fn index_mut(&mut self, id: RowId) -> &mut T {
        let row = self.place_mut(id);
        debug_assert!(!row.link().is_gone(), "row {} is not live", id.0);
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
impl<T: Default> ChunkOf<T> for Box<[T]> {
    fn new(rows: usize) -> Self {
        (0..rows).map(|_| T::default()).collect()
    }

    fn get(&self, offset: usize) -> &T {
        &self[offset]
    }

    fn get_mut(&mut self, offset: usize) -> &mut T {
        &mut self[offset]
    }

    fn discard(&mut self, rows: Range<usize>) {
        self[rows].fill_with(T::default);
    }
}
